//! The generic timer as EL2 uses it: time since boot, and one alarm per CPU (`CNTHP`).

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTHCTL_EL2, CNTPCT_EL0, Readable, Writeable};

use super::sysreg::msr;

/// The physical counter now, in ticks; it is not read ahead of what precedes.
pub fn now() -> u64 {
    barrier::isb(barrier::SY);
    CNTPCT_EL0.get()
}

/// Ticks per second.
pub fn frequency() -> u64 {
    // Firmware that leaves CNTFRQ unset would have every division by it fault.
    CNTFRQ_EL0.get().max(1)
}

/// Time on the physical counter, in microseconds.
pub fn microseconds_since_boot() -> u64 {
    (u128::from(now()) * 1_000_000 / u128::from(frequency())) as u64
}

/// Lets guests read the physical counter and traps their physical timer, which is emulated: CNTHCTL_EL2 with
/// E2H = 0 (DDI 0487 D24.10.2), EL1PCTEN = 1 and EL1PCEN = 0.
pub fn init_cpu() {
    CNTHCTL_EL2.set(1);
    disarm();
}

/// Raises the hypervisor timer's interrupt on this CPU once the physical counter reaches `deadline`.
pub fn arm(deadline: u64) {
    // SAFETY: EL2's own timer; its interrupt is handled.
    unsafe {
        msr!("cnthp_cval_el2", deadline);
        msr!("cnthp_ctl_el2", 1u64);
    }
    barrier::isb(barrier::SY);
}

/// Takes the alarm back.
pub fn disarm() {
    // SAFETY: EL2's own timer.
    unsafe { msr!("cnthp_ctl_el2", 0u64) };
    barrier::isb(barrier::SY);
}
