//! Conversions: to and from integers, between formats, and to integral numbers of the same format.

use super::{
    Context, Flags, Format, Rounding,
    number::{Number, Value},
};

/// An integer type that numbers are converted to.
pub trait Integer: TryFrom<i128> {
    /// The smallest one, which is what anything smaller becomes.
    const MIN: Self;
    /// The largest one, which is what anything larger and every NaN becomes.
    const MAX: Self;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Integer for $integer {
            const MIN: Self = Self::MIN;
            const MAX: Self = Self::MAX;
        }
    )*};
}
integers!(i32, u32, i64, u64);

impl Context {
    /// `a`, rounded to an integer. What the type cannot hold is invalid, and becomes what it has nearest; so
    /// is a NaN, which becomes the largest integer (RISC-V F, "Domains of float-to-integer conversions"). x86
    /// has the "integer indefinite" for all of them: its front end looks at [`Flags::NV`].
    pub fn to_integer<F: Format, I: Integer>(&mut self, a: F::Bits) -> I {
        let (integer, inexact) = match Value::of::<F>(a) {
            // No integer type has room for twice 2^64. Up to there, the integer and its sign fit into 128
            // bits.
            Some(Value::Finite(number)) if number.exponent <= 64 => {
                let (count, inexact) = number.count_of(0, self.rounding);
                let count = count.cast_signed();
                (I::try_from(if number.negative { count.wrapping_neg() } else { count }).ok(), inexact)
            }
            _ => (None, false),
        };
        if let Some(integer) = integer {
            if inexact {
                self.flags |= Flags::NX;
            }
            return integer;
        }
        self.flags |= Flags::NV;
        if F::split(a).0 && !F::is_nan(a) { I::MIN } else { I::MAX }
    }

    /// `a`, truncated, modulo 2^32; zero if it is infinite or a NaN. Raises what the conversion to an `i32`
    /// does (RISC-V's `FCVTMOD.W.D`; Zfa, "Modular Convert-to-Integer Instruction").
    pub fn to_integer_modular<F: Format>(&mut self, a: F::Bits) -> i32 {
        let mut truncating = Self { rounding: Rounding::TowardZero, ..*self };
        truncating.to_integer::<F, i32>(a);
        self.flags = truncating.flags;
        match Value::of::<F>(a) {
            Some(Value::Finite(number)) => {
                let (count, _) = number.count_of(0, Rounding::TowardZero);
                let low = (count as u32).cast_signed();
                if number.negative { low.wrapping_neg() } else { low }
            }
            _ => 0,
        }
    }

    /// The number that is nearest to an integer.
    pub fn from_integer<F: Format>(&mut self, integer: impl Into<i128>) -> F::Bits {
        let integer = integer.into();
        self.round::<F>(Number { negative: integer < 0, exponent: 0, significand: integer.unsigned_abs() })
    }

    /// `a` in another format.
    pub fn convert<F: Format, G: Format>(&mut self, a: F::Bits) -> G::Bits {
        match Value::of::<F>(a) {
            None => self.convert_nan::<F, G>(a),
            value => self.deliver::<G>(value),
        }
    }

    /// `a` rounded to an integral number, which is never inexact (RISC-V's `FROUND`).
    pub fn round_to_integral<F: Format>(&mut self, a: F::Bits) -> F::Bits {
        let mut context = *self;
        let integral = context.round_to_integral_exact::<F>(a);
        self.flags |= context.flags.difference(Flags::NX);
        integral
    }

    /// `a` rounded to an integral number, which is inexact if it differs from `a` (IEEE 754,
    /// roundToIntegralExact; RISC-V's `FROUNDNX`).
    pub fn round_to_integral_exact<F: Format>(&mut self, a: F::Bits) -> F::Bits {
        match Value::of::<F>(a) {
            None => self.propagate::<F>(&[a]),
            Some(Value::Finite(number)) if number.exponent < 0 => {
                let (significand, inexact) = number.count_of(0, self.rounding);
                if inexact {
                    self.flags |= Flags::NX;
                }
                self.round::<F>(Number { significand, exponent: 0, ..number })
            }
            _ => a,
        }
    }
}
