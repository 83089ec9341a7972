//! Comparisons, and what depends on them.

use super::emitter::Emitter;
use super::extension::Shape;
use super::op::Test;
use super::registers::Need;
use crate::a64::{Alu, Bits, Cond, Extend, Label, X};
use crate::ir::{Condition, Value, Var, eval};

/// How a test is decided, once its operands are in registers.
#[derive(Debug, Clone, Copy)]
pub enum Decision {
    /// It is known.
    Known(bool),
    /// By the flags.
    Flags(Cond),
    /// By whether a register is zero; `any`: is not.
    Zero { x: X, bits: Bits, any: bool },
    /// By a bit of a register; `any`: is set.
    Bit { x: X, bit: u8, any: bool },
}

/// A comparison that may be made on a condition (CCMP).
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    cond: Cond,
    bits: Bits,
    x: X,
    y: Compared,
}

/// The right side of a comparison.
#[derive(Debug, Clone, Copy)]
enum Compared {
    Register(X),
    /// Below 32.
    Constant(u8),
}

impl Emitter<'_> {
    /// The test, if it is such a comparison, and no branch would do that compares by itself.
    pub fn comparison(&mut self, test: Test) -> Option<Comparison> {
        let Test::Compare { condition, a, b } = test else { return None };
        let (cond, a, b) = match a {
            Value::Const(_) => (mirror(cond(condition)), b, a),
            Value::Var(_) => (cond(condition), a, b),
        };
        let x = self.own_register(a)?;
        let narrow = self.facts.is_narrow(x);
        let (y, narrow) = match b {
            Value::Const(constant @ 1..32) => (Compared::Constant(constant as u8), narrow),
            Value::Const(0) if matches!(cond, Cond::Gt | Cond::Le) => (Compared::Constant(0), narrow),
            Value::Const(_) => return None,
            Value::Var(_) => {
                let y = self.own_register(b)?;
                (Compared::Register(y), narrow && self.facts.is_narrow(y))
            }
        };
        let pending = |x| self.facts.is_pending(x);
        let extends = pending(x) || matches!(y, Compared::Register(y) if pending(y));
        let bits = if narrow { Bits::W32 } else { Bits::W64 };
        (narrow || !extends).then_some(Comparison { cond, bits, x, y })
    }

    fn own_register(&self, value: Value) -> Option<X> {
        match value {
            Value::Var(var) => self.home(var),
            Value::Const(_) => None,
        }
    }

    /// Branches to `label` if the last result was positive and the comparison holds.
    pub fn branch_if_positive_and(&mut self, comparison: Comparison, label: Label) {
        let Comparison { cond, bits, x, y } = comparison;
        match y {
            Compared::Register(y) => self.asm.ccmp(bits, x, y, failing(cond), Cond::Pl),
            Compared::Constant(y) => self.asm.ccmp_imm(bits, x, y, failing(cond), Cond::Pl),
        }
        self.asm.b_cond(cond, label);
    }

    /// Branches to `label` unless the comparison holds.
    pub fn branch_unless(&mut self, comparison: Comparison, label: Label) {
        let Comparison { cond, bits, x, y } = comparison;
        match y {
            Compared::Register(y) => self.asm.cmp(bits, x, y),
            Compared::Constant(y) => {
                self.asm.cmp_imm(bits, x, y.into());
            }
        }
        self.asm.b_cond(cond.invert(), label);
    }

    /// Does what it takes to decide a test.
    pub fn decide(&mut self, test: Test) -> Decision {
        match test {
            Test::Compare { condition, a: Value::Const(a), b: Value::Const(b) } => {
                Decision::Known(eval::compare(condition, a as u64, b as u64))
            }
            Test::Compare { condition, a: a @ Value::Const(_), b } => {
                self.compare(mirror(cond(condition)), b, a)
            }
            Test::Compare { condition, a, b } => self.compare(cond(condition), a, b),
            Test::Bits { any, a: Value::Const(a), b: Value::Const(b) } => {
                Decision::Known((a & b != 0) == any)
            }
            Test::Bits { any, a: Value::Const(mask), b: a }
            | Test::Bits { any, a, b: Value::Const(mask) } => self.test_mask(any, a, mask as u64),
            Test::Bit { any, a, at } => self.test_bit(any, a, at),
            Test::Bits { any, a, b } => {
                let (x, y) = (self.source(a, Need::Raw), self.source(b, Need::Raw));
                let bits = self.common_width(x, y);
                self.asm.tst(bits, x, y);
                Decision::Flags(if any { Cond::Ne } else { Cond::Eq })
            }
        }
    }

    /// On how many bits two registers may be compared, or ANDed; all 64 are right then, if it must be 64.
    fn common_width(&mut self, x: X, y: X) -> Bits {
        if self.facts.is_narrow(x) && self.facts.is_narrow(y) {
            return Bits::W32;
        }
        self.extend(x);
        self.extend(y);
        Bits::W64
    }

    fn test_bit(&mut self, any: bool, a: Value, at: u8) -> Decision {
        let x = self.source(a, Need::Raw);
        // The sign is all that is above.
        let bit = if self.facts.is_narrow(x) { at.min(31) } else { at };
        Decision::Bit { x, bit, any }
    }

    fn test_mask(&mut self, any: bool, a: Value, mask: u64) -> Decision {
        if mask.is_power_of_two() {
            return self.test_bit(any, a, mask.trailing_zeros() as u8);
        }
        let x = self.source(a, Need::Raw);
        let bits = if mask >> 32 == 0 { Bits::W32 } else { Bits::W64 };
        if bits == Bits::W64 {
            self.extend(x);
        }
        if !self.asm.tst_imm(bits, x, mask) {
            let y = self.constant(mask, Need::Full);
            self.asm.tst(bits, x, y);
        }
        Decision::Flags(if any { Cond::Ne } else { Cond::Eq })
    }

    fn compare(&mut self, cond: Cond, a: Value, b: Value) -> Decision {
        let x = self.source(a, Need::Raw);
        if let Some(constant) = b.constant() {
            return self.compare_constant(cond, x, constant);
        }
        let y = self.source(b, Need::Raw);
        // The order of two sign-extended values is that of their low halves, signed or not.
        let (x_narrow, y_narrow) = (self.facts.is_narrow(x), self.facts.is_narrow(y));
        let cond = if x_narrow && y_narrow {
            self.asm.cmp(Bits::W32, x, y);
            cond
        } else if self.facts.is_pending(y) {
            self.asm.alu_extend(Alu::Subs, Bits::W64, X::ZR, x, y, Extend::Sxtw, 0);
            cond
        } else if self.facts.is_pending(x) {
            self.asm.alu_extend(Alu::Subs, Bits::W64, X::ZR, y, x, Extend::Sxtw, 0);
            mirror(cond)
        } else {
            self.asm.cmp(Bits::W64, x, y);
            cond
        };
        Decision::Flags(cond)
    }

    fn compare_constant(&mut self, cond: Cond, x: X, constant: u64) -> Decision {
        let narrow = self.facts.is_narrow(x);
        if constant == 0 {
            let bits = if narrow { Bits::W32 } else { Bits::W64 };
            match cond {
                Cond::Eq | Cond::Ls => return Decision::Zero { x, bits, any: false },
                Cond::Ne | Cond::Hi => return Decision::Zero { x, bits, any: true },
                Cond::Lt | Cond::Ge => {
                    return Decision::Bit { x, bit: bits.count() - 1, any: cond == Cond::Lt };
                }
                Cond::Lo => return Decision::Known(false),
                Cond::Hs => return Decision::Known(true),
                _ => {}
            }
        }
        let bits = if narrow && constant as i32 as u64 == constant {
            Bits::W32
        } else {
            self.extend(x);
            Bits::W64
        };
        if !self.asm.cmp_imm(bits, x, constant) {
            let need = if bits == Bits::W32 { Need::Low } else { Need::Full };
            let y = self.constant(constant, need);
            self.asm.cmp(bits, x, y);
        }
        Decision::Flags(cond)
    }

    /// Branches to `label` if the decision says so.
    pub fn branch_if(&mut self, decision: Decision, label: Label) {
        match decision {
            Decision::Known(false) => {}
            Decision::Known(true) => self.asm.b(label),
            Decision::Flags(cond) => self.asm.b_cond(cond, label),
            Decision::Zero { x, bits, any: false } => self.asm.cbz(bits, x, label),
            Decision::Zero { x, bits, any: true } => self.asm.cbnz(bits, x, label),
            Decision::Bit { x, bit, any: false } => self.asm.tbz(x, bit, label),
            Decision::Bit { x, bit, any: true } => self.asm.tbnz(x, bit, label),
        }
    }

    /// The decision, by the flags.
    fn flags(&mut self, decision: Decision) -> Cond {
        match decision {
            Decision::Flags(cond) => cond,
            Decision::Zero { x, bits, any } => {
                self.asm.cmp_imm(bits, x, 0);
                if any { Cond::Ne } else { Cond::Eq }
            }
            Decision::Bit { x, bit, any } => {
                let bits = if bit < 32 { Bits::W32 } else { Bits::W64 };
                self.asm.tst_imm(bits, x, 1 << bit);
                if any { Cond::Ne } else { Cond::Eq }
            }
            Decision::Known(holds) => {
                self.asm.cmp(Bits::W64, X::ZR, X::ZR);
                if holds { Cond::Eq } else { Cond::Ne }
            }
        }
    }

    /// `dst` = 1 if the test holds, else 0.
    pub fn set_if(&mut self, dst: Var, test: Test) {
        let decision = self.decide(test);
        if let Decision::Known(holds) = decision {
            return self.set(dst, u64::from(holds));
        }
        if let Decision::Bit { x, bit, any: true } = decision {
            let d = self.target(dst);
            self.asm.ubfx(Bits::W64, d, x, bit, 1);
            return self.finish(dst, d, Shape::Small);
        }
        let cond = self.flags(decision);
        self.release_claims();
        let d = self.target(dst);
        self.asm.cset(Bits::W32, d, cond);
        self.finish(dst, d, Shape::Small);
    }

    /// `dst` = `a` if the test holds, else `b`.
    pub fn select(&mut self, dst: Var, test: Test, a: Value, b: Value) {
        let decision = self.decide(test);
        if let Decision::Known(holds) = decision {
            return self.copy_value(dst, if holds { a } else { b });
        }
        let cond = self.flags(decision);
        self.release_claims();
        let (x, y) = (self.source(a, Need::Full), self.source(b, Need::Full));
        let d = self.target(dst);
        self.asm.csel(Bits::W64, d, x, y, cond);
        let facts = &self.facts;
        let shape = match (facts.shape(x), facts.shape(y)) {
            (Shape::Small, Shape::Small) => Shape::Small,
            (Shape::Wide, _) | (_, Shape::Wide) => Shape::Wide,
            _ => Shape::Narrow,
        };
        self.finish(dst, d, shape);
    }
}

const fn cond(condition: Condition) -> Cond {
    match condition {
        Condition::Equal => Cond::Eq,
        Condition::NotEqual => Cond::Ne,
        Condition::Less => Cond::Lt,
        Condition::GreaterEqual => Cond::Ge,
        Condition::Below => Cond::Lo,
        Condition::AboveEqual => Cond::Hs,
    }
}

/// Flags (N is 8, Z is 4, C is 2, V is 1) for which the condition does not hold.
pub const fn failing(cond: Cond) -> u8 {
    match cond {
        Cond::Ne | Cond::Gt => 4,
        Cond::Lo | Cond::Ls => 2,
        Cond::Ge => 8,
        _ => 0,
    }
}

/// The condition that holds if the operands change places.
const fn mirror(cond: Cond) -> Cond {
    match cond {
        Cond::Lt => Cond::Gt,
        Cond::Gt => Cond::Lt,
        Cond::Ge => Cond::Le,
        Cond::Le => Cond::Ge,
        Cond::Lo => Cond::Hi,
        Cond::Hi => Cond::Lo,
        Cond::Hs => Cond::Ls,
        Cond::Ls => Cond::Hs,
        other => other,
    }
}
