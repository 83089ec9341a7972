//! Loads, stores, atomics, fences.

use super::Lifter;
use crate::ir::{AtomicOp, BinaryOp, Inst, Order, Terminator, Value};
use crate::memory::Size;
use crate::riscv::Call;
use crate::riscv::Enables;
use crate::riscv::decode::{CboOp, X};

/// Bytes of a cache block, as the devicetree tells the guest (`riscv,cbom-block-size`,
/// `riscv,cboz-block-size`).
const CACHE_BLOCK: i32 = 64;

impl Lifter<'_> {
    pub(super) fn load(
        &mut self,
        size: Size,
        signed: bool,
        rd: X,
        rs1: X,
        offset: i32,
    ) -> Option<Terminator> {
        let base = self.x(rs1);
        let dst = self.x_result(rd);
        self.block.load(size, signed, dst, base, offset);
        None
    }

    pub(super) fn store(&mut self, size: Size, rs1: X, rs2: X, offset: i32) -> Option<Terminator> {
        let (base, value) = (self.x(rs1), self.x(rs2));
        self.block.store(size, base, offset, value);
        None
    }

    pub(super) fn load_reserved(&mut self, size: Size, order: Order, rd: X, rs1: X) -> Option<Terminator> {
        let address = self.x(rs1);
        let dst = self.x_result(rd);
        self.block.push(Inst::LoadReserved { size, order, dst, address });
        None
    }

    pub(super) fn store_conditional(
        &mut self,
        size: Size,
        order: Order,
        rd: X,
        rs1: X,
        rs2: X,
    ) -> Option<Terminator> {
        let (address, value) = (self.x(rs1), self.x(rs2));
        let dst = self.x_result(rd);
        self.block.push(Inst::StoreConditional { size, order, dst, address, value });
        None
    }

    pub(super) fn amo(
        &mut self,
        op: AtomicOp,
        size: Size,
        order: Order,
        rd: X,
        rs1: X,
        rs2: X,
    ) -> Option<Terminator> {
        let (address, value) = (self.x(rs1), self.x(rs2));
        let dst = self.x_result(rd);
        self.block.atomic(op, size, order, dst, address, value);
        None
    }

    /// With nothing on one side it orders nothing: PAUSE and reserved hints (Unprivileged ISA, "HINT
    /// Instructions").
    pub(super) fn fence(&mut self, before: u8, after: u8) -> Option<Terminator> {
        if before != 0 && after != 0 {
            self.block.push(Inst::Fence);
        }
        None
    }

    pub(super) fn cbo(&mut self, op: CboOp, rs1: X) -> Option<Terminator> {
        let needed = match op {
            CboOp::Inval => Enables::CBO_INVAL,
            CboOp::Clean | CboOp::Flush => Enables::CBO_CLEAN,
            CboOp::Zero => Enables::CBO_ZERO,
        };
        if !self.may(needed) {
            return self.illegal();
        }
        let address = self.x(rs1);
        if op == CboOp::Zero {
            self.zero_block(address);
        } else {
            let nowhere = self.block.temporary();
            self.block.call(Call::CacheBlock.number(), nowhere, address, 0);
        }
        None
    }

    /// CBO.ZERO. An exception is about the very address that the guest gave (Unprivileged ISA, CMO
    /// extensions, "Traps"), so the byte there is stored first.
    fn zero_block(&mut self, address: Value) {
        self.block.store(Size::Byte, address, 0, Value::ZERO);
        let start = self.step(BinaryOp::And, address, Value::Const(!(CACHE_BLOCK - 1)));
        for offset in (0..CACHE_BLOCK).step_by(8) {
            self.block.store(Size::Double, start, offset, Value::ZERO);
        }
    }
}
