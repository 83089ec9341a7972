//! Virtual time: how much CPU time a vCPU has had, in proportion to its weight.

/// Ticks of the physical counter.
pub type Ticks = u64;

/// A vCPU's weight where its VM has [`DEFAULT_WEIGHT`](crate::vm::bundle::DEFAULT_WEIGHT) and one runnable
/// vCPU: its virtual time is then real time.
const UNIT_WEIGHT: u64 = crate::vm::bundle::DEFAULT_WEIGHT as u64;
/// Fraction bits of a [`Rate`]: as many as leave room for the steepest, [`UNIT_WEIGHT`] times
/// [`MAX_VCPUS`](crate::vm::bundle::MAX_VCPUS). The flattest, 1/100, is then exact to 0.01 %.
const FRACTION: u32 = 19;

const _: () = assert!((UNIT_WEIGHT * crate::vm::bundle::MAX_VCPUS as u64) << FRACTION <= u32::MAX as u64);

/// A point in virtual time, in ticks of a vCPU whose rate is one.
///
/// It wraps. Two points compare by their signed difference, so they must be less than 2^63 ticks apart: 16
/// days of a 1 GHz counter at the steepest rate, 292 years at the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VTime(u64);

impl VTime {
    /// The point as a number, for an atomic variable.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The point of which `raw` is the number.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Whether `self` comes before `other`.
    pub const fn is_before(self, other: Self) -> bool {
        self.since(other) < 0
    }

    /// How much later `self` is than `earlier`; negative if it is not.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// The point `delta` later.
    pub const fn after(self, delta: i64) -> Self {
        Self(self.0.wrapping_add_signed(delta))
    }

    /// The later of both.
    pub const fn later(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// The earlier of both.
    pub const fn earlier(self, other: Self) -> Self {
        if self.is_before(other) { self } else { other }
    }
}

/// By how much the virtual time of a vCPU advances in each tick for which it runs: fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u32);

impl Rate {
    /// The rate of each vCPU of a VM of this weight (1 to 10000) of which so many vCPUs (1 to 64) run or wait
    /// for a CPU: they divide the VM's weight among them. Values out of range count as the nearest in range.
    pub const fn of(weight: u32, runnable: u32) -> Self {
        use crate::vm::bundle::{MAX_VCPUS, MAX_WEIGHT};
        let weight = clamp(weight, MAX_WEIGHT);
        let share = UNIT_WEIGHT * clamp(runnable, MAX_VCPUS);
        Self((((share << FRACTION) + weight / 2) / weight) as u32)
    }

    /// The rate as a number, for an atomic variable.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The rate of which `raw` is the number.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The virtual time that passes while a vCPU of this rate runs for `ran` ticks.
    pub const fn advance(self, ran: Ticks) -> u64 {
        ((ran as u128 * self.0 as u128) >> FRACTION) as u64
    }

    /// The one at which virtual time advances faster.
    pub(super) const fn steeper(self, other: Self) -> Self {
        if self.0 < other.0 { other } else { self }
    }

    /// The same as a distance between two points.
    pub(super) const fn distance(self, ran: Ticks) -> i64 {
        self.advance(ran).cast_signed()
    }
}

/// `value`, if it is from 1 to `max`, else the nearer of the two.
const fn clamp(value: u32, max: u32) -> u64 {
    if value == 0 {
        1
    } else if value > max {
        max as u64
    } else {
        value as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rates_are_weights_inverted(weight in 1..=10_000_u32, runnable in 1..=64_u32, ran in 0..1_u64 << 50) {
            let exact = ran as f64 * 100.0 * f64::from(runnable) / f64::from(weight);
            let got = Rate::of(weight, runnable).advance(ran) as f64;
            prop_assert!((got - exact).abs() <= exact * 2e-4 + 1.0, "{got} instead of {exact}");
        }

        #[test]
        fn virtual_time_wraps(start: u64, delta in i64::MIN + 1..i64::MAX) {
            let (one, other) = (VTime::from_raw(start), VTime::from_raw(start).after(delta));
            prop_assert_eq!(other.since(one), delta);
            prop_assert_eq!(one.is_before(other), delta > 0);
            prop_assert_eq!(one.later(other), if delta > 0 { other } else { one });
            prop_assert_eq!(one.earlier(other), if delta > 0 { one } else { other });
        }
    }

    #[test]
    fn the_default_weight_runs_in_real_time() {
        assert_eq!(Rate::of(100, 1).advance(12_345), 12_345);
        assert_eq!(Rate::of(0, 0), Rate::of(1, 1));
        assert_eq!(Rate::of(u32::MAX, u32::MAX), Rate::of(10_000, 64));
    }
}
