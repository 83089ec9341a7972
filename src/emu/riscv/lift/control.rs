//! Jumps and branches (Unprivileged ISA, "Control Transfer Instructions"). With compressed instructions, no
//! target is misaligned.

use super::{Lifter, extend};
use crate::ir::{BinaryOp, Condition, Terminator, Width};
use crate::riscv::decode::X;

impl Lifter<'_> {
    pub(super) fn jal(&mut self, rd: X, offset: i32) -> Option<Terminator> {
        let link = self.block.next_pc();
        self.constant(rd, link);
        Some(Terminator::Jump { target: self.target(offset) })
    }

    pub(super) fn jalr(&mut self, rd: X, rs1: X, offset: i32) -> Option<Terminator> {
        // Behind the AUIPC that has set its base it is a jump: how code calls what may be far away.
        if let Some((base, upper, behind)) = self.upper
            && base == rs1
            && behind == self.block.pc()
        {
            let link = self.block.next_pc();
            self.constant(rd, link);
            return Some(Terminator::Jump { target: upper.wrapping_add(extend(offset)) & !1 });
        }
        // Before the link is written: it may go to the base register.
        let target = self.block.temporary();
        let base = self.x(rs1);
        self.block.binary(BinaryOp::Add, Width::W64, target, base, offset);
        self.block.binary(BinaryOp::And, Width::W64, target, target, !1);
        let link = self.block.next_pc();
        self.constant(rd, link);
        Some(Terminator::Indirect { target })
    }

    pub(super) fn branch(&mut self, condition: Condition, rs1: X, rs2: X, offset: i32) -> Option<Terminator> {
        Some(Terminator::Branch {
            condition,
            a: self.x(rs1),
            b: self.x(rs2),
            taken: self.target(offset),
            otherwise: self.block.next_pc(),
        })
    }

    fn target(&self, offset: i32) -> u64 {
        self.block.pc().wrapping_add(extend(offset))
    }
}
