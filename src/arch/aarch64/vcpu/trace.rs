//! The last exits of a vCPU, kept for crash reports and for the monitor.

use alloc::format;
use alloc::string::String;

use aarch64_cpu::registers::{CNTPCT_EL0, Readable};

use super::super::syndrome::{ExceptionClass, Syndrome};
use super::super::timer;
use crate::vm::operator::TracedExit;

/// How many exits are kept.
const DEPTH: usize = 64;

/// What ended a run of the guest.
#[derive(Debug, Clone, Copy)]
pub enum Cause {
    /// A synchronous exception.
    Exception(Syndrome),
    /// A physical interrupt; the detail is its INTID.
    Interrupt,
}

/// [`Entry::cause`] of an interrupt: no exception has this syndrome.
const INTERRUPT: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    time: u64,
    pc: u64,
    /// `ESR_EL2`, or [`INTERRUPT`].
    cause: u64,
    detail: u64,
}

/// A ring of the last [`DEPTH`] exits.
#[derive(Debug)]
pub struct ExitTrace {
    entries: [Entry; DEPTH],
    /// How many have been recorded.
    count: usize,
}

impl ExitTrace {
    pub fn new() -> Self {
        Self { entries: [Entry::default(); DEPTH], count: 0 }
    }

    /// Records an exit at `pc`. `detail` is x0 of an exception, unless [`ExitTrace::detail`] says more.
    #[inline]
    pub fn record(&mut self, pc: u64, cause: Cause, detail: u64) {
        let cause = match cause {
            Cause::Exception(syndrome) => syndrome.0,
            Cause::Interrupt => INTERRUPT,
        };
        self.count = self.count.wrapping_add(1);
        if let Some(entry) = self.entries.get_mut(self.count % DEPTH) {
            *entry = Entry { time: CNTPCT_EL0.get(), pc, cause, detail };
        }
    }

    /// Adds the IPA to the abort that was recorded last.
    #[inline]
    pub fn detail(&mut self, ipa: u64) {
        if let Some(entry) = self.entries.get_mut(self.count % DEPTH) {
            entry.detail = ipa;
        }
    }

    /// The exits, the oldest first.
    pub fn entries(&self) -> impl Iterator<Item = TracedExit> {
        let kept = self.count.min(DEPTH);
        (self.count - kept + 1..=self.count)
            .filter_map(|number| self.entries.get(number % DEPTH))
            .map(Entry::describe)
    }
}

impl Entry {
    fn describe(&self) -> TracedExit {
        TracedExit { time: timer::microseconds(self.time), pc: self.pc, cause: self.cause() }
    }

    fn cause(&self) -> String {
        if self.cause == INTERRUPT {
            return format!("interrupt {}", self.detail);
        }
        let syndrome = Syndrome(self.cause);
        match syndrome.class() {
            ExceptionClass::HVC64 | ExceptionClass::SMC64 => format!("{syndrome}, x0 {:#x}", self.detail),
            ExceptionClass::DATA_ABORT_LOWER => format!("{syndrome}, IPA {:#x}", self.detail),
            _ => format!("{syndrome}"),
        }
    }
}
