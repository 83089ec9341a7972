//! AArch64: the CPU that Polyvisor runs on.
//!
//! The decoders, register layouts and translation tables are portable; everything that executes a privileged
//! instruction exists only in the firmware build.

pub mod breakpoint;
pub mod idregs;
pub mod insn;
pub mod syndrome;
pub mod walk;

#[cfg(target_os = "none")]
mod hw {
    core::arch::global_asm!(
        include_str!("../../../arch/aarch64/boot.S"),
        include_str!("../../../arch/aarch64/vectors.S"),
        include_str!("../../../arch/aarch64/world_switch.S"),
    );
}

#[cfg(target_os = "none")]
pub mod cache;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
mod el3;
#[cfg(target_os = "none")]
pub mod exception;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod irq;
#[cfg(target_os = "none")]
pub mod percpu;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
pub mod stage1;
#[cfg(target_os = "none")]
pub mod stage2;
#[cfg(target_os = "none")]
pub mod sysreg;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
pub mod vcpu;

/// Sets up what every CPU has of its own: its interrupt controller interface and its timer.
///
/// # Errors
/// [`gic::GicError`].
#[cfg(target_os = "none")]
pub fn init_cpu() -> Result<(), gic::GicError> {
    // Locked by reset, the OS locks would keep guests' breakpoints from working (DDI 0487 H6.1); guests see a
    // lock of their own. SAFETY: EL2 has no breakpoints of its own.
    unsafe {
        sysreg::msr!("oslar_el1", 0u64);
        sysreg::msr!("osdlr_el1", 0u64);
    }
    gic::init_cpu(&irq::private())?;
    timer::init_cpu();
    vcpu::init_cpu();
    Ok(())
}
