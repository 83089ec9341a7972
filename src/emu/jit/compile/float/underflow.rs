//! Underflow.
//!
//! RISC-V calls a result tiny if it still is after rounding (F, "Subnormal Arithmetic"), A64 if it was before
//! (DDI 0487, A1.5.4). They differ where a product, a fused product or a narrower number rounds up to the smallest normal
//! number. So FPSR.UFC, which is clear otherwise, only says that an operation has to be looked into. That is done out of
//! line: the operation is carried out once more with its result scaled by 2^64, where nothing underflows that is not tiny by
//! any account, and so rounded as if exponents had no bounds. If that is less than the smallest normal number, scaled
//! likewise, the guest's flag is set. UFC is cleared in any case.

use super::compute::Arithmetic;
use super::registers::{V29, V30, V31, word};
use super::{Float, Origin, T0, T1, T2, T3};
use crate::a64::{Alu, Assembler, Bits, Cond, Ext, F, Label, Mode, System, V, X};
use crate::float::Flags;
use crate::ir::Var;
use crate::memory::Size;

/// FPSR.UFC.
const UFC: u8 = 3;
/// The power of two by which results are scaled.
const SCALE: u64 = 64;

/// An operation after which UFC is tested.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guarded {
    pub what: Arithmetic,
    /// Where its operands are.
    pub origins: [Origin; 3],
    /// Where its result is.
    pub result: V,
}

/// A [`Guarded`] operation's code out of line.
#[derive(Debug)]
pub(super) struct Underflow {
    guarded: Guarded,
    at: Label,
    back: Label,
}

impl Float {
    /// Looks into the operation, which has just been emitted, if it has underflowed.
    pub(super) fn check_underflow(&mut self, asm: &mut Assembler, guarded: Guarded) {
        let (at, back) = (asm.label(), asm.label());
        asm.mrs(T0, System::Fpsr);
        asm.tbnz(T0, UFC, at);
        asm.bind(back);
        self.underflows.push(Underflow { guarded, at, back });
    }

    /// Emits what [`Self::check_underflow`] branches to.
    pub(super) fn underflows_out_of_line(&mut self, asm: &mut Assembler) {
        if self.underflows.is_empty() {
            return;
        }
        let decide = asm.label();
        for underflow in self.underflows.drain(..) {
            underflow.emit(asm, decide);
        }
        asm.bind(decide);
        emit_decide(asm, self.flags);
    }
}

impl Underflow {
    fn emit(self, asm: &mut Assembler, decide: Label) {
        let Guarded { what, origins: [n, m, a], result } = self.guarded;
        let f = what.source();
        asm.bind(self.at);
        // The temporaries are needed.
        let saved = result.number() >= V29.number();
        if saved {
            asm.fmov_to_x(F::D, T2, result);
        }
        // The first operand and the addend are multiplied by 2^64. Neither overflows: see docs/jit-float.md.
        asm.mov_imm(T1, scale(f));
        asm.fmov_from_x(f, V29, T1);
        let n = n.bring(asm, f, V30);
        asm.fmul(f, V30, n, V29);
        if what.is_fused() {
            let a = a.bring(asm, f, V31);
            asm.fmul(f, V29, a, V29);
        }
        let m = m.bring(asm, f, V31);
        what.emit(asm, V30, [V30, m, V29]);
        // The exponent.
        asm.fmov_to_x(what.format(), T1, V30);
        match what.format() {
            F::S => asm.ubfx(Bits::W64, T1, T1, 23, 8),
            F::D => asm.ubfx(Bits::W64, T1, T1, 52, 11),
        }
        asm.bl(decide);
        if saved {
            asm.fmov_from_x(F::D, result, T2);
        }
        asm.b(self.back);
    }
}

/// 2^64.
const fn scale(f: F) -> u64 {
    match f {
        F::S => (127 + SCALE) << 23,
        F::D => (1023 + SCALE) << 52,
    }
}

/// The end of all: T1 is the exponent field of the scaled result, T3 where to go on.
fn emit_decide(asm: &mut Assembler, flags: Var) {
    let not_tiny = asm.label();
    // The smallest normal numbers have 1.
    asm.cmp_imm(Bits::W64, T1, 1 + SCALE);
    asm.b_cond(Cond::Hs, not_tiny);
    asm.load(Mode::Normal, Size::Double, Ext::Zero, T1, X::SP, word(flags));
    asm.alu_imm(Alu::Orr, Bits::W64, T1, T1, Flags::UF.bits().into());
    asm.store(Mode::Normal, Size::Double, T1, X::SP, word(flags));
    asm.bind(not_tiny);
    asm.mrs(T1, System::Fpsr);
    asm.alu_imm(Alu::And, Bits::W64, T1, T1, !(1 << UFC));
    asm.msr(System::Fpsr, T1);
    asm.ret(T3);
}
