//! What a guest instruction of floating point is: the steps of the intermediate representation that the front end has made
//! of it, put together again.

use core::ops::Range;

use crate::ir::{BinaryOp, FloatKind, FloatOp, Format, Inst, Order, UnaryOp, Value, Var, Width};
use crate::memory::Size;

/// The sign of a binary64.
const SIGN: u64 = 1 << 63;

/// An operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// The bits.
    pub value: Value,
    /// The value is taken out of a NaN box first ([`UnaryOp::UnboxSingle`]).
    pub boxed: bool,
}

impl Operand {
    const NONE: Self = Self { value: Value::ZERO, boxed: false };
}

/// The operands of an operation.
// Not three of the above: that would make all steps of a trace larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operands {
    boxed: [bool; 3],
    values: [Value; 3],
}

impl Operands {
    const fn new([a, b, c]: [Operand; 3]) -> Self {
        Self { boxed: [a.boxed, b.boxed, c.boxed], values: [a.value, b.value, c.value] }
    }

    /// One after the other.
    pub const fn all(self) -> [Operand; 3] {
        let ([a, b, c], [of_a, of_b, of_c]) = (self.values, self.boxed);
        [
            Operand { value: a, boxed: of_a },
            Operand { value: b, boxed: of_b },
            Operand { value: c, boxed: of_c },
        ]
    }
}

/// How a sign is made of those of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The second one's.
    Copy,
    /// The other one than the second one's.
    Negate,
    /// Negative if they differ.
    Xor,
}

/// A guest instruction of floating point. Results of [`Format::Single`] are put into a NaN box if they are for a
/// floating-point register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `Inst`")]
pub enum Operation {
    /// `dst = op(operands)`; `dst` is a floating-point register or an integer one, as `op` has it.
    Compute { op: FloatOp, rounding: u8, dst: Var, operands: Operands },
    /// `dst` = the operand without its sign.
    Absolute { format: Format, dst: Var, a: Operand },
    /// `dst = -a`.
    Negate { format: Format, dst: Var, a: Operand },
    /// `dst = a` with another sign.
    Sign { sign: Sign, format: Format, dst: Var, a: Operand, b: Operand },
    /// Floating-point register `dst` = the bits of `a`: for [`Format::Single`] the low 32, unless it is `boxed`.
    Move { format: Format, dst: Var, a: Operand },
    /// Floating-point register `dst` = `value`.
    Constant { dst: Var, value: u64 },
    /// Integer register `dst` = the bits of floating-point register `a`: for [`Format::Single`] the low 32, sign-extended.
    MoveToInteger { format: Format, dst: Var, a: Var },
    /// Floating-point register `dst` = memory at `base + offset`.
    Load { format: Format, dst: Var, base: Value, offset: i32 },
    /// Memory at `base + offset` = the low bits of floating-point register `value`.
    Store { format: Format, base: Value, offset: i32, value: Var },
}

impl Operation {
    /// What a guest instruction does, all of its `insts`; `None` if it is no such instruction, or looks different from what
    /// front ends make. `registers` are the floating-point registers.
    pub fn of(registers: &Range<u8>, insts: &[Inst]) -> Option<Self> {
        let (sign, insts) = match insts {
            &[Inst::Constant { dst, value: SIGN }, ref insts @ ..] if dst.is_temporary() => {
                (Some(dst), insts)
            }
            insts => (None, insts),
        };
        let taken_out = insts
            .iter()
            .take_while(|inst| matches!(inst, Inst::Unary { op: UnaryOp::UnboxSingle, .. }))
            .count();
        let (taken_out, insts) = insts.split_at_checked(taken_out)?;
        let steps = Steps { registers, sign, taken_out };
        match insts.split_last()? {
            (&Inst::Unary { op: UnaryOp::BoxSingle, width: Width::W64, dst, a: Value::Var(a) }, insts)
                if steps.is_float(dst) && a.is_temporary() =>
            {
                Some(steps.single(insts, a)?.with_dst(dst))
            }
            _ => steps.other(insts),
        }
    }

    /// The variable that gets the result.
    pub const fn dst(&self) -> Option<Var> {
        match *self {
            Self::Compute { dst, .. }
            | Self::Absolute { dst, .. }
            | Self::Negate { dst, .. }
            | Self::Sign { dst, .. }
            | Self::Move { dst, .. }
            | Self::Constant { dst, .. }
            | Self::MoveToInteger { dst, .. }
            | Self::Load { dst, .. } => Some(dst),
            Self::Store { .. } => None,
        }
    }

    /// What it reads.
    pub fn operands(&self) -> [Value; 3] {
        match *self {
            Self::Constant { .. } => [Value::ZERO; 3],
            Self::Compute { operands, .. } => operands.values,
            Self::Absolute { a, .. } | Self::Negate { a, .. } | Self::Move { a, .. } => {
                [a.value, Value::ZERO, Value::ZERO]
            }
            Self::Sign { a, b, .. } => [a.value, b.value, Value::ZERO],
            Self::MoveToInteger { a, .. } => [a.into(), Value::ZERO, Value::ZERO],
            Self::Load { base, .. } => [base, Value::ZERO, Value::ZERO],
            Self::Store { base, value, .. } => [base, value.into(), Value::ZERO],
        }
    }

    const fn with_dst(self, dst: Var) -> Self {
        match self {
            Self::Compute { op, rounding, operands, .. } => Self::Compute { op, rounding, dst, operands },
            Self::Absolute { format, a, .. } => Self::Absolute { format, dst, a },
            Self::Negate { format, a, .. } => Self::Negate { format, dst, a },
            Self::Sign { sign, format, a, b, .. } => Self::Sign { sign, format, dst, a, b },
            Self::Move { format, a, .. } => Self::Move { format, dst, a },
            Self::MoveToInteger { format, a, .. } => Self::MoveToInteger { format, dst, a },
            Self::Load { format, base, offset, .. } => Self::Load { format, dst, base, offset },
            Self::Constant { .. } | Self::Store { .. } => self,
        }
    }
}

/// A guest instruction in pieces.
struct Steps<'a> {
    registers: &'a Range<u8>,
    /// The temporary that has the sign of a binary64, if one does.
    sign: Option<Var>,
    /// Its first steps, which take operands out of their boxes.
    taken_out: &'a [Inst],
}

impl Steps<'_> {
    fn is_float(&self, var: Var) -> bool {
        self.registers.contains(&var.0)
    }

    /// What computes the `result` that is then put into a box.
    fn single(&self, insts: &[Inst], result: Var) -> Option<Operation> {
        let operation = match *insts {
            [] => Operation::Move {
                format: Format::Single,
                dst: result,
                a: self.operand(Format::Single, result.into())?,
            },
            [Inst::Float { op: op @ FloatOp { format: Format::Single, .. }, rounding, dst, a, b, c }]
                if !gives_integer(op.kind) =>
            {
                Operation::Compute { op, rounding, dst, operands: self.operands(op, [a, b, c])? }
            }
            [Inst::Load { size: Size::Word, signed: false, order: Order::Relaxed, dst, base, offset }] => {
                Operation::Load { format: Format::Single, dst, base: self.integer(base)?.value, offset }
            }
            [Inst::Unary { op: UnaryOp::Move, width: Width::U32, dst, a }] => {
                Operation::Move { format: Format::Single, dst, a: self.integer(a)? }
            }
            _ => self.sign(Format::Single, insts)?,
        };
        (operation.dst() == Some(result)).then_some(operation)
    }

    /// Instructions whose result is not put into a box, or that have none.
    fn other(&self, insts: &[Inst]) -> Option<Operation> {
        let (operation, to_float) = match *insts {
            [Inst::Float { op, rounding, dst, a, b, c }] => {
                let operands = self.operands(op, [a, b, c])?;
                let integer = gives_integer(op.kind);
                if !integer && op.format == Format::Single {
                    return None;
                }
                (Operation::Compute { op, rounding, dst, operands }, !integer)
            }
            [Inst::Unary { op: UnaryOp::Move, width, dst, a: Value::Var(a) }]
                if self.is_float(a) && !self.is_float(dst) =>
            {
                let format = match width {
                    Width::W64 => Format::Double,
                    Width::S32 => Format::Single,
                    Width::U32 => return None,
                };
                (Operation::MoveToInteger { format, dst, a }, false)
            }
            [Inst::Constant { dst, value }] => (Operation::Constant { dst, value }, true),
            [Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a }] => {
                (Operation::Move { format: Format::Double, dst, a: self.operand(Format::Double, a)? }, true)
            }
            [Inst::Store { size, order: Order::Relaxed, base, offset, value: Value::Var(value) }]
                if self.is_float(value) =>
            {
                let format = match size {
                    Size::Word => Format::Single,
                    Size::Double => Format::Double,
                    _ => return None,
                };
                (Operation::Store { format, base: self.integer(base)?.value, offset, value }, true)
            }
            [Inst::Load { size: Size::Double, signed: _, order: Order::Relaxed, dst, base, offset }] => {
                let base = self.integer(base)?.value;
                (Operation::Load { format: Format::Double, dst, base, offset }, true)
            }
            _ => (self.sign(Format::Double, insts)?, true),
        };
        (operation.dst().is_none_or(|dst| self.is_float(dst) == to_float)).then_some(operation)
    }

    /// What changes the sign.
    fn sign(&self, format: Format, insts: &[Inst]) -> Option<Operation> {
        let bit = match format {
            Format::Single => Value::Const(i32::MIN),
            Format::Double => self.sign?.into(),
        };
        // The operations of the steps, all of 64 bits, with their operands.
        let step = |inst: &Inst| match *inst {
            Inst::Binary { op, width: Width::W64, dst, a, b } => Some((op, dst, a, b)),
            _ => None,
        };
        let two = |sign, dst, a, b| {
            Some(Operation::Sign {
                sign,
                format,
                dst,
                a: self.operand(format, a)?,
                b: self.operand(format, b)?,
            })
        };
        match *insts {
            [ref only] => match step(only)? {
                (BinaryOp::Xor, dst, a, b) if b == bit => {
                    Some(Operation::Negate { format, dst, a: self.operand(format, a)? })
                }
                (BinaryOp::AndNot, dst, a, b) if b == bit => {
                    Some(Operation::Absolute { format, dst, a: self.operand(format, a)? })
                }
                _ => None,
            },
            [ref first, ref last] => match (step(first)?, step(last)?) {
                ((BinaryOp::And, flip, b, mask), (BinaryOp::Xor, dst, a, by))
                    if mask == bit && by == flip.into() =>
                {
                    two(Sign::Xor, dst, a, b)
                }
                _ => None,
            },
            [ref first, ref second, ref last] => {
                let (BinaryOp::AndNot, magnitude, a, mask) = step(first)? else { return None };
                let (BinaryOp::Or, dst, of_a, of_b) = step(last)? else { return None };
                if mask != bit || of_a != magnitude.into() {
                    return None;
                }
                match step(second)? {
                    (BinaryOp::And, sign, b, mask) if mask == bit && of_b == sign.into() => {
                        two(Sign::Copy, dst, a, b)
                    }
                    (BinaryOp::AndNot, sign, mask, b) if mask == bit && of_b == sign.into() => {
                        two(Sign::Negate, dst, a, b)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The operands of an operation, as many as it has.
    fn operands(&self, op: FloatOp, values: [Value; 3]) -> Option<Operands> {
        let mut operands = [Operand::NONE; 3];
        for (operand, value) in operands.iter_mut().zip(values).take(op.kind.operands()) {
            *operand = match op.kind {
                FloatKind::FromInteger(_) => self.integer(value)?,
                _ => self.operand(op.source(), value)?,
            };
        }
        Some(Operands::new(operands))
    }

    /// A number: of [`Format::Single`] what has been taken out of a floating-point register's box.
    fn operand(&self, format: Format, value: Value) -> Option<Operand> {
        match (value, format) {
            (Value::Var(var), Format::Single) => self.taken_out.iter().find_map(|inst| match *inst {
                Inst::Unary { dst, a: Value::Var(a), .. } if dst == var && self.is_float(a) => {
                    Some(Operand { value: a.into(), boxed: true })
                }
                _ => None,
            }),
            (Value::Var(var), Format::Double) if var.is_temporary() => None,
            _ => Some(Operand { value, boxed: false }),
        }
    }

    /// An integer.
    fn integer(&self, value: Value) -> Option<Operand> {
        match value {
            Value::Var(var) if self.is_float(var) || var.is_temporary() => None,
            _ => Some(Operand { value, boxed: false }),
        }
    }
}

/// Whether the result is an integer.
const fn gives_integer(kind: FloatKind) -> bool {
    matches!(
        kind,
        FloatKind::Equal
            | FloatKind::Less
            | FloatKind::LessEqual
            | FloatKind::LessQuiet
            | FloatKind::LessEqualQuiet
            | FloatKind::Classify
            | FloatKind::ToInteger(_)
            | FloatKind::ToIntegerModulo
    )
}
