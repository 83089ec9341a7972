//! Physical memory protection: what supervisor and user mode may reach.

use core::arch::asm;

use super::arena;

/// The interrupt controller's beginning, and its end. Nothing else at the bottom of the address space may be reached from
/// supervisor mode: the monitor's timer is there, its console, and devices that would write to its memory.
const PLIC: [u64; 2] = [0xc00_0000, 0x1000_0000];
/// Entries whose ends are the addresses of [`prepare`]: nothing and everything, in turns. TOR is 1 << 3.
const CONFIGURATION: u64 = 0x0f08_0f08_0f08;

/// Protects this hart's machine mode.
pub fn prepare(ram_end: u64) {
    let arena = arena::all();
    // SAFETY: machine mode's own accesses are not affected: no entry is locked.
    unsafe {
        asm!(
            "csrw pmpcfg0, zero",
            "csrw pmpaddr0, {0}",
            "csrw pmpaddr1, {1}",
            "csrw pmpaddr2, {2}",
            "csrw pmpaddr3, {3}",
            "csrw pmpaddr4, {4}",
            "csrw pmpaddr5, {5}",
            "csrw pmpcfg0, {6}",
            "sfence.vma",
            in(reg) PLIC[0] >> 2,
            in(reg) PLIC[1] >> 2,
            in(reg) arena.start >> 2,
            in(reg) arena.end >> 2,
            in(reg) ram_end >> 2,
            in(reg) u64::MAX >> 10,
            in(reg) CONFIGURATION,
        );
    }
}

/// Whether it is as it was prepared.
pub fn configuration() -> (u64, u64) {
    let found: u64;
    // SAFETY: reading this register has no effect.
    unsafe { asm!("csrr {}, pmpcfg0", out(reg) found) };
    (CONFIGURATION, found)
}
