//! From the first instruction to the payload's main function.

use core::arch::global_asm;

use crate::{finisher, harts, machine, println};

global_asm!(
    ".pushsection .head, \"ax\"",
    ".globl _start",
    "_start:",
    "csrr a0, mhartid",
    // There are stacks for so many.
    "li t0, {harts}",
    "bgeu a0, t0, 1f",
    "slli t0, a0, 16",
    "la sp, __stack_end",
    "sub sp, sp, t0",
    "la t0, 2f",
    "csrw mtvec, t0",
    // mstatus.FS = Initial: floating point is there.
    "li t0, 1 << 13",
    "csrs mstatus, t0",
    "bnez a0, 3f",
    "mv a0, a1",
    "call {start}",
    "3: call {serve}",
    "1: wfi",
    "j 1b",
    ".balign 4",
    "2: csrr a0, mcause",
    "csrr a1, mepc",
    "csrr a2, mtval",
    "call {trapped}",
    ".popsection",
    harts = const harts::MAX_HARTS,
    start = sym start,
    serve = sym harts::serve,
    trapped = sym trapped,
);

unsafe extern "Rust" {
    /// The payload's: see [`payload!`](crate::payload).
    safe fn payload_main();
}

extern "C" fn start(devicetree: *mut u8) -> ! {
    machine::set_devicetree(devicetree);
    payload_main();
    finisher::pass()
}

/// A trap that the payload does not expect is its end.
extern "C" fn trapped(cause: u64, pc: u64, value: u64) -> ! {
    println!("guest: unexpected trap: mcause {cause:#x}, mepc {pc:#x}, mtval {value:#x}");
    finisher::fail(2)
}
