//! Cache maintenance by address, for memory that is also seen by an observer with its caches off.

use core::arch::asm;

use super::sysreg::mrs;

fn for_each_line(start: *const u8, len: usize, mut operation: impl FnMut(usize)) {
    let line = 4usize << ((mrs!("ctr_el0") >> 16) & 0xf);
    let end = start as usize + len;
    let mut address = start as usize & !(line - 1);
    while address < end {
        operation(address);
        address += line;
    }
}

/// Cleans and invalidates the data cache over `[start, start + len)` to the point of coherency.
pub fn clean_and_invalidate(start: *const u8, len: usize) {
    for_each_line(start, len, |line| {
        // SAFETY: cleaning a line does not change what memory holds.
        unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) }
    });
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::SY);
}

/// Makes instructions that were written to memory, and cleaned from the data caches, visible to instruction
/// fetches of every CPU (DDI 0487 B2.7.4.2).
pub fn invalidate_instructions() {
    // SAFETY: invalidating instruction caches costs time only.
    unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) }
}

/// Fills `[start, start + len)` with zeros by `DC ZVA` where the CPU allows it. Both must be multiples of 2
/// KiB, the largest block that `DCZID_EL0.BS` can name.
///
/// # Safety
/// The range must be writable normal memory that nothing else refers to.
pub unsafe fn zero_blocks(start: *mut u8, len: usize) {
    let dczid = mrs!("dczid_el0");
    if dczid & 0x10 != 0 {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::write_bytes(start, 0, len) };
        return;
    }
    let block = 4usize << (dczid & 0xf);
    let mut address = start as usize;
    let end = address + len;
    while address < end {
        // A guest waits for this at its first touch of each 2 MiB: unrolled, it takes hardly more than the two
        // instructions for each block that there is no way around.
        // SAFETY: the caller's promise; no block passes `end`, for a block divides the length.
        unsafe {
            if end - address >= 32 * block {
                asm!(
                    ".rept 32", "dc zva, {a}", "add {a}, {a}, {b}", ".endr",
                    a = inout(reg) address, b = in(reg) block, options(nostack, preserves_flags)
                );
            } else {
                asm!("dc zva, {}", in(reg) address, options(nostack, preserves_flags));
                address += block;
            }
        }
    }
}
