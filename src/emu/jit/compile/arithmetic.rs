//! Sums, bitwise operations and copies.

use super::emitter::Emitter;
use super::extension::Shape;
use super::op::Low;
use super::registers::Need;
use crate::a64::{Alu, Bits, Extend, Shift, X};
use crate::ir::{BinaryOp, Value, Var, Width, eval};

impl Emitter<'_> {
    /// `dst = a`.
    pub fn copy_value(&mut self, dst: Var, a: Value) {
        let a = match a {
            Value::Const(constant) => return self.set(dst, constant as u64),
            Value::Var(a) => a,
        };
        if !dst.is_temporary() && self.home(dst).is_none() {
            let x = self.source(a.into(), Need::Full);
            return self.store_global(x, dst);
        }
        if let Some(d) = self.home(dst)
            && self.is_in_memory(a)
        {
            self.load_word(d, a);
            return self.finish(dst, d, Shape::Wide);
        }
        let x = self.source(a.into(), Need::Raw);
        let (shape, constant) = (self.facts.shape(x), self.known_constant(a.into()));
        let d = self.target(dst);
        if d != x {
            self.asm.mov(Bits::W64, d, x);
        }
        self.finish(dst, d, shape);
        if let (Some(constant), Some(_)) = (constant, self.home(dst)) {
            self.know(d, constant);
        }
    }

    /// `dst = op(a, b)`.
    pub fn binary(&mut self, op: BinaryOp, width: Width, dst: Var, a: Value, b: Value) {
        if let (Value::Const(a), Value::Const(b)) = (a, b) {
            return self.set(dst, eval::binary(op, width, a as u64, b as u64));
        }
        let (a, b) = if matches!(a, Value::Const(_)) && commutes(op) { (b, a) } else { (a, b) };
        match op {
            BinaryOp::Add | BinaryOp::Sub => self.sum(op == BinaryOp::Sub, width, dst, a, b),
            BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Xor
            | BinaryOp::AndNot
            | BinaryOp::OrNot
            | BinaryOp::XorNot => self.logic(op, width, dst, a, b),
            BinaryOp::ShiftLeft => self.shift(Shift::Lsl, width, dst, a, b),
            BinaryOp::ShiftRight => self.shift(Shift::Lsr, width, dst, a, b),
            BinaryOp::ShiftRightSigned => self.shift(Shift::Asr, width, dst, a, b),
            BinaryOp::RotateRight => self.shift(Shift::Ror, width, dst, a, b),
            BinaryOp::Mul => self.multiply(width, dst, a, b),
            BinaryOp::MulHigh | BinaryOp::MulHighSignedUnsigned | BinaryOp::MulHighUnsigned => {
                self.multiply_high(op, width, dst, a, b);
            }
            BinaryOp::Div | BinaryOp::DivUnsigned => {
                self.divide(op == BinaryOp::Div, width, dst, a, b);
            }
            BinaryOp::Rem | BinaryOp::RemUnsigned => {
                self.remainder(op == BinaryOp::Rem, width, dst, a, b);
            }
            BinaryOp::Min => self.choose(Choice::Min, true, width, dst, a, b),
            BinaryOp::MinUnsigned => self.choose(Choice::Min, false, width, dst, a, b),
            BinaryOp::Max => self.choose(Choice::Max, true, width, dst, a, b),
            BinaryOp::MaxUnsigned => self.choose(Choice::Max, false, width, dst, a, b),
            BinaryOp::CarrylessMul | BinaryOp::CarrylessMulHigh => {
                self.multiply_carryless(op == BinaryOp::CarrylessMulHigh, width, dst, a, b);
            }
        }
    }

    fn sum(&mut self, subtract: bool, width: Width, dst: Var, a: Value, b: Value) {
        let op = if subtract { Alu::Sub } else { Alu::Add };
        if width != Width::W64 {
            return self.alu32(op, width, dst, a, b, Shape::Low);
        }
        if let Some(constant) = b.constant() {
            let x = self.source(a, Need::Full);
            let d = self.target(dst);
            if !self.asm.alu_imm(op, Bits::W64, d, x, constant) {
                let y = self.source(b, Need::Full);
                self.asm.alu(op, Bits::W64, d, x, y);
            }
            return self.finish(dst, d, Shape::Wide);
        }
        let (x, y) = (self.source(a, Need::Raw), self.source(b, Need::Raw));
        // One operand may be extended on the fly. Register 31 as the other one would be the stack pointer.
        let (x, y) = match self.facts.is_pending(x) && !self.facts.is_pending(y) && !subtract {
            true => (y, x),
            false => (x, y),
        };
        self.extend(x);
        if x == X::ZR {
            self.extend(y);
        }
        let d = self.target(dst);
        if self.facts.is_pending(y) {
            self.asm.alu_extend(op, Bits::W64, d, x, y, Extend::Sxtw, 0);
        } else {
            self.asm.alu(op, Bits::W64, d, x, y);
        }
        self.finish(dst, d, Shape::Wide);
    }

    /// An operation on the low halves. `shape` is that of a result that is to be sign-extended.
    fn alu32(&mut self, op: Alu, width: Width, dst: Var, a: Value, b: Value, shape: Shape) {
        let x = self.source(a, Need::Low);
        let d = self.target(dst);
        let done = b.constant().is_some_and(|constant| self.asm.alu_imm(op, Bits::W32, d, x, constant));
        if !done {
            let y = self.source(b, Need::Low);
            self.asm.alu(op, Bits::W32, d, x, y);
        }
        self.finish32(dst, d, width, shape);
    }

    /// [`Emitter::finish`] of an operation on 32 bits, which has left zeros above. `shape` is that of a result that is to be
    /// sign-extended.
    pub fn finish32(&mut self, dst: Var, d: X, width: Width, shape: Shape) {
        let shape = if width == Width::U32 && shape != Shape::Small { Shape::Wide } else { shape };
        self.finish(dst, d, shape);
    }

    fn logic(&mut self, op: BinaryOp, width: Width, dst: Var, a: Value, b: Value) {
        // With a constant, the inverted forms are the plain ones.
        let (op, b) = match (op, b) {
            (BinaryOp::AndNot, Value::Const(b)) => (BinaryOp::And, Value::Const(!b)),
            (BinaryOp::OrNot, Value::Const(b)) => (BinaryOp::Or, Value::Const(!b)),
            (BinaryOp::XorNot, Value::Const(b)) => (BinaryOp::Xor, Value::Const(!b)),
            other => other,
        };
        let alu = alu(op);
        let x = self.source(a, Need::Raw);
        if let Some(constant) = b.constant() {
            return self.logic_constant(op, width, dst, x, constant);
        }
        let y = self.source(b, Need::Raw);
        let facts = &self.facts;
        let small = match op {
            BinaryOp::And => facts.is_small(x) || facts.is_small(y),
            BinaryOp::AndNot => facts.is_small(x),
            BinaryOp::Or | BinaryOp::Xor => facts.is_small(x) && facts.is_small(y),
            _ => false,
        };
        let narrow = facts.is_narrow(x) && facts.is_narrow(y);
        let pending = facts.is_pending(x) || facts.is_pending(y);
        let shape = match (small, narrow) {
            (true, _) => Shape::Small,
            (false, true) => Shape::Narrow,
            (false, false) => Shape::Wide,
        };
        if width != Width::W64 || pending && (small || narrow) {
            let d = self.target(dst);
            self.asm.alu(alu, Bits::W32, d, x, y);
            return self.finish32(dst, d, width, if small { Shape::Small } else { Shape::Low });
        }
        self.extend(x);
        self.extend(y);
        let d = self.target(dst);
        self.asm.alu(alu, Bits::W64, d, x, y);
        self.finish(dst, d, shape);
    }

    fn logic_constant(&mut self, op: BinaryOp, width: Width, dst: Var, x: X, constant: u64) {
        let narrow_constant = constant as i32 as u64 == constant;
        let small_constant = constant >> 31 == 0;
        let small = match op {
            BinaryOp::And => small_constant || self.facts.is_small(x),
            _ => small_constant && self.facts.is_small(x),
        };
        let narrow = width != Width::W64 || self.facts.is_pending(x) && (small || narrow_constant);
        let (bits, need) = if narrow { (Bits::W32, Need::Low) } else { (Bits::W64, Need::Full) };
        if !narrow {
            self.extend(x);
        }
        let shape = match (small, narrow) {
            (true, _) => Shape::Small,
            (false, true) => Shape::Low,
            (false, false) if narrow_constant && self.facts.is_narrow(x) => Shape::Narrow,
            (false, false) => Shape::Wide,
        };
        let d = self.target(dst);
        if op == BinaryOp::Xor && constant == u64::MAX {
            self.asm.alu(Alu::Orn, bits, d, X::ZR, x);
        } else if !self.asm.alu_imm(alu(op), bits, d, x, constant) {
            let y = self.constant(constant, need);
            self.asm.alu(alu(op), bits, d, x, y);
        }
        self.finish32(dst, d, width, shape);
    }

    /// `dst = op(a, b shifted by amount)`.
    #[allow(clippy::too_many_arguments, reason = "as many as the step has")]
    pub fn shifted(
        &mut self,
        op: BinaryOp,
        width: Width,
        dst: Var,
        a: Value,
        b: Value,
        shift: Shift,
        amount: u8,
    ) {
        let alu = alu(op);
        let (x, y) = (self.source(a, Need::Raw), self.source(b, Need::Raw));
        if width != Width::W64 {
            let d = self.target(dst);
            self.asm.alu_shift(alu, Bits::W32, d, x, y, shift, amount);
            return self.finish32(dst, d, width, Shape::Low);
        }
        self.extend(x);
        let extends = shift == Shift::Lsl && amount <= 4 && matches!(alu, Alu::Add | Alu::Sub) && x != X::ZR;
        if !extends {
            self.extend(y);
        }
        let d = self.target(dst);
        if self.facts.is_pending(y) {
            self.asm.alu_extend(alu, Bits::W64, d, x, y, Extend::Sxtw, amount);
        } else {
            self.asm.alu_shift(alu, Bits::W64, d, x, y, shift, amount);
        }
        self.finish(dst, d, Shape::Wide);
    }

    /// `dst = a ± (the low bits of b, extended, << amount)`.
    pub fn extended(&mut self, subtract: bool, dst: Var, a: Value, b: Value, low: Low, amount: u8) {
        let op = if subtract { Alu::Sub } else { Alu::Add };
        let (x, y) = (self.source(a, Need::Full), self.source(b, Need::Low));
        let extend = match (low.bits, low.signed) {
            (8, false) => Extend::Uxtb,
            (8, true) => Extend::Sxtb,
            (16, false) => Extend::Uxth,
            (16, true) => Extend::Sxth,
            (_, false) => Extend::Uxtw,
            (_, true) => Extend::Sxtw,
        };
        // Register 31 would be the stack pointer.
        let x = if x == X::ZR {
            let zero = self.claim();
            self.asm.movz(Bits::W64, zero, 0, 0);
            zero
        } else {
            x
        };
        let d = self.target(dst);
        self.asm.alu_extend(op, Bits::W64, d, x, y, extend, amount);
        self.finish(dst, d, Shape::Wide);
    }

    fn choose(&mut self, choice: Choice, signed: bool, width: Width, dst: Var, a: Value, b: Value) {
        use crate::a64::Cond;
        let (x, y) = (self.source(a, Need::Raw), self.source(b, Need::Raw));
        let both_narrow = self.facts.is_narrow(x) && self.facts.is_narrow(y);
        let pending = self.facts.is_pending(x) || self.facts.is_pending(y);
        let narrow = width != Width::W64 || pending && both_narrow;
        if !narrow {
            self.extend(x);
            self.extend(y);
        }
        let shape = match (narrow, both_narrow) {
            (true, _) => Shape::Low,
            (false, true) => Shape::Narrow,
            (false, false) => Shape::Wide,
        };
        let bits = if narrow { Bits::W32 } else { Bits::W64 };
        let cond = match (choice, signed) {
            (Choice::Min, true) => Cond::Lt,
            (Choice::Min, false) => Cond::Lo,
            (Choice::Max, true) => Cond::Gt,
            (Choice::Max, false) => Cond::Hi,
        };
        self.asm.cmp(bits, x, y);
        let d = self.target(dst);
        self.asm.csel(bits, d, x, y, cond);
        self.finish32(dst, d, width, shape);
    }
}

/// Which of two values.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Min,
    Max,
}

const fn alu(op: BinaryOp) -> Alu {
    match op {
        BinaryOp::Sub => Alu::Sub,
        BinaryOp::And => Alu::And,
        BinaryOp::Or => Alu::Orr,
        BinaryOp::Xor => Alu::Eor,
        BinaryOp::AndNot => Alu::Bic,
        BinaryOp::OrNot => Alu::Orn,
        BinaryOp::XorNot => Alu::Eon,
        _ => Alu::Add,
    }
}

/// Whether the operands may change places.
const fn commutes(op: BinaryOp) -> bool {
    !matches!(
        op,
        BinaryOp::Sub
            | BinaryOp::AndNot
            | BinaryOp::OrNot
            | BinaryOp::ShiftLeft
            | BinaryOp::ShiftRight
            | BinaryOp::ShiftRightSigned
            | BinaryOp::RotateRight
            | BinaryOp::MulHighSignedUnsigned
            | BinaryOp::Div
            | BinaryOp::DivUnsigned
            | BinaryOp::Rem
            | BinaryOp::RemUnsigned
    )
}
