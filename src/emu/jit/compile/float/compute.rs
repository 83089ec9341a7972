//! Arithmetic, conversions and comparisons.

use super::underflow::Guarded;
use super::{
    Float, Needs, Operand, Surroundings, T0, Tail, format,
    registers::{Origin, V29, V30, V31, mask},
};
use crate::a64::{Assembler, Bits, Cond, F, Frint, IntRound, V};
use crate::ir::{FloatKind, FloatOp, Format, Integer, Var};

/// Rounding modes as RISC-V numbers them (F, "Floating-Point Control and Status Register").
mod rounding {
    pub const NEAREST: u8 = 0;
    pub const TOWARD_ZERO: u8 = 1;
    pub const DOWN: u8 = 2;
    pub const UP: u8 = 3;
    pub const NEAREST_AWAY: u8 = 4;
    pub const DYNAMIC: u8 = 7;
}

/// The rounding mode that a conversion to an integer names; not [`rounding::DYNAMIC`].
const fn int_round(rounding: u8) -> Option<IntRound> {
    match rounding {
        rounding::NEAREST => Some(IntRound::N),
        rounding::TOWARD_ZERO => Some(IntRound::Z),
        rounding::DOWN => Some(IntRound::M),
        rounding::UP => Some(IntRound::P),
        rounding::NEAREST_AWAY => Some(IntRound::A),
        _ => None,
    }
}

/// How FPCR must be for an operation; `None` if there is no code for it.
pub(super) fn needs(op: FloatOp, mode: u8) -> Option<Needs> {
    let by_fpcr = match mode {
        rounding::DYNAMIC => Some(Needs::Ready),
        rounding::NEAREST => Some(Needs::Nearest),
        _ => None,
    };
    match op.kind {
        FloatKind::Min
        | FloatKind::Max
        | FloatKind::MinNan
        | FloatKind::MaxNan
        | FloatKind::Equal
        | FloatKind::Less
        | FloatKind::LessEqual
        | FloatKind::LessQuiet
        | FloatKind::LessEqualQuiet => Some(Needs::Ready),
        // Exact.
        FloatKind::Convert | FloatKind::FromInteger(Integer::I32 | Integer::U32)
            if op.format == Format::Double =>
        {
            Some(Needs::Ready)
        }
        FloatKind::ToInteger(integer) => {
            // No number that is too large for 64 signed bits has a fraction, so that "inexact" and "invalid" cannot both
            // be raised by the two instructions that this takes.
            let two_steps = mode == rounding::DYNAMIC && integer == Integer::I64;
            (two_steps || int_round(mode).is_some()).then_some(Needs::Ready)
        }
        FloatKind::Round => (mode == rounding::DYNAMIC || int_round(mode).is_some()).then_some(Needs::Ready),
        FloatKind::Add
        | FloatKind::Sub
        | FloatKind::Mul
        | FloatKind::Div
        | FloatKind::Sqrt
        | FloatKind::MulAdd
        | FloatKind::MulSub
        | FloatKind::NegMulAdd
        | FloatKind::NegMulSub
        | FloatKind::Convert
        | FloatKind::FromInteger(_)
        | FloatKind::RoundExact => by_fpcr,
        FloatKind::Classify | FloatKind::ToIntegerModulo => None,
    }
}

/// The integer that a NaN becomes, and anything too large.
const fn largest(integer: Integer) -> u64 {
    match integer {
        Integer::I32 => i32::MAX as u64,
        Integer::U32 => u32::MAX as u64,
        Integer::I64 => i64::MAX as u64,
        Integer::U64 => u64::MAX,
    }
}

/// The width of an integer, and whether it is signed.
const fn shape(integer: Integer) -> (Bits, bool) {
    match integer {
        Integer::I32 => (Bits::W32, true),
        Integer::U32 => (Bits::W32, false),
        Integer::I64 => (Bits::W64, true),
        Integer::U64 => (Bits::W64, false),
    }
}

impl Float {
    pub(super) fn compute(
        &mut self,
        c: &mut impl Surroundings,
        op: FloatOp,
        rounding: u8,
        dst: Var,
        operands: [Operand; 3],
    ) {
        let f = format(op.format);
        match op.kind {
            FloatKind::FromInteger(integer) => {
                let (bits, signed) = shape(integer);
                let [Operand { value, .. }, ..] = operands;
                let [] = self.find(c, f, [], Some(dst));
                let v = self.result(c, dst, 0, V29);
                let x = c.source(value, bits, T0);
                c.asm().int_to_float(f, signed, bits, v, x);
                self.put(c, f, dst, v);
            }
            FloatKind::ToInteger(integer) => self.convert_to_integer(c, f, integer, rounding, dst, operands),
            FloatKind::Equal
            | FloatKind::Less
            | FloatKind::LessEqual
            | FloatKind::LessQuiet
            | FloatKind::LessEqualQuiet => self.compare(c, f, op.kind, dst, operands),
            FloatKind::Min | FloatKind::Max => self.choose(c, f, op.kind, dst, operands),
            _ => self.arithmetic(c, Arithmetic { op, rounding }, dst, operands),
        }
    }

    fn arithmetic(
        &mut self,
        c: &mut impl Surroundings,
        what: Arithmetic,
        dst: Var,
        [a, b, addend]: [Operand; 3],
    ) {
        let (f, for_dst) = (what.source(), Some(dst));
        const NONE: Origin = Origin::Bits(0);
        let origins = match what.op.kind.operands() {
            1 => {
                let [a] = self.find(c, f, [a], for_dst);
                [a, NONE, NONE]
            }
            2 => {
                let [a, b] = self.find(c, f, [a, b], for_dst);
                [a, b, NONE]
            }
            _ => self.find(c, f, [a, b, addend], for_dst),
        };
        let operation = Guarded { what, origins };
        let guarded = what.may_underflow();
        // What has underflowed is computed again: its operands are not overwritten before that is known.
        let result = self.result(c, dst, if guarded { operation.registers() } else { 0 }, V29);
        let registers = what.bring(c.asm(), origins);
        what.emit(c.asm(), result, registers);
        if guarded {
            self.guard(c.asm(), operation);
        }
        self.put(c, what.format(), dst, result);
    }

    /// FCVTxx gives 0 for a NaN and raises the same flags as RISC-V's conversions do; it is right in all else. So a result
    /// of 0 is looked into.
    fn convert_to_integer(
        &mut self,
        c: &mut impl Surroundings,
        f: F,
        integer: Integer,
        rounding: u8,
        dst: Var,
        [operand, ..]: [Operand; 3],
    ) {
        let (bits, signed) = shape(integer);
        let [origin] = self.find(c, f, [operand], None);
        let mut v = origin.bring(c.asm(), f, V29);
        let round = int_round(rounding).unwrap_or_else(|| {
            let integral = self.temporary(c.asm(), mask(v));
            c.asm().frint(f, Frint::X, integral, v);
            v = integral;
            IntRound::Z
        });
        let x = c.target(dst, T0);
        let asm = c.asm();
        asm.fcvt_to_int(f, round, signed, bits, x, v);
        let (zero, back) = (asm.label(), asm.label());
        asm.cbz(bits, x, zero);
        asm.bind(back);
        self.tails.push(Tail::ZeroOrNan { zero, back, f, v, x, largest: largest(integer) });
        c.computed(dst, x, bits);
        self.changed(dst, None);
    }

    fn compare(
        &mut self,
        c: &mut impl Surroundings,
        f: F,
        kind: FloatKind,
        dst: Var,
        [a, b, _]: [Operand; 3],
    ) {
        let [n, m] = self.find(c, f, [a, b], None);
        let (n, m) = (n.bring(c.asm(), f, V29), m.bring(c.asm(), f, V30));
        let x = c.target(dst, T0);
        let asm = c.asm();
        // FCMPE: quiet NaNs are invalid, too. A NaN gives C and V: neither of these conditions.
        match kind {
            FloatKind::Less | FloatKind::LessEqual => asm.fcmpe(f, n, m),
            _ => asm.fcmp(f, n, m),
        }
        let condition = match kind {
            FloatKind::Less | FloatKind::LessQuiet => Cond::Mi,
            FloatKind::LessEqual | FloatKind::LessEqualQuiet => Cond::Ls,
            _ => Cond::Eq,
        };
        asm.cset(Bits::W32, x, condition);
        c.computed(dst, x, Bits::W64);
        self.changed(dst, None);
    }

    /// FMINNM and FMAXNM give the number if the other operand is a quiet NaN; if it is a signalling one, they give a NaN where
    /// RISC-V still has the number. So a NaN is looked into.
    fn choose(
        &mut self,
        c: &mut impl Surroundings,
        f: F,
        kind: FloatKind,
        dst: Var,
        [a, b, _]: [Operand; 3],
    ) {
        let [n, m] = self.find(c, f, [a, b], Some(dst));
        let (n, m) = (n.bring(c.asm(), f, V29), m.bring(c.asm(), f, V30));
        let result = self.result(c, dst, mask(n) | mask(m), V31);
        let asm = c.asm();
        match kind {
            FloatKind::Min => asm.fminnm(f, result, n, m),
            _ => asm.fmaxnm(f, result, n, m),
        }
        asm.fcmp(f, result, result);
        let (nan, back) = (asm.label(), asm.label());
        asm.b_cond(Cond::Vs, nan);
        asm.bind(back);
        self.tails.push(Tail::OtherThanNan { nan, back, f, result, n, m });
        self.put(c, f, dst, result);
    }
}

/// An operation that one instruction does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arithmetic {
    op: FloatOp,
    rounding: u8,
}

impl Arithmetic {
    /// The format of the result.
    pub(super) fn format(self) -> F {
        format(self.op.format)
    }

    /// The format of the operands.
    pub(super) fn source(self) -> F {
        format(self.op.source())
    }

    pub(super) fn is_fused(self) -> bool {
        self.op.kind.operands() == 3
    }

    /// Whether the result can be tiny and inexact at the same time. Sums cannot, nor can square roots.
    fn may_underflow(self) -> bool {
        match self.op.kind {
            FloatKind::Mul | FloatKind::Div => true,
            FloatKind::Convert => self.op.format == Format::Single,
            _ => self.is_fused(),
        }
    }

    /// The registers with the operands.
    fn bring(self, asm: &mut Assembler, [a, b, addend]: [Origin; 3]) -> [V; 3] {
        let f = self.source();
        let mut registers = [V29, V30, V31];
        for ((register, origin), _) in
            registers.iter_mut().zip([a, b, addend]).zip(0..self.op.kind.operands())
        {
            *register = origin.bring(asm, f, *register);
        }
        registers
    }

    pub(super) fn emit(self, asm: &mut Assembler, d: V, [n, m, a]: [V; 3]) {
        let f = self.format();
        match self.op.kind {
            FloatKind::Sub => asm.fsub(f, d, n, m),
            FloatKind::Mul => asm.fmul(f, d, n, m),
            FloatKind::Div => asm.fdiv(f, d, n, m),
            FloatKind::Sqrt => asm.fsqrt(f, d, n),
            FloatKind::MulAdd => asm.fmadd(f, d, n, m, a),
            FloatKind::MulSub => asm.fnmsub(f, d, n, m, a),
            FloatKind::NegMulAdd => asm.fmsub(f, d, n, m, a),
            FloatKind::NegMulSub => asm.fnmadd(f, d, n, m, a),
            FloatKind::MinNan => asm.fmin(f, d, n, m),
            FloatKind::MaxNan => asm.fmax(f, d, n, m),
            FloatKind::Convert => asm.fcvt(f, d, n),
            FloatKind::RoundExact => asm.frint(f, Frint::X, d, n),
            FloatKind::Round => asm.frint(f, self.frint(), d, n),
            _ => asm.fadd(f, d, n, m),
        }
    }

    fn frint(self) -> Frint {
        match int_round(self.rounding) {
            Some(IntRound::N) => Frint::N,
            Some(IntRound::Z) => Frint::Z,
            Some(IntRound::M) => Frint::M,
            Some(IntRound::P) => Frint::P,
            Some(IntRound::A) => Frint::A,
            None => Frint::I,
        }
    }
}
