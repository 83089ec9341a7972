//! The interchange formats of IEEE 754: where the fields are.

/// A binary interchange format of at most 64 bits: sign, biased exponent, fraction. The precision is at most
/// 53 bits, which is what the intermediate results have room for.
pub trait Format {
    /// An encoding.
    type Bits: Copy + Into<u64>;

    /// The width of the fraction field in bits.
    const FRACTION: u32;
    /// The width of the exponent field in bits.
    const EXPONENT: u32;

    /// The encoding in the low bits of `bits`.
    fn encoding(bits: u64) -> Self::Bits;

    /// The bits of a significand: the fraction and the leading bit, which is not stored.
    const PRECISION: u32 = Self::FRACTION + 1;
    /// The exponent of the largest numbers, which is also the bias.
    const MAX_EXPONENT: i32 = (1 << (Self::EXPONENT - 1)) - 1;
    /// The exponent of the smallest normal numbers, and of all subnormal ones.
    const MIN_EXPONENT: i32 = 1 - Self::MAX_EXPONENT;
    /// The exponent of the last place of the smallest normal numbers, and of all subnormal ones.
    const MIN_QUANTUM: i32 = Self::MIN_EXPONENT - Self::FRACTION as i32;

    /// The sign bit.
    const SIGN: u64 = 1 << (Self::EXPONENT + Self::FRACTION);
    /// Positive infinity: an exponent field of ones. NaNs have larger magnitudes, finite numbers have smaller
    /// ones.
    const INFINITY: u64 = ((1 << Self::EXPONENT) - 1) << Self::FRACTION;
    /// The bit that distinguishes quiet NaNs from signalling ones (IEEE 754-2008, 6.2.1).
    const QUIET: u64 = 1 << (Self::FRACTION - 1);
    /// The fraction field.
    const FRACTION_MASK: u64 = (1 << Self::FRACTION) - 1;

    /// The encoding of this magnitude with this sign.
    fn signed(negative: bool, magnitude: u64) -> Self::Bits {
        Self::encoding(magnitude | if negative { Self::SIGN } else { 0 })
    }

    /// The sign and the encoding without it.
    fn split(bits: Self::Bits) -> (bool, u64) {
        let bits = bits.into();
        (bits & Self::SIGN != 0, bits & !Self::SIGN)
    }

    /// Whether this is a NaN.
    fn is_nan(bits: Self::Bits) -> bool {
        Self::split(bits).1 > Self::INFINITY
    }

    /// Whether this is a signalling NaN.
    fn is_signalling(bits: Self::Bits) -> bool {
        Self::is_nan(bits) && bits.into() & Self::QUIET == 0
    }
}

/// binary32.
#[derive(Debug, Clone, Copy)]
pub enum Single {}

impl Format for Single {
    type Bits = u32;
    const FRACTION: u32 = 23;
    const EXPONENT: u32 = 8;

    fn encoding(bits: u64) -> u32 {
        bits as u32
    }
}

/// binary64.
#[derive(Debug, Clone, Copy)]
pub enum Double {}

impl Format for Double {
    type Bits = u64;
    const FRACTION: u32 = 52;
    const EXPONENT: u32 = 11;

    fn encoding(bits: u64) -> u64 {
        bits
    }
}
