//! What is emitted: the intermediate representation's instructions, and what A64 does in one instruction where it takes
//! several.

use super::float::Operation;
use crate::a64::Shift;
use crate::ir::{BinaryOp, Condition, Inst, Value, Var, Width};

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
}

impl Test {
    /// The test that holds where this one does not.
    pub fn invert(self) -> Self {
        match self {
            Self::Compare { condition, a, b } => Self::Compare { condition: invert(condition), a, b },
            Self::Bits { any, a, b } => Self::Bits { any: !any, a, b },
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

    fn visit_operands(&self, mut visit: impl FnMut(Value)) {
        match self {
            Self::Compare { a, b, .. } | Self::Bits { a, b, .. } => {
                visit(*a);
                visit(*b);
            }
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

/// The variables among the operands of an [`Op`].
#[derive(Debug, Clone, Copy)]
pub struct Vars {
    vars: [Var; Self::MOST],
    next: u8,
    end: u8,
}

impl Vars {
    /// How many operands there may be.
    const MOST: usize = 4;
}

impl Iterator for Vars {
    type Item = Var;

    fn next(&mut self) -> Option<Var> {
        let var = self.vars.get(..usize::from(self.end))?.get(usize::from(self.next)).copied();
        self.next += 1;
        var
    }
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
    /// The variable that gets the result.
    pub fn dst(&self) -> Option<Var> {
        match self {
            Self::Inst(inst) => inst.dst(),
            Self::Shifted { dst, .. }
            | Self::Extended { dst, .. }
            | Self::Extract { dst, .. }
            | Self::Insert { dst, .. }
            | Self::MulAdd { dst, .. }
            | Self::Set { dst, .. }
            | Self::Select { dst, .. } => Some(*dst),
            Self::Float(operation) => operation.dst(),
            Self::Nothing
            | Self::Stop { .. }
            | Self::Again
            | Self::Side { .. }
            | Self::Guard { .. }
            | Self::Jump { .. }
            | Self::Branch { .. }
            | Self::Indirect { .. } => None,
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

    /// Shows each operand.
    pub fn visit_operands(&self, mut visit: impl FnMut(Value)) {
        match self {
            Self::Nothing | Self::Stop { .. } | Self::Again | Self::Jump { .. } => {}
            Self::Inst(inst) => inst.visit_operands(visit),
            Self::Extract { a, .. } | Self::Insert { a, .. } => visit(*a),
            Self::Shifted { a, b, .. } | Self::Extended { a, b, .. } => {
                visit(*a);
                visit(*b);
            }
            Self::MulAdd { a, b, c, .. } => {
                visit(*a);
                visit(*b);
                visit(*c);
            }
            Self::Set { test, .. } | Self::Side { test, .. } | Self::Branch { test, .. } => {
                test.visit_operands(visit);
            }
            Self::Select { test, a, b, .. } => {
                visit(*a);
                visit(*b);
                test.visit_operands(visit);
            }
            Self::Float(operation) => operation.operands().into_iter().for_each(visit),
            Self::Guard { target, .. } | Self::Indirect { target, .. } => visit((*target).into()),
        }
    }

    /// The operands that are variables.
    pub fn vars(&self) -> Vars {
        let mut vars = Vars { vars: [Var(0); Vars::MOST], next: 0, end: 0 };
        self.visit_operands(|operand| {
            if let Value::Var(var) = operand
                && let Some(place) = vars.vars.get_mut(usize::from(vars.end))
            {
                *place = var;
                vars.end += 1;
            }
        });
        vars
    }

    /// Whether all it does is to set its `dst`.
    pub fn is_pure(&self) -> bool {
        match self {
            Self::Inst(inst) => inst.is_pure(),
            Self::Shifted { .. }
            | Self::Extended { .. }
            | Self::Extract { .. }
            | Self::Insert { .. }
            | Self::MulAdd { .. }
            | Self::Set { .. }
            | Self::Select { .. } => true,
            _ => false,
        }
    }

    /// Whether the guest's state before it may be seen: it may raise an exception, or leave.
    pub fn shows_state(&self) -> bool {
        match self {
            Self::Inst(inst) => inst.may_raise(),
            Self::Float(_)
            | Self::Stop { .. }
            | Self::Side { .. }
            | Self::Guard { .. }
            | Self::Jump { .. }
            | Self::Branch { .. }
            | Self::Indirect { .. } => true,
            _ => false,
        }
    }
}
