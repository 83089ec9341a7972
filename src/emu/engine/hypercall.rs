//! Calls to EL2: PSCI (DEN 0022), and those of the ABI.

use core::arch::asm;

use polyvisor_cell_abi::{CALL_FATAL, CALL_STOPPED, StopReason};

use crate::cpu;

const PSCI_CPU_OFF: u32 = 0x8400_0002;
const PSCI_CPU_ON: u32 = 0xc400_0003;
const PSCI_SYSTEM_OFF: u32 = 0x8400_0008;
const PSCI_SYSTEM_RESET: u32 = 0x8400_0009;

/// SMC calling convention 1.0: the callee may change x0 to x17.
fn call(function: u32, [a, b, c]: [u64; 3]) -> i64 {
    let result: i64;
    // SAFETY: EL2 changes no memory of the engine's but what is atomic.
    unsafe {
        asm!("hvc #0", inlateout("x0") u64::from(function) => result, inlateout("x1") a => _, inlateout("x2") b => _,
            inlateout("x3") c => _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
            out("x17") _, options(nostack));
    }
    result
}

/// For calls that do not return: should one do so, there is nothing left to do.
fn last_call(function: u32, arguments: [u64; 3]) -> ! {
    call(function, arguments);
    loop {
        cpu::wait_for_interrupt();
    }
}

/// Lets the vCPU with this affinity begin at the intermediate physical address `entry` with `context` in X0. Returns what PSCI does: 0 is success.
pub fn cpu_on(affinity: u64, entry: u64, context: u64) -> i64 {
    call(PSCI_CPU_ON, [affinity, entry, context])
}

/// Switches this hart's vCPU off.
pub fn cpu_off() -> ! {
    last_call(PSCI_CPU_OFF, [0; 3])
}

/// Switches the VM off.
pub fn system_off() -> ! {
    last_call(PSCI_SYSTEM_OFF, [0; 3])
}

/// Starts the VM afresh.
pub fn system_reset() -> ! {
    last_call(PSCI_SYSTEM_RESET, [0; 3])
}

/// Stops the VM with a message of `len` bytes at the intermediate physical address `message`.
pub fn fatal(message: u64, len: u64) -> ! {
    last_call(CALL_FATAL, [message, len, 0])
}

/// Stops this hart until the debugger lets it go on.
pub fn stopped(reason: StopReason) {
    call(CALL_STOPPED, [reason as u64, 0, 0]);
}
