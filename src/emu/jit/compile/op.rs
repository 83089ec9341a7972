//! What is emitted: the intermediate representation's instructions, and what A64 does in one instruction where it takes
//! several.

use super::float::Operation;
use crate::a64::Shift;
use crate::ir::{BinaryOp, Condition, Effects, Inst, Value, Var, Width};

/// What a branch or a selection asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Whether the comparison holds.
    Compare {
        /// Which one.
        condition: Condition,
        /// The left operand.
        a: Value,
        /// The right operand.
        b: Value,
    },
    /// Whether the operands have a bit in common, or none.
    Bits {
        /// Whether it asks for one.
        any: bool,
        /// One operand.
        a: Value,
        /// The other one.
        b: Value,
    },
    /// Whether a bit is set.
    Bit {
        /// Whether it is to be.
        any: bool,
        /// The operand.
        a: Value,
        /// Which one: below 64.
        at: u8,
    },
}

impl Test {
    /// The test that holds where this one does not.
    pub fn invert(self) -> Self {
        match self {
            Self::Compare { condition, a, b } => Self::Compare { condition: invert(condition), a, b },
            Self::Bits { any, a, b } => Self::Bits { any: !any, a, b },
            Self::Bit { any, a, at } => Self::Bit { any: !any, a, at },
        }
    }

    /// If all it asks is whether a variable is not zero, or is zero: the variable, and whether not.
    pub fn of_zero(self) -> Option<(Var, bool)> {
        let Self::Compare { condition, a, b } = self else { return None };
        match (condition, a, b) {
            (Condition::NotEqual, Value::Var(var), Value::ZERO)
            | (Condition::NotEqual | Condition::Below, Value::ZERO, Value::Var(var))
            | (Condition::AboveEqual, Value::Var(var), Value::Const(1)) => Some((var, true)),
            (Condition::Equal, Value::Var(var), Value::ZERO)
            | (Condition::Equal | Condition::AboveEqual, Value::ZERO, Value::Var(var))
            | (Condition::Below, Value::Var(var), Value::Const(1)) => Some((var, false)),
            _ => None,
        }
    }

    /// `effects`, and that its operands are used.
    fn used_by(self, effects: Effects) -> Effects {
        match self {
            Self::Compare { a, b, .. } | Self::Bits { a, b, .. } => effects.using(a).using(b),
            Self::Bit { a, .. } => effects.using(a),
        }
    }
}

const fn invert(condition: Condition) -> Condition {
    match condition {
        Condition::Equal => Condition::NotEqual,
        Condition::NotEqual => Condition::Equal,
        Condition::Less => Condition::GreaterEqual,
        Condition::GreaterEqual => Condition::Less,
        Condition::Below => Condition::AboveEqual,
        Condition::AboveEqual => Condition::Below,
    }
}

/// One step of a trace. Fields that [`Inst`] has, too, mean the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Nothing: another one does what this one did.
    Nothing,
    /// A step of the intermediate representation, but for comparisons and selections. Floating-point operations and calls are
    /// not translated.
    Inst(Inst),
    /// `dst = op(a, b shifted by amount)`.
    Shifted { op: BinaryOp, width: Width, dst: Var, a: Value, b: Value, shift: Shift, amount: u8 },
    /// `dst = a ± (the low bits of b, extended, << amount)`, all of 64 bits.
    Extended { subtract: bool, dst: Var, a: Value, b: Value, low: Low, amount: u8 },
    /// `dst` = the `low` bits of `a` from bit `at` on, extended.
    Extract { dst: Var, a: Value, low: Low, at: u8 },
    /// `dst` = the `low` bits of `a`, extended, `<< to`.
    Insert { dst: Var, a: Value, low: Low, to: u8 },
    /// `dst = c ± a * b`.
    MulAdd { subtract: bool, width: Width, dst: Var, a: Value, b: Value, c: Value },
    /// `dst` = 1 if the test holds, else 0: [`Inst::Compare`].
    Set { dst: Var, test: Test },
    /// `dst` = `a` if the test holds, else `b`: [`Inst::Select`].
    Select { dst: Var, test: Test, a: Value, b: Value },
    /// A guest instruction of floating point.
    Float(Operation),
    /// The interpreter goes on at `pc`.
    Stop { pc: u64 },
    /// The trace is at its head again, for the first time.
    Again,
    /// Leaves for `target` if the test holds.
    Side { test: Test, target: u64 },
    /// Leaves for where `target` says unless that is `expected`; if `masked`, the lowest bit of `target` does not count.
    Guard { target: Var, masked: bool, expected: u64 },
    /// Leaves for `target`.
    Jump { target: u64 },
    /// Leaves for `taken` if the test holds, else for `otherwise`.
    Branch { test: Test, taken: u64, otherwise: u64 },
    /// Leaves for where `target` says; if `masked`, the lowest bit does not count.
    Indirect { target: Var, masked: bool },
}

/// How many low bits count of an operand, and how they are extended to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Low {
    /// How many: 1 to 64.
    pub bits: u8,
    /// By the highest of them, or by zeros.
    pub signed: bool,
}

impl Op {
    /// What it has to do with variables. What leaves shows the guest's state.
    pub fn effects(&self) -> Effects {
        match *self {
            Self::Nothing | Self::Again => Effects::NONE,
            Self::Inst(inst) => inst.effects(),
            Self::Extract { dst, a, .. } | Self::Insert { dst, a, .. } => Effects::pure(dst).using(a),
            Self::Shifted { dst, a, b, .. } | Self::Extended { dst, a, b, .. } => {
                Effects::pure(dst).using(a).using(b)
            }
            Self::MulAdd { dst, a, b, c, .. } => Effects::pure(dst).using(a).using(b).using(c),
            Self::Set { dst, test } => test.used_by(Effects::pure(dst)),
            Self::Select { dst, test, a, b } => test.used_by(Effects::pure(dst).using(a).using(b)),
            Self::Float(operation) => {
                operation.operands().into_iter().fold(Effects::raising(operation.dst()), Effects::using)
            }
            Self::Stop { .. } | Self::Jump { .. } => Effects::raising(None),
            Self::Side { test, .. } | Self::Branch { test, .. } => test.used_by(Effects::raising(None)),
            Self::Guard { target, .. } | Self::Indirect { target, .. } => {
                Effects::raising(None).using(target.into())
            }
        }
    }

    /// The variable that gets the result, to be replaced: not of floating-point operations.
    pub fn dst_mut(&mut self) -> Option<&mut Var> {
        match self {
            Self::Inst(inst) => inst.dst_mut(),
            Self::Shifted { dst, .. }
            | Self::Extended { dst, .. }
            | Self::Extract { dst, .. }
            | Self::Insert { dst, .. }
            | Self::MulAdd { dst, .. }
            | Self::Set { dst, .. }
            | Self::Select { dst, .. } => Some(dst),
            Self::Nothing
            | Self::Float(_)
            | Self::Stop { .. }
            | Self::Again
            | Self::Side { .. }
            | Self::Guard { .. }
            | Self::Jump { .. }
            | Self::Branch { .. }
            | Self::Indirect { .. } => None,
        }
    }
}
