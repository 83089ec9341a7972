//! Exact numbers: what an encoding is worth, and what becomes of a result before it is rounded.

use super::{Format, Rounding};

/// What an encoding that is not a NaN stands for, and what an operation on such has for a result. The
/// operations on values are those of IEEE 754-2008, 6.1 and 7.2; `None` is the result of an invalid one.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    Infinity { negative: bool },
    Finite(Number),
}

impl Value {
    /// Takes an encoding apart. `None` is a NaN.
    pub fn of<F: Format>(bits: F::Bits) -> Option<Self> {
        let (negative, magnitude) = F::split(bits);
        if magnitude >= F::INFINITY {
            return (magnitude == F::INFINITY).then_some(Self::Infinity { negative });
        }
        let (field, fraction) = ((magnitude >> F::FRACTION) as i32, u128::from(magnitude & F::FRACTION_MASK));
        // Subnormal numbers have the exponent of the smallest normal ones, and no leading 1.
        let leading = u128::from(field != 0) << F::FRACTION;
        let exponent = F::MIN_QUANTUM + field.max(1) - 1;
        Some(Self::Finite(Number { negative, exponent, significand: leading | fraction }))
    }

    pub const fn negative(self) -> bool {
        match self {
            Self::Infinity { negative } | Self::Finite(Number { negative, .. }) => negative,
        }
    }

    /// The value with the other sign if `negate`.
    pub const fn negated_if(self, negate: bool) -> Self {
        match self {
            Self::Infinity { negative } => Self::Infinity { negative: negative != negate },
            Self::Finite(number) => Self::Finite(Number { negative: number.negative != negate, ..number }),
        }
    }

    pub fn plus(self, other: Self, rounding: Rounding) -> Option<Self> {
        match (self, other) {
            (Self::Finite(a), Self::Finite(b)) => Some(Self::Finite(a.plus(b, rounding))),
            (Self::Infinity { negative: a }, Self::Infinity { negative: b }) if a != b => None,
            (infinity @ Self::Infinity { .. }, _) | (_, infinity) => Some(infinity),
        }
    }

    pub fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Finite(a), Self::Finite(b)) => Some(Self::Finite(a.times(b))),
            (Self::Infinity { .. }, Self::Finite(n)) | (Self::Finite(n), Self::Infinity { .. })
                if n.is_zero() =>
            {
                None
            }
            _ => Some(Self::Infinity { negative: self.negative() != other.negative() }),
        }
    }

    pub fn square_root(self) -> Option<Self> {
        match self {
            Self::Finite(number) if !number.negative || number.is_zero() => {
                Some(Self::Finite(number.square_root()))
            }
            Self::Infinity { negative: false } => Some(self),
            _ => None,
        }
    }
}

/// The number (-1)^`negative` × `significand` × 2^`exponent`.
///
/// The last bit of a significand may be *sticky*: it is then set, and the number is not quite this one, but
/// lies between those whose significands are one less and one more. Rounding cannot tell the two apart as
/// long as it cuts off two bits or more.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    pub negative: bool,
    pub exponent: i32,
    pub significand: u128,
}

impl Number {
    /// Zero of this sign.
    pub const fn zero(negative: bool) -> Self {
        Self { negative, exponent: 0, significand: 0 }
    }

    pub const fn is_zero(self) -> bool {
        self.significand == 0
    }

    /// The same number with its significand as far to the left as leaves `room` bits above it. Not for zero.
    fn left_aligned(self, room: u32) -> Self {
        let shift = self.significand.leading_zeros().saturating_sub(room);
        Self { exponent: self.exponent - shift as i32, significand: self.significand << shift, ..self }
    }

    /// The exact product. Each significand has at most 64 bits.
    pub fn times(self, other: Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent,
            significand: self.significand.wrapping_mul(other.significand),
        }
    }

    /// The sum, of which the last bit may be sticky. `rounding` decides only the sign of a zero that is the
    /// sum of numbers of different sign (IEEE 754-2008, 6.3).
    ///
    /// Each significand has at most 106 bits (a product), so that in 127 bits 21 zeros follow. Where they can
    /// be shifted by no more than these, nothing is lost. Where they are shifted by more, the larger number
    /// loses at most one leading bit to the smaller one, and the sticky bit stays far below what rounding
    /// keeps.
    pub fn plus(self, other: Self, rounding: Rounding) -> Self {
        let zero = || {
            let agreed = self.negative == other.negative;
            Self::zero(if agreed { self.negative } else { rounding == Rounding::Down })
        };
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return zero(),
            (true, false) => return other,
            (false, true) => return self,
            (false, false) => {}
        }
        let (a, b) = (self.left_aligned(1), other.left_aligned(1));
        let a_is_larger = (a.exponent, a.significand) >= (b.exponent, b.significand);
        let (large, small) = if a_is_larger { (a, b) } else { (b, a) };
        let addend = shift_right_sticky(small.significand, large.exponent.abs_diff(small.exponent));
        let significand = if large.negative == small.negative {
            large.significand.wrapping_add(addend)
        } else {
            large.significand.wrapping_sub(addend)
        };
        if significand == 0 { zero() } else { Self { significand, ..large } }
    }

    /// The quotient, of which the last bit may be sticky. Both significands have at most 64 bits. `None` if
    /// the divisor is zero.
    pub fn divided_by(self, divisor: Self) -> Option<Self> {
        // 64 bits of the quotient or more.
        let dividend = if self.is_zero() { self } else { self.left_aligned(0) };
        let quotient = dividend.significand.checked_div(divisor.significand)?;
        let remainder = dividend.significand.checked_rem(divisor.significand)?;
        Some(Self {
            negative: self.negative != divisor.negative,
            exponent: dividend.exponent - divisor.exponent,
            significand: quotient | u128::from(remainder != 0),
        })
    }

    /// The square root of the magnitude, of which the last bit may be sticky.
    pub fn square_root(self) -> Self {
        if self.is_zero() {
            return self;
        }
        // An even exponent, and 64 bits of the root.
        let odd = (self.exponent - self.significand.leading_zeros() as i32).rem_euclid(2) as u32;
        let radicand = self.left_aligned(odd);
        let root = radicand.significand.isqrt();
        let inexact = root.wrapping_mul(root) != radicand.significand;
        Self {
            negative: self.negative,
            exponent: radicand.exponent / 2,
            significand: root | u128::from(inexact),
        }
    }

    /// The magnitude as a count of 2^`quantum`, rounded, modulo 2^128; and whether that is inexact. Only a
    /// `quantum` that is smaller than the exponent can make the count that large.
    pub fn count_of(self, quantum: i32, rounding: Rounding) -> (u128, bool) {
        let shift = self.exponent.abs_diff(quantum);
        if self.is_zero() || quantum <= self.exponent {
            return (self.significand.checked_shl(shift).unwrap_or(0), false);
        }
        let cut = shift - 1;
        let count = shift_right(self.significand, shift);
        let half = shift_right(self.significand, cut) & 1 != 0;
        let below = self.significand.trailing_zeros() < cut;
        let away = rounding.away(self.negative, count & 1 != 0, half, below);
        (count + u128::from(away), half || below)
    }
}

fn shift_right(value: u128, shift: u32) -> u128 {
    value.checked_shr(shift).unwrap_or(0)
}

/// Shifts what is not zero to the right, with a sticky bit for what is lost.
fn shift_right_sticky(value: u128, shift: u32) -> u128 {
    shift_right(value, shift) | u128::from(value.trailing_zeros() < shift)
}
