//! Moves and signs.

use super::{
    Float, Operand, Sign, Surroundings, T0, T1, format,
    registers::{Origin, V29, V30, constant, word},
};
use crate::a64::{Alu, Assembler, Bits, Ext, F, Mode, V, X};
use crate::ir::eval::BOX;
use crate::ir::{Format, Value, Var};
use crate::memory::Size;

/// An integer of the same width.
const fn bits(format: Format) -> Bits {
    match format {
        Format::Single => Bits::W32,
        Format::Double => Bits::W64,
    }
}

impl Float {
    pub(super) fn move_to_float(&mut self, c: &mut impl Surroundings, of: Format, dst: Var, a: Operand) {
        match a.value {
            Value::Const(value) if of == Format::Single => self.set(c, dst, BOX | value as u64),
            Value::Const(value) => self.set(c, dst, value as u64),
            Value::Var(var) if self.is_register(var) => {
                let boxed = a.boxed || self.is_boxed(var);
                let f = if boxed { F::S } else { F::D };
                let [origin] = self.find(c, f, [Operand { boxed, ..a }], Some(dst));
                let v = self.result(c, dst, 0, V29);
                match origin {
                    Origin::V(from) => c.asm().fmov(f, v, from),
                    _ => {
                        origin.bring(c.asm(), f, v);
                    }
                }
                self.put(c, f, dst, v);
            }
            integer => {
                let f = format(of);
                let [] = self.find(c, f, [], Some(dst));
                let v = self.result(c, dst, 0, V29);
                let x = c.source(integer, bits(of), T0);
                c.asm().fmov_from_x(f, v, x);
                self.put(c, f, dst, v);
                if of == Format::Double {
                    self.remember(c, f, dst, integer);
                }
            }
        }
    }

    /// `dst = value`.
    pub(super) fn set(&mut self, c: &mut impl Surroundings, dst: Var, value: u64) {
        let f = if value & BOX == BOX { F::S } else { F::D };
        let bits = if f == F::S { value & !BOX } else { value };
        let [] = self.find(c, f, [], Some(dst));
        let v = self.result(c, dst, 0, V29);
        constant(c.asm(), f, v, bits);
        self.put(c, f, dst, v);
        if let Some(value) = Value::of_constant(bits) {
            self.remember(c, f, dst, value);
        }
    }

    pub(super) fn move_to_integer(&mut self, c: &mut impl Surroundings, of: Format, dst: Var, a: Var) {
        let x = c.target(dst, T0);
        match of {
            Format::Double => self.read(c, a, x),
            Format::Single => match self.origin(c, a) {
                Origin::V(v) => c.asm().fmov_to_x(F::S, x, v),
                _ => {
                    c.asm().load(Mode::Normal, Size::Word, Ext::Zero, x, X::SP, word(a));
                }
            },
        }
        c.computed(dst, x, bits(of));
        self.changed(dst, None);
    }

    /// Moves a floating-point register to a general one, as an operand of integer code.
    pub fn read(&mut self, c: &mut impl Surroundings, var: Var, to: X) {
        match self.whole(c, var) {
            Origin::V(v) => c.asm().fmov_to_x(F::D, to, v),
            _ => {
                c.asm().load(Mode::Normal, Size::Double, Ext::Zero, to, X::SP, word(var));
            }
        }
    }

    /// Negates, or takes the magnitude.
    pub(super) fn change_sign(
        &mut self,
        c: &mut impl Surroundings,
        f: F,
        dst: Var,
        a: Operand,
        change: fn(&mut Assembler, F, V, V),
    ) {
        let [origin] = self.find(c, f, [a], Some(dst));
        let v = self.result(c, dst, 0, V29);
        let n = origin.bring(c.asm(), f, V29);
        change(c.asm(), f, v, n);
        self.put(c, f, dst, v);
    }

    /// The bits are put together in general registers: there is no instruction that takes a sign from elsewhere.
    pub(super) fn sign(
        &mut self,
        c: &mut impl Surroundings,
        sign: Sign,
        of: Format,
        dst: Var,
        [a, b]: [Operand; 2],
    ) {
        let (f, bits) = (format(of), bits(of));
        let [n, m] = self.find(c, f, [a, b], Some(dst));
        let asm = c.asm();
        let (n, m) = (n.bring(asm, f, V29), m.bring(asm, f, V30));
        asm.fmov_to_x(f, T0, n);
        asm.fmov_to_x(f, T1, m);
        let sign_bit = 1 << (bits.count() - 1);
        match sign {
            Sign::Copy | Sign::Negate => {
                // BFI: the magnitude into the other one.
                asm.bfm(bits, T1, T0, 0, bits.count() - 2);
                if sign == Sign::Negate {
                    asm.alu_imm(Alu::Eor, bits, T1, T1, sign_bit);
                }
            }
            Sign::Xor => {
                asm.alu_imm(Alu::And, bits, T1, T1, sign_bit);
                asm.alu(Alu::Eor, bits, T1, T1, T0);
            }
        }
        let v = self.result(c, dst, 0, V29);
        c.asm().fmov_from_x(f, v, T1);
        self.put(c, f, dst, v);
    }
}
