//! Where translated code is executed: a second mapping of the memory that it is written to, executable and read-only.

use core::arch::asm;
use core::ops::Range;

use crate::stage1;

/// Maps `len` bytes of the engine's memory at `address`, both multiples of 2 MiB; where they are executed.
pub fn map(address: u64, len: u64) -> u64 {
    stage1::map_code(address, len)
}

/// Makes what was written at `written` what is executed at `executed`, on all CPUs (DDI 0487 B2.7.4.2).
pub fn publish(written: Range<u64>, executed: Range<u64>) {
    /// CTR_EL0.IDC and DIC: data caches need not be cleaned, instruction caches need not be invalidated.
    const IDC: u64 = 1 << 28;
    const DIC: u64 = 1 << 29;
    let ctr: u64;
    // SAFETY: reads a register that says what the caches are like.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    // DminLine and IminLine: the logarithm of the number of words of a line.
    let (data, code) = (4u64 << (ctr >> 16 & 0xf), 4u64 << (ctr & 0xf));
    if ctr & IDC == 0 {
        for line in lines(written, data) {
            // SAFETY: cleaning a line changes no memory.
            unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack)) };
        }
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack)) };
    if ctr & DIC == 0 {
        for line in lines(executed, code) {
            // SAFETY: invalidating a line of code costs time only.
            unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack)) };
        }
        // SAFETY: a barrier.
        unsafe { asm!("dsb ish", options(nostack)) };
    }
    // SAFETY: an instruction barrier.
    unsafe { asm!("isb", options(nostack)) };
}

/// The addresses of lines of `size` bytes.
fn lines(range: Range<u64>, size: u64) -> impl Iterator<Item = u64> {
    (range.start & !(size - 1)..range.end).step_by(size as usize)
}
