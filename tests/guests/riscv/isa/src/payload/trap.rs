//! Running code in any mode until it traps.

use core::arch::naked_asm;

/// Instruction access fault.
pub const FETCH_ACCESS: u64 = 1;
/// Illegal instruction.
pub const ILLEGAL: u64 = 2;
/// Breakpoint.
pub const BREAKPOINT: u64 = 3;
/// Load address misaligned.
pub const LOAD_MISALIGNED: u64 = 4;
/// Load access fault.
pub const LOAD_ACCESS: u64 = 5;
/// Store or AMO address misaligned.
pub const STORE_MISALIGNED: u64 = 6;
/// Store or AMO access fault.
pub const STORE_ACCESS: u64 = 7;
/// ECALL from user mode; from the other modes their numbers follow.
pub const CALL: u64 = 8;
/// Instruction page fault.
pub const FETCH_PAGE: u64 = 12;
/// Load page fault.
pub const LOAD_PAGE: u64 = 13;
/// Store or AMO page fault.
pub const STORE_PAGE: u64 = 15;
/// Set in the cause of interrupts.
pub const INTERRUPT: u64 = 1 << 63;

/// A privilege mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    User = 0,
    Supervisor = 1,
    Machine = 3,
}

impl Mode {
    /// The cause of an ECALL from it.
    pub fn call(self) -> u64 {
        CALL + self as u64
    }
}

/// How code ended.
pub struct Trap {
    /// mcause.
    pub cause: u64,
    /// mepc less the address at which the code began.
    pub offset: u64,
    /// mtval.
    pub value: u64,
    /// mstatus.
    pub status: u64,
    /// a0 to a7.
    pub a: [u64; 8],
}

/// What [`enter`] is told and tells. The assembly knows the offsets.
#[repr(C)]
#[derive(Default)]
struct Frame {
    a: [u64; 8],
    pc: u64,
    mode: u64,
    stack: u64,
    vector: u64,
    cause: u64,
    value: u64,
    status: u64,
}

/// Runs what lies at `code` in this mode, with `arguments` in a0 and following, until a trap is taken into machine mode.
/// Registers other than a0 to a7, t0 to t6 and the CSRs must stay as they are.
pub fn run<const N: usize>(mode: Mode, code: u64, arguments: [u64; N]) -> Trap {
    let mut frame = Frame { pc: code, mode: mode as u64, ..Frame::default() };
    frame.a[..N].copy_from_slice(&arguments);
    // SAFETY: the frame is ours; the code keeps what a function keeps.
    unsafe { enter(&mut frame) };
    let Frame { a, pc, cause, value, status, .. } = frame;
    Trap { cause, offset: pc.wrapping_sub(code), value, status, a }
}

/// MRET into the frame's mode and program counter. Returns when a trap comes back to machine mode.
#[unsafe(naked)]
unsafe extern "C" fn enter(frame: &mut Frame) {
    naked_asm!(
        "addi sp, sp, -128",
        "sd ra, 0(sp)",
        "sd gp, 8(sp)",
        "sd tp, 16(sp)",
        "sd s0, 24(sp)",
        "sd s1, 32(sp)",
        "sd s2, 40(sp)",
        "sd s3, 48(sp)",
        "sd s4, 56(sp)",
        "sd s5, 64(sp)",
        "sd s6, 72(sp)",
        "sd s7, 80(sp)",
        "sd s8, 88(sp)",
        "sd s9, 96(sp)",
        "sd s10, 104(sp)",
        "sd s11, 112(sp)",
        "sd sp, 80(a0)",
        "csrw mscratch, a0",
        "la t0, 8f",
        "csrrw t0, mtvec, t0",
        "sd t0, 88(a0)",
        "ld t0, 64(a0)",
        "csrw mepc, t0",
        // mstatus.MPP
        "li t0, 3 << 11",
        "csrc mstatus, t0",
        "ld t0, 72(a0)",
        "slli t0, t0, 11",
        "csrs mstatus, t0",
        "ld a1, 8(a0)",
        "ld a2, 16(a0)",
        "ld a3, 24(a0)",
        "ld a4, 32(a0)",
        "ld a5, 40(a0)",
        "ld a6, 48(a0)",
        "ld a7, 56(a0)",
        "ld a0, 0(a0)",
        "mret",
        ".balign 4",
        "8: csrrw t0, mscratch, t0",
        "sd a0, 0(t0)",
        "sd a1, 8(t0)",
        "sd a2, 16(t0)",
        "sd a3, 24(t0)",
        "sd a4, 32(t0)",
        "sd a5, 40(t0)",
        "sd a6, 48(t0)",
        "sd a7, 56(t0)",
        "csrr t1, mepc",
        "sd t1, 64(t0)",
        "csrr t1, mcause",
        "sd t1, 96(t0)",
        "csrr t1, mtval",
        "sd t1, 104(t0)",
        "csrr t1, mstatus",
        "sd t1, 112(t0)",
        "ld t1, 88(t0)",
        "csrw mtvec, t1",
        "ld sp, 80(t0)",
        "ld ra, 0(sp)",
        "ld gp, 8(sp)",
        "ld tp, 16(sp)",
        "ld s0, 24(sp)",
        "ld s1, 32(sp)",
        "ld s2, 40(sp)",
        "ld s3, 48(sp)",
        "ld s4, 56(sp)",
        "ld s5, 64(sp)",
        "ld s6, 72(sp)",
        "ld s7, 80(sp)",
        "ld s8, 88(sp)",
        "ld s9, 96(sp)",
        "ld s10, 104(sp)",
        "ld s11, 112(sp)",
        "addi sp, sp, 128",
        "ret",
    )
}

/// The address of code made of these lines and an ECALL. Its instructions are not compressed unless they say so, and
/// begin at a multiple of 4.
macro_rules! snippet {
    ($($line:expr),* $(,)?) => {{
        let code: u64;
        // SAFETY: the lines are jumped over.
        unsafe {
            core::arch::asm!(
                ".option push",
                ".option norvc",
                "la {code}, 77f",
                "j 78f",
                ".balign 4",
                "77:",
                $($line,)*
                "ecall",
                "78:",
                ".option pop",
                code = out(reg) code,
                options(pure, nomem, nostack),
            );
        }
        code
    }};
}

/// Reads a CSR.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading this register has no effect on memory.
        unsafe { core::arch::asm!(concat!("csrr {}, ", $name), out(reg) value) };
        value
    }};
}

/// Swaps a CSR.
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        let old: u64;
        // SAFETY: nothing that Rust knows of depends on this register's value.
        unsafe { core::arch::asm!(concat!("csrrw {}, ", $name, ", {}"), out(reg) old, in(reg) value) };
        old
    }};
}

/// Sets bits of a CSR.
macro_rules! set {
    ($name:literal, $bits:expr) => {{
        let bits: u64 = $bits;
        // SAFETY: nothing that Rust knows of depends on this register's value.
        unsafe { core::arch::asm!(concat!("csrs ", $name, ", {}"), in(reg) bits) };
    }};
}

/// Clears bits of a CSR.
macro_rules! clear {
    ($name:literal, $bits:expr) => {{
        let bits: u64 = $bits;
        // SAFETY: nothing that Rust knows of depends on this register's value.
        unsafe { core::arch::asm!(concat!("csrc ", $name, ", {}"), in(reg) bits) };
    }};
}

pub(super) use {clear, read, set, snippet, write};
