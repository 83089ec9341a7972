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
// In one register.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects {
    operands: Operands,
    /// The variable that gets the result.
    pub dst: Option<Var>,
    flags: Flags,
}

/// Up to four operands that are variables, in order; one may be there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operands {
    /// Their numbers, 8 bits each, from the low end.
    numbers: u32,
    /// How many of those bits have a meaning.
    bits: u8,
}

impl Operands {
    const NONE: Self = Self { numbers: 0, bits: 0 };

    #[inline]
    const fn push(&mut self, var: Var) {
        self.numbers |= (var.0 as u32).wrapping_shl(self.bits as u32);
        self.bits += u8::BITS as u8;
    }
}

impl Iterator for Operands {
    type Item = Var;

    #[inline]
    fn next(&mut self) -> Option<Var> {
        self.bits = self.bits.checked_sub(u8::BITS as u8)?;
        let var = Var(self.numbers as u8);
        self.numbers >>= u8::BITS;
        Some(var)
    }
}

impl Effects {
    const fn new(dst: Option<Var>, flags: Flags) -> Self {
        Self { operands: Operands::NONE, dst, flags }
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
            Value::Var(var) => self.operands.push(var),
            Value::Const(0) => self.flags |= Flags::HAS_ZERO,
            Value::Const(_) => {}
        }
        self
    }

    /// The operands that are variables, in order; one may be there twice.
    #[inline]
    pub const fn operands(&self) -> Operands {
        self.operands
    }
}

impl Inst {
    /// What it has to do with variables that it names, and whether with others.
    pub fn effects(&self) -> Effects {
        let mut inst = *self;
        inst.visit(|_| {})
    }

    /// Gives each operand to `visit`, which may replace it: what a selection tests by another variable only. What the instruction
    /// has to do with variables then.
    #[inline]
    pub fn visit(&mut self, mut visit: impl FnMut(&mut Value)) -> Effects {
        let mut using = |effects: Effects, operand: &mut Value| {
            visit(operand);
            effects.using(*operand)
        };
        match self {
            Self::Constant { dst, .. } => Effects::pure(*dst),
            Self::Unary { op, dst, a, .. } => {
                let effects = using(Effects::pure(*dst), a);
                if matches!(op, UnaryOp::UnboxSingle) { effects.touching_globals() } else { effects }
            }
            Self::Binary { dst, a, b, .. } | Self::Compare { dst, a, b, .. } => {
                let effects = using(Effects::pure(*dst), a);
                using(effects, b)
            }
            Self::Select { dst, test, a, b } => {
                let mut effects = Effects::pure(*dst);
                test.visit(|test| effects = using(effects, test));
                let effects = using(effects, a);
                using(effects, b)
            }
            Self::Load { dst, base, .. } => using(Effects::raising(Some(*dst)), base),
            Self::Store { base, value, .. } => {
                let effects = using(Effects::raising(None), base);
                using(effects, value)
            }
            Self::LoadReserved { dst, address, .. } => {
                using(Effects::raising(Some(*dst)).touching_globals(), address)
            }
            Self::Atomic { dst, address: a, value: b, .. } => {
                let effects = using(Effects::raising(Some(*dst)), a);
                using(effects, b)
            }
            Self::StoreConditional { dst, address: a, value: b, .. } | Self::Call { dst, a, b, .. } => {
                let effects = using(Effects::raising(Some(*dst)).touching_globals(), a);
                using(effects, b)
            }
            Self::Fence => Effects::NONE,
            Self::Decline { test } => using(Effects::raising(None).touching_globals(), test),
            Self::Float { dst, a, b, c, .. } => {
                let effects = Effects::new(Some(*dst), Flags::IMPURE).touching_globals();
                let effects = using(effects, a);
                let effects = using(effects, b);
                using(effects, c)
            }
        }
    }
}
