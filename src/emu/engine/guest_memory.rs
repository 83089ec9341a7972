//! Single accesses to guest-virtual memory, by the shadow tables and with an unprivileged program's rights.

use core::arch::global_asm;
use core::ops::Range;

use polyvisor_emu::memory::Size;

use crate::access::Outcome;

// Leaves, as those of `device`.
global_asm!(
    ".section .text.guest_memory, \"ax\"",
    "guest_accesses:",
    "guest_load8:    ldtrb w0, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_load16:   ldtrh w0, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_load32:   ldtr  w0, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_load64:   ldtr  x0, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_store8:   sttrb w1, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_store16:  sttrh w1, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_store32:  sttr  w1, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_store64:  sttr  x1, [x0]",
    "                mov   x1, #0",
    "                ret",
    "guest_access_aborted:",
    "                mov   x1, #1",
    "                ret",
);

unsafe extern "C" {
    fn guest_accesses();
    fn guest_access_aborted();
    fn guest_load8(address: u64) -> Outcome;
    fn guest_load16(address: u64) -> Outcome;
    fn guest_load32(address: u64) -> Outcome;
    fn guest_load64(address: u64) -> Outcome;
    fn guest_store8(address: u64, value: u64) -> Outcome;
    fn guest_store16(address: u64, value: u64) -> Outcome;
    fn guest_store32(address: u64, value: u64) -> Outcome;
    fn guest_store64(address: u64, value: u64) -> Outcome;
}

/// Where to go on when the instruction at `pc` has taken a data abort, if it is one of these accesses.
pub fn recover(pc: u64) -> Option<u64> {
    let aborted = guest_access_aborted as *const () as u64;
    let accesses: Range<u64> = guest_accesses as *const () as u64..aborted;
    accesses.contains(&pc).then_some(aborted)
}

/// Loads, zero-extended; `None` if the access is not possible.
#[inline]
pub fn load(address: u64, size: Size) -> Option<u64> {
    // SAFETY: an unprivileged access reaches nothing but the guest's memory, of which Rust knows nothing; an abort is caught.
    let outcome = unsafe {
        match size {
            Size::Byte => guest_load8(address),
            Size::Half => guest_load16(address),
            Size::Word => guest_load32(address),
            Size::Double => guest_load64(address),
        }
    };
    outcome.value()
}

/// Stores the low bytes of `value`; `None` if the access is not possible.
#[inline]
pub fn store(address: u64, size: Size, value: u64) -> Option<()> {
    // SAFETY: as for `load`.
    let outcome = unsafe {
        match size {
            Size::Byte => guest_store8(address, value),
            Size::Half => guest_store16(address, value),
            Size::Word => guest_store32(address, value),
            Size::Double => guest_store64(address, value),
        }
    };
    outcome.value().map(drop)
}
