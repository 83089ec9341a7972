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
}

impl Var {
    /// Gives the variable as an operand, to be replaced by another variable only.
    #[inline]
    pub(super) fn visit(&mut self, visit: impl FnOnce(&mut Value)) {
        let mut value = Value::Var(*self);
        visit(&mut value);
        if let Value::Var(var) = value {
            *self = var;
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
            Self::Indirect { target } => target.visit(visit),
            Self::Jump { .. } | Self::Leave | Self::Resume { .. } => {}
        }
    }
}
