//! Scalar floating-point (C4.1, "Data Processing -- Scalar Floating-Point and Advanced SIMD"). What writes a register
//! writes zeros to the bits above the number.

use super::{Assembler, Bits, Cond, V, X, operand::Register};
use crate::memory::Size;

/// The format of a floating-point number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum F {
    /// binary32.
    S,
    /// binary64.
    D,
}

impl F {
    /// The field `ftype`.
    const fn ftype(self) -> u32 {
        match self {
            Self::S => 0,
            Self::D => 1 << 22,
        }
    }

    /// An integer of the same width.
    const fn bits(self) -> Bits {
        match self {
            Self::S => Bits::W32,
            Self::D => Bits::W64,
        }
    }

    pub(super) const fn size(self) -> Size {
        match self {
            Self::S => Size::Word,
            Self::D => Size::Double,
        }
    }
}

/// How a number is rounded to an integer. The value has `opcode`'s upper bit above `rmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntRound {
    /// To the nearest, of two to the even one.
    N = 0b000,
    /// Up.
    P = 0b001,
    /// Down.
    M = 0b010,
    /// Towards zero.
    Z = 0b011,
    /// To the nearest, of two to the one of larger magnitude.
    A = 0b100,
}

/// How a number is rounded to an integral one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frint {
    /// To the nearest, of two to the even one.
    N = 0,
    /// Up.
    P = 1,
    /// Down.
    M = 2,
    /// Towards zero.
    Z = 3,
    /// To the nearest, of two to the one of larger magnitude.
    A = 4,
    /// As FPCR says; inexact if the result differs.
    X = 6,
    /// As FPCR says.
    I = 7,
}

/// Instructions of a format, with registers in the fields that are named.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident($($field:ident),*) = $word:literal;)*) => {
        impl Assembler {
            $($(#[$doc])*
            pub fn $name(&mut self, f: F, $($field: V),*) {
                self.word($word | f.ftype() $(| $field.$field())*);
            })*
        }
    };
}

instructions! {
    /// `d` = `n`.
    fmov(d, n) = 0x1e20_4000;
    /// `d` = |`n`|.
    fabs(d, n) = 0x1e20_c000;
    /// `d` = -`n`.
    fneg(d, n) = 0x1e21_4000;
    /// `d` = the square root of `n`.
    fsqrt(d, n) = 0x1e21_c000;
    /// `d` = `n` * `m`.
    fmul(d, n, m) = 0x1e20_0800;
    /// `d` = `n` / `m`.
    fdiv(d, n, m) = 0x1e20_1800;
    /// `d` = `n` + `m`.
    fadd(d, n, m) = 0x1e20_2800;
    /// `d` = `n` - `m`.
    fsub(d, n, m) = 0x1e20_3800;
    /// `d` = the larger one; NaN if one is.
    fmax(d, n, m) = 0x1e20_4800;
    /// `d` = the smaller one; NaN if one is.
    fmin(d, n, m) = 0x1e20_5800;
    /// `d` = the larger one; the number if the other is a quiet NaN.
    fmaxnm(d, n, m) = 0x1e20_6800;
    /// `d` = the smaller one; the number if the other is a quiet NaN.
    fminnm(d, n, m) = 0x1e20_7800;
    /// `d` = -(`n` * `m`).
    fnmul(d, n, m) = 0x1e20_8800;
    /// `d` = `a` + `n` * `m`, rounded once.
    fmadd(d, n, m, a) = 0x1f00_0000;
    /// `d` = `a` - `n` * `m`.
    fmsub(d, n, m, a) = 0x1f00_8000;
    /// `d` = -`a` - `n` * `m`.
    fnmadd(d, n, m, a) = 0x1f20_0000;
    /// `d` = -`a` + `n` * `m`.
    fnmsub(d, n, m, a) = 0x1f20_8000;
    /// Compares; signalling NaNs are invalid. NZCV is 0110 for equal, 1000 for less, 0010 for greater, 0011 with NaNs.
    fcmp(n, m) = 0x1e20_2000;
    /// [`Assembler::fcmp`] of which all NaNs are invalid.
    fcmpe(n, m) = 0x1e20_2010;
    /// [`Assembler::fcmp`] with 0.
    fcmp_zero(n) = 0x1e20_2008;
}

impl Assembler {
    /// `d` = the encoding in `n`, zero-extended.
    pub fn fmov_to_x(&mut self, f: F, d: X, n: V) {
        self.word(0x1e26_0000 | f.bits().sf() | f.ftype() | n.n() | d.d());
    }

    /// `d` = the number that `n` encodes.
    pub fn fmov_from_x(&mut self, f: F, d: V, n: X) {
        self.word(0x1e27_0000 | f.bits().sf() | f.ftype() | n.n() | d.d());
    }

    /// `d` = the number that `imm` stands for (C2.2.3).
    pub fn fmov_imm(&mut self, f: F, d: V, imm: u8) {
        self.word(0x1e20_1000 | f.ftype() | u32::from(imm) << 13 | d.d());
    }

    /// `d` = `n` if the condition holds, else `m`.
    pub fn fcsel(&mut self, f: F, d: V, n: V, m: V, c: Cond) {
        self.word(0x1e20_0c00 | f.ftype() | m.m() | c.field() << 12 | n.n() | d.d());
    }

    /// `d` = `n`, a number of the other format, as one of `to`.
    pub fn fcvt(&mut self, to: F, d: V, n: V) {
        let word = match to {
            F::S => 0x1e62_4000,
            F::D => 0x1e22_c000,
        };
        self.word(word | n.n() | d.d());
    }

    /// `d` = `n`, rounded to an integer; the nearest one that there is if that does not fit, and 0 for NaN.
    pub fn fcvt_to_int(&mut self, f: F, round: IntRound, signed: bool, b: Bits, d: X, n: V) {
        let round = round as u32;
        let mode = (round & 3) << 19 | round >> 2 << 18 | u32::from(!signed) << 16;
        self.word(0x1e20_0000 | mode | b.sf() | f.ftype() | n.n() | d.d());
    }

    /// `d` = the integer `n`.
    pub fn int_to_float(&mut self, f: F, signed: bool, b: Bits, d: V, n: X) {
        self.word(0x1e22_0000 | u32::from(!signed) << 16 | b.sf() | f.ftype() | n.n() | d.d());
    }

    /// `d` = `n`, rounded to an integral number.
    pub fn frint(&mut self, f: F, round: Frint, d: V, n: V) {
        self.word(0x1e24_4000 | (round as u32) << 15 | f.ftype() | n.n() | d.d());
    }
}
