//! Floating-point instructions. A binary32 is NaN-boxed in its register (Unprivileged ISA, "NaN Boxing of
//! Narrower Values"): taken out of the box before, and put in after each operation; what only moves bits does
//! not look at the box.

use super::{Lifter, f};
use crate::float::{Double, Single, load_immediate};
use crate::ir::eval::BOX;
use crate::ir::{BinaryOp, FloatOp, Format, Terminator, UnaryOp, Value, Var, Width};
use crate::memory::Size;
use crate::riscv::decode::{F, Instruction, Rounding, SignOp, X};
use crate::riscv::{Call, Enables};

/// The sign of a binary64.
const SIGN: u64 = 1 << 63;

impl Lifter<'_> {
    pub(super) fn float(&mut self, instruction: Instruction) -> Option<Terminator> {
        let enables = self.context.enables;
        let dynamic = rounding(&instruction) == Rounding::DYNAMIC;
        if !enables.contains(Enables::FLOAT) || dynamic && !enables.contains(Enables::ROUNDING) {
            return self.illegal();
        }
        match instruction {
            Instruction::FloatLoad { format, rd, rs1, offset } => self.float_load(format, rd, rs1, offset),
            Instruction::FloatStore { format, rs1, rs2, offset } => {
                let base = self.x(rs1);
                self.block.store(size(format), base, offset, f(rs2));
                return None;
            }
            Instruction::FloatCompute { op, rounding, rd, sources } => {
                let operands = self.operands(op, sources);
                let result = self.result(op.format, rd);
                self.block.float(op, rounding.bits(), result, operands);
                self.put_in_box(op.format, rd, result);
            }
            Instruction::FloatToX { op, rounding, rd, sources: [a, b] } => {
                let operands = self.operands(op, [a, b, a]);
                let rd = self.x_result(rd);
                self.block.float(op, rounding.bits(), rd, operands);
            }
            Instruction::FloatFromX { op, rounding, rd, rs1 } => {
                let operands = [self.x(rs1), Value::ZERO, Value::ZERO];
                let result = self.result(op.format, rd);
                self.block.float(op, rounding.bits(), result, operands);
                self.put_in_box(op.format, rd, result);
            }
            Instruction::FloatSign { op, format, rd, rs1, rs2 } => {
                self.sign(op, format, rd, rs1, rs2);
            }
            Instruction::MoveToX { format, rd, rs1 } => {
                let width = if format == Format::Single { Width::S32 } else { Width::W64 };
                let rd = self.x_result(rd);
                self.block.unary(UnaryOp::Move, width, rd, f(rs1));
                return None;
            }
            Instruction::MoveFromX { format, rd, rs1 } => {
                let width = if format == Format::Single { Width::U32 } else { Width::W64 };
                let bits = self.x(rs1);
                let result = self.result(format, rd);
                self.block.unary(UnaryOp::Move, width, result, bits);
                self.put_in_box(format, rd, result);
            }
            Instruction::FloatConstant { format, rd, index } => {
                self.block.constant(f(rd), constant(format, index));
            }
            _ => return self.illegal(),
        }
        self.float_changed()
    }

    fn float_load(&mut self, format: Format, rd: F, rs1: X, offset: i32) {
        let base = self.x(rs1);
        let result = self.result(format, rd);
        self.block.load(size(format), false, result, base, offset);
        self.put_in_box(format, rd, result);
    }

    /// FSGNJ, FSGNJN, FSGNJX. With the same register twice they are FMV, FNEG and FABS.
    fn sign(&mut self, op: SignOp, format: Format, rd: F, rs1: F, rs2: F) {
        let sign = match format {
            // Above a number that is out of its box there are zeros, so what the mask has there does not matter.
            Format::Single => Value::Const(i32::MIN),
            Format::Double => self.block.operand(SIGN),
        };
        let a = self.operand(format, rs1);
        let b = if rs1 == rs2 { a } else { self.operand(format, rs2) };
        let (op, a, b) = match op {
            SignOp::Copy if rs1 == rs2 => return self.copy(format, rd, a),
            SignOp::Negate if rs1 == rs2 => (BinaryOp::Xor, a, sign),
            SignOp::Xor if rs1 == rs2 => (BinaryOp::AndNot, a, sign),
            SignOp::Xor => (BinaryOp::Xor, a, self.step(BinaryOp::And, b, sign)),
            SignOp::Copy => {
                let magnitude = self.step(BinaryOp::AndNot, a, sign);
                (BinaryOp::Or, magnitude, self.step(BinaryOp::And, b, sign))
            }
            SignOp::Negate => {
                let magnitude = self.step(BinaryOp::AndNot, a, sign);
                (BinaryOp::Or, magnitude, self.step(BinaryOp::AndNot, sign, b))
            }
        };
        let result = self.result(format, rd);
        self.block.binary(op, Width::W64, result, a, b);
        self.put_in_box(format, rd, result);
    }

    /// As many operands as the operation has.
    fn operands(&mut self, op: FloatOp, sources: [F; 3]) -> [Value; 3] {
        let mut operands = [Value::ZERO; 3];
        for (operand, source) in operands.iter_mut().zip(sources).take(op.kind.operands()) {
            *operand = self.operand(op.source(), source);
        }
        operands
    }

    /// The operand that a register holds.
    fn operand(&mut self, format: Format, register: F) -> Value {
        let register = Value::Var(f(register));
        match format {
            Format::Single => self.step_unary(UnaryOp::UnboxSingle, Width::W64, register),
            Format::Double => register,
        }
    }

    /// Where the bits of a result for `rd` go first.
    fn result(&mut self, format: Format, rd: F) -> Var {
        match format {
            Format::Single => self.block.temporary(),
            Format::Double => f(rd),
        }
    }

    /// `rd` = the operand `bits`.
    fn copy(&mut self, format: Format, rd: F, bits: Value) {
        match format {
            Format::Single => self.block.unary(UnaryOp::BoxSingle, Width::W64, f(rd), bits),
            Format::Double => self.block.set(f(rd), bits),
        }
    }

    /// What [`Self::result`] has said is put into `rd`, if it is not there.
    fn put_in_box(&mut self, format: Format, rd: F, result: Var) {
        if format == Format::Single {
            self.copy(format, rd, result.into());
        }
    }

    /// After what changes a floating-point register or may raise a flag: `mstatus.FS` says so from now on.
    fn float_changed(&mut self) -> Option<Terminator> {
        if self.context.enables.contains(Enables::FLOAT_DIRTY) {
            return None;
        }
        self.call_and_resume(Call::FloatDirty, Value::ZERO, Value::ZERO)
    }
}

/// The rounding mode that an instruction asks for.
fn rounding(instruction: &Instruction) -> Rounding {
    match *instruction {
        Instruction::FloatCompute { rounding, .. }
        | Instruction::FloatToX { rounding, .. }
        | Instruction::FloatFromX { rounding, .. } => rounding,
        _ => Rounding::NONE,
    }
}

fn size(format: Format) -> Size {
    match format {
        Format::Single => Size::Word,
        Format::Double => Size::Double,
    }
}

/// What FLI makes of a register.
fn constant(format: Format, index: u8) -> u64 {
    match format {
        Format::Single => BOX | load_immediate::<Single>(index).map_or(0, u64::from),
        Format::Double => load_immediate::<Double>(index).unwrap_or(0),
    }
}
