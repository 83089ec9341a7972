//! A timer of the Arm generic timer as a model: compare value and control against a counter (DDI 0487
//! D12.2.4).

use serde::{Deserialize, Serialize};

use crate::persist::{Persist, RestoreError};

const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// One timer; all times are ticks of its counter, which the caller supplies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmTimer {
    control: u64,
    compare: u64,
}

impl ArmTimer {
    /// `CVAL`: the counter value at which the condition is met.
    pub fn compare(&self) -> u64 {
        self.compare
    }

    /// Sets `CVAL`.
    pub fn set_compare(&mut self, compare: u64) {
        self.compare = compare;
    }

    /// `TVAL`: how far the compare value is ahead, as 32 bits.
    pub fn value(&self, now: u64) -> u64 {
        self.compare.wrapping_sub(now) & 0xffff_ffff
    }

    /// Sets `TVAL`, which is signed.
    pub fn set_value(&mut self, now: u64, value: u64) {
        self.compare = now.wrapping_add_signed(i64::from(value as u32 as i32));
    }

    /// `CTL`, with ISTATUS as it stands.
    pub fn control(&self, now: u64) -> u64 {
        let enabled = self.control & ENABLE != 0;
        self.control | if enabled && now >= self.compare { ISTATUS } else { 0 }
    }

    /// Sets `CTL`; ISTATUS is read-only.
    pub fn set_control(&mut self, control: u64) {
        self.control = control & (ENABLE | IMASK);
    }

    /// The level of the timer's interrupt.
    pub fn output(&self, now: u64) -> bool {
        self.control == ENABLE && now >= self.compare
    }

    /// When the interrupt will rise by itself, if it is yet to.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        (self.control == ENABLE && now < self.compare).then_some(self.compare)
    }
}

impl Persist for ArmTimer {
    type State = Self;

    fn save(&self) -> Self {
        *self
    }

    fn restore(&mut self, state: &Self) -> Result<(), RestoreError> {
        if state.control & !(ENABLE | IMASK) != 0 {
            return Err(RestoreError { field: "timer.control", found: state.control, limit: ENABLE | IMASK });
        }
        *self = *state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_at_its_compare_value_and_not_before() {
        let mut timer = ArmTimer::default();
        timer.set_value(1000, 50);
        assert_eq!((timer.output(2000), timer.deadline(1000)), (false, None), "disabled");
        timer.set_control(u64::MAX);
        assert_eq!(timer.control(1049), ENABLE | IMASK);
        assert_eq!((timer.control(1050), timer.output(1050)), (ENABLE | IMASK | ISTATUS, false), "masked");
        timer.set_control(ENABLE);
        assert_eq!((timer.output(1049), timer.deadline(1049)), (false, Some(1050)));
        assert_eq!((timer.output(1050), timer.deadline(1050)), (true, None));
    }

    #[test]
    fn the_timer_value_is_signed() {
        let mut timer = ArmTimer::default();
        timer.set_value(1000, 0xffff_ffff);
        assert_eq!(timer.compare(), 999);
        assert_eq!(timer.value(1000), 0xffff_ffff);
    }
}
