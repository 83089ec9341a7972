//! Privileged instructions. What they do is the hart's matter; here is whether they may.

use polyvisor_cell_abi::riscv::{MACHINE, USER};

use super::Lifter;
use crate::ir::{Terminator, Value};
use crate::riscv::decode::X;
use crate::riscv::{Call, Enables};

impl Lifter<'_> {
    pub(super) fn mret(&mut self) -> Option<Terminator> {
        match self.context.mode {
            MACHINE => self.call_and_leave(Call::Mret),
            _ => self.illegal(),
        }
    }

    pub(super) fn sret(&mut self) -> Option<Terminator> {
        if self.may(Enables::SRET) { self.call_and_leave(Call::Sret) } else { self.illegal() }
    }

    pub(super) fn wfi(&mut self) -> Option<Terminator> {
        if !self.may(Enables::WFI) {
            return self.illegal();
        }
        self.call_and_resume(Call::Wfi, Value::ZERO, Value::ZERO)
    }

    pub(super) fn sfence_vma(&mut self, rs1: X, rs2: X) -> Option<Terminator> {
        if !self.may(Enables::SFENCE_VMA) {
            return self.illegal();
        }
        // x0 means all, which is not the same as the value zero (Privileged ISA, "Supervisor
        // Memory-Management Fence Instruction").
        let function = match (rs1, rs2) {
            (X::ZERO, X::ZERO) => Call::FenceAll,
            (_, X::ZERO) => Call::FencePage,
            (X::ZERO, _) => Call::FenceSpace,
            _ => Call::FencePageSpace,
        };
        self.call_and_resume(function, self.x(rs1), self.x(rs2))
    }

    /// SFENCE.W.INVAL and SFENCE.INVAL.IR: no `mstatus.TVM` forbids them (Privileged ISA, "Svinval").
    pub(super) fn sfence_of_svinval(&mut self) -> Option<Terminator> {
        match self.context.mode {
            USER => self.illegal(),
            _ => None,
        }
    }
}
