//! What passes over blocks need to know of instructions.

use super::{Inst, Terminator, UnaryOp, Value, Var};

impl Inst {
    /// The variable that gets the result.
    pub fn dst(&self) -> Option<Var> {
        match *self {
            Self::Unary { dst, .. }
            | Self::Binary { dst, .. }
            | Self::Compare { dst, .. }
            | Self::Select { dst, .. }
            | Self::Load { dst, .. }
            | Self::LoadReserved { dst, .. }
            | Self::StoreConditional { dst, .. }
            | Self::Atomic { dst, .. }
            | Self::Float { dst, .. }
            | Self::Call { dst, .. } => Some(dst),
            Self::Store { .. } | Self::Fence | Self::Decline { .. } => None,
        }
    }

    /// The variable that gets the result, to be replaced.
    pub fn dst_mut(&mut self) -> Option<&mut Var> {
        match self {
            Self::Unary { dst, .. }
            | Self::Binary { dst, .. }
            | Self::Compare { dst, .. }
            | Self::Select { dst, .. }
            | Self::Load { dst, .. }
            | Self::LoadReserved { dst, .. }
            | Self::StoreConditional { dst, .. }
            | Self::Atomic { dst, .. }
            | Self::Float { dst, .. }
            | Self::Call { dst, .. } => Some(dst),
            Self::Store { .. } | Self::Fence | Self::Decline { .. } => None,
        }
    }

    /// Shows each operand.
    pub fn visit_operands(&self, mut visit: impl FnMut(Value)) {
        match *self {
            Self::Unary { a, .. } => visit(a),
            Self::Binary { a, b, .. } | Self::Compare { a, b, .. } | Self::Call { a, b, .. } => {
                visit(a);
                visit(b);
            }
            Self::Select { test, a, b, .. } => {
                visit(test.into());
                visit(a);
                visit(b);
            }
            Self::Load { base, .. } => visit(base),
            Self::Store { base, value, .. } => {
                visit(base);
                visit(value);
            }
            Self::LoadReserved { address, .. } => visit(address),
            Self::StoreConditional { address, value, .. } | Self::Atomic { address, value, .. } => {
                visit(address);
                visit(value);
            }
            Self::Float { a, b, c, .. } => {
                visit(a);
                visit(b);
                visit(c);
            }
            Self::Decline { test } => visit(test),
            Self::Fence => {}
        }
    }

    /// Gives each operand, to be replaced. What a selection tests can only be replaced by another variable.
    pub fn replace_operands(&mut self, mut visit: impl FnMut(&mut Value)) {
        match self {
            Self::Unary { a, .. } => visit(a),
            Self::Binary { a, b, .. } | Self::Compare { a, b, .. } | Self::Call { a, b, .. } => {
                visit(a);
                visit(b);
            }
            Self::Select { test, a, b, .. } => {
                visit_var(test, &mut visit);
                visit(a);
                visit(b);
            }
            Self::Load { base, .. } => visit(base),
            Self::Decline { test } => visit(test),
            Self::Store { base, value, .. } => {
                visit(base);
                visit(value);
            }
            Self::LoadReserved { address, .. } => visit(address),
            Self::StoreConditional { address, value, .. } | Self::Atomic { address, value, .. } => {
                visit(address);
                visit(value);
            }
            Self::Float { a, b, c, .. } => {
                visit(a);
                visit(b);
                visit(c);
            }
            Self::Fence => {}
        }
    }

    /// Whether all it does is to set its `dst`.
    pub fn is_pure(&self) -> bool {
        matches!(self, Self::Unary { .. } | Self::Binary { .. } | Self::Compare { .. } | Self::Select { .. })
    }

    /// Whether it may raise an exception, or leave the instruction to the interpreter, which may.
    pub fn may_raise(&self) -> bool {
        matches!(
            self,
            Self::Load { .. }
                | Self::Store { .. }
                | Self::LoadReserved { .. }
                | Self::StoreConditional { .. }
                | Self::Atomic { .. }
                | Self::Call { .. }
                | Self::Decline { .. }
        )
    }

    /// Whether it may read and write globals that it does not name. So may [`UnaryOp::UnboxSingle`]: a back end may leave what
    /// is not in a box to another one, which sees all of the guest's state.
    pub fn touches_globals(&self) -> bool {
        matches!(
            self,
            Self::Unary { op: UnaryOp::UnboxSingle, .. }
                | Self::LoadReserved { .. }
                | Self::StoreConditional { .. }
                | Self::Float { .. }
                | Self::Call { .. }
                | Self::Decline { .. }
        )
    }
}

impl Terminator {
    /// Gives each operand, to be replaced. The target of an indirect jump can only be replaced by another variable.
    pub fn replace_operands(&mut self, mut visit: impl FnMut(&mut Value)) {
        match self {
            Self::Branch { a, b, .. } => {
                visit(a);
                visit(b);
            }
            Self::Indirect { target } => visit_var(target, &mut visit),
            Self::Jump { .. } | Self::Leave | Self::Resume { .. } => {}
        }
    }
}

fn visit_var(var: &mut Var, visit: &mut impl FnMut(&mut Value)) {
    let mut value = Value::Var(*var);
    visit(&mut value);
    if let Value::Var(replaced) = value {
        *var = replaced;
    }
}
