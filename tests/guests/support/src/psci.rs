//! SMCCC (DEN 0028) and PSCI (DEN 0022) calls.

use core::arch::asm;

use crate::{cpu, machine};

/// Which instruction makes the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduit {
    /// `hvc #0`.
    Hvc,
    /// `smc #0`.
    Smc,
}

/// `NOT_SUPPORTED`, also what an unknown function answers.
pub const NOT_SUPPORTED: i64 = -1;
/// `INVALID_PARAMETERS`.
pub const INVALID_PARAMETERS: i64 = -2;
/// `ALREADY_ON`.
pub const ALREADY_ON: i64 = -4;
/// `ON_PENDING`.
pub const ON_PENDING: i64 = -5;

/// SMCCC_VERSION.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// PSCI_VERSION.
pub const VERSION: u32 = 0x8400_0000;
/// CPU_SUSPEND, 64-bit convention.
pub const CPU_SUSPEND: u32 = 0xc400_0001;
/// CPU_OFF.
pub const CPU_OFF: u32 = 0x8400_0002;
/// CPU_ON, 64-bit convention.
pub const CPU_ON: u32 = 0xc400_0003;
/// AFFINITY_INFO, 64-bit convention.
pub const AFFINITY_INFO: u32 = 0xc400_0004;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// PSCI_FEATURES.
pub const FEATURES: u32 = 0x8400_000a;

/// AFFINITY_INFO: the CPU is on.
pub const ON: i64 = 0;
/// AFFINITY_INFO: the CPU is off.
pub const OFF: i64 = 1;

/// Calls `function` through `conduit` and returns x0. SMCCC 1.0 lets the callee change x0 to x17.
pub fn call(conduit: Conduit, function: u32, [a, b, c]: [u64; 3]) -> i64 {
    let result: u64;
    macro_rules! invoke {
        ($instruction:literal) => {
            asm!($instruction, inlateout("x0") u64::from(function) => result, inlateout("x1") a => _,
                inlateout("x2") b => _, inlateout("x3") c => _, out("x4") _, out("x5") _, out("x6") _,
                out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
                out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack))
        };
    }
    match conduit {
        // SAFETY: the registers that the convention lets the callee change are given as changed.
        Conduit::Hvc => unsafe { invoke!("hvc #0") },
        // SAFETY: as above.
        Conduit::Smc => unsafe { invoke!("smc #0") },
    }
    result as i64
}

/// Calls a PSCI function the way the devicetree says.
pub fn psci(function: u32, arguments: [u64; 3]) -> i64 {
    let result = call(machine::get().map_or(Conduit::Hvc, |machine| machine.conduit), function, arguments);
    // A function of the 32-bit convention answers in w0.
    if function >> 30 & 1 == 0 { i64::from(result as i32) } else { result }
}

/// Switches the machine off.
pub fn system_off() -> ! {
    psci(SYSTEM_OFF, [0; 3]);
    halt()
}

/// Starts the machine afresh.
pub fn system_reset() -> ! {
    psci(SYSTEM_RESET, [0; 3]);
    halt()
}

/// Switches this CPU off. Returns only if that was refused.
pub fn cpu_off() {
    psci(CPU_OFF, [0; 3]);
}

/// The state of the CPU with this affinity: [`ON`], [`OFF`], 2 while it is on its way, or an error.
pub fn affinity_info(affinity: u64) -> i64 {
    psci(AFFINITY_INFO, [affinity, 0, 0])
}

fn halt() -> ! {
    loop {
        cpu::wfi();
    }
}
