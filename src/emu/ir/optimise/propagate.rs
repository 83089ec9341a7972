//! Constants and copies: operands become what they are known to be, and operations on constants become constants.

use core::ops::Range;

use super::super::{BinaryOp, Block, Inst, Terminator, UnaryOp, Value, Var, Width, eval};

/// How many variables there are.
const VARS: usize = 256;

/// What is known of a variable: that it is a constant, or the same as another one was at a certain version.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    Constant(u64),
    Copy { of: Var, version: u32 },
}

struct Knowledge<'a> {
    known: [Known; VARS],
    /// How often each variable may have changed.
    versions: [u32; VARS],
    apart: &'a Range<u8>,
}

/// Propagates constants and copies through the block; copies only where both variables are in `apart`, or neither is.
pub fn propagate(block: &mut Block, apart: &Range<u8>) {
    let mut knowledge = Knowledge { known: [Known::Nothing; VARS], versions: [0; VARS], apart };
    for inst in &mut block.insts {
        inst.visit_operands(|operand| *operand = knowledge.value(*operand));
        *inst = simplify(knowledge.decide(*inst));
        if inst.touches_globals() {
            knowledge.forget_globals();
        }
        if let Some(dst) = inst.dst() {
            knowledge.learn(dst, inst);
        }
    }
    block.end.visit_operands(|operand| *operand = knowledge.value(*operand));
    block.end = match block.end {
        Terminator::Indirect { target } => match knowledge.value(target.into()) {
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

impl Knowledge<'_> {
    /// What to use instead of an operand.
    fn value(&self, operand: Value) -> Value {
        let Value::Var(var) = operand else { return operand };
        match self.known[usize::from(var.0)] {
            Known::Constant(constant) => Value::Const(constant),
            Known::Copy { of, version } if self.versions[usize::from(of.0)] == version => Value::Var(of),
            Known::Copy { .. } | Known::Nothing => operand,
        }
    }

    /// A selection by something known is a copy.
    fn decide(&self, inst: Inst) -> Inst {
        match inst {
            Inst::Select { dst, test, a, b } => match self.value(test.into()) {
                Value::Const(0) => copy(dst, b),
                Value::Const(_) => copy(dst, a),
                Value::Var(test) => Inst::Select { dst, test, a, b },
            },
            other => other,
        }
    }

    /// `dst` is what `inst` has computed.
    fn learn(&mut self, dst: Var, inst: &Inst) {
        let known = match *inst {
            Inst::Unary { op: UnaryOp::Move, width: Width::W64, a, .. } => match a {
                Value::Const(constant) => Known::Constant(constant),
                Value::Var(of) if of == dst => return,
                // A temporary is not made to live longer than its guest instruction.
                Value::Var(of) if of.is_temporary() => Known::Nothing,
                Value::Var(of) if self.apart.contains(&of.0) != self.apart.contains(&dst.0) => Known::Nothing,
                Value::Var(of) => Known::Copy { of, version: self.versions[usize::from(of.0)] },
            },
            _ => Known::Nothing,
        };
        self.versions[usize::from(dst.0)] += 1;
        self.known[usize::from(dst.0)] = known;
    }

    fn forget_globals(&mut self) {
        let globals = usize::from(Var::FIRST_TEMPORARY);
        self.known[..globals].fill(Known::Nothing);
        self.versions[..globals].iter_mut().for_each(|version| *version += 1);
    }
}

fn copy(dst: Var, a: Value) -> Inst {
    Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a }
}

/// The simplest instruction that does the same.
fn simplify(inst: Inst) -> Inst {
    match inst {
        Inst::Unary { op, width, dst, a: Value::Const(a) } => {
            copy(dst, Value::Const(eval::unary(op, width, a)))
        }
        Inst::Binary { op, width, dst, a: Value::Const(a), b: Value::Const(b) } => {
            copy(dst, Value::Const(eval::binary(op, width, a, b)))
        }
        Inst::Compare { condition, dst, a: Value::Const(a), b: Value::Const(b) } => {
            copy(dst, Value::Const(u64::from(eval::compare(condition, a, b))))
        }
        Inst::Binary { op, width, dst, a: a @ Value::Const(_), b } if commutes(op) => {
            simplify(Inst::Binary { op, width, dst, a: b, b: a })
        }
        Inst::Binary { op, width, dst, a, b: Value::Const(0) } if keeps(op) => {
            Inst::Unary { op: UnaryOp::Move, width, dst, a }
        }
        Inst::Binary { op: BinaryOp::And | BinaryOp::Mul, dst, b: Value::Const(0), .. } => {
            copy(dst, Value::ZERO)
        }
        other => other,
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
