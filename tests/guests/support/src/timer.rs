//! The generic timer's two EL1 timers (Arm ARM D12).

use crate::{cpu, read_sysreg, write_sysreg};

/// CTL: the timer runs.
pub const ENABLE: u64 = 1 << 0;
/// CTL: its interrupt is masked.
pub const IMASK: u64 = 1 << 1;
/// CTL: it is due.
pub const ISTATUS: u64 = 1 << 2;

/// One of the timers that EL1 may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// CNTV, PPI 27.
    Virtual,
    /// CNTP, PPI 30.
    Physical,
}

impl Timer {
    /// Its interrupt.
    pub const fn intid(self) -> u32 {
        match self {
            Self::Virtual => 27,
            Self::Physical => 30,
        }
    }

    /// The counter that it compares with.
    pub fn count(self) -> u64 {
        cpu::isb();
        match self {
            Self::Virtual => read_sysreg!("cntvct_el0"),
            Self::Physical => read_sysreg!("cntpct_el0"),
        }
    }

    /// The compare value.
    pub fn compare(self) -> u64 {
        match self {
            Self::Virtual => read_sysreg!("cntv_cval_el0"),
            Self::Physical => read_sysreg!("cntp_cval_el0"),
        }
    }

    /// Sets the compare value.
    pub fn set_compare(self, value: u64) {
        match self {
            Self::Virtual => write_sysreg!("cntv_cval_el0", value),
            Self::Physical => write_sysreg!("cntp_cval_el0", value),
        }
        cpu::isb();
    }

    /// The 32-bit time that is left, negative when the timer is due.
    pub fn left(self) -> i32 {
        match self {
            Self::Virtual => read_sysreg!("cntv_tval_el0") as i32,
            Self::Physical => read_sysreg!("cntp_tval_el0") as i32,
        }
    }

    /// Sets the compare value to `ticks` from now.
    pub fn set_left(self, ticks: i32) {
        match self {
            Self::Virtual => write_sysreg!("cntv_tval_el0", ticks as u64),
            Self::Physical => write_sysreg!("cntp_tval_el0", ticks as u64),
        }
        cpu::isb();
    }

    /// The control register: [`ENABLE`], [`IMASK`], [`ISTATUS`].
    pub fn control(self) -> u64 {
        cpu::isb();
        match self {
            Self::Virtual => read_sysreg!("cntv_ctl_el0"),
            Self::Physical => read_sysreg!("cntp_ctl_el0"),
        }
    }

    /// Sets the control register.
    pub fn set_control(self, value: u64) {
        match self {
            Self::Virtual => write_sysreg!("cntv_ctl_el0", value),
            Self::Physical => write_sysreg!("cntp_ctl_el0", value),
        }
        cpu::isb();
    }

    /// Lets the timer be due `ticks` from now.
    pub fn arm(self, ticks: u64) {
        self.set_compare(self.count().saturating_add(ticks));
        self.set_control(ENABLE);
    }

    /// Stops the timer.
    pub fn stop(self) {
        self.set_control(0);
    }
}

/// Ticks of `microseconds`.
pub fn microseconds(microseconds: u64) -> u64 {
    cpu::counter_frequency().saturating_mul(microseconds) / 1_000_000
}

/// Waits until `done` or until `ticks` of the virtual counter have passed; says whether it is done.
pub fn wait_until(ticks: u64, mut done: impl FnMut() -> bool) -> bool {
    let start = Timer::Virtual.count();
    loop {
        if done() {
            return true;
        }
        if Timer::Virtual.count().wrapping_sub(start) >= ticks {
            return done();
        }
    }
}
