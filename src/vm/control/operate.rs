//! The machine in its operator's hands.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

use polyvisor_cell_abi::Question;

use super::{Machine, Slot, devices};
use crate::arch::aarch64::percpu;
use crate::arch::aarch64::timer::{self, Alarm};
use crate::arch::aarch64::vcpu::trace;
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::frames;
use crate::platform::{layout, power};
use crate::vm::cell::Recording;
use crate::vm::instance::Vm;
use crate::vm::lifecycle::Event;
use crate::vm::operator::{
    Address, BalloonStatus, CpuStatus, DeviceOrder, DiskStatus, JitStatus, Line, NetStatus, Operator, Order,
    Refusal, SwitchStatus, TracedExit, VcpuRegisters, VcpuStatus, VmStatus,
};
use crate::vm::scheduler::{self, Hold, Task};
use crate::vm::vcpu::{VcpuId, VcpuOps};

/// How long a vCPU may take to leave its guest when it is looked at, in microseconds: it needs some when EL2 is
/// filling memory for it.
const PATIENCE: u64 = 500_000;
/// How long it may run at a time to get to where it can be looked at, in microseconds: much more than it needs.
const TURN: u64 = 10_000;

/// Waits until the tasks, which are halted, have left their CPUs. `false`: they have not in a time that should do.
pub(super) fn all_parked(tasks: &[Arc<Task>]) -> bool {
    let deadline = timer::now().saturating_add(timer::ticks(PATIENCE));
    let parked = || tasks.iter().all(|task| task.is_parked());
    while !parked() && timer::now() < deadline {
        core::hint::spin_loop();
    }
    parked()
}

/// Brings the guests of tasks that are halted and have left their CPUs to where their registers can be looked at.
pub(super) fn settle(tasks: &[Arc<Task>]) {
    let deadline = timer::now().saturating_add(timer::ticks(PATIENCE));
    let mut rest: Vec<_> = tasks.iter().collect();
    // One may have to wait for another one: they take turns.
    while !rest.is_empty() && timer::now() < deadline {
        rest.retain(|task| {
            let until = timer::now().saturating_add(timer::ticks(TURN));
            timer::set(Alarm::Control, Some(until));
            // So that it does not sleep, and does not stay when it is interrupted.
            super::request();
            !task.settle(until)
        });
    }
}

impl Machine {
    fn slot(&self, vm: usize) -> Result<spin::MutexGuard<'_, Slot>, Refusal> {
        let count = self.slots.len();
        let slot =
            self.slots.get(vm).ok_or_else(|| Refusal(format!("there is no VM {vm}, but {count} VMs")))?;
        Ok(slot.lock())
    }

    /// The VM of this number, if it exists now.
    fn vm(&self, vm: usize) -> Result<Arc<Vm>, Refusal> {
        let slot = self.slot(vm)?;
        slot.vm.clone().ok_or_else(|| Refusal(format!("VM {} has not been created", slot.spec.name)))
    }

    fn task(vm: &Vm, vcpu: usize) -> Result<&Arc<Task>, Refusal> {
        let count = vm.tasks().len();
        vm.task(vcpu).ok_or_else(|| Refusal(format!("there is no vCPU {vcpu}, but {count} vCPUs")))
    }

    /// Lets `look` see a vCPU, which stays outside its guest for as long. Before it is brought to where it can be looked at, if
    /// it can go on, `prepare` is called.
    fn with_vcpu<T>(
        &self,
        vm: usize,
        vcpu: usize,
        prepare: impl FnOnce(&Vm),
        look: impl FnOnce(&Vm, &dyn VcpuOps) -> T,
    ) -> Result<T, Refusal> {
        let is_alive = self.slot(vm)?.phase.is_alive();
        let vm = self.vm(vm)?;
        let task = Self::task(&vm, vcpu)?;
        task.halt(Hold::LOOK);
        let only = core::slice::from_ref(task);
        let result = if all_parked(only) {
            if is_alive {
                prepare(&vm);
                settle(only);
            }
            let gone = || Refusal(String::from("the vCPU does not exist any more"));
            task.vcpu().as_deref().map(|vcpu| look(&vm, vcpu)).ok_or_else(gone)
        } else {
            Err(Refusal(format!("vCPU {vcpu} has not left EL2 within {} ms", PATIENCE / 1000)))
        };
        task.release(Hold::LOOK);
        result
    }

    /// The VM of this number, if it exists now and has an engine.
    fn cell(&self, vm: usize) -> Result<Arc<Vm>, Refusal> {
        let vm = self.vm(vm)?;
        match vm.has_engine() {
            true => Ok(vm),
            false => Err(Refusal(format!("the guest of VM {} has no engine in front of it", vm.name()))),
        }
    }

    /// A vCPU by its VM's name.
    fn named(&self, id: VcpuId) -> (String, usize) {
        let name = self.slot(id.vm).map_or_else(|_| String::from("?"), |slot| slot.spec.name.clone());
        (name, id.index)
    }
}

impl Operator for Machine {
    fn machine(&self) -> String {
        self.model.clone()
    }

    fn vms(&self) -> Vec<VmStatus> {
        let status = |slot: &spin::Mutex<Slot>| {
            let slot = slot.lock();
            let spec = slot.spec;
            let runs = slot.phase.runs();
            VmStatus {
                name: spec.name.clone(),
                arch: spec.arch,
                state: slot.phase.state(),
                reason: slot.reason.clone(),
                vcpus: spec.vcpus,
                memory: spec.memory,
                populated: slot.vm.as_ref().map_or(0, |vm| vm.memory().populated()),
                weight: spec.scheduling.weight,
                dedicated: spec.scheduling.dedicated,
                colour: spec.colour,
                ports: spec.console_ports(),
                uptime: if runs { timer::microseconds(timer::now().saturating_sub(slot.started)) } else { 0 },
                restarts: slot.restarts,
            }
        };
        self.slots.iter().map(status).collect()
    }

    fn vcpus(&self, vm: usize) -> Vec<VcpuStatus> {
        let Ok(vm) = self.vm(vm) else { return Vec::new() };
        let status = |task: &Arc<Task>| {
            let [run, steal, idle, migrations] = task.times();
            VcpuStatus {
                activity: task.activity(),
                run: timer::microseconds(run),
                steal: timer::microseconds(steal),
                idle: timer::microseconds(idle),
                exits: task.shared.exits(),
                injected: vm.interrupts_taken(task.id().index),
                migrations,
            }
        };
        vm.tasks().iter().map(status).collect()
    }

    fn cpus(&self) -> Vec<CpuStatus> {
        let status = |cpu: &'static percpu::PerCpu| {
            let snapshot = scheduler::snapshot(cpu);
            CpuStatus {
                index: cpu.index,
                affinity: cpu.affinity,
                dedicated: snapshot.dedicated,
                running: snapshot.running.map(|id| self.named(id)),
                waiting: snapshot.waiting.into_iter().map(|id| self.named(id)).collect(),
                up: timer::microseconds(snapshot.up),
                idle: timer::microseconds(snapshot.idle),
                switches: snapshot.switches,
            }
        };
        percpu::all().map(status).collect()
    }

    fn memory(&self) -> (u64, u64) {
        (frames::free(), layout::footprint())
    }

    fn now(&self) -> u64 {
        timer::microseconds_since_boot()
    }

    fn order(&self, vm: usize, order: Order) -> Result<(), Refusal> {
        self.happen(&mut *self.slot(vm)?, Event::Order(order))?;
        // What has begun may be done at once.
        super::request();
        Ok(())
    }

    fn disks(&self, vm: usize) -> Vec<DiskStatus> {
        self.slot(vm).map_or_else(|_| Vec::new(), |slot| devices::disks(slot.spec, slot.vm.as_deref()))
    }

    fn nets(&self, vm: usize) -> Vec<NetStatus> {
        let slot = self.slot(vm);
        slot.map_or_else(|_| Vec::new(), |slot| devices::nets(slot.spec, slot.vm.as_deref(), self.bundle))
    }

    fn balloon(&self, vm: usize) -> Option<BalloonStatus> {
        devices::balloon(&*self.vm(vm).ok()?)
    }

    fn switches(&self) -> Vec<SwitchStatus> {
        devices::switches(self.bundle)
    }

    fn order_device(&self, vm: usize, order: DeviceOrder) -> Result<(), Refusal> {
        devices::carry_out(&*self.vm(vm)?, order)
    }

    fn registers(&self, vm: usize, vcpu: usize) -> Result<VcpuRegisters, Refusal> {
        self.with_vcpu(
            vm,
            vcpu,
            |_| (),
            |_, vcpu| VcpuRegisters { general: vcpu.regs(), system: vcpu.system_registers() },
        )
    }

    fn read_memory(&self, vm: usize, address: Address, buffer: &mut [u8]) -> Result<(), Refusal> {
        let nothing = |at: Ipa| Refusal(format!("there is no memory at the physical address {at}"));
        match address {
            Address::Physical(at) => {
                let at = Ipa(at);
                self.vm(vm)?.memory().read_coherent(at, buffer).map_err(|_| nothing(at))
            }
            Address::Virtual(vcpu, start) => self.with_vcpu(
                vm,
                vcpu,
                |_| (),
                |vm, vcpu| {
                    let mut at = start;
                    let mut rest = buffer;
                    while !rest.is_empty() {
                        let in_page = (PAGE_SIZE - at % PAGE_SIZE) as usize;
                        let (piece, left) = rest.split_at_mut(in_page.min(rest.len()));
                        let ipa = vcpu
                            .translate(at)
                            .ok_or_else(|| Refusal(format!("the guest does not map the address {at:#x}")))?;
                        vm.memory().read_coherent(ipa, piece).map_err(|_| nothing(ipa))?;
                        at = at.wrapping_add(piece.len() as u64);
                        rest = left;
                    }
                    Ok(())
                },
            )?,
        }
    }

    fn devicetree(&self, vm: usize) -> Result<Vec<u8>, Refusal> {
        let tree = self.vm(vm)?.devicetree();
        if tree.is_empty() { Err(Refusal("the VM has not been started yet".to_string())) } else { Ok(tree) }
    }

    fn trace(&self, vm: usize, vcpu: usize) -> Result<Vec<TracedExit>, Refusal> {
        let vm = self.vm(vm)?;
        Ok(Self::task(&vm, vcpu)?.shared.trace.entries().map(trace::describe).collect())
    }

    fn type_into(&self, line: Line, byte: u8) -> bool {
        // What is typed into a VM that is not there is lost.
        self.vm(line.vm).map_or(true, |vm| {
            let taken = match line.port {
                None => vm.uart().receive(&[byte]),
                Some(port) => vm.devices().console().map_or(1, |console| console.receive(port, &[byte])),
            };
            taken == 1
        })
    }

    fn output_ready(&self, line: Line) {
        let Ok(vm) = self.vm(line.vm) else { return };
        match (line.port, vm.devices().console()) {
            (None, _) => vm.uart().backend_ready(),
            (Some(port), Some(console)) => console.output_ready(port),
            (Some(_), None) => {}
        }
    }

    fn debug(&self, vm: Option<usize>) -> Result<(), Refusal> {
        let machine = super::MACHINE.get().ok_or_else(|| Refusal("there is no VM".to_string()))?;
        super::gdb::choose(machine, vm)
    }

    fn fail_engine(&self, vm: usize, vcpu: usize) -> Result<(), Refusal> {
        let vm = self.cell(vm)?;
        vm.fail_engine(Self::task(&vm, vcpu)?.id().index);
        Ok(())
    }

    fn jit(&self, vm: usize) -> Result<JitStatus, Refusal> {
        let vm = self.cell(vm)?;
        let statistics = vm.jit_statistics();
        let translating = timer::microseconds(statistics.map_or(0, |counters| counters.ticks));
        Ok(JitStatus { mode: vm.jit(), retired: vm.retired(), statistics, translating })
    }

    fn recording(&self, vm: usize) -> Result<Recording, Refusal> {
        let vm = self.cell(vm)?;
        if !vm.is_halted() {
            return Err(Refusal(format!("VM {} runs: pause it first", vm.name())));
        }
        let none = || Refusal(format!("VM {} does not record its translations", vm.name()));
        vm.recording().ok_or_else(none)
    }

    fn ask_engine(&self, vm: usize, question: Question) -> Result<String, Refusal> {
        const HART: usize = 0;
        let name = self.cell(vm)?.name().to_string();
        let number = Cell::new(None);
        let ask = |vm: &Vm| number.set(Some(vm.ask_engine(HART, question)));
        let answer = self.with_vcpu(vm, HART, ask, |vm, _| vm.engine_answer(number.get()?))?;
        answer.ok_or_else(|| match number.get() {
            Some(_) => {
                Refusal(format!("the engine of VM {name} has not answered within {} ms", PATIENCE / 1000))
            }
            None => Refusal(format!("VM {name} does not run")),
        })
    }

    fn power(&self, restart: bool) {
        match restart {
            true => power::restart(),
            false => power::off(),
        }
    }
}
