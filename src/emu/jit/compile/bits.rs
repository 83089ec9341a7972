//! Shifts, and operations on the bits of one operand.

use super::emitter::Emitter;
use super::extension::Shape;
use super::op::Low;
use super::registers::Need;
use crate::a64::{Alu, Bits, Cond, Shift, X};
use crate::ir::eval::{self, BOX, CANONICAL_NAN};
use crate::ir::{UnaryOp, Value, Var, Width};

impl Emitter<'_> {
    /// `dst = a`, shifted by `b`.
    pub fn shift(&mut self, shift: Shift, width: Width, dst: Var, a: Value, b: Value) {
        let Value::Const(amount) = b else { return self.shift_by_variable(shift, width, dst, a, b) };
        let bits = if width == Width::W64 { Bits::W64 } else { Bits::W32 };
        let amount = amount as u8 & (bits.count() - 1);
        let rest = bits.count() - amount;
        match (shift, width) {
            (Shift::Lsl, Width::W64) => self.insert(dst, a, Low { bits: rest, signed: false }, amount),
            (Shift::Lsr, Width::W64) => self.extract(dst, a, Low { bits: rest, signed: false }, amount),
            (Shift::Asr, Width::W64 | Width::S32) => {
                self.extract(dst, a, Low { bits: rest, signed: true }, amount);
            }
            (Shift::Lsr, _) if amount > 0 => {
                self.extract(dst, a, Low { bits: rest, signed: false }, amount);
            }
            _ => {
                let x = self.source(a, if bits == Bits::W32 { Need::Low } else { Need::Full });
                let d = self.target(dst);
                self.asm.shift_imm(shift, bits, d, x, amount);
                self.finish_shift(dst, d, width);
            }
        }
    }

    fn shift_by_variable(&mut self, shift: Shift, width: Width, dst: Var, a: Value, b: Value) {
        let (bits, need) = if width == Width::W64 { (Bits::W64, Need::Full) } else { (Bits::W32, Need::Low) };
        let (x, y) = (self.source(a, need), self.source(b, Need::Low));
        let d = self.target(dst);
        self.asm.shift(shift, bits, d, x, y);
        self.finish_shift(dst, d, width);
    }

    fn finish_shift(&mut self, dst: Var, d: X, width: Width) {
        match width {
            Width::W64 => self.finish(dst, d, Shape::Wide),
            Width::S32 | Width::U32 => self.finish32(dst, d, width, Shape::Low),
        }
    }

    /// `dst` = the `low` bits of `a` from bit `at` on, extended.
    pub fn extract(&mut self, dst: Var, a: Value, low: Low, at: u8) {
        if at == 0 {
            return self.insert(dst, a, low, 0);
        }
        let x = self.source(a, Need::Raw);
        let mut bits = low.bits;
        if self.facts.is_pending(x) && at + bits > 32 {
            // Above bit 31 is nothing but the sign.
            if low.signed && at < 32 {
                bits = 32 - at;
            } else {
                self.extend(x);
            }
        }
        let d = self.target(dst);
        if low.signed {
            self.asm.sbfx(Bits::W64, d, x, at, bits);
        } else {
            self.asm.ubfx(Bits::W64, d, x, at, bits);
        }
        self.finish(dst, d, shape(Low { bits, ..low }, 0));
    }

    /// `dst` = the `low` bits of `a`, extended, `<< to`.
    pub fn insert(&mut self, dst: Var, a: Value, low: Low, to: u8) {
        let x = self.source(a, Need::Raw);
        let mut bits = low.bits;
        if to == 0 && self.is_extended(x, low) {
            return self.copy_extended(dst, x, low);
        }
        if self.facts.is_pending(x) && bits > 32 {
            // Of a whole shift to the left, what is above the low half falls out or is the sign.
            let is_shift = bits + to == 64;
            if low.signed || is_shift {
                return self.insert_narrow(dst, x, bits, to);
            }
            self.extend(x);
        }
        if low.signed && low.bits == 32 && to == 0 && self.home(dst) == Some(x) {
            // The extension may never be wanted.
            return self.finish(dst, x, Shape::LowDirty);
        }
        bits = bits.min(64 - to);
        let d = self.target(dst);
        let rotation = 64_u8.wrapping_sub(to) & 63;
        if low.signed {
            self.asm.sbfm(Bits::W64, d, x, rotation, bits - 1);
        } else {
            self.asm.ubfm(Bits::W64, d, x, rotation, bits - 1);
        }
        self.finish(dst, d, shape(low, to));
    }

    /// `dst` = pending `x << to`.
    fn insert_narrow(&mut self, dst: Var, x: X, bits: u8, to: u8) {
        let d = self.target(dst);
        let bits = bits.min(32);
        self.asm.sbfm(Bits::W64, d, x, 64_u8.wrapping_sub(to) & 63, bits - 1);
        self.finish(dst, d, Shape::Wide);
    }

    /// Whether the value of `x` is its own `low` bits, extended.
    fn is_extended(&self, x: X, low: Low) -> bool {
        match (low.signed, low.bits) {
            (true, 32..) => self.facts.is_narrow(x),
            (false, 32) => self.facts.is_small(x) || self.facts.is_clean(x),
            (false, 31 | 33..) => self.facts.is_small(x),
            _ => false,
        }
    }

    /// `dst = x`, which is its own `low` bits, extended, if those of clean pending ones with zeros are meant.
    fn copy_extended(&mut self, dst: Var, x: X, low: Low) {
        let shape = match (low.signed, self.facts.is_clean(x)) {
            (false, true) => Shape::Wide,
            _ => self.facts.shape(x),
        };
        let d = self.target(dst);
        if d != x {
            self.asm.mov(Bits::W64, d, x);
        }
        self.finish(dst, d, shape);
    }

    /// `dst = op(a)`.
    pub fn unary(&mut self, op: UnaryOp, width: Width, dst: Var, a: Value) {
        if let Some(a) = a.constant() {
            return self.set(dst, eval::unary(op, width, a));
        }
        let low = |bits, signed| Low { bits, signed };
        match (op, width) {
            (UnaryOp::Move, Width::W64) => self.copy_value(dst, a),
            (UnaryOp::Move | UnaryOp::BoxSingle, Width::S32) => self.insert(dst, a, low(32, true), 0),
            (UnaryOp::Move | UnaryOp::BoxSingle, Width::U32) => self.insert(dst, a, low(32, false), 0),
            (UnaryOp::SignExtend8, Width::W64 | Width::S32) => self.insert(dst, a, low(8, true), 0),
            (UnaryOp::SignExtend16, Width::W64 | Width::S32) => self.insert(dst, a, low(16, true), 0),
            (UnaryOp::ZeroExtend8, _) => self.insert(dst, a, low(8, false), 0),
            (UnaryOp::ZeroExtend16, _) => self.insert(dst, a, low(16, false), 0),
            (UnaryOp::UnboxSingle, Width::W64) => self.unbox(dst, a),
            _ => self.bitwise(op, width, dst, a),
        }
    }

    fn bitwise(&mut self, op: UnaryOp, width: Width, dst: Var, a: Value) {
        let (bits, need) = if width == Width::W64 { (Bits::W64, Need::Full) } else { (Bits::W32, Need::Low) };
        let x = self.source(a, need);
        let d = match op {
            UnaryOp::SaturateBytes => self.saturate_bytes(bits, dst, x),
            _ => self.target(dst),
        };
        let counts = match op {
            UnaryOp::LeadingZeros => {
                self.asm.clz(bits, d, x);
                true
            }
            UnaryOp::TrailingZeros => {
                self.asm.rbit(bits, d, x);
                self.asm.clz(bits, d, d);
                true
            }
            UnaryOp::CountOnes => {
                self.count_ones(bits, d, x);
                true
            }
            UnaryOp::SwapBytes => {
                self.asm.rev(bits, d, x);
                false
            }
            UnaryOp::ReverseBitsInBytes => {
                self.asm.rbit(bits, d, x);
                self.asm.rev(bits, d, d);
                false
            }
            UnaryOp::BoxSingle => {
                self.asm.alu_imm(Alu::Orr, bits, d, x, BOX);
                false
            }
            UnaryOp::SaturateBytes => false,
            UnaryOp::SignExtend8 | UnaryOp::SignExtend16 => {
                self.asm.sbfx(bits, d, x, 0, if op == UnaryOp::SignExtend8 { 8 } else { 16 });
                false
            }
            // 32 bits have no room for a box.
            UnaryOp::UnboxSingle => {
                self.asm.mov_imm(d, CANONICAL_NAN);
                true
            }
            UnaryOp::Move | UnaryOp::ZeroExtend8 | UnaryOp::ZeroExtend16 => return self.decline(),
        };
        match width {
            _ if counts => self.finish(dst, d, Shape::Small),
            Width::W64 => self.finish(dst, d, Shape::Wide),
            Width::S32 | Width::U32 => self.finish32(dst, d, width, Shape::Low),
        }
    }

    /// Sums of ever more bits, side by side.
    fn count_ones(&mut self, bits: Bits, d: X, x: X) {
        const PAIRS: u64 = 0x5555_5555_5555_5555;
        const NIBBLES: u64 = 0x3333_3333_3333_3333;
        const BYTES: u64 = 0x0f0f_0f0f_0f0f_0f0f;
        const ONES: u64 = 0x0101_0101_0101_0101;
        let t = self.claim();
        self.asm.shift_imm(Shift::Lsr, bits, t, x, 1);
        self.asm.alu_imm(Alu::And, bits, t, t, PAIRS);
        self.asm.alu(Alu::Sub, bits, t, x, t);
        self.asm.shift_imm(Shift::Lsr, bits, d, t, 2);
        self.asm.alu_imm(Alu::And, bits, t, t, NIBBLES);
        self.asm.alu_imm(Alu::And, bits, d, d, NIBBLES);
        self.asm.alu(Alu::Add, bits, d, d, t);
        self.asm.alu_shift(Alu::Add, bits, d, d, d, Shift::Lsr, 4);
        self.asm.alu_imm(Alu::And, bits, d, d, BYTES);
        self.asm.alu_imm(Alu::Orr, bits, t, X::ZR, ONES);
        self.asm.mul(bits, d, d, t);
        self.asm.shift_imm(Shift::Lsr, bits, d, d, bits.count() - 8);
    }

    /// The top bit of each byte tells whether the byte is not zero: then it is spread. Where the result for `dst` is.
    fn saturate_bytes(&mut self, bits: Bits, dst: Var, x: X) -> X {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let (t, low) = (self.claim(), self.claim());
        self.asm.alu_imm(Alu::Orr, bits, low, X::ZR, LOW);
        self.asm.alu(Alu::And, bits, t, x, low);
        self.asm.alu(Alu::Add, bits, t, t, low);
        self.asm.alu(Alu::Orr, bits, t, t, x);
        self.asm.alu(Alu::Bic, bits, t, t, low);
        self.asm.shift_imm(Shift::Lsl, bits, low, t, 1);
        let d = self.home(dst).unwrap_or(low);
        self.asm.alu_shift(Alu::Sub, bits, d, low, t, Shift::Lsr, 7);
        d
    }

    fn unbox(&mut self, dst: Var, a: Value) {
        let x = self.source(a, Need::Full);
        let (high, nan) = (self.claim(), self.claim());
        self.asm.shift_imm(Shift::Asr, Bits::W64, high, x, 32);
        self.asm.mov_imm(nan, CANONICAL_NAN);
        self.asm.cmp_imm(Bits::W64, high, u64::MAX);
        self.unclaim(high);
        let d = self.target(dst);
        self.asm.csel(Bits::W32, d, x, nan, Cond::Eq);
        self.finish(dst, d, Shape::Wide);
    }
}

/// What the `low` bits of something are, extended, `<< to`.
const fn shape(low: Low, to: u8) -> Shape {
    match (low.signed, low.bits + to) {
        (false, ..=31) => Shape::Small,
        (true, ..=32) => Shape::Narrow,
        _ => Shape::Wide,
    }
}
