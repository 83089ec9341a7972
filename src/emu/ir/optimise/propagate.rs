//! Constants and copies: operands become what they are known to be, and operations on constants become constants.

use core::ops::Range;

use super::super::{BinaryOp, Effects, Inst, Terminator, UnaryOp, Value, Var, Vars, Width, eval};

/// How many variables there are.
const VARS: usize = 256;

/// What a variable is known to be.
#[derive(Debug, Clone, Copy)]
enum Known {
    Constant(u64),
    /// The same as another one was at a certain version.
    Copy {
        of: Var,
        version: u32,
    },
}

/// What is known of a variable, and since which beginning.
#[derive(Debug, Clone, Copy)]
struct Fact {
    beginning: u64,
    known: Known,
}

/// What is known of all variables, where control comes from nowhere else.
#[derive(Debug)]
pub struct Knowledge {
    /// How often everything has been forgotten: facts from before do not count.
    beginning: u64,
    facts: [Fact; VARS],
    /// How often each variable may have changed.
    versions: [u32; VARS],
    apart: Range<u8>,
    in_memory: Vars,
}

/// No beginning.
const NEVER: u64 = 0;

impl Knowledge {
    /// Copies are remembered where both variables are in `apart`, or neither is, and none of what is `in_memory` in what is not.
    pub const fn new(apart: Range<u8>, in_memory: Vars) -> Self {
        let nothing = Fact { beginning: NEVER, known: Known::Constant(0) };
        Self { beginning: NEVER + 1, facts: [nothing; VARS], versions: [0; VARS], apart, in_memory }
    }

    /// Forgets everything: what follows may come from elsewhere.
    pub const fn begin(&mut self) {
        self.beginning += 1;
    }

    /// What is known of a variable.
    #[inline]
    fn known(&self, var: Var) -> Option<Known> {
        let fact = &self.facts[usize::from(var.0)];
        (fact.beginning == self.beginning).then_some(fact.known)
    }

    /// Makes an instruction the simplest one that does the same after those before it. What it has to do with variables then.
    #[inline]
    pub fn improve(&mut self, inst: &mut Inst) -> Effects {
        let mut known = false;
        let mut effects = inst.visit(|operand| {
            if let Value::Var(var) = *operand
                && self.known(var).is_some()
            {
                *operand = self.value(*operand);
                known = true;
            }
        });
        if known || effects.has_zero() && effects.is_pure() {
            effects = self.simplify(inst);
        }
        if effects.touches_globals() {
            self.begin();
        }
        if let Some(dst) = effects.dst {
            self.learn(dst, inst);
        }
        effects
    }

    /// The same of a block's end.
    pub fn improve_end(&self, mut end: Terminator) -> Terminator {
        end.replace_operands(|operand| *operand = self.value(*operand));
        match end {
            Terminator::Indirect { target } if let Some(target) = self.constant(target.into()) => {
                Terminator::Jump { target }
            }
            Terminator::Branch { condition, a, b, taken, otherwise }
                if let (Some(a), Some(b)) = (self.constant(a), self.constant(b)) =>
            {
                let target = if eval::compare(condition, a, b) { taken } else { otherwise };
                Terminator::Jump { target }
            }
            end => end,
        }
    }

    /// What to use instead of an operand.
    #[inline(never)]
    fn value(&self, operand: Value) -> Value {
        let Value::Var(var) = operand else { return operand };
        match self.known(var) {
            Some(Known::Constant(constant)) => Value::of_constant(constant).unwrap_or(operand),
            Some(Known::Copy { of, version }) if self.versions[usize::from(of.0)] == version => {
                Value::Var(of)
            }
            _ => operand,
        }
    }

    /// The constant that an operand is known to be.
    fn constant(&self, operand: Value) -> Option<u64> {
        match operand {
            Value::Const(constant) => Some(constant as u64),
            Value::Var(var) => match self.known(var)? {
                Known::Constant(constant) => Some(constant),
                Known::Copy { .. } => None,
            },
        }
    }

    /// Makes it the simplest instruction that does the same. What it has to do with variables then.
    #[inline(never)]
    fn simplify(&self, inst: &mut Inst) -> Effects {
        if let Inst::Binary { op, width, dst, a: a @ Value::Const(_), b: b @ Value::Var(_) } = *inst
            && commutes(op)
        {
            *inst = Inst::Binary { op, width, dst, a: b, b: a };
        }
        let simpler = match *inst {
            Inst::Unary { op, width, dst, a } => {
                self.constant(a).map(|a| Inst::Constant { dst, value: eval::unary(op, width, a) })
            }
            Inst::Binary { op, width, dst, a, b } => match (self.constant(a), self.constant(b)) {
                (Some(a), Some(b)) => Some(Inst::Constant { dst, value: eval::binary(op, width, a, b) }),
                (None, Some(0)) if keeps(op) => Some(Inst::Unary { op: UnaryOp::Move, width, dst, a }),
                (None, Some(0)) if matches!(op, BinaryOp::And | BinaryOp::Mul) => {
                    Some(Inst::Constant { dst, value: 0 })
                }
                _ => None,
            },
            Inst::Compare { condition, dst, a, b } => match (self.constant(a), self.constant(b)) {
                (Some(a), Some(b)) => {
                    Some(Inst::Constant { dst, value: u64::from(eval::compare(condition, a, b)) })
                }
                _ => None,
            },
            // A selection by something known is a copy.
            Inst::Select { dst, test, a, b } => self.constant(test.into()).map(|test| {
                let a = if test == 0 { b } else { a };
                match self.constant(a) {
                    Some(value) => Inst::Constant { dst, value },
                    None => Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a },
                }
            }),
            _ => None,
        };
        if let Some(simpler) = simpler {
            *inst = simpler;
        }
        inst.effects()
    }

    /// `dst` is what `inst` has computed.
    fn learn(&mut self, dst: Var, inst: &Inst) {
        let known = match *inst {
            Inst::Constant { value, .. } => Some(Known::Constant(value)),
            Inst::Unary { op: UnaryOp::Move, width: Width::W64, a: Value::Var(of), .. } => {
                // A temporary is not made to live longer than its guest instruction.
                match of {
                    _ if of == dst => return,
                    _ if of.is_temporary() => None,
                    _ if self.apart.contains(&of.0) != self.apart.contains(&dst.0) => None,
                    _ if self.in_memory.contains(of) && !self.in_memory.contains(dst) => None,
                    _ => Some(Known::Copy { of, version: self.versions[usize::from(of.0)] }),
                }
            }
            _ => None,
        };
        let version = &mut self.versions[usize::from(dst.0)];
        *version = version.wrapping_add(1);
        let fact = &mut self.facts[usize::from(dst.0)];
        match known {
            Some(known) => *fact = Fact { beginning: self.beginning, known },
            None => fact.beginning = NEVER,
        }
    }
}

/// Whether the operands may change places.
fn commutes(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Xor
            | BinaryOp::XorNot
            | BinaryOp::Mul
            | BinaryOp::MulHigh
            | BinaryOp::MulHighUnsigned
            | BinaryOp::Min
            | BinaryOp::MinUnsigned
            | BinaryOp::Max
            | BinaryOp::MaxUnsigned
            | BinaryOp::CarrylessMul
            | BinaryOp::CarrylessMulHigh
    )
}

/// Whether zero on the right changes nothing.
fn keeps(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Or
            | BinaryOp::Xor
            | BinaryOp::AndNot
            | BinaryOp::ShiftLeft
            | BinaryOp::ShiftRight
            | BinaryOp::ShiftRightSigned
            | BinaryOp::RotateRight
    )
}
