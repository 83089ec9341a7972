//! The last exits of a vCPU, kept for crash reports, the monitor and the watchdog. It has one writer, the vCPU
//! while it runs, and is read at any time; what is being written meanwhile may be read half.

use core::sync::atomic::{AtomicU64, Ordering};

/// How many exits are kept.
const DEPTH: usize = 64;

/// One exit, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The physical counter.
    pub time: u64,
    /// The guest's program counter.
    pub pc: u64,
    /// Why, in the encoding of the CPU that the vCPU runs on.
    pub cause: u64,
    /// What belongs to the cause.
    pub detail: u64,
}

#[derive(Debug, Default)]
struct Slot {
    time: AtomicU64,
    pc: AtomicU64,
    cause: AtomicU64,
    detail: AtomicU64,
}

/// A ring of the last exits.
#[derive(Debug)]
pub struct ExitTrace {
    slots: [Slot; DEPTH],
    /// How many have been recorded.
    count: AtomicU64,
}

impl Default for ExitTrace {
    fn default() -> Self {
        Self { slots: core::array::from_fn(|_| Slot::default()), count: AtomicU64::new(0) }
    }
}

impl ExitTrace {
    fn slot(&self, number: u64) -> Option<&Slot> {
        self.slots.get(number as usize % DEPTH)
    }

    /// Records an exit.
    #[inline]
    pub fn record(&self, entry: Entry) {
        let number = self.count.load(Ordering::Relaxed).wrapping_add(1);
        if let Some(slot) = self.slot(number) {
            slot.time.store(entry.time, Ordering::Relaxed);
            slot.pc.store(entry.pc, Ordering::Relaxed);
            slot.cause.store(entry.cause, Ordering::Relaxed);
            slot.detail.store(entry.detail, Ordering::Relaxed);
        }
        self.count.store(number, Ordering::Relaxed);
    }

    /// Replaces the detail of the exit that was recorded last.
    #[inline]
    pub fn detail(&self, detail: u64) {
        if let Some(slot) = self.slot(self.count.load(Ordering::Relaxed)) {
            slot.detail.store(detail, Ordering::Relaxed);
        }
    }

    /// How many exits have been recorded.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The exits that are kept, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> {
        let count = self.count();
        (count.saturating_sub(DEPTH as u64)..count).filter_map(|before| {
            let slot = self.slot(before + 1)?;
            Some(Entry {
                time: slot.time.load(Ordering::Relaxed),
                pc: slot.pc.load(Ordering::Relaxed),
                cause: slot.cause.load(Ordering::Relaxed),
                detail: slot.detail.load(Ordering::Relaxed),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_in_order() {
        let trace = ExitTrace::default();
        assert_eq!(trace.entries().count(), 0);
        for n in 0..DEPTH as u64 + 10 {
            trace.record(Entry { time: n, pc: n, cause: n, detail: n });
        }
        trace.detail(7);
        let times: alloc::vec::Vec<u64> = trace.entries().map(|entry| entry.time).collect();
        assert_eq!(times, (10..DEPTH as u64 + 10).collect::<alloc::vec::Vec<_>>());
        assert_eq!(trace.entries().next_back().map(|entry| entry.detail), Some(7));
    }
}
