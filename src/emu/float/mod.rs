//! IEEE 754 binary arithmetic on raw bits, without any floating point of the host's.
//!
//! Every operation takes the encodings of its operands and returns the encoding of its result. What it
//! depends on besides, and the exceptions that it raises, are in a [`Context`]:
//!
//! ```
//! use polyvisor_emu::float::{Context, Double, Flags, NanRule, Rounding};
//!
//! let mut context = Context::new(Rounding::NearestEven, NanRule::Canonical);
//! let third = context.div::<Double>(1f64.to_bits(), 3f64.to_bits());
//! assert_eq!(third, (1.0 / 3.0f64).to_bits());
//! assert_eq!(context.flags, Flags::NX);
//! ```
//!
//! An operation has three steps. The operands are taken apart into exact numbers (`number`); the operation is
//! done on these, exactly or with a last bit that says that something nonzero follows; the result is rounded
//! once (`round`), in the only place that knows of precision, overflow and underflow.
//!
//! Tininess is detected after rounding, as RISC-V and x86 both do. This is why the module does not build upon
//! `rustc_apfloat`, which calls a result tiny only if it is subnormal once it has been delivered.
//!
//! [`Context::execute`] carries out the operations of the intermediate representation.
//!
//! RISC-V is specified in *The RISC-V Instruction Set Manual, Volume I* (chapters F, D and Zfa), x86 in
//! Intel's *Software Developer's Manual*, volume 1. Both are cited by the titles of their sections.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod arithmetic;
mod compare;
mod convert;
mod execute;
mod format;
mod nan;
mod number;
mod round;
#[cfg(test)]
mod tests;
mod zfa;

use bitflags::bitflags;

pub use arithmetic::Negate;
pub use compare::{Class, classify};
pub use convert::Integer;
pub use format::{Double, Format, Single};
pub use nan::NanRule;
pub use zfa::load_immediate;

/// The direction in which an inexact result is rounded, in the order of RISC-V's `frm` (F, "Floating-Point
/// Control and Status Register").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest; of two that are as near, to the one whose last bit is 0 (RNE).
    NearestEven,
    /// Towards zero (RTZ).
    TowardZero,
    /// Towards negative infinity (RDN).
    Down,
    /// Towards positive infinity (RUP).
    Up,
    /// To the nearest; of two that are as near, to the one of larger magnitude (RMM).
    NearestAway,
}

impl Rounding {
    /// Whether a number is rounded away from zero, where `odd` says that its truncation is odd, `half` that
    /// the first bit that is cut off is set, and `below` that one after it is.
    fn away(self, negative: bool, odd: bool, half: bool, below: bool) -> bool {
        match self {
            Self::NearestEven => half && (below || odd),
            Self::NearestAway => half,
            Self::TowardZero => false,
            Self::Down => negative && (half || below),
            Self::Up => !negative && (half || below),
        }
    }

    /// Whether what is too large becomes infinite, and not the largest finite number: whether it is rounded
    /// away from that.
    fn overflows_to_infinity(self, negative: bool) -> bool {
        self.away(negative, true, true, true)
    }
}

bitflags! {
    /// The exceptions that operations have raised, in the layout of RISC-V's `fflags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Flags: u8 {
        /// Inexact: the result was rounded.
        const NX = 1 << 0;
        /// Underflow: the result is inexact and was tiny once rounded as if exponents had no bounds.
        const UF = 1 << 1;
        /// Overflow: the result, rounded as if exponents had no bounds, is too large for the format.
        const OF = 1 << 2;
        /// Division of a finite number by zero.
        const DZ = 1 << 3;
        /// Invalid operation: no result makes sense, or an operand is a signalling NaN.
        const NV = 1 << 4;
    }
}

/// What operations depend on besides their operands, and the exceptions that they have raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// How inexact results are rounded.
    pub rounding: Rounding,
    /// Which NaN a NaN result is.
    pub nans: NanRule,
    /// What was raised. Operations only add to it.
    pub flags: Flags,
}

impl Context {
    /// A context in which nothing has been raised.
    pub const fn new(rounding: Rounding, nans: NanRule) -> Self {
        Self { rounding, nans, flags: Flags::empty() }
    }
}
