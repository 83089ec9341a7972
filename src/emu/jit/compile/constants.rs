//! Constants and addresses in registers.

use super::emitter::Emitter;
use super::extension::Shape;
use super::layout::{Home, TEMPORARIES};
use super::registers::{Holds, Need, Registers};
use crate::a64::{Alu, Bits, X};
use crate::ir::{Value, Var};

impl Emitter<'_> {
    /// A register with a constant, perhaps the zero register.
    pub fn constant(&mut self, constant: u64, need: Need) -> X {
        let low = constant & 0xffff_ffff;
        if constant == 0 || need == Need::Low && low == 0 {
            return X::ZR;
        }
        let held = match need {
            Need::Full | Need::Raw => self.registers.find_constant(|held| held == constant),
            Need::Low => self.registers.find_constant(|held| held & 0xffff_ffff == low),
        };
        if let Some(x) = held {
            if let Some(index) = Registers::index(x) {
                self.hold(index);
            }
            return x;
        }
        let x = self.claim();
        self.set_constant(x, if need == Need::Low { low } else { constant });
        x
    }

    /// `x = constant`: by one instruction.
    fn set_constant(&mut self, x: X, constant: u64) {
        if !self.asm.mov_short(x, constant) {
            let near = |held: u64| constant.wrapping_sub(held).wrapping_add(0xfff) < 0x1fff;
            let base = self.registers.find_constant(near);
            let distance = base.and_then(|base| Some((base, self.registers.constant(base)?)));
            match distance {
                Some((base, held)) => {
                    self.asm.alu_imm(Alu::Add, Bits::W64, x, base, constant.wrapping_sub(held));
                }
                None => self.asm.ldr_literal(x, constant),
            }
        }
        self.forget_register(x, shape_of(constant));
        self.know(x, constant);
    }

    /// `x` holds a constant.
    pub fn know(&mut self, x: X, constant: u64) {
        let number = x.number() & 31;
        self.registers.constants[usize::from(number)] = constant;
        self.registers.known |= 1 << number;
    }

    /// The constant that a register which holds `value` is known to hold.
    pub fn known_constant(&self, value: Value) -> Option<u64> {
        match value {
            Value::Const(constant) => Some(constant as u64),
            Value::Var(var) if var.is_temporary() => None,
            Value::Var(var) => match self.layout.home(var) {
                Home::X(x) => self.registers.constant(x),
                _ => None,
            },
        }
    }

    /// A register and an offset in -256..=255 whose sum is an address.
    #[inline]
    pub fn address(&mut self, base: Value, offset: i64) -> (X, i64) {
        match self.at_hand(base, Need::Full) {
            Some(base) if near(offset) => (base, offset),
            _ => self.bring_address(base, offset),
        }
    }

    /// [`Emitter::address`] if there is something to do for it.
    #[inline(never)]
    fn bring_address(&mut self, base: Value, offset: i64) -> (X, i64) {
        if let Some(base) = base.constant() {
            let address = base.wrapping_add(offset as u64);
            let reaches = |held: u64| near(address.wrapping_sub(held) as i64);
            if let Some(x) = self.registers.find_constant(reaches)
                && let Some(held) = self.registers.constant(x)
            {
                if let Some(index) = Registers::index(x) {
                    self.hold(index);
                }
                return (x, address.wrapping_sub(held) as i64);
            }
            let x = self.claim();
            self.set_constant(x, address);
            return (x, 0);
        }
        let base = self.source(base, Need::Full);
        if near(offset) {
            return (base, offset);
        }
        // A neighbour may be near, too.
        let step = (offset + REACH) & !(2 * REACH - 1);
        let held = self.registers.holds.iter().position(|&holds| holds == Holds::Sum(base, step));
        if let Some(index) = held {
            self.hold(index);
            return (TEMPORARIES[index], offset - step);
        }
        let x = self.claim();
        if !self.asm.alu_imm(Alu::Add, Bits::W64, x, base, step as u64) {
            self.set_constant(x, step as u64);
            self.asm.alu(Alu::Add, Bits::W64, x, x, base);
            self.forget_register(x, Shape::Wide);
        }
        if Registers::index(base).is_none() {
            self.remember(x, Holds::Sum(base, step));
        }
        (x, offset - step)
    }

    /// `dst = constant`.
    pub fn set(&mut self, dst: Var, constant: u64) {
        if let Some(x) = self.home(dst) {
            if self.registers.constant(x) != Some(constant) {
                self.set_constant(x, constant);
            }
        } else if dst.is_temporary() {
            let x = self.claim();
            self.set_constant(x, constant);
            self.finish(dst, x, shape_of(constant));
            self.know(x, constant);
        } else {
            let x = self.constant(constant, Need::Full);
            self.store_global(x, dst);
        }
    }
}

/// How far the offset of an access may be from 0.
const REACH: i64 = 256;

/// Whether an access may have this offset.
fn near(offset: i64) -> bool {
    (-REACH..REACH).contains(&offset)
}

/// What a register with a constant holds.
fn shape_of(constant: u64) -> Shape {
    match constant {
        0..0x8000_0000 => Shape::Small,
        _ if constant as i32 as u64 == constant => Shape::Narrow,
        _ => Shape::Wide,
    }
}
