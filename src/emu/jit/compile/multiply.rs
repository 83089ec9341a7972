//! Products, quotients and remainders.

use super::emitter::Emitter;
use super::exits::OutOfLine;
use super::extension::Shape;
use super::registers::Need;
use crate::a64::{Alu, Bits, F, Shift, V, X};
use crate::ir::{BinaryOp, Value, Var, Width};

impl Emitter<'_> {
    /// `dst = a * b`.
    pub fn multiply(&mut self, width: Width, dst: Var, a: Value, b: Value) {
        self.multiply_add(false, width, dst, a, b, Value::ZERO);
    }

    /// `dst = c ± a * b`.
    pub fn multiply_add(&mut self, subtract: bool, width: Width, dst: Var, a: Value, b: Value, c: Value) {
        let (x, y) = (self.source(a, Need::Raw), self.source(b, Need::Raw));
        if width != Width::W64 {
            let z = self.source(c, Need::Low);
            let d = self.target(dst);
            self.multiply_into(subtract, Bits::W32, d, [x, y, z]);
            return self.finish32(dst, d, width, Shape::Low);
        }
        let z = self.source(c, Need::Full);
        let pending = self.facts.is_pending(x) || self.facts.is_pending(y);
        let narrow = self.facts.is_narrow(x) && self.facts.is_narrow(y);
        if pending && narrow && !subtract {
            let d = self.target(dst);
            self.asm.smaddl(d, x, y, z);
            return self.finish(dst, d, Shape::Wide);
        }
        self.extend(x);
        self.extend(y);
        let d = self.target(dst);
        self.multiply_into(subtract, Bits::W64, d, [x, y, z]);
        self.finish(dst, d, Shape::Wide);
    }

    fn multiply_into(&mut self, subtract: bool, bits: Bits, d: X, [x, y, z]: [X; 3]) {
        if subtract {
            self.asm.msub(bits, d, x, y, z);
        } else {
            self.asm.madd(bits, d, x, y, z);
        }
    }

    /// `dst` = the high half of a product.
    pub fn multiply_high(&mut self, op: BinaryOp, width: Width, dst: Var, a: Value, b: Value) {
        if width != Width::W64 {
            return self.multiply_high32(op, width, dst, a, b);
        }
        let (x, y) = (self.source(a, Need::Full), self.source(b, Need::Full));
        match op {
            BinaryOp::MulHigh => {
                let d = self.target(dst);
                self.asm.smulh(d, x, y);
                self.finish(dst, d, Shape::Wide);
            }
            BinaryOp::MulHighUnsigned => {
                let d = self.target(dst);
                self.asm.umulh(d, x, y);
                self.finish(dst, d, Shape::Wide);
            }
            _ => {
                // A negative a is 2^64 too much in the unsigned product.
                let (high, excess) = (self.claim(), self.claim());
                self.asm.umulh(high, x, y);
                self.asm.alu_shift(Alu::And, Bits::W64, excess, y, x, Shift::Asr, 63);
                let d = self.home(dst).unwrap_or(high);
                self.asm.alu(Alu::Sub, Bits::W64, d, high, excess);
                self.finish(dst, d, Shape::Wide);
            }
        }
    }

    fn multiply_high32(&mut self, op: BinaryOp, width: Width, dst: Var, a: Value, b: Value) {
        let (x, y) = (self.source(a, Need::Low), self.source(b, Need::Low));
        let product = self.claim();
        match op {
            BinaryOp::MulHigh => self.asm.smaddl(product, x, y, X::ZR),
            BinaryOp::MulHighUnsigned => self.asm.umaddl(product, x, y, X::ZR),
            _ => {
                let wide = self.claim();
                self.asm.sxtw(product, x);
                self.asm.mov(Bits::W32, wide, y);
                self.asm.mul(Bits::W64, product, product, wide);
            }
        }
        let d = self.home(dst).unwrap_or(product);
        if width == Width::S32 {
            self.asm.shift_imm(Shift::Asr, Bits::W64, d, product, 32);
            self.finish(dst, d, Shape::Narrow);
        } else {
            self.asm.shift_imm(Shift::Lsr, Bits::W64, d, product, 32);
            self.finish(dst, d, Shape::Wide);
        }
    }

    /// `dst = a / b`; all ones if b is 0, where A64 has 0. Where the quotient does not fit, both have a.
    pub fn divide(&mut self, signed: bool, width: Width, dst: Var, a: Value, b: Value) {
        let (bits, [x, y]) = self.division_operands(width, a, b);
        let d = self.target(dst);
        let done = match b {
            Value::Const(b) if bits == Bits::W64 && b != 0 || b as u32 != 0 => None,
            _ => {
                let (label, back) = (self.asm.label(), self.asm.label());
                self.asm.cbz(bits, y, label);
                self.output.out_of_line.push(OutOfLine::Ones { label, bits, x: d, back });
                Some(back)
            }
        };
        self.quotient(signed, bits, d, x, y);
        if let Some(back) = done {
            self.asm.bind(back);
        }
        self.finish_division(dst, d, width);
    }

    /// `dst` = the low or high half of the carry-less product. SIMD&FP registers are floating point's, so what two of them hold
    /// is set aside.
    pub fn multiply_carryless(&mut self, high: bool, width: Width, dst: Var, a: Value, b: Value) {
        if width != Width::W64 || !self.features.pmull {
            return self.decline();
        }
        let (v, w) = (V::new(30), V::new(31));
        let (x, y) = (self.source(a, Need::Full), self.source(b, Need::Full));
        let (of_v, of_w) = (self.claim(), self.claim());
        self.asm.fmov_to_x(F::D, of_v, v);
        self.asm.fmov_to_x(F::D, of_w, w);
        self.asm.fmov_from_x(F::D, v, x);
        self.asm.fmov_from_x(F::D, w, y);
        // Their registers may get the result.
        [x, y].into_iter().for_each(|x| self.unclaim(x));
        self.asm.pmull(v, v, w);
        let d = self.target(dst);
        self.asm.umov_d(d, v, u8::from(high));
        self.asm.fmov_from_x(F::D, v, of_v);
        self.asm.fmov_from_x(F::D, w, of_w);
        self.finish(dst, d, Shape::Wide);
    }

    /// `dst` = the remainder: a if b is 0, since the quotient is 0 then, and 0 where that does not fit.
    pub fn remainder(&mut self, signed: bool, width: Width, dst: Var, a: Value, b: Value) {
        let (bits, [x, y]) = self.division_operands(width, a, b);
        let quotient = self.claim();
        self.quotient(signed, bits, quotient, x, y);
        let d = self.home(dst).unwrap_or(quotient);
        self.asm.msub(bits, d, quotient, y, x);
        self.finish_division(dst, d, width);
    }

    fn division_operands(&mut self, width: Width, a: Value, b: Value) -> (Bits, [X; 2]) {
        let (bits, need) = if width == Width::W64 { (Bits::W64, Need::Full) } else { (Bits::W32, Need::Low) };
        (bits, [self.source(a, need), self.source(b, need)])
    }

    fn quotient(&mut self, signed: bool, bits: Bits, d: X, x: X, y: X) {
        if signed {
            self.asm.sdiv(bits, d, x, y);
        } else {
            self.asm.udiv(bits, d, x, y);
        }
    }

    fn finish_division(&mut self, dst: Var, d: X, width: Width) {
        match width {
            Width::W64 => self.finish(dst, d, Shape::Wide),
            Width::S32 | Width::U32 => self.finish32(dst, d, width, Shape::Low),
        }
    }
}
