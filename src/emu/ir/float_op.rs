//! Floating-point operations.

/// A format of IEEE 754. Values of the narrower one are in the low bits of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// binary32.
    Single,
    /// binary64.
    Double,
}

/// An integer that is converted to or from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Integer {
    I32,
    U32,
    I64,
    U64,
}

/// What a floating-point operation computes. Results of [`Format::Single`] are zero-extended, integers of 32 bits are
/// sign-extended to 64 (also unsigned ones, as RISC-V has it). NaNs and what does not fit are as the guest's instruction
/// set says ([`crate::float`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FloatKind {
    Add,
    Sub,
    Mul,
    Div,
    /// The square root of a.
    Sqrt,
    /// a * b + c, rounded once.
    MulAdd,
    /// a * b - c.
    MulSub,
    /// -(a * b) + c.
    NegMulAdd,
    /// -(a * b) - c.
    NegMulSub,
    /// The smaller one; a number if only the other is NaN.
    Min,
    /// The larger one; a number if only the other is NaN.
    Max,
    /// The smaller one; NaN if one is.
    MinNan,
    /// The larger one; NaN if one is.
    MaxNan,
    /// 1 if a == b; only signalling NaNs are invalid.
    Equal,
    /// 1 if a < b; NaNs are invalid.
    Less,
    /// 1 if a <= b; NaNs are invalid.
    LessEqual,
    /// 1 if a < b; only signalling NaNs are invalid.
    LessQuiet,
    /// 1 if a <= b; only signalling NaNs are invalid.
    LessEqualQuiet,
    /// The class of a, as RISC-V's FCLASS numbers it.
    Classify,
    /// a as an integer.
    ToInteger(Integer),
    /// The integer a.
    FromInteger(Integer),
    /// a in the other format; the operation's format is that of the result.
    Convert,
    /// a as an integral number of the same format; never inexact.
    Round,
    /// [`FloatKind::Round`] that tells when the result differs.
    RoundExact,
    /// a modulo 2^32 as a sign-extended integer, towards zero (RISC-V's FCVTMOD.W.D).
    ToIntegerModulo,
}

impl FloatKind {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Sqrt,
        Self::MulAdd,
        Self::MulSub,
        Self::NegMulAdd,
        Self::NegMulSub,
        Self::Min,
        Self::Max,
        Self::MinNan,
        Self::MaxNan,
        Self::Equal,
        Self::Less,
        Self::LessEqual,
        Self::LessQuiet,
        Self::LessEqualQuiet,
        Self::Classify,
        Self::ToInteger(Integer::I32),
        Self::ToInteger(Integer::U32),
        Self::ToInteger(Integer::I64),
        Self::ToInteger(Integer::U64),
        Self::FromInteger(Integer::I32),
        Self::FromInteger(Integer::U32),
        Self::FromInteger(Integer::I64),
        Self::FromInteger(Integer::U64),
        Self::Convert,
        Self::Round,
        Self::RoundExact,
        Self::ToIntegerModulo,
    ];

    /// How many operands it has: a; a and b; or all three.
    pub const fn operands(self) -> usize {
        match self {
            Self::MulAdd | Self::MulSub | Self::NegMulAdd | Self::NegMulSub => 3,
            Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Div
            | Self::Min
            | Self::Max
            | Self::MinNan
            | Self::MaxNan
            | Self::Equal
            | Self::Less
            | Self::LessEqual
            | Self::LessQuiet
            | Self::LessEqualQuiet => 2,
            Self::Sqrt
            | Self::Classify
            | Self::ToInteger(_)
            | Self::FromInteger(_)
            | Self::Convert
            | Self::Round
            | Self::RoundExact
            | Self::ToIntegerModulo => 1,
        }
    }
}

/// A floating-point operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FloatOp {
    /// What is computed.
    pub kind: FloatKind,
    /// Of which format the operands are, or the result where they are integers.
    pub format: Format,
}

impl FloatOp {
    /// The format of the operands, where they are not integers.
    pub const fn source(self) -> Format {
        match (self.kind, self.format) {
            (FloatKind::Convert, Format::Single) => Format::Double,
            (FloatKind::Convert, Format::Double) => Format::Single,
            (_, format) => format,
        }
    }
}
