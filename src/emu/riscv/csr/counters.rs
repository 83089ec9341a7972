//! `mcycle` and `minstret` (Privileged ISA, 3.1.10 and 3.1.12). An instruction takes one cycle; WFI takes one
//! too.
//!
//! Both are the count of retired instructions plus an offset, and while `mcountinhibit` stops one, the offset
//! is the value.

use crate::riscv::hart::Hart;
use crate::riscv::platform::Platform;
use crate::riscv::words::{INSTRET, MCOUNTINHIBIT, MCYCLE_OFFSET, MINSTRET_OFFSET};

/// A counter that can be stopped. The numbers are those of its bit in `mcountinhibit`, and its place among
/// the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Counter {
    /// `mcycle`.
    Cycle = 0,
    /// `minstret`.
    Retired = 2,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Cycle, Self::Retired];

    const fn word(self) -> usize {
        match self {
            Self::Cycle => MCYCLE_OFFSET,
            Self::Retired => MINSTRET_OFFSET,
        }
    }

    /// Its bit in `mcountinhibit`, `mcounteren` and `scounteren`.
    pub const fn bit(self) -> u64 {
        1 << self as u16
    }
}

impl<P: Platform> Hart<P> {
    /// Whether the counter is stopped.
    pub(in crate::riscv) fn is_inhibited(&self, counter: Counter) -> bool {
        self.words[MCOUNTINHIBIT] & counter.bit() != 0
    }

    /// What the counter says.
    pub(in crate::riscv) fn count(&self, counter: Counter) -> u64 {
        let running = if self.is_inhibited(counter) { 0 } else { self.words[INSTRET] };
        self.words[counter.word()].wrapping_add(running)
    }

    /// Sets the counter, so that the next instruction reads `value`. `retired` is how many instructions will
    /// have been retired by then.
    pub(in crate::riscv) fn set_count(&mut self, counter: Counter, value: u64, retired: u64) {
        let running = if self.is_inhibited(counter) { 0 } else { retired };
        self.words[counter.word()] = value.wrapping_sub(running);
    }

    /// Stops the counters of the bits that are set, and lets the others run.
    pub(in crate::riscv) fn set_inhibited(&mut self, bits: u64) {
        let counts = Counter::ALL.map(|counter| (counter, self.count(counter)));
        let all = Counter::ALL.iter().fold(0, |all, counter| all | counter.bit());
        self.words[MCOUNTINHIBIT] = bits & all;
        for (counter, value) in counts {
            self.set_count(counter, value, self.words[INSTRET]);
        }
    }
}
