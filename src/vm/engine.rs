//! What an operator has to do with the engine of a VM of another instruction set.

use alloc::string::String;

use polyvisor_cell_abi::{self as abi, JitStatistics, Question, riscv};

use super::bundle::Jit;
use super::cell;
use super::instance::Vm;
use crate::mm::addr::Ipa;

impl Vm {
    /// Has the engine fail on `vcpu`, now or when it runs next.
    pub fn fail_engine(&self, vcpu: usize) {
        cell::request(&self.memory().pin_private(), vcpu, abi::Requests::FAIL);
        self.devices().gic.ring(vcpu, abi::DOORBELL_SGI);
    }

    /// How many instructions the guest has executed, as far as the engine has told.
    pub fn retired(&self) -> u64 {
        let memory = self.memory().pin_private();
        let harts = (0..self.vcpus()).filter_map(|hart| cell::registers(&memory, hart));
        harts.filter_map(|registers| registers.get(riscv::INSTRET).copied()).fold(0, u64::wrapping_add)
    }

    /// What the engine has counted of its compiler; `None` where it has not told.
    pub fn jit_statistics(&self) -> Option<JitStatistics<u64>> {
        cell::statistics(&self.memory().pin_private())
    }

    /// What the engine has recorded of its translations; `None` where it has not.
    pub fn recording(&self) -> Option<cell::Recording> {
        if self.jit() != Jit::Record {
            return None;
        }
        let size = abi::PRIVATE_RECORDING;
        let start = Ipa(abi::PRIVATE + cell::private_size(self.vcpus(), size) - size);
        cell::recording(&self.memory().pin_private(), start, size)
    }

    /// Asks the engine on `vcpu`, which does not run; it answers when it is settled. Returns the question's number.
    pub fn ask_engine(&self, vcpu: usize, question: Question) -> u32 {
        cell::ask(&self.memory().pin_private(), vcpu, question)
    }

    /// The engine's answer to the question of this number, if it has answered.
    pub fn engine_answer(&self, number: u32) -> Option<String> {
        cell::answer(&self.memory().pin_private(), number)
    }
}
