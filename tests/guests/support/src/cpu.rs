//! The CPU's own registers, barriers and hints.

use core::arch::asm;

/// Reads a system register: `read_sysreg!("cntfrq_el0")`.
#[macro_export]
macro_rules! read_sysreg {
    ($register:expr) => {{
        let value: u64;
        // SAFETY: reading a register changes nothing that Rust knows about.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack)) };
        value
    }};
}

/// Writes a system register: `write_sysreg!("cntv_ctl_el0", 1)`. The caller adds the `isb` where one is
/// needed.
///
/// Payloads write registers that steer devices, interrupts and traps; those that steer memory or the stack
/// belong to [`crate::mmu`] and the start-up code.
#[macro_export]
macro_rules! write_sysreg {
    ($register:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: see the macro's contract: neither the address space nor the stack changes.
        unsafe { core::arch::asm!(concat!("msr ", $register, ", {}"), in(reg) value, options(nostack)) };
    }};
}

macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        pub fn $name() {
            // SAFETY: a barrier, a hint or an interrupt mask has no effect on memory beyond ordering.
            unsafe { asm!($text, options(nostack)) };
        }
    };
}

instruction!(
    /// Instruction synchronization barrier.
    isb, "isb"
);
instruction!(
    /// Waits until all earlier memory accesses are complete.
    dsb, "dsb sy"
);
instruction!(
    /// Waits for an interrupt, masked or not.
    wfi, "wfi"
);
instruction!(
    /// Tells the CPU that this is a spin loop.
    relax, "yield"
);
instruction!(
    /// Masks IRQ and FIQ on this CPU.
    mask_irqs, "msr daifset, #3"
);
instruction!(
    /// Lets IRQ and FIQ be taken on this CPU.
    unmask_irqs, "msr daifclr, #3"
);
instruction!(
    /// Lets SError be taken on this CPU.
    unmask_serror, "msr daifclr, #4"
);

/// The affinity fields of this CPU's MPIDR: Aff3 in bits \[39:32\], Aff2 to Aff0 in bits \[23:0\].
pub fn affinity() -> u64 {
    read_sysreg!("mpidr_el1") & 0xff_00ff_ffff
}

/// The exception level, 0 to 3.
pub fn exception_level() -> u64 {
    read_sysreg!("currentel") >> 2 & 3
}

/// The generic timer's frequency in Hz.
pub fn counter_frequency() -> u64 {
    read_sysreg!("cntfrq_el0")
}
