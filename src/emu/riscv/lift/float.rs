//! Floating-point instructions. A binary32 is NaN-boxed in its register (Unprivileged ISA, "NaN Boxing of
//! Narrower Values"): taken out of the box before, and put in after each operation; what only moves bits does
//! not look at the box.

use super::{Lifter, f};
use crate::float::{Double, Single, load_immediate};
use crate::ir::{BinaryOp, FloatKind, Format, Terminator, UnaryOp, Value, Width};
use crate::memory::Size;
use crate::riscv::decode::{F, Instruction, Rounding, SignOp, X};
use crate::riscv::{Call, Enables};

/// What is above a binary32 in its register.
const BOX: u64 = 0xffff_ffff_0000_0000;

impl Lifter {
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
                let format = match (op.kind, op.format) {
                    (FloatKind::Convert, Format::Single) => Format::Double,
                    (FloatKind::Convert, Format::Double) => Format::Single,
                    (_, format) => format,
                };
                let operands = sources.map(|source| self.operand(format, source));
                let result = self.block.temporary();
                self.block.float(op, rounding.bits(), result, operands);
                self.float_result(op.format, rd, result.into());
            }
            Instruction::FloatToX { op, rounding, rd, sources: [a, b] } => {
                let operands = [self.operand(op.format, a), self.operand(op.format, b), Value::ZERO];
                let rd = self.x_result(rd);
                self.block.float(op, rounding.bits(), rd, operands);
            }
            Instruction::FloatFromX { op, rounding, rd, rs1 } => {
                let result = self.block.temporary();
                let operands = [self.x(rs1), Value::ZERO, Value::ZERO];
                self.block.float(op, rounding.bits(), result, operands);
                self.float_result(op.format, rd, result.into());
            }
            Instruction::FloatSign { op, format, rd, rs1, rs2 } => {
                let (a, b) = (self.operand(format, rs1), self.operand(format, rs2));
                self.sign(op, format, rd, a, b);
            }
            Instruction::MoveToX { format, rd, rs1 } => {
                let width = if format == Format::Single { Width::S32 } else { Width::W64 };
                let rd = self.x_result(rd);
                self.block.unary(UnaryOp::Move, width, rd, f(rs1));
                return None;
            }
            Instruction::MoveFromX { format, rd, rs1 } => {
                let bits = self.x(rs1);
                let bits = match format {
                    Format::Single => self.step_unary(UnaryOp::Move, Width::U32, bits),
                    Format::Double => bits,
                };
                self.float_result(format, rd, bits);
            }
            Instruction::FloatConstant { format, rd, index } => {
                self.float_result(format, rd, Value::Const(constant(format, index)));
            }
            _ => return self.illegal(),
        }
        self.float_changed()
    }

    fn float_load(&mut self, format: Format, rd: F, rs1: X, offset: i32) {
        let base = self.x(rs1);
        let loaded = self.block.temporary();
        self.block.load(size(format), false, loaded, base, offset);
        self.float_result(format, rd, loaded.into());
    }

    fn sign(&mut self, op: SignOp, format: Format, rd: F, a: Value, b: Value) {
        let sign = Value::Const(match format {
            Format::Single => 1 << 31,
            Format::Double => 1 << 63,
        });
        let result = match op {
            SignOp::Xor => {
                let flip = self.step(BinaryOp::And, b, sign);
                self.step(BinaryOp::Xor, a, flip)
            }
            SignOp::Copy | SignOp::Negate => {
                let magnitude = self.step(BinaryOp::AndNot, a, sign);
                let sign = match op {
                    SignOp::Negate => self.step(BinaryOp::AndNot, sign, b),
                    _ => self.step(BinaryOp::And, sign, b),
                };
                self.step(BinaryOp::Or, magnitude, sign)
            }
        };
        self.float_result(format, rd, result);
    }

    /// The operand that a register holds.
    fn operand(&mut self, format: Format, register: F) -> Value {
        let register = Value::Var(f(register));
        match format {
            Format::Single => self.step_unary(UnaryOp::UnboxSingle, Width::W64, register),
            Format::Double => register,
        }
    }

    /// `rd = bits`, boxed if need be.
    fn float_result(&mut self, format: Format, rd: F, bits: Value) {
        match format {
            Format::Single => self.block.binary(BinaryOp::Or, Width::W64, f(rd), bits, BOX),
            Format::Double => self.block.set(f(rd), bits),
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

/// What FLI loads.
fn constant(format: Format, index: u8) -> u64 {
    match format {
        Format::Single => load_immediate::<Single>(index).map_or(0, u64::from),
        Format::Double => load_immediate::<Double>(index).unwrap_or(0),
    }
}
