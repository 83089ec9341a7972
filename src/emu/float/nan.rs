//! Which NaN is the result, where one is.

use super::{Context, Flags, Format};

/// Which NaN a NaN result is. IEEE 754 leaves this to the instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanRule {
    /// RISC-V: always the canonical NaN, which is positive and has no payload (F, "NaN Generation and
    /// Propagation").
    Canonical,
    /// x86's SSE and AVX: the first operand that is a NaN, made quiet; without one the default NaN, which is
    /// the negative of RISC-V's (SDM, "Operating on SNaNs and QNaNs" and "Fused-Multiply-ADD (FMA) Numeric
    /// Behavior").
    FirstOperand,
}

impl NanRule {
    /// The result of an operation on numbers that has no numerical result.
    pub(super) fn default_nan<F: Format>(self) -> F::Bits {
        F::signed(self == Self::FirstOperand, F::INFINITY | F::QUIET)
    }
}

impl Context {
    /// The result of an operation of which no operand is a NaN, and which yet has no numerical result.
    pub(super) fn invalid<F: Format>(&mut self) -> F::Bits {
        self.flags |= Flags::NV;
        self.nans.default_nan::<F>()
    }

    /// The result of an operation with a NaN among its operands.
    pub(super) fn propagate<F: Format>(&mut self, operands: &[F::Bits]) -> F::Bits {
        if operands.iter().any(|&operand| F::is_signalling(operand)) {
            self.flags |= Flags::NV;
        }
        let first = operands.iter().find(|&&operand| F::is_nan(operand));
        match (self.nans, first) {
            (NanRule::FirstOperand, Some(&nan)) => F::encoding(nan.into() | F::QUIET),
            _ => self.nans.default_nan::<F>(),
        }
    }

    /// The NaN of another format that `nan` becomes. A longer payload loses its low bits.
    pub(super) fn convert_nan<F: Format, G: Format>(&mut self, nan: F::Bits) -> G::Bits {
        let (negative, magnitude) = F::split(self.propagate::<F>(&[nan]));
        let payload =
            (magnitude & F::FRACTION_MASK) << (u64::BITS - F::FRACTION) >> (u64::BITS - G::FRACTION);
        G::signed(negative, G::INFINITY | payload)
    }
}
