//! How exits are encoded in a vCPU's trace, and what they mean in words.

use alloc::format;
use alloc::string::String;

use aarch64_cpu::registers::{CNTPCT_EL0, Readable};

use super::super::syndrome::{ExceptionClass, Syndrome};
use super::super::timer;
use crate::vm::operator::TracedExit;
use crate::vm::trace::{Entry, ExitTrace};

/// [`Entry::cause`] of an interrupt, whose INTID is the detail: no exception has this syndrome.
const INTERRUPT: u64 = u64::MAX;

/// Records an exception at `pc`. The detail is `x0`, unless [`ExitTrace::detail`] says more.
#[inline]
pub fn exception(trace: &ExitTrace, pc: u64, syndrome: Syndrome, x0: u64) {
    trace.record(Entry { time: CNTPCT_EL0.get(), pc, cause: syndrome.0, detail: x0 });
}

/// Records an interrupt at `pc`.
#[inline]
pub fn interrupt(trace: &ExitTrace, pc: u64, intid: u32) {
    trace.record(Entry { time: CNTPCT_EL0.get(), pc, cause: INTERRUPT, detail: intid.into() });
}

/// The exit in words.
pub fn describe(entry: Entry) -> TracedExit {
    TracedExit { time: timer::microseconds(entry.time), pc: entry.pc, cause: cause(entry) }
}

fn cause(entry: Entry) -> String {
    if entry.cause == INTERRUPT {
        return format!("interrupt {}", entry.detail);
    }
    let syndrome = Syndrome(entry.cause);
    match syndrome.class() {
        ExceptionClass::HVC64 | ExceptionClass::SMC64 => format!("{syndrome}, x0 {:#x}", entry.detail),
        ExceptionClass::DATA_ABORT_LOWER => format!("{syndrome}, IPA {:#x}", entry.detail),
        _ => format!("{syndrome}"),
    }
}
