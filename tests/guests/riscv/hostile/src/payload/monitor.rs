//! Giving the hart away, and getting it back by a trap.

use core::arch::{asm, naked_asm};

/// mcause: a call from machine mode, with which the monitor's own snippets end.
pub const MACHINE_CALL: u64 = 11;
/// mcause: the machine timer interrupt.
pub const TIMER: u64 = 1 << 63 | 7;
/// mstatus: the floating-point registers are there.
pub const FLOAT: u64 = 0b11 << 13;
/// mstatus.MPP: machine mode.
pub const MACHINE: u64 = 0b11 << 11;
/// mie: the machine timer interrupt.
const MTIE: u64 = 1 << 7;
/// The CLINT's compare registers, one for each hart, and its clock.
const MTIMECMP: *mut u64 = 0x200_4000 as *mut u64;
const MTIME: *const u64 = 0x200_bff8 as *const u64;

/// The registers with which the hart is given away, and with which it comes back. The assembly knows the offsets.
#[repr(C)]
pub struct Frame {
    /// The program counter, then x1 to x31.
    pub x: [u64; 32],
    kept: [u64; 16],
    /// Why it came back.
    pub cause: u64,
}

impl Frame {
    /// The frame with these registers.
    pub const fn new(x: [u64; 32]) -> Self {
        Self { x, kept: [0; 16], cause: 0 }
    }

    /// Runs the hart with mstatus as given, interrupted at the latest after `ticks` unless it is machine mode that runs.
    pub fn run(&mut self, hart: usize, status: u64, ticks: u64) {
        // SAFETY: the CLINT is there on this machine, and does not touch memory.
        unsafe { MTIMECMP.wrapping_add(hart).write_volatile(MTIME.read_volatile().wrapping_add(ticks)) };
        // SAFETY: what runs does not reach the monitor's memory, or is a snippet of the monitor's.
        unsafe { enter(self, status) };
        // SAFETY: back to what the monitor's own code expects.
        unsafe { asm!("csrw mstatus, {}", "csrw mie, {}", in(reg) FLOAT, in(reg) MTIE) };
    }
}

/// The address to which traps lead while the hart is given away, for mtvec.
pub fn vector() -> u64 {
    leave as *const () as u64
}

/// Lets the timer interrupt modes below machine mode.
pub fn prepare() {
    // SAFETY: machine mode is not interrupted: mstatus.MIE is clear.
    unsafe { asm!("csrw mie, {}", in(reg) MTIE) };
}

/// MRET with the frame's registers. Returns when a trap comes back to machine mode.
#[unsafe(naked)]
unsafe extern "C" fn enter(frame: &mut Frame, status: u64) {
    naked_asm!(
        "sd ra, 256(a0)",
        "sd sp, 264(a0)",
        "sd gp, 272(a0)",
        "sd tp, 280(a0)",
        "sd s0, 288(a0)",
        "sd s1, 296(a0)",
        "sd s2, 304(a0)",
        "sd s3, 312(a0)",
        "sd s4, 320(a0)",
        "sd s5, 328(a0)",
        "sd s6, 336(a0)",
        "sd s7, 344(a0)",
        "sd s8, 352(a0)",
        "sd s9, 360(a0)",
        "sd s10, 368(a0)",
        "sd s11, 376(a0)",
        "csrw mscratch, a0",
        "la t0, {leave}",
        "csrw mtvec, t0",
        "ld t0, 0(a0)",
        "csrw mepc, t0",
        "csrw mstatus, a1",
        "ld x1, 8(a0)",
        "ld x2, 16(a0)",
        "ld x3, 24(a0)",
        "ld x4, 32(a0)",
        "ld x5, 40(a0)",
        "ld x6, 48(a0)",
        "ld x7, 56(a0)",
        "ld x8, 64(a0)",
        "ld x9, 72(a0)",
        "ld x11, 88(a0)",
        "ld x12, 96(a0)",
        "ld x13, 104(a0)",
        "ld x14, 112(a0)",
        "ld x15, 120(a0)",
        "ld x16, 128(a0)",
        "ld x17, 136(a0)",
        "ld x18, 144(a0)",
        "ld x19, 152(a0)",
        "ld x20, 160(a0)",
        "ld x21, 168(a0)",
        "ld x22, 176(a0)",
        "ld x23, 184(a0)",
        "ld x24, 192(a0)",
        "ld x25, 200(a0)",
        "ld x26, 208(a0)",
        "ld x27, 216(a0)",
        "ld x28, 224(a0)",
        "ld x29, 232(a0)",
        "ld x30, 240(a0)",
        "ld x31, 248(a0)",
        "ld x10, 80(a0)",
        "mret",
        leave = sym leave,
    )
}

/// Where the trap leads: back behind the call of [`enter`].
#[unsafe(naked)]
unsafe extern "C" fn leave() {
    naked_asm!(
        ".balign 4",
        "csrr a0, mscratch",
        "csrr t0, mcause",
        "sd t0, 384(a0)",
        "ld ra, 256(a0)",
        "ld sp, 264(a0)",
        "ld gp, 272(a0)",
        "ld tp, 280(a0)",
        "ld s0, 288(a0)",
        "ld s1, 296(a0)",
        "ld s2, 304(a0)",
        "ld s3, 312(a0)",
        "ld s4, 320(a0)",
        "ld s5, 328(a0)",
        "ld s6, 336(a0)",
        "ld s7, 344(a0)",
        "ld s8, 352(a0)",
        "ld s9, 360(a0)",
        "ld s10, 368(a0)",
        "ld s11, 376(a0)",
        "ret",
    )
}
