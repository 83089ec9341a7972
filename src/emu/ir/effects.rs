//! What an instruction has to do with variables, and with what others may see.

use bitflags::bitflags;

use super::{Inst, UnaryOp, Value, Var};

bitflags! {
    /// What happens but for the result, and what else passes look for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Flags: u8 {
        /// Something does.
        const IMPURE = 1 << 0;
        /// It may raise an exception, or leave the instruction to the interpreter, which may.
        const RAISES = 1 << 1;
        /// It may read and write globals that it does not name.
        const TOUCHES_GLOBALS = 1 << 2;
        /// An operand is the constant zero.
        const HAS_ZERO = 1 << 3;
    }
}

/// What passes over a block need to know of an instruction: found out once, by one look at what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects {
    operands: [Var; Self::MOST],
    count: u8,
    /// The variable that gets the result.
    pub dst: Option<Var>,
    flags: Flags,
}

impl Effects {
    /// How many operands may be variables.
    const MOST: usize = 4;

    const fn new(dst: Option<Var>, flags: Flags) -> Self {
        Self { operands: [Var(0); Self::MOST], count: 0, dst, flags }
    }

    /// Nothing that concerns variables happens.
    pub const NONE: Self = Self::new(None, Flags::IMPURE);

    /// `dst` is set, and nothing else happens.
    pub const fn pure(dst: Var) -> Self {
        Self::new(Some(dst), Flags::empty())
    }

    /// The guest's state may be shown before `dst` is set.
    pub const fn raising(dst: Option<Var>) -> Self {
        Self::new(dst, Flags::IMPURE.union(Flags::RAISES))
    }

    /// The same, and it may read and write globals that it does not name.
    const fn touching_globals(self) -> Self {
        Self { flags: self.flags.union(Flags::TOUCHES_GLOBALS), ..self }
    }

    /// Whether all that happens is that `dst` is set.
    pub const fn is_pure(&self) -> bool {
        !self.flags.contains(Flags::IMPURE)
    }

    /// Whether an exception may be raised, or the instruction left to the interpreter, which may.
    pub const fn may_raise(&self) -> bool {
        self.flags.contains(Flags::RAISES)
    }

    /// Whether it may read and write globals that it does not name. So may [`UnaryOp::UnboxSingle`]: a back end may leave what
    /// is not in a box to another one, which sees all of the guest's state.
    pub const fn touches_globals(&self) -> bool {
        self.flags.contains(Flags::TOUCHES_GLOBALS)
    }

    /// Whether an operand is the constant zero.
    pub const fn has_zero(&self) -> bool {
        self.flags.contains(Flags::HAS_ZERO)
    }

    /// The same with one more operand.
    #[inline]
    pub fn using(mut self, operand: Value) -> Self {
        match operand {
            Value::Var(var) => {
                if let Some(place) = self.operands.get_mut(usize::from(self.count)) {
                    *place = var;
                    self.count += 1;
                }
            }
            Value::Const(0) => self.flags |= Flags::HAS_ZERO,
            Value::Const(_) => {}
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
    /// What it has to do with variables that it names, and whether with others.
    #[inline]
    pub fn effects(&self) -> Effects {
        match *self {
            Self::Constant { dst, .. } => Effects::pure(dst),
            Self::Unary { op: UnaryOp::UnboxSingle, dst, a, .. } => {
                Effects::pure(dst).touching_globals().using(a)
            }
            Self::Unary { dst, a, .. } => Effects::pure(dst).using(a),
            Self::Binary { dst, a, b, .. } | Self::Compare { dst, a, b, .. } => {
                Effects::pure(dst).using(a).using(b)
            }
            Self::Select { dst, test, a, b } => Effects::pure(dst).using(test.into()).using(a).using(b),
            Self::Load { dst, base, .. } => Effects::raising(Some(dst)).using(base),
            Self::Store { base, value, .. } => Effects::raising(None).using(base).using(value),
            Self::LoadReserved { dst, address, .. } => {
                Effects::raising(Some(dst)).touching_globals().using(address)
            }
            Self::Atomic { dst, address: a, value: b, .. } => Effects::raising(Some(dst)).using(a).using(b),
            Self::StoreConditional { dst, address: a, value: b, .. } | Self::Call { dst, a, b, .. } => {
                Effects::raising(Some(dst)).touching_globals().using(a).using(b)
            }
            Self::Fence => Effects::NONE,
            Self::Decline { test } => Effects::raising(None).touching_globals().using(test),
            Self::Float { dst, a, b, c, .. } => {
                Effects::new(Some(dst), Flags::IMPURE).touching_globals().using(a).using(b).using(c)
            }
        }
    }
}
