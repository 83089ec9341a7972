//! An independent model: it knows every number of a small format, and rounds by looking for the neighbours of
//! the exact result among them.

use std::{cmp::Ordering, vec::Vec};

use crate::float::{Flags, Format, Rounding};

/// A format that is small enough to try everything.
#[derive(Debug, Clone, Copy)]
pub enum Small<const EXPONENT: u32, const FRACTION: u32> {}

impl<const EXPONENT: u32, const FRACTION: u32> Format for Small<EXPONENT, FRACTION> {
    type Bits = u8;
    const FRACTION: u32 = FRACTION;
    const EXPONENT: u32 = EXPONENT;

    fn encoding(bits: u64) -> u8 {
        u8::try_from(bits).unwrap()
    }
}

/// A fraction: numerator and positive denominator.
#[derive(Debug, Clone, Copy)]
pub struct Ratio(pub i128, pub i128);

impl Ratio {
    pub fn compare(self, other: Self) -> Ordering {
        (self.0 * other.1).cmp(&(other.0 * self.1))
    }

    fn power_of_two(exponent: i32) -> Self {
        if exponent < 0 { Self(1, 1 << -exponent) } else { Self(1 << exponent, 1) }
    }

    pub fn plus(self, other: Self) -> Self {
        Self(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }

    pub fn times(self, other: Self) -> Self {
        Self(self.0 * other.0, self.1 * other.1)
    }

    /// `None` if the divisor is zero.
    pub fn over(self, other: Self) -> Option<Self> {
        (other.0 != 0).then(|| Self(self.0 * other.1 * other.0.signum(), self.1 * other.0.abs()))
    }
}

/// What an encoding is.
#[derive(Debug, Clone, Copy)]
pub enum Datum {
    Number(Ratio),
    Infinity,
    Nan { signalling: bool },
}

pub fn decode<F: Format<Bits = u8>>(bits: u8) -> Datum {
    let bits = i128::from(bits);
    let fraction = bits % (1 << F::FRACTION);
    let field = (bits >> F::FRACTION) % (1 << F::EXPONENT);
    let sign = if bits >> (F::FRACTION + F::EXPONENT) == 1 { -1 } else { 1 };
    if field == (1 << F::EXPONENT) - 1 {
        let quiet = fraction >> (F::FRACTION - 1) == 1;
        return if fraction == 0 { Datum::Infinity } else { Datum::Nan { signalling: !quiet } };
    }
    let bias = (1 << (F::EXPONENT - 1)) - 1;
    let significand = if field == 0 { fraction } else { fraction + (1 << F::FRACTION) };
    let exponent = field.max(1) as i32 - bias - F::FRACTION as i32;
    Datum::Number(Ratio(sign * significand, 1).times(Ratio::power_of_two(exponent)))
}

/// The numbers of a format, and those that it would have if exponents had no bounds.
pub struct Model {
    /// The nonnegative finite ones, in order, and what would follow them: the index is the encoding, and the
    /// last one stands for infinity.
    bounded: Vec<Ratio>,
    /// Positive ones of the same precision, far beyond both ends.
    unbounded: Vec<Ratio>,
    smallest_normal: Ratio,
    sign: u8,
}

impl Model {
    pub fn of<F: Format<Bits = u8>>() -> Self {
        let infinity = ((1u8 << F::EXPONENT) - 1) << F::FRACTION;
        let max_exponent = (1 << (F::EXPONENT - 1)) - 1;
        let mut bounded: Vec<_> = (0..infinity)
            .map(|bits| match decode::<F>(bits) {
                Datum::Number(number) => number,
                other => panic!("{bits:#x} is {other:?}"),
            })
            .collect();
        bounded.push(Ratio::power_of_two(max_exponent + 1));
        let unbounded = (-24..24)
            .flat_map(|exponent| {
                let significands = (1 << F::FRACTION)..(2 << F::FRACTION);
                significands.map(move |n| Ratio(n, 1).times(Ratio::power_of_two(exponent)))
            })
            .collect();
        Self {
            bounded,
            unbounded,
            smallest_normal: Ratio::power_of_two(1 - max_exponent),
            sign: 1 << (F::EXPONENT + F::FRACTION),
        }
    }

    /// The index of the number that a result is rounded to, and whether it is another. `compare` says how the
    /// result's magnitude compares with a number.
    fn pick(
        numbers: &[Ratio],
        rounding: Rounding,
        negative: bool,
        compare: &dyn Fn(Ratio) -> Ordering,
    ) -> (usize, bool) {
        let low = numbers.partition_point(|&number| compare(number).is_ge()) - 1;
        if compare(numbers[low]).is_eq() {
            return (low, false);
        }
        let Some(high) = numbers.get(low + 1) else {
            return (low, true);
        };
        let Ratio(twice, denominator) = numbers[low].plus(*high);
        let up = match (rounding, compare(Ratio(twice, denominator * 2))) {
            (Rounding::TowardZero, _) => false,
            (Rounding::Down, _) => negative,
            (Rounding::Up, _) => !negative,
            (_, Ordering::Less) => false,
            (_, Ordering::Greater) | (Rounding::NearestAway, Ordering::Equal) => true,
            (Rounding::NearestEven, Ordering::Equal) => low % 2 == 1,
        };
        (low + usize::from(up), true)
    }

    /// The encoding of a nonzero result, and what it raises.
    pub fn round(
        &self,
        rounding: Rounding,
        negative: bool,
        compare: &dyn Fn(Ratio) -> Ordering,
    ) -> (u8, Flags) {
        let (ideal, inexact) = Self::pick(&self.unbounded, rounding, negative, compare);
        let ideal = self.unbounded[ideal];
        let infinity = self.bounded.len() - 1;
        let sign = if negative { self.sign } else { 0 };
        if ideal.compare(self.bounded[infinity]).is_ge() {
            let finite = match rounding {
                Rounding::NearestEven | Rounding::NearestAway => false,
                Rounding::TowardZero => true,
                Rounding::Down => !negative,
                Rounding::Up => negative,
            };
            return ((infinity - usize::from(finite)) as u8 | sign, Flags::OF | Flags::NX);
        }
        let (index, cut) = Self::pick(&self.bounded, rounding, negative, compare);
        assert!(cut || !inexact);
        let mut flags = Flags::empty();
        flags.set(Flags::NX, cut);
        flags.set(Flags::UF, cut && ideal.compare(self.smallest_normal).is_lt());
        (index as u8 | sign, flags)
    }

    /// [`Model::round`] of a fraction that is not zero.
    pub fn round_ratio(&self, rounding: Rounding, exact: Ratio) -> (u8, Flags) {
        let magnitude = Ratio(exact.0.abs(), exact.1);
        self.round(rounding, exact.0 < 0, &|number| magnitude.compare(number))
    }
}
