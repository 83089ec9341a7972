//! The virtual counter and its timer (DDI 0487 D12).

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTKCTL_EL1, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable,
};

/// How often [`cpu::wait_for_event`](crate::cpu::wait_for_event) returns at least, in Hz: short enough for a hart that
/// waits for another one, long enough for EL2 to be asked whether somebody wants the CPU.
const EVENTS: u64 = 250_000;

/// Sets up this hart's timer, which is off, and its events.
pub fn init() {
    stop();
    // An event when this bit of the counter becomes 1 (D12.2.3): every 2^(bit + 1) ticks.
    let bit = (CNTFRQ_EL0.get() / EVENTS).checked_ilog2().unwrap_or(0).saturating_sub(1).min(15);
    CNTKCTL_EL1.write(CNTKCTL_EL1::EVNTEN::Enable + CNTKCTL_EL1::EVNTI.val(u64::from(bit)));
}

/// What the counter shows.
pub fn now() -> u64 {
    // Without it the counter may be read before what comes before in the program (D12.2.1).
    barrier::isb(barrier::SY);
    CNTVCT_EL0.get()
}

/// Raises the timer's interrupt at `deadline`; `u64::MAX` is never.
pub fn arm(deadline: u64) {
    if deadline == u64::MAX {
        stop();
    } else {
        CNTV_CVAL_EL0.set(deadline);
        CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
        barrier::isb(barrier::SY);
    }
}

/// Whether the deadline has passed.
pub fn is_due() -> bool {
    // ISTATUS is not known while the timer is off (D24.10.19).
    CNTV_CTL_EL0.matches_all(CNTV_CTL_EL0::ENABLE::SET + CNTV_CTL_EL0::ISTATUS::SET)
}

/// Takes the interrupt away until the timer is armed again; [`is_due`] still tells.
pub fn silence() {
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET + CNTV_CTL_EL0::IMASK::SET);
    barrier::isb(barrier::SY);
}

fn stop() {
    CNTV_CTL_EL0.set(0);
    barrier::isb(barrier::SY);
}
