//! Steps that A64 does in one instruction become one step.
//!
//! A step takes in another one whose result it uses, if nobody else sees that result. The other's operands must still be
//! what they were.

use super::op::{Low, Op, Test};
use super::trace::{Step, Trace};
use crate::a64::Shift;
use crate::ir::{BinaryOp, Condition, Effects, Inst, UnaryOp, Value, Var, Width};

/// Which step has defined each variable.
struct Definitions([u16; 256]);

/// No step of the trace has.
const NOWHERE: u16 = u16::MAX;

impl Trace {
    /// Fuses steps. Their uses must have been counted, and stay right: a step that takes in another one uses what that has used.
    pub fn fuse(&mut self) {
        let mut definitions = Definitions([NOWHERE; 256]);
        for index in 0..self.steps.len() {
            // Code may come there from elsewhere.
            if let Some(Step { op: Op::Again, .. }) = self.steps.get(index) {
                definitions = Definitions([NOWHERE; 256]);
            }
            while definitions.improve(&mut self.steps, index) {}
            let Some(step) = self.steps.get(index) else { return };
            if let Some(dst) = step.effects.dst {
                definitions.0[usize::from(dst.0)] = index as u16;
            }
        }
    }
}

impl Definitions {
    /// Makes the step with this index take in another one, if it can. Says whether it has.
    fn improve(&mut self, steps: &mut [Step], index: usize) -> bool {
        let Some(&Step { effects, .. }) = steps.get(index) else { return false };
        effects.operands().any(|operand| self.take_in(steps, index, operand))
    }

    /// Makes the step with this index take in the one that has defined its `operand`, if it can.
    fn take_in(&mut self, steps: &mut [Step], index: usize, operand: Var) -> bool {
        let at = usize::from(self.0[usize::from(operand.0)]);
        let (Some(before), Some(step)) = (steps.get(at), steps.get(index)) else { return false };
        if before.uses != 1 || before.shown {
            return false;
        }
        if !before.effects.is_pure() {
            return self.take_over(steps, index, at);
        }
        let fused =
            fuse(&step.op, operand.into(), &before.op).filter(|_| self.unchanged(&before.effects, at));
        let Some(fused) = fused else { return false };
        if let Some(step) = steps.get_mut(index) {
            step.replace(fused);
        }
        if let Some(before) = steps.get_mut(at) {
            before.drop();
        }
        true
    }

    /// Whether the operands of the step with the index `at` still are what they were. Its own result does not count: it is
    /// not computed there any more.
    fn unchanged(&self, effects: &Effects, at: usize) -> bool {
        effects.operands().all(|var| {
            let defined = self.0[usize::from(var.0)];
            defined == NOWHERE || usize::from(defined) <= at
        })
    }

    /// Lets the step before this one, whatever it does, set what this one makes of its result.
    fn take_over(&mut self, steps: &mut [Step], index: usize, at: usize) -> bool {
        let Some(&Step {
            op: Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, .. }),
            uses,
            shown,
            ..
        }) = steps.get(index)
        else {
            return false;
        };
        if !is_before(steps, at, index) {
            return false;
        }
        let Some(before) = steps.get_mut(at) else { return false };
        let Some(result) = before.op.dst_mut() else { return false };
        *result = dst;
        before.effects.dst = Some(dst);
        (before.uses, before.shown) = (uses, shown);
        if let Some(step) = steps.get_mut(index) {
            step.drop();
        }
        self.0[usize::from(dst.0)] = at as u16;
        true
    }
}

/// Whether nothing is done between two steps.
fn is_before(steps: &[Step], at: usize, index: usize) -> bool {
    steps.get(at + 1..index).is_some_and(|between| between.iter().all(|step| matches!(step.op, Op::Nothing)))
}

/// What does both: `op`, and before it `other`, whose result is its `operand`.
fn fuse(op: &Op, operand: Value, other: &Op) -> Option<Op> {
    match *op {
        Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, .. }) => {
            let mut moved = *other;
            *moved.dst_mut()? = dst;
            Some(moved)
        }
        Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::S32, dst, .. }) => narrow(dst, other),
        Op::Inst(Inst::Binary { op, width, dst, a, b }) => binary(op, width, dst, a, b, operand, other),
        Op::Set { dst, test } => Some(Op::Set { dst, test: test_of(test, other)? }),
        Op::Select { dst, test, a, b } if a != operand && b != operand => {
            Some(Op::Select { dst, test: test_of(test, other)?, a, b })
        }
        Op::Side { test, target } => Some(Op::Side { test: test_of(test, other)?, target }),
        Op::Branch { test, taken, otherwise } => {
            Some(Op::Branch { test: test_of(test, other)?, taken, otherwise })
        }
        Op::Guard { masked: false, expected, .. } if expected & 1 == 0 => {
            Some(Op::Guard { target: without_lowest_bit(other)?, masked: true, expected })
        }
        Op::Indirect { masked: false, .. } => {
            Some(Op::Indirect { target: without_lowest_bit(other)?, masked: true })
        }
        _ => None,
    }
}

/// What a mask with all bits but the lowest is applied to.
fn without_lowest_bit(op: &Op) -> Option<Var> {
    match *op {
        Op::Inst(Inst::Binary {
            op: BinaryOp::And,
            width: Width::W64,
            a: Value::Var(var),
            b: Value::Const(mask),
            ..
        }) => (mask == !1).then_some(var),
        _ => None,
    }
}

/// The low half of the result of `other`, sign-extended.
fn narrow(dst: Var, other: &Op) -> Option<Op> {
    match *other {
        Op::Inst(Inst::Binary { op, width: Width::W64, a, b, .. }) if is_low_closed(op) => {
            Some(Op::Inst(Inst::Binary { op, width: Width::S32, dst, a, b }))
        }
        Op::Inst(Inst::Binary {
            op: BinaryOp::ShiftLeft, width: Width::W64, a, b: Value::Const(b), ..
        }) if (0..32).contains(&b) => Some(Op::Inst(Inst::Binary {
            op: BinaryOp::ShiftLeft,
            width: Width::S32,
            dst,
            a,
            b: Value::Const(b),
        })),
        Op::MulAdd { subtract, width: Width::W64, a, b, c, .. } => {
            Some(Op::MulAdd { subtract, width: Width::S32, dst, a, b, c })
        }
        _ => None,
    }
}

/// Whether the low half of the result depends on the low halves of the operands only.
const fn is_low_closed(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Xor
            | BinaryOp::AndNot
            | BinaryOp::OrNot
            | BinaryOp::XorNot
    )
}

fn binary(
    op: BinaryOp,
    width: Width,
    dst: Var,
    a: Value,
    b: Value,
    operand: Value,
    other: &Op,
) -> Option<Op> {
    if let Some(amount) = b.constant() {
        return shift_or_mask(op, width, dst, amount, other);
    }
    let on_right = match (a == operand, b == operand) {
        (true, true) => return None,
        (_, on_right) => on_right,
    };
    let commutes =
        matches!(op, BinaryOp::Add | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::XorNot);
    if !on_right && !commutes {
        return None;
    }
    // The operand that stays.
    let rest = if on_right { a } else { b };
    multiply_and_add(op, width, dst, rest, other)
        .or_else(|| inverted(op, width, dst, rest, other))
        .or_else(|| extended(op, width, dst, rest, other))
        .or_else(|| shifted(op, width, dst, rest, other))
}

/// `dst = rest ± a * b`.
fn multiply_and_add(op: BinaryOp, width: Width, dst: Var, rest: Value, other: &Op) -> Option<Op> {
    let subtract = match op {
        BinaryOp::Add => false,
        BinaryOp::Sub => true,
        _ => return None,
    };
    match *other {
        Op::Inst(Inst::Binary { op: BinaryOp::Mul, width: inner, a, b, .. })
            if inner == width || inner == Width::W64 || width != Width::W64 =>
        {
            Some(Op::MulAdd { subtract, width, dst, a, b, c: rest })
        }
        _ => None,
    }
}

/// A bitwise operation with an inverted operand.
fn inverted(op: BinaryOp, width: Width, dst: Var, rest: Value, other: &Op) -> Option<Op> {
    let op = match op {
        BinaryOp::And => BinaryOp::AndNot,
        BinaryOp::Or => BinaryOp::OrNot,
        BinaryOp::Xor => BinaryOp::XorNot,
        _ => return None,
    };
    match *other {
        Op::Inst(Inst::Binary { op: BinaryOp::Xor, width: Width::W64, a, b: Value::Const(-1), .. }) => {
            Some(Op::Inst(Inst::Binary { op, width, dst, a: rest, b: a }))
        }
        _ => None,
    }
}

/// A sum with an operand that is extended, and perhaps shifted.
fn extended(op: BinaryOp, width: Width, dst: Var, rest: Value, other: &Op) -> Option<Op> {
    let subtract = match (op, width) {
        (BinaryOp::Add, Width::W64) => false,
        (BinaryOp::Sub, Width::W64) => true,
        _ => return None,
    };
    let (a, low, amount) = as_insert(other)?;
    (matches!(low.bits, 8 | 16 | 32) && amount <= 4).then_some(Op::Extended {
        subtract,
        dst,
        a: rest,
        b: a,
        low,
        amount,
    })
}

/// If a step extends the low bits of an operand, and shifts them to the left: the operand, which bits, how far.
fn as_insert(op: &Op) -> Option<(Value, Low, u8)> {
    match *op {
        Op::Insert { a, low, to, .. } => Some((a, low, to)),
        Op::Inst(Inst::Unary { op, width: Width::W64, a, .. }) => {
            let (bits, signed) = match op {
                UnaryOp::SignExtend8 => (8, true),
                UnaryOp::SignExtend16 => (16, true),
                UnaryOp::ZeroExtend8 => (8, false),
                UnaryOp::ZeroExtend16 => (16, false),
                _ => return None,
            };
            Some((a, Low { bits, signed }, 0))
        }
        Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::S32, a, .. }) => {
            Some((a, Low { bits: 32, signed: true }, 0))
        }
        Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::U32, a, .. }) => {
            Some((a, Low { bits: 32, signed: false }, 0))
        }
        Op::Inst(Inst::Binary { op: BinaryOp::And, width: Width::W64, a, b: Value::Const(mask), .. })
            if mask > 0 && mask & mask.wrapping_add(1) == 0 =>
        {
            Some((a, Low { bits: mask.trailing_ones() as u8, signed: false }, 0))
        }
        _ => None,
    }
}

/// An operation with a shifted operand.
fn shifted(op: BinaryOp, width: Width, dst: Var, rest: Value, other: &Op) -> Option<Op> {
    let sum = matches!(op, BinaryOp::Add | BinaryOp::Sub);
    let logic = matches!(
        op,
        BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::AndNot | BinaryOp::OrNot | BinaryOp::XorNot
    );
    let Op::Inst(Inst::Binary { op: shift, width: inner, a, b: Value::Const(amount), .. }) = *other else {
        return None;
    };
    let shift = match shift {
        BinaryOp::ShiftLeft => Shift::Lsl,
        BinaryOp::ShiftRight => Shift::Lsr,
        BinaryOp::ShiftRightSigned => Shift::Asr,
        BinaryOp::RotateRight if logic => Shift::Ror,
        _ => return None,
    };
    let bits = if inner == Width::W64 { 64 } else { 32 };
    let amount = amount as u8 & (bits - 1);
    // Of a narrow operation, the low half of the shifted operand counts. To the left, that is the same of 64 bits.
    let same = match (inner == Width::W64, width == Width::W64) {
        (true, true) | (false, false) => true,
        (true, false) => shift == Shift::Lsl && amount < 32,
        (false, true) => false,
    };
    ((sum || logic) && same).then_some(Op::Shifted { op, width, dst, a: rest, b: a, shift, amount })
}

/// `dst` = the result of `other`, shifted or masked by a constant.
fn shift_or_mask(op: BinaryOp, width: Width, dst: Var, constant: u64, other: &Op) -> Option<Op> {
    let bits = if width == Width::W64 { 64 } else { 32 };
    let amount = constant as u8 & (bits - 1);
    match (op, *other) {
        (
            BinaryOp::ShiftRight | BinaryOp::ShiftRightSigned,
            Op::Inst(Inst::Binary {
                op: BinaryOp::ShiftLeft, width: inner, a, b: Value::Const(left), ..
            }),
        ) if inner == width && width != Width::U32 => {
            let left = left as u8 & (bits - 1);
            let signed = op == BinaryOp::ShiftRightSigned;
            // A narrow logical shift by 0 sign-extends after all.
            let plain = width == Width::W64 || signed || amount > 0;
            let low = Low { bits: bits - left.max(amount), signed };
            match amount.checked_sub(left) {
                _ if !plain => None,
                Some(at) => Some(Op::Extract { dst, a, low, at }),
                None => {
                    let low = Low { bits: bits - left, signed };
                    // The shift to the right has taken zeros away only, but for the sign's copies.
                    Some(Op::Insert { dst, a, low, to: left - amount })
                }
            }
        }
        (BinaryOp::ShiftLeft, _) if width == Width::W64 => {
            let (a, low, to) = as_insert(other)?;
            let to = to + amount;
            // What is shifted out at the top is not taken in at first.
            (to < 64 && to + low.bits <= 64).then_some(Op::Insert { dst, a, low, to })
        }
        (
            BinaryOp::And,
            Op::Inst(Inst::Binary { op: BinaryOp::ShiftRight, width: inner, a, b: Value::Const(at), .. }),
        ) if width == Width::W64 && constant != 0 && constant & constant.wrapping_add(1) == 0 => {
            let available = if inner == Width::W64 { 64 } else { 32 };
            let at = at as u8 & (available - 1);
            let mask = constant.trailing_ones() as u8;
            // A narrow shift by 0 sign-extends.
            let bits = mask.min(available - at);
            (inner == Width::W64 || at > 0 || mask <= 32).then_some(Op::Extract {
                dst,
                a,
                low: Low { bits, signed: false },
                at,
            })
        }
        _ => None,
    }
}

/// What asks the same as `test` does of the result of `other`.
fn test_of(test: Test, other: &Op) -> Option<Test> {
    let (_, any) = test.of_zero()?;
    let condition = if any { Condition::NotEqual } else { Condition::Equal };
    match *other {
        Op::Set { test, .. } => Some(if any { test } else { test.invert() }),
        Op::Inst(Inst::Binary { op: BinaryOp::And, width: Width::W64, a, b, .. }) => {
            Some(Test::Bits { any, a, b })
        }
        Op::Inst(Inst::Binary { op: BinaryOp::Sub | BinaryOp::Xor, width: Width::W64, a, b, .. }) => {
            Some(Test::Compare { condition, a, b })
        }
        Op::Extract { a, low: Low { bits: 1, .. }, at, .. } => Some(Test::Bit { any, a, at }),
        _ => None,
    }
}
