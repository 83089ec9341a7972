//! What is rare and has been put out of line.

use crate::a64::{Assembler, Cond, F, Label, V, X};

/// A piece of code out of line: where it starts, where it goes back to, and what it is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tail {
    /// The number in `v` has become the integer 0 in `x`. If it is a NaN, that is to be `largest`.
    ZeroOrNan { zero: Label, back: Label, f: F, v: V, x: X, largest: u64 },
    /// The smaller or larger one of `n` and `m` is a NaN. If one of them is a number, it is that.
    OtherThanNan { nan: Label, back: Label, f: F, result: V, n: V, m: V },
}

impl Tail {
    pub(super) fn emit(self, asm: &mut Assembler) {
        match self {
            Self::ZeroOrNan { zero, back, f, v, x, largest } => {
                asm.bind(zero);
                asm.fcmp(f, v, v);
                asm.b_cond(Cond::Vc, back);
                asm.mov_imm(x, largest);
                asm.b(back);
            }
            Self::OtherThanNan { nan, back, f, result, n, m } => {
                asm.bind(nan);
                asm.fcmp(f, n, n);
                asm.fcsel(f, result, m, n, Cond::Vs);
                // A number stays what it is, a NaN becomes the canonical one.
                asm.fminnm(f, result, result, result);
                asm.b(back);
            }
        }
    }
}
