//! What an instruction has to do with variables, and with what others may see.

use super::{Inst, UnaryOp, Value, Var};

/// What passes over a block need to know of an instruction: found out once, by one look at what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects {
    operands: [Var; Self::MOST],
    count: u8,
    /// The variable that gets the result.
    pub dst: Option<Var>,
    kind: Kind,
}

/// What happens but for the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    /// It may raise an exception, or leave the instruction to the interpreter, which may.
    Raises,
    Other,
}

impl Effects {
    /// How many operands may be variables.
    const MOST: usize = 4;

    const fn new(dst: Option<Var>, kind: Kind) -> Self {
        Self { operands: [Var(0); Self::MOST], count: 0, dst, kind }
    }

    /// Nothing that concerns variables happens.
    pub const NONE: Self = Self::new(None, Kind::Other);

    /// `dst` is set, and nothing else happens.
    pub const fn pure(dst: Var) -> Self {
        Self::new(Some(dst), Kind::Nothing)
    }

    /// The guest's state may be shown before `dst` is set.
    pub const fn raising(dst: Option<Var>) -> Self {
        Self::new(dst, Kind::Raises)
    }

    /// Whether all that happens is that `dst` is set.
    pub const fn is_pure(&self) -> bool {
        matches!(self.kind, Kind::Nothing)
    }

    /// Whether an exception may be raised, or the instruction left to the interpreter, which may.
    pub const fn may_raise(&self) -> bool {
        matches!(self.kind, Kind::Raises)
    }

    /// The same with one more operand.
    #[inline]
    pub fn using(mut self, operand: Value) -> Self {
        if let Value::Var(var) = operand
            && let Some(place) = self.operands.get_mut(usize::from(self.count))
        {
            *place = var;
            self.count += 1;
        }
        self
    }

    /// The operands that are variables, in order; one may be there twice.
    #[inline]
    pub fn operands(&self) -> &[Var] {
        self.operands.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl Inst {
    /// What it has to do with variables that it names.
    #[inline]
    pub fn effects(&self) -> Effects {
        match *self {
            Self::Unary { dst, a, .. } => Effects::pure(dst).using(a),
            Self::Binary { dst, a, b, .. } | Self::Compare { dst, a, b, .. } => {
                Effects::pure(dst).using(a).using(b)
            }
            Self::Select { dst, test, a, b } => Effects::pure(dst).using(test.into()).using(a).using(b),
            Self::Load { dst, base: address, .. } | Self::LoadReserved { dst, address, .. } => {
                Effects::raising(Some(dst)).using(address)
            }
            Self::Store { base, value, .. } => Effects::raising(None).using(base).using(value),
            Self::StoreConditional { dst, address: a, value: b, .. }
            | Self::Atomic { dst, address: a, value: b, .. }
            | Self::Call { dst, a, b, .. } => Effects::raising(Some(dst)).using(a).using(b),
            Self::Fence => Effects::NONE,
            Self::Decline { test } => Effects::raising(None).using(test),
            Self::Float { dst, a, b, c, .. } => {
                Effects::new(Some(dst), Kind::Other).using(a).using(b).using(c)
            }
        }
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
