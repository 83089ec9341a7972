//! A vCPU whose guest the engine runs: to the rest of the system, the guest; to the CPU, the engine.

use alloc::sync::Arc;
use alloc::vec::Vec;

use polyvisor_cell_abi::{self as abi, riscv};

use super::cell;
use super::debug::{Setup, Stop, TooManyPoints};
use super::devices::GicHost;
use super::instance::{Memory, Vm};
use super::riscv64;
use super::vcpu::{Exit, FpuRegs, Regs, RegsError, VcpuId, VcpuOps};
use crate::arch::aarch64::timer;
use crate::arch::aarch64::vcpu::Vcpu;
use crate::devices::gic::device::VgicDevice;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::GuestMemory;

/// A vCPU of a cell.
pub struct Translated {
    engine: Vcpu<Vm>,
    gic: Arc<VgicDevice<GicHost>>,
    memory: Arc<Memory>,
}

impl Translated {
    /// The vCPU whose engine is `engine`, in a cell with this memory and interrupt controller.
    pub fn new(engine: Vcpu<Vm>, gic: Arc<VgicDevice<GicHost>>, memory: Arc<Memory>) -> Self {
        Self { engine, gic, memory }
    }

    /// The guest's registers; zeros before the engine has told of them.
    fn registers(&self) -> [u64; riscv::WORDS] {
        cell::registers(&self.memory.pin_private(), self.engine.id().index).unwrap_or([0; riscv::WORDS])
    }
}

/// `N` of the registers, from `first` on.
fn part<const N: usize>(registers: &[u64], first: usize) -> [u64; N] {
    registers.get(first..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

impl VcpuOps for Translated {
    fn id(&self) -> VcpuId {
        self.engine.id()
    }

    fn run(&mut self) -> Exit {
        loop {
            match self.engine.run() {
                // `settle` has not waited for it.
                Exit::Debug(Stop::Paused) => {}
                exit => return exit,
            }
        }
    }

    /// It may be anywhere in the engine. It runs on to where the guest is between two instructions, with its registers in
    /// memory: where it is already, or has just started, that is before the next one.
    fn settle(&mut self, until: u64) -> Result<bool, Exit> {
        let hart = self.engine.id().index;
        cell::request(&self.memory.pin_private(), hart, abi::Requests::STOP);
        self.gic.ring(hart, abi::DOORBELL_SGI);
        while timer::now() < until {
            match self.engine.run() {
                Exit::Debug(Stop::Paused) => return Ok(true),
                Exit::Stopped | Exit::Preempted | Exit::Yielded | Exit::Waiting { .. } => {}
                exit => return Err(exit),
            }
        }
        Ok(false)
    }

    fn start_at(&mut self, pc: u64, argument: u64) {
        self.engine.start_at(pc, argument);
    }

    fn regs(&self) -> Regs {
        let registers = self.registers();
        let [pc, mode] = part(&registers, riscv::PC);
        Regs::Riscv64 { x: part(&registers, riscv::X), pc, mode }
    }

    fn set_regs(&mut self, regs: &Regs) -> Result<(), RegsError> {
        let Regs::Riscv64 { x, pc, .. } = regs else {
            return Err(RegsError("they are those of another architecture"));
        };
        let hart = self.engine.id().index;
        let words = x.iter().enumerate().skip(1).map(|(number, value)| (riscv::X + number, *value));
        cell::set_registers(&self.memory.pin_private(), hart, words.chain([(riscv::PC, *pc)]))
            .ok_or(RegsError("the engine has not started yet"))
    }

    fn fpu_regs(&self) -> FpuRegs {
        let registers = self.registers();
        let f: [u64; 32] = part(&registers, riscv::F);
        let [status, control] = part(&registers, riscv::FFLAGS);
        FpuRegs { v: f.map(u128::from), control, status }
    }

    fn set_fpu_regs(&mut self, regs: &FpuRegs) {
        let f = regs.v.iter().enumerate().map(|(number, value)| (riscv::F + number, *value as u64));
        let rest = [(riscv::FFLAGS, regs.status & 0x1f), (riscv::FRM, regs.control & 0b111)];
        // Before the engine has started there are none to set.
        let _ = cell::set_registers(&self.memory.pin_private(), self.engine.id().index, f.chain(rest));
    }

    fn system_registers(&self) -> Vec<(&'static str, u64)> {
        let registers = self.registers();
        let [retired] = part(&registers, riscv::INSTRET);
        let csrs = riscv::CSRS.iter().copied().zip(registers.iter().skip(riscv::CSR).copied());
        // What is counted for `minstret` and `mcycle`, whatever the guest has set them to.
        csrs.chain([("instret", retired)]).collect()
    }

    fn translate(&self, address: u64) -> Option<Ipa> {
        let registers = self.registers();
        let [mode] = part(&registers, riscv::MODE);
        let [satp] = part(&registers, riscv::csr("satp"));
        let memory = self.memory.pin();
        let read = |ipa| memory.slice(Ipa(ipa), size_of::<u64>() as u64).ok()?.load(0);
        riscv64::walk(mode, satp, address, read).map(Ipa)
    }

    /// RISC-V code keeps frame records only where it is asked to: none are looked for.
    fn backtrace(&self) -> Vec<u64> {
        let [ra] = part(&self.registers(), riscv::X + 1);
        alloc::vec![ra]
    }

    fn debug(&mut self, setup: Option<Setup<'_>>) -> Result<(), TooManyPoints> {
        cell::debug(&self.memory.pin_private(), self.engine.id().index, setup)
    }
}
