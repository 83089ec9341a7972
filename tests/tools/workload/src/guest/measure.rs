//! How much is executed, and how long it takes.

use core::{
    arch::asm,
    fmt,
    ops::AddAssign,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use tool_support::linux::{Call, Errno, STDERR, call, read, say};

use super::{
    check,
    threads::{Barrier, pin, together},
};
use crate::works::{CORE, Work};

// include/uapi/linux/perf_event.h
const PERF_TYPE_HARDWARE: u32 = 0;
const PERF_COUNT_HW_INSTRUCTIONS: u64 = 1;
/// Events of every process.
const ALL: usize = usize::MAX;
const NO_GROUP: usize = usize::MAX;

/// The first version of `struct perf_event_attr`. With zeros in the rest it counts from the start, in every mode.
#[repr(C)]
struct Event {
    kind: u32,
    size: u32,
    config: u64,
    rest: [u64; 6],
}

/// What counts a hart's instructions, in every mode and whoever's they are. User mode may not read `instret` itself.
pub struct Counter(usize);

impl Counter {
    /// That of hart `hart`, for as long as the program runs.
    pub fn of(hart: u32) -> Result<Self, Errno> {
        let size = size_of::<Event>() as u32;
        let event =
            Event { kind: PERF_TYPE_HARDWARE, size, config: PERF_COUNT_HW_INSTRUCTIONS, rest: [0; 6] };
        let arguments = [(&raw const event).addr(), ALL, hart as usize, NO_GROUP, 0];
        // SAFETY: the kernel reads the event.
        unsafe { call(Call::PerfEventOpen, arguments) }.map(Self)
    }

    /// What has been counted up to now.
    pub fn now(&self) -> Result<Reading, Errno> {
        let ticks;
        let mut instructions = [0; size_of::<u64>()];
        read(self.0, &mut instructions)?;
        // SAFETY: reading it has no effect. What is measured is not moved across it.
        unsafe { asm!("rdtime {}", out(reg) ticks) };
        Ok(Reading { instructions: u64::from_le_bytes(instructions), ticks })
    }
}

/// Instructions and the time, or the difference between two looks at them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    instructions: u64,
    ticks: u64,
}

impl Reading {
    /// What has passed since `earlier`.
    fn since(self, earlier: Self) -> Self {
        Self {
            instructions: self.instructions.wrapping_sub(earlier.instructions),
            ticks: self.ticks.wrapping_sub(earlier.ticks),
        }
    }
}

impl AddAssign for Reading {
    fn add_assign(&mut self, other: Self) {
        self.instructions += other.instructions;
        self.ticks += other.ticks;
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} instructions, {} ticks", self.instructions, self.ticks)
    }
}

/// Does `work` on this hart, and says what it took.
pub fn measured(
    name: &str,
    counter: &Counter,
    work: impl FnOnce() -> Result<(), Errno>,
) -> Result<Reading, Errno> {
    let before = counter.now()?;
    work()?;
    let taken = counter.now()?.since(before);
    say(STDERR, format_args!("workload: {name}: ok, {taken}"));
    Ok(taken)
}

/// A round of some work, with the right result.
pub fn round(work: &Work) -> Result<(), Errno> {
    let result = (work.round)();
    check(result == work.result, format_args!("{} gives {result:#x}, not {:#x}", work.name, work.result))
}

/// The core work on so many harts at once: the instructions of all of them, and the time from the start of the first to
/// the end of the last.
pub fn scale(threads: u32, rounds: u32) -> Result<(), Errno> {
    let barrier = Barrier::new(threads);
    let instructions = AtomicU64::new(0);
    let failed = AtomicU32::new(0);
    let [start, end] = [AtomicU64::new(u64::MAX), AtomicU64::new(0)];
    together(threads, |thread| {
        let work = || {
            let prepared =
                pin(thread).and_then(Counter::of).and_then(|counter| round(&CORE).map(|()| counter));
            // Nobody is waited for in vain.
            barrier.wait();
            let counter = prepared?;
            let before = counter.now()?;
            (0..rounds).try_for_each(|_| round(&CORE))?;
            let after = counter.now()?;
            instructions.fetch_add(after.since(before).instructions, Relaxed);
            start.fetch_min(before.ticks, Relaxed);
            end.fetch_max(after.ticks, Relaxed);
            Ok::<(), Errno>(())
        };
        failed.fetch_add(u32::from(work().is_err()), Relaxed);
    })?;
    check(failed.load(Relaxed) == 0, format_args!("some of {threads} threads have failed"))?;
    let ticks = end.load(Relaxed).wrapping_sub(start.load(Relaxed));
    let taken = Reading { instructions: instructions.load(Relaxed), ticks };
    say(STDERR, format_args!("workload: scale {threads}: ok, {taken}"));
    Ok(())
}
