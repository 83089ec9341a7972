//! Constants and copies: operands become what they are known to be, and operations on constants become constants.

use core::ops::Range;

use super::super::{BinaryOp, Block, Inst, Terminator, UnaryOp, Value, Var, Width, eval};
use super::vars::Vars;

/// How many variables there are.
const VARS: usize = 256;

/// What is known of a variable: that it is a constant, or the same as another one was at a certain version.
#[derive(Debug, Clone, Copy)]
enum Known {
    Constant(u64),
    Copy { of: Var, version: u32 },
}

/// What is known of all variables. It is about one block at a time.
#[derive(Debug)]
pub struct Knowledge {
    /// The variables that something is known of.
    about: Vars,
    /// What: without meaning for the others.
    known: [Known; VARS],
    /// How often each variable may have changed, over all blocks.
    versions: [u32; VARS],
    apart: Range<u8>,
}

impl Knowledge {
    /// Copies are remembered where both variables are in `apart`, or neither is.
    pub const fn new(apart: Range<u8>) -> Self {
        Self { about: Vars::NONE, known: [Known::Constant(0); VARS], versions: [0; VARS], apart }
    }

    /// Propagates constants and copies through the block.
    pub fn propagate(&mut self, block: &mut Block) {
        self.about = Vars::NONE;
        for inst in &mut block.insts {
            let mut constants = false;
            inst.replace_operands(|operand| {
                *operand = self.value(*operand);
                constants |= matches!(operand, Value::Const(_));
            });
            self.decide(inst);
            if constants {
                simplify(inst);
            }
            if inst.touches_globals() {
                self.forget_globals();
            }
            if let Some(dst) = inst.effects().dst {
                self.learn(dst, inst);
            }
        }
        block.end.replace_operands(|operand| *operand = self.value(*operand));
        block.end = match block.end {
            Terminator::Indirect { target } => match self.value(target.into()) {
                Value::Const(target) => Terminator::Jump { target },
                Value::Var(target) => Terminator::Indirect { target },
            },
            Terminator::Branch { condition, a: Value::Const(a), b: Value::Const(b), taken, otherwise } => {
                let target = if eval::compare(condition, a, b) { taken } else { otherwise };
                Terminator::Jump { target }
            }
            end => end,
        };
    }

    /// What to use instead of an operand.
    fn value(&self, operand: Value) -> Value {
        let Value::Var(var) = operand else { return operand };
        if !self.about.contains(var) {
            return operand;
        }
        match self.known[usize::from(var.0)] {
            Known::Constant(constant) => Value::Const(constant),
            Known::Copy { of, version } if self.versions[usize::from(of.0)] == version => Value::Var(of),
            Known::Copy { .. } => operand,
        }
    }

    /// A selection by something known is a copy.
    fn decide(&self, inst: &mut Inst) {
        if let Inst::Select { dst, test, a, b } = *inst
            && let Value::Const(test) = self.value(test.into())
        {
            *inst = copy(dst, if test == 0 { b } else { a });
        }
    }

    /// `dst` is what `inst` has computed.
    fn learn(&mut self, dst: Var, inst: &Inst) {
        let known = match *inst {
            Inst::Unary { op: UnaryOp::Move, width: Width::W64, a, .. } => match a {
                Value::Const(constant) => Some(Known::Constant(constant)),
                Value::Var(of) if of == dst => return,
                // A temporary is not made to live longer than its guest instruction.
                Value::Var(of) if of.is_temporary() => None,
                Value::Var(of) if self.apart.contains(&of.0) != self.apart.contains(&dst.0) => None,
                Value::Var(of) => Some(Known::Copy { of, version: self.versions[usize::from(of.0)] }),
            },
            _ => None,
        };
        self.changed(dst);
        match known {
            Some(known) => {
                self.about.insert(dst);
                self.known[usize::from(dst.0)] = known;
            }
            None => self.about.remove(dst),
        }
    }

    fn changed(&mut self, var: Var) {
        let version = &mut self.versions[usize::from(var.0)];
        *version = version.wrapping_add(1);
    }

    fn forget_globals(&mut self) {
        self.about.remove_globals();
        (0..Var::FIRST_TEMPORARY).for_each(|global| self.changed(Var(global)));
    }
}

fn copy(dst: Var, a: Value) -> Inst {
    Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a }
}

/// Makes it the simplest instruction that does the same.
fn simplify(inst: &mut Inst) {
    if let Inst::Binary { op, width, dst, a: a @ Value::Const(_), b: b @ Value::Var(_) } = *inst
        && commutes(op)
    {
        *inst = Inst::Binary { op, width, dst, a: b, b: a };
    }
    *inst = match *inst {
        Inst::Unary { op, width, dst, a: Value::Const(a) } => {
            copy(dst, Value::Const(eval::unary(op, width, a)))
        }
        Inst::Binary { op, width, dst, a: Value::Const(a), b: Value::Const(b) } => {
            copy(dst, Value::Const(eval::binary(op, width, a, b)))
        }
        Inst::Compare { condition, dst, a: Value::Const(a), b: Value::Const(b) } => {
            copy(dst, Value::Const(u64::from(eval::compare(condition, a, b))))
        }
        Inst::Binary { op, width, dst, a, b: Value::Const(0) } if keeps(op) => {
            Inst::Unary { op: UnaryOp::Move, width, dst, a }
        }
        Inst::Binary { op: BinaryOp::And | BinaryOp::Mul, dst, b: Value::Const(0), .. } => {
            copy(dst, Value::ZERO)
        }
        _ => return,
    };
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
