//! From the first instruction to the payload's main function.

use core::arch::global_asm;

use crate::{finisher, println};

global_asm!(
    ".pushsection .head, \"ax\"",
    ".globl _start",
    "_start:",
    "csrr t0, mhartid",
    "bnez t0, 1f",
    "la sp, __stack_end",
    "la t0, 2f",
    "csrw mtvec, t0",
    // mstatus.FS = Initial: floating point is there.
    "li t0, 1 << 13",
    "csrs mstatus, t0",
    "call {start}",
    "1: wfi",
    "j 1b",
    ".balign 4",
    "2: csrr a0, mcause",
    "csrr a1, mepc",
    "csrr a2, mtval",
    "la sp, __stack_end",
    "call {trapped}",
    ".popsection",
    start = sym start,
    trapped = sym trapped,
);

unsafe extern "Rust" {
    /// The payload's: see [`payload!`](crate::payload).
    safe fn payload_main();
}

extern "C" fn start() -> ! {
    payload_main();
    finisher::pass()
}

/// A trap that the payload does not expect is its end.
extern "C" fn trapped(cause: u64, pc: u64, value: u64) -> ! {
    println!("guest: unexpected trap: mcause {cause:#x}, mepc {pc:#x}, mtval {value:#x}");
    finisher::fail(2)
}
