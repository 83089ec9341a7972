//! Comparison, the smaller and the larger of two, and classification.

use core::cmp::Ordering;

use super::{Context, Flags, Format};

/// What kind of datum an encoding is, in the order of the bits of RISC-V's `FCLASS` (F, "Single-Precision
/// Floating-Point Classify Instruction"), whose result is `1 << class as u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Class {
    NegativeInfinity,
    NegativeNormal,
    NegativeSubnormal,
    NegativeZero,
    PositiveZero,
    PositiveSubnormal,
    PositiveNormal,
    PositiveInfinity,
    SignallingNan,
    QuietNan,
}

/// What kind of datum `a` is. Raises nothing.
pub fn classify<F: Format>(a: F::Bits) -> Class {
    let (negative, magnitude) = F::split(a);
    let of_sign = |if_negative, if_positive| if negative { if_negative } else { if_positive };
    if magnitude > F::INFINITY {
        if F::is_signalling(a) { Class::SignallingNan } else { Class::QuietNan }
    } else if magnitude == F::INFINITY {
        of_sign(Class::NegativeInfinity, Class::PositiveInfinity)
    } else if magnitude > F::FRACTION_MASK {
        of_sign(Class::NegativeNormal, Class::PositiveNormal)
    } else if magnitude != 0 {
        of_sign(Class::NegativeSubnormal, Class::PositiveSubnormal)
    } else {
        of_sign(Class::NegativeZero, Class::PositiveZero)
    }
}

/// Where `a` is in the order of all numbers, in which -0 comes before +0.
fn rank<F: Format>(a: F::Bits) -> i64 {
    let (negative, magnitude) = F::split(a);
    // A magnitude has no sign bit.
    if negative { !magnitude.cast_signed() } else { magnitude.cast_signed() }
}

impl Context {
    /// How `a` compares with `b`; `None` if one is a NaN, which is invalid only if one is signalling.
    /// RISC-V's `FEQ`, `FLTQ` and `FLEQ`, x86's `UCOMISD`.
    pub fn compare_quiet<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> Option<Ordering> {
        if F::is_signalling(a) || F::is_signalling(b) {
            self.flags |= Flags::NV;
        }
        if F::is_nan(a) || F::is_nan(b) {
            return None;
        }
        let zeros = F::split(a).1 == 0 && F::split(b).1 == 0;
        Some(if zeros { Ordering::Equal } else { rank::<F>(a).cmp(&rank::<F>(b)) })
    }

    /// How `a` compares with `b`; `None` if one is a NaN, which is invalid. RISC-V's `FLT` and `FLE`, x86's
    /// `COMISD`.
    pub fn compare_signalling<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> Option<Ordering> {
        let ordering = self.compare_quiet::<F>(a, b);
        if ordering.is_none() {
            self.flags |= Flags::NV;
        }
        ordering
    }

    /// The smaller one; the number if only one is a number (IEEE 754-2019, minimumNumber; RISC-V's `FMIN`
    /// since version 2.2 of F).
    pub fn minimum_number<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        self.number_or_nan::<F>(a, b, Self::minimum::<F>)
    }

    /// The larger one; the number if only one is a number (IEEE 754-2019, maximumNumber; RISC-V's `FMAX`
    /// since version 2.2 of F).
    pub fn maximum_number<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        self.number_or_nan::<F>(a, b, Self::maximum::<F>)
    }

    /// The smaller one; a NaN if one is (IEEE 754-2019, minimum; RISC-V's `FMINM`).
    pub fn minimum<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        if F::is_nan(a) || F::is_nan(b) {
            return self.propagate::<F>(&[a, b]);
        }
        if rank::<F>(a) < rank::<F>(b) { a } else { b }
    }

    /// The larger one; a NaN if one is (IEEE 754-2019, maximum; RISC-V's `FMAXM`).
    pub fn maximum<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        if F::is_nan(a) || F::is_nan(b) {
            return self.propagate::<F>(&[a, b]);
        }
        if rank::<F>(a) > rank::<F>(b) { a } else { b }
    }

    /// The one that is a number if only one is, or else what `choose` makes of them.
    fn number_or_nan<F: Format>(
        &mut self,
        a: F::Bits,
        b: F::Bits,
        choose: fn(&mut Self, F::Bits, F::Bits) -> F::Bits,
    ) -> F::Bits {
        let chosen = choose(self, a, b);
        match (F::is_nan(a), F::is_nan(b)) {
            (true, false) => b,
            (false, true) => a,
            _ => chosen,
        }
    }
}
