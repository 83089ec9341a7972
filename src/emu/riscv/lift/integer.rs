//! Integer operations.

use super::Lifter;
use crate::ir::{BinaryOp, Condition, Terminator, UnaryOp, Value, Var, Width};
use crate::riscv::decode::{Op, Source, Unary, X};

impl Lifter<'_> {
    // Two instructions of five are such: no call is made for them.
    #[inline(always)]
    pub(super) fn op(&mut self, op: Op, rd: X, rs1: X, source: Source) -> Option<Terminator> {
        // With x0 as its destination it is a hint (Unprivileged ISA, "HINT Instructions").
        if rd != X::ZERO {
            let dst = self.x_result(rd);
            match (op, rs1, source) {
                // LI, MV and SEXT.W: those who optimise need not find out.
                (Op::Add, X::ZERO, Source::Imm(imm)) => self.block.set(dst, imm),
                (Op::Add, X::ZERO, Source::X(rs2)) => self.block.set(dst, self.x(rs2)),
                (Op::Addw, _, Source::Imm(0)) => {
                    self.block.unary(UnaryOp::Move, Width::S32, dst, self.x(rs1));
                }
                _ => {
                    let (a, b) = (self.x(rs1), self.source(source));
                    self.operation(op, dst, a, b);
                }
            }
        }
        None
    }

    /// `dst = op(a, b)`: one step where the intermediate representation has the operation, else several, of
    /// which only the last one changes `dst`.
    #[inline(always)]
    fn operation(&mut self, op: Op, dst: Var, a: Value, b: Value) {
        let (op, width) = match op {
            Op::Add => (BinaryOp::Add, Width::W64),
            Op::Sub => (BinaryOp::Sub, Width::W64),
            Op::Sll => (BinaryOp::ShiftLeft, Width::W64),
            Op::Srl => (BinaryOp::ShiftRight, Width::W64),
            Op::Sra => (BinaryOp::ShiftRightSigned, Width::W64),
            Op::Xor => (BinaryOp::Xor, Width::W64),
            Op::Or => (BinaryOp::Or, Width::W64),
            Op::And => (BinaryOp::And, Width::W64),
            Op::Addw => (BinaryOp::Add, Width::S32),
            Op::Subw => (BinaryOp::Sub, Width::S32),
            Op::Sllw => (BinaryOp::ShiftLeft, Width::S32),
            Op::Srlw => (BinaryOp::ShiftRight, Width::S32),
            Op::Sraw => (BinaryOp::ShiftRightSigned, Width::S32),
            Op::Mul => (BinaryOp::Mul, Width::W64),
            Op::Mulh => (BinaryOp::MulHigh, Width::W64),
            Op::Mulhsu => (BinaryOp::MulHighSignedUnsigned, Width::W64),
            Op::Mulhu => (BinaryOp::MulHighUnsigned, Width::W64),
            Op::Div => (BinaryOp::Div, Width::W64),
            Op::Divu => (BinaryOp::DivUnsigned, Width::W64),
            Op::Rem => (BinaryOp::Rem, Width::W64),
            Op::Remu => (BinaryOp::RemUnsigned, Width::W64),
            Op::Mulw => (BinaryOp::Mul, Width::S32),
            Op::Divw => (BinaryOp::Div, Width::S32),
            Op::Divuw => (BinaryOp::DivUnsigned, Width::S32),
            Op::Remw => (BinaryOp::Rem, Width::S32),
            Op::Remuw => (BinaryOp::RemUnsigned, Width::S32),
            Op::Andn => (BinaryOp::AndNot, Width::W64),
            Op::Orn => (BinaryOp::OrNot, Width::W64),
            Op::Xnor => (BinaryOp::XorNot, Width::W64),
            Op::Max => (BinaryOp::Max, Width::W64),
            Op::Maxu => (BinaryOp::MaxUnsigned, Width::W64),
            Op::Min => (BinaryOp::Min, Width::W64),
            Op::Minu => (BinaryOp::MinUnsigned, Width::W64),
            Op::Ror => (BinaryOp::RotateRight, Width::W64),
            Op::Rorw => (BinaryOp::RotateRight, Width::S32),
            Op::Clmul => (BinaryOp::CarrylessMul, Width::W64),
            Op::Clmulh => (BinaryOp::CarrylessMulHigh, Width::W64),
            Op::Slt => return self.block.compare(Condition::Less, dst, a, b),
            Op::Sltu => return self.block.compare(Condition::Below, dst, a, b),
            Op::Rol => return self.rotate_left(Width::W64, dst, a, b),
            Op::Rolw => return self.rotate_left(Width::S32, dst, a, b),
            Op::AddUw => return self.shift_and_add(Width::U32, 0, dst, a, b),
            Op::Sh1add => return self.shift_and_add(Width::W64, 1, dst, a, b),
            Op::Sh2add => return self.shift_and_add(Width::W64, 2, dst, a, b),
            Op::Sh3add => return self.shift_and_add(Width::W64, 3, dst, a, b),
            Op::Sh1addUw => return self.shift_and_add(Width::U32, 1, dst, a, b),
            Op::Sh2addUw => return self.shift_and_add(Width::U32, 2, dst, a, b),
            Op::Sh3addUw => return self.shift_and_add(Width::U32, 3, dst, a, b),
            Op::SllUw => {
                let low = self.step_unary(UnaryOp::Move, Width::U32, a);
                return self.block.binary(BinaryOp::ShiftLeft, Width::W64, dst, low, b);
            }
            // Bits 63 to 126 of the product.
            Op::Clmulr => {
                let high = self.step(BinaryOp::CarrylessMulHigh, a, b);
                let low = self.step(BinaryOp::CarrylessMul, a, b);
                let high = self.step(BinaryOp::ShiftLeft, high, Value::Const(1));
                let low = self.step(BinaryOp::ShiftRight, low, Value::Const(63));
                return self.block.binary(BinaryOp::Or, Width::W64, dst, high, low);
            }
            Op::Bclr => return self.with_bit(BinaryOp::AndNot, dst, a, b),
            Op::Binv => return self.with_bit(BinaryOp::Xor, dst, a, b),
            Op::Bset => return self.with_bit(BinaryOp::Or, dst, a, b),
            Op::Bext => {
                let bit = self.step(BinaryOp::ShiftRight, a, b);
                return self.block.binary(BinaryOp::And, Width::W64, dst, bit, 1);
            }
            Op::CzeroEqz => return self.select(dst, b, a, Value::ZERO),
            Op::CzeroNez => return self.select(dst, b, Value::ZERO, a),
        };
        self.block.binary(op, width, dst, a, b);
    }

    pub(super) fn unary(&mut self, op: Unary, rd: X, rs1: X) -> Option<Terminator> {
        if rd != X::ZERO {
            let a = self.x(rs1);
            let dst = self.x_result(rd);
            let (op, width) = match op {
                Unary::Clz => (UnaryOp::LeadingZeros, Width::W64),
                Unary::Ctz => (UnaryOp::TrailingZeros, Width::W64),
                Unary::Cpop => (UnaryOp::CountOnes, Width::W64),
                Unary::Clzw => (UnaryOp::LeadingZeros, Width::U32),
                Unary::Ctzw => (UnaryOp::TrailingZeros, Width::U32),
                Unary::Cpopw => (UnaryOp::CountOnes, Width::U32),
                Unary::SextB => (UnaryOp::SignExtend8, Width::W64),
                Unary::SextH => (UnaryOp::SignExtend16, Width::W64),
                Unary::ZextH => (UnaryOp::ZeroExtend16, Width::W64),
                Unary::OrcB => (UnaryOp::SaturateBytes, Width::W64),
                Unary::Rev8 => (UnaryOp::SwapBytes, Width::W64),
            };
            self.block.unary(op, width, dst, a);
        }
        None
    }

    fn rotate_left(&mut self, width: Width, dst: Var, a: Value, b: Value) {
        let right = self.step(BinaryOp::Sub, Value::ZERO, b);
        self.block.binary(BinaryOp::RotateRight, width, dst, a, right);
    }

    /// `dst = (a << shift) + b`, of `a` as much as `width` says.
    fn shift_and_add(&mut self, width: Width, shift: i32, dst: Var, a: Value, b: Value) {
        let a = if width == Width::W64 { a } else { self.step_unary(UnaryOp::Move, width, a) };
        let a = if shift == 0 { a } else { self.step(BinaryOp::ShiftLeft, a, Value::Const(shift)) };
        self.block.binary(BinaryOp::Add, Width::W64, dst, a, b);
    }

    /// `dst = op(a, 1 << b)`.
    fn with_bit(&mut self, op: BinaryOp, dst: Var, a: Value, b: Value) {
        let bit = self.step(BinaryOp::ShiftLeft, Value::Const(1), b);
        self.block.binary(op, Width::W64, dst, a, bit);
    }

    /// `dst = test != 0 ? a : b`.
    fn select(&mut self, dst: Var, test: Value, a: Value, b: Value) {
        let variable = self.block.temporary();
        self.block.set(variable, test);
        self.block.select(dst, variable, a, b);
    }

    /// `op(a, b)` of 64 bits in a new temporary.
    pub(super) fn step(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        let dst = self.block.temporary();
        self.block.binary(op, Width::W64, dst, a, b);
        Value::Var(dst)
    }

    /// `op(a)` in a new temporary.
    pub(super) fn step_unary(&mut self, op: UnaryOp, width: Width, a: Value) -> Value {
        let dst = self.block.temporary();
        self.block.unary(op, width, dst, a);
        Value::Var(dst)
    }
}
