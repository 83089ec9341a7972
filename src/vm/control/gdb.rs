//! The remote debugger: what passes between the stub on the second serial line and the VM that it has.
//!
//! The stub is called from the control plane alone, in [`serve`], with no slot locked: what happens to the VM
//! meanwhile, also by the stub's own doing, waits in [`NEWS`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::{Mutex, MutexGuard};

use super::operate::{all_parked, settle};
use super::{Machine, Slot, request};
use crate::arch::aarch64::cache;
use crate::gdb::{Debuggee, Refused, Stub};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::GuestMemory;
use crate::platform::debug_line;
use crate::vm::bundle::Arch;
use crate::vm::debug::{Action, Point, Setup, Stop};
use crate::vm::instance::Vm;
use crate::vm::lifecycle::{Ending, Event, Phase, State};
use crate::vm::operator::{Order, Refusal};
use crate::vm::scheduler::Hold;
use crate::vm::vcpu::{FpuRegs, Regs, VcpuId, VcpuOps};

/// How much is taken from the line at a time.
const PIECE: usize = 256;

static STUB: Mutex<Option<Stub<Guest>>> = Mutex::new(None);
/// Which vCPUs have stopped, and why, as far as the stub has not been told.
static NEWS: Mutex<VecDeque<(VcpuId, Stop)>> = Mutex::new(VecDeque::new());

/// Reports that a vCPU has stopped.
pub fn report(vcpu: VcpuId, stop: Stop) {
    NEWS.lock().push_back((vcpu, stop));
    request();
}

/// Reports what a change of the phase of a VM means to its debugger. A crash is reported where it is heard of.
pub(super) fn report_change(vm: usize, before: Phase, now: Phase) {
    let is_off = |phase| matches!(phase, Phase::Defined | Phase::Stopped);
    let stop = match now {
        Phase::Running if matches!(before, Phase::Starting(_)) => Stop::Reset,
        Phase::Paused if before != now => Stop::Paused,
        _ if is_off(now) && !is_off(before) => Stop::Off,
        _ => return,
    };
    report(VcpuId { vm, index: 0 }, stop);
}

/// Listens to the line, and gives the debugger the VM that `gdb=VM` among `bootargs` asks for.
pub fn start(bootargs: &str) {
    let Some(machine) = super::MACHINE.get() else { return };
    debug_line::listen(request);
    let Some(name) = bootargs.split_ascii_whitespace().find_map(|word| word.strip_prefix("gdb=")) else {
        return;
    };
    let result = match machine.slots.iter().position(|slot| slot.lock().spec.name == name) {
        Some(vm) => choose(machine, Some(vm)),
        None => Err(Refusal("there is no such VM".to_string())),
    };
    if let Err(Refusal(why)) = result {
        log::error!("gdb={name}: {why}");
    }
}

/// Gives the debugger a VM, or none.
///
/// # Errors
/// [`Refusal`] where there is no line, or no such VM.
pub(super) fn choose(machine: &'static Machine, vm: Option<usize>) -> Result<(), Refusal> {
    if !debug_line::is_attached() {
        return Err(Refusal("the machine has no second serial line, on which gdb would be".to_string()));
    }
    let guest = vm.map(|vm| Guest::new(machine, vm)).transpose()?;
    let mut stub = STUB.lock();
    if let (Some(stub), Some(guest)) = (stub.as_mut(), &guest)
        && stub.debuggee().id == guest.id
    {
        return Ok(());
    }
    if let Some(mut old) = stub.take() {
        old.detach();
    }
    *stub = guest.map(|guest| {
        log::info!("VM {} waits for gdb on the second serial line", guest.name);
        Stub::new(guest, Box::new(debug_line::transmit))
    });
    Ok(())
}

/// Tells the stub what has happened, and what has come in on the line.
pub(super) fn serve() {
    let mut stub = STUB.lock();
    let Some(stub) = stub.as_mut() else {
        NEWS.lock().clear();
        return;
    };
    while let Some((vcpu, stop)) = { NEWS.lock().pop_front() } {
        if vcpu.vm == stub.debuggee().id {
            let off = stop == Stop::Off;
            stub.stopped(vcpu.index, stop);
            if off {
                // gdb goes, too, and does not say so.
                stub.debuggee().let_go();
            }
        }
    }
    let mut piece = [0; PIECE];
    let received = debug_line::receive(&mut piece);
    if let Some(piece @ [_, ..]) = piece.get(..received) {
        stub.input(piece);
        // There may be more, and something may have happened.
        request();
    }
}

/// Takes a VM that the debugger has, and that is switched on, a step nearer to its first instruction, and keeps it from
/// executing that.
pub(super) fn advance(vm: &Arc<Vm>, step: fn(&Arc<Vm>)) {
    for task in vm.tasks() {
        task.hold(Hold::DEBUGGER);
    }
    step(vm);
    // What the first vCPU would do in its own time before it enters its guest.
    if let Some(first) = vm.task(0) {
        first.start_held();
        if first.is_on() {
            settle(vm.tasks());
        }
    }
}

/// A VM in the debugger's hands.
struct Guest {
    machine: &'static Machine,
    slot: &'static Mutex<Slot>,
    id: usize,
    name: &'static str,
    /// What the hardware is to look out for.
    points: Vec<Point>,
}

impl Guest {
    fn new(machine: &'static Machine, id: usize) -> Result<Self, Refusal> {
        let slot = machine.slots.get(id).ok_or_else(|| Refusal(format!("there is no VM {id}")))?;
        let name = &slot.lock().spec.name;
        Ok(Self { machine, slot, id, name, points: Vec::new() })
    }

    fn slot(&self) -> MutexGuard<'static, Slot> {
        self.slot.lock()
    }

    fn vm(&self) -> Option<Arc<Vm>> {
        self.slot().vm.clone()
    }

    fn with_vcpu<T>(&self, vcpu: usize, act: impl FnOnce(&mut dyn VcpuOps) -> T) -> Option<T> {
        let vm = self.vm()?;
        let mut vcpu = vm.task(vcpu)?.try_vcpu()?;
        vcpu.as_mut().map(|vcpu| act(vcpu.as_mut()))
    }

    /// Lets every vCPU go on as if there were no debugger.
    fn let_go(&mut self) {
        self.slot().debugged = false;
        let Some(vm) = self.vm() else { return };
        for (vcpu, task) in vm.tasks().iter().enumerate() {
            // Without points, there are never too many.
            let _ = self.with_vcpu(vcpu, |vcpu| vcpu.debug(None));
            task.release(Hold::DEBUGGER);
        }
    }
}

impl Debuggee for Guest {
    fn name(&self) -> &str {
        self.name
    }

    fn arch(&self) -> Arch {
        self.slot().spec.arch
    }

    fn vcpus(&self) -> usize {
        self.slot().spec.vcpus as usize
    }

    fn is_on(&self, vcpu: usize) -> bool {
        // When the VM goes off, its vCPUs stay as they are: gdb leaves a VM without any, and could not reset it.
        self.vm().is_some_and(|vm| vm.task(vcpu).is_some_and(|task| task.is_on()))
    }

    fn halt(&mut self) {
        let (vm, is_alive) = {
            let mut slot = self.slot();
            slot.debugged = true;
            if slot.phase == Phase::Crashed {
                // It stays to be looked at.
                slot.deadline = None;
            }
            (slot.vm.clone(), slot.phase.is_alive())
        };
        let Some(vm) = vm else { return };
        for task in vm.tasks() {
            task.halt(Hold::DEBUGGER);
        }
        if !all_parked(vm.tasks()) {
            log::warn!("a vCPU of VM {} takes its time, and is out of gdb's reach until then", self.name);
        }
        if is_alive {
            settle(vm.tasks());
        }
    }

    fn resume(&mut self, actions: &[Action]) -> Result<(), Refused> {
        let (state, debugged) = {
            let slot = self.slot();
            (slot.phase.state(), slot.debugged)
        };
        match state {
            State::Crashed => return Err(Refused),
            State::Defined | State::Stopped => {
                // This ends the session.
                self.let_go();
                return Err(Refused);
            }
            _ => {}
        }
        let vm = self.vm().filter(|_| debugged).ok_or(Refused)?;
        // A vCPU that has stopped meanwhile goes on, too.
        NEWS.lock().retain(|(_, stop)| !is_a_vcpus_own(stop));
        let action = |vcpu: usize| actions.get(vcpu).copied().unwrap_or(Action::Continue);
        for (vcpu, task) in vm.tasks().iter().enumerate() {
            let step = action(vcpu) == Action::Step && task.is_on();
            // `arm` has seen that the points are possible.
            let _ = self.with_vcpu(vcpu, |vcpu| vcpu.debug(Some(Setup { points: &self.points, step })));
        }
        for (vcpu, task) in vm.tasks().iter().enumerate() {
            if action(vcpu) != Action::Stay {
                task.release(Hold::DEBUGGER);
            }
        }
        Ok(())
    }

    fn detach(&mut self) {
        self.let_go();
        let mut slot = self.slot();
        if slot.phase == Phase::Crashed {
            // This had to wait.
            slot.react(Ending::Crash);
            request();
        }
    }

    fn reset(&mut self) -> Result<(), Refused> {
        // What has happened by now is no matter of the VM's next life.
        self.machine.hear_all();
        {
            let mut slot = self.slot();
            slot.debugged = true;
            let order = match slot.phase.state() {
                State::Defined | State::Stopped => Order::Start,
                _ => Order::Reset,
            };
            self.machine.happen(&mut slot, Event::Order(order)).map_err(|_| Refused)?;
            // The debugger has halted them.
            self.machine.settle(&mut slot);
        }
        self.machine.hear_all();
        NEWS.lock().clear();
        if self.slot().phase.runs() { Ok(()) } else { Err(Refused) }
    }

    fn kill(&mut self) {
        self.machine.happens(&mut self.slot(), Event::Order(Order::Kill));
        self.let_go();
        request();
    }

    fn regs(&self, vcpu: usize) -> Option<Regs> {
        self.with_vcpu(vcpu, |vcpu| vcpu.regs())
    }

    fn set_regs(&mut self, vcpu: usize, regs: &Regs) -> Result<(), Refused> {
        self.with_vcpu(vcpu, |vcpu| vcpu.set_regs(regs)).ok_or(Refused)?.map_err(|_| Refused)
    }

    fn fpu_regs(&self, vcpu: usize) -> Option<FpuRegs> {
        self.with_vcpu(vcpu, |vcpu| vcpu.fpu_regs())
    }

    fn set_fpu_regs(&mut self, vcpu: usize, regs: &FpuRegs) -> Result<(), Refused> {
        self.with_vcpu(vcpu, |vcpu| vcpu.set_fpu_regs(regs)).ok_or(Refused)
    }

    fn system_registers(&self, vcpu: usize) -> Vec<(&'static str, u64)> {
        self.with_vcpu(vcpu, |vcpu| vcpu.system_registers()).unwrap_or_default()
    }

    fn translate(&self, vcpu: usize, address: u64) -> Option<u64> {
        self.with_vcpu(vcpu, |vcpu| vcpu.translate(address)).flatten().map(|ipa| ipa.0)
    }

    fn read(&self, ipa: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.vm().ok_or(Refused)?.memory().read_coherent(Ipa(ipa), buffer).map_err(|_| Refused)
    }

    fn write(&mut self, ipa: u64, bytes: &[u8]) -> Result<(), Refused> {
        // To the point of coherency, which is beyond that of unification.
        self.vm().ok_or(Refused)?.memory().loading().write(Ipa(ipa), bytes).map_err(|_| Refused)?;
        cache::invalidate_instructions();
        Ok(())
    }

    fn arm(&mut self, points: &[Point]) -> Result<(), Refused> {
        // All CPUs have as many registers as this one. The vCPU is set up anew before it runs.
        let setup = Setup { points, step: false };
        match self.with_vcpu(0, |vcpu| vcpu.debug(Some(setup))) {
            Some(Ok(())) => {}
            None if points.is_empty() => {}
            _ => return Err(Refused),
        }
        self.points = points.to_vec();
        Ok(())
    }
}

/// Whether only the vCPU itself has stopped, rather than the VM.
fn is_a_vcpus_own(stop: &Stop) -> bool {
    matches!(stop, Stop::Breakpoint | Stop::Execution | Stop::Watch { .. } | Stop::Stepped)
}
