//! What passes over blocks may replace of an instruction.

use super::{Inst, Terminator, Value, Var};

impl Inst {
    /// The variable that gets the result, to be replaced.
    pub fn dst_mut(&mut self) -> Option<&mut Var> {
        match self {
            Self::Constant { dst, .. }
            | Self::Unary { dst, .. }
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
            Self::Constant { .. } | Self::Fence => {}
        }
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
