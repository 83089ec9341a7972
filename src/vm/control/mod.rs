//! The control plane: what happens to VMs as a whole, one thing after the other.
//!
//! It is code that one CPU, the *housekeeper*, runs in between vCPUs, with none loaded and no lock held. vCPUs
//! and interrupt handlers [`post`] what has happened and [`request`] attention; orders of the operator are given
//! here too. So nothing that is decided about a VM ever races with another decision.

mod devices;
pub mod gdb;
mod operate;

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use spin::{Mutex, Once};

use crate::vm::bundle::{Bundle, Reaction, VmSpec, WhenAllOff};
use crate::vm::crash;
use crate::vm::debug::Stop;
use crate::vm::devices::SOCKETS;

use crate::arch::aarch64::timer::{self, Alarm};
use crate::arch::aarch64::vcpu::Machine as _;
use crate::arch::aarch64::{gic, irq, percpu};
use crate::monitor::port;
use crate::platform::power;
use crate::vm::instance::Vm;
use crate::vm::lifecycle::{self, Action, Backoff, Ending, Event, Halted, Phase, State};
use crate::vm::operator::{Operator, Order, Refusal};
use crate::vm::scheduler::{self, Task};
use crate::vm::switches;
use crate::vm::vcpu::VcpuId;
use crate::vm::watchdog;

/// How long a guest may take to shut down after its power button was pressed, in microseconds.
const GRACE: u64 = 20_000_000;
/// For how long the power button is pressed, in microseconds: as QEMU's `gpio-key` does.
const PRESS: u64 = 100_000;
/// How long to wait before looking again whether vCPUs have left their guest, in microseconds.
const HALT_POLL: u64 = 200;

/// What has happened to a VM.
#[derive(Debug)]
pub struct Happening {
    /// The VM.
    pub vm: usize,
    /// What.
    pub event: Event,
    /// On which vCPU, and in words where there is more to say.
    pub detail: Option<(usize, String)>,
}

/// The CPU that does all this.
static HOUSEKEEPER: AtomicUsize = AtomicUsize::new(0);
/// It is wanted.
static WANTED: AtomicBool = AtomicBool::new(false);
static POSTED: Mutex<VecDeque<Happening>> = Mutex::new(VecDeque::new());
static MACHINE: Once<Machine> = Once::new();
/// Held by the control plane while it runs: a new housekeeper waits until the one before it is done.
static TURN: Mutex<()> = Mutex::new(());

/// All VMs of the bundle.
struct Machine {
    model: String,
    bundle: &'static Bundle<'static>,
    slots: Vec<Mutex<Slot>>,
}

/// One VM of the bundle.
struct Slot {
    id: usize,
    spec: &'static VmSpec,
    phase: Phase,
    /// Exists unless the phase is [`Phase::Defined`].
    vm: Option<Arc<Vm>>,
    /// When the VM's timer runs out, on the physical counter.
    deadline: Option<u64>,
    /// When the power button, which is pressed, is let go of.
    button: Option<u64>,
    backoff: Option<Backoff>,
    /// When it was last switched on.
    started: u64,
    restarts: u32,
    /// Why it is as it is, where that is not the operator's doing.
    reason: Option<String>,
    /// A debugger has it.
    debugged: bool,
}

/// Whether the control plane wants to run on the CPU of this index.
#[inline]
pub fn is_wanted_on(cpu: usize) -> bool {
    WANTED.load(Ordering::SeqCst) && HOUSEKEEPER.load(Ordering::Relaxed) == cpu
}

/// Makes the housekeeper run the control plane as soon as it can.
pub fn request() {
    WANTED.store(true, Ordering::SeqCst);
    if let Some(cpu) = percpu::cpu(HOUSEKEEPER.load(Ordering::Relaxed)) {
        gic::kick(cpu);
    }
}

/// The CPU that runs the control plane.
pub fn housekeeper() -> usize {
    HOUSEKEEPER.load(Ordering::Relaxed)
}

/// A vCPU, unless its VM is gone or is being changed at this moment.
pub fn task(id: VcpuId) -> Option<Arc<Task>> {
    let slot = MACHINE.get()?.slots.get(id.vm)?.try_lock()?;
    slot.vm.as_ref()?.task(id.index).cloned()
}

/// Reports what has happened to a VM.
pub fn post(happening: Happening) {
    POSTED.lock().push_back(happening);
    request();
}

/// Takes over the VMs of `bundle` on a machine of this model, and starts those that start with it.
pub fn start(model: &str, bundle: &'static Bundle<'static>) {
    let _turn = TURN.lock();
    let slot = |(id, spec): (usize, &'static VmSpec)| {
        Mutex::new(Slot {
            id,
            spec,
            phase: Phase::Defined,
            vm: None,
            deadline: None,
            button: None,
            backoff: None,
            started: 0,
            restarts: 0,
            reason: None,
            debugged: false,
        })
    };
    let vcpus = bundle.vms().iter().map(|vm| vm.vcpus as usize).sum();
    // A vCPU that has something to report halts until that has been dealt with.
    POSTED.lock().reserve(2 * vcpus);
    scheduler::reserve(vcpus);
    switches::start(bundle.switches());
    let machine = MACHINE.call_once(|| Machine {
        model: model.to_string(),
        bundle,
        slots: bundle.vms().iter().enumerate().map(slot).collect(),
    });
    settle_housekeeper();
    port::start(bundle.vms().iter().map(|vm| (vm.name.as_str(), vm.colour, vm.console_ports())), request);
    let autostart = machine.slots.iter().filter(|slot| slot.lock().spec.autostart);
    for slot in autostart {
        let mut slot = slot.lock();
        if let Err(Refusal(why)) = machine.happen(&mut slot, Event::Order(Order::Start)) {
            log::error!("VM {} cannot start: {why}", slot.spec.name);
        }
    }
    machine.power_off_if_done();
}

/// The machine as an operator has it; for the control plane alone.
pub fn operator() -> Option<&'static dyn Operator> {
    MACHINE.get().map(|machine| machine as &dyn Operator)
}

/// Runs on the housekeeper: deals with everything that has been posted or is due.
pub fn run() {
    let _turn = TURN.lock();
    WANTED.store(false, Ordering::SeqCst);
    let Some(machine) = MACHINE.get() else { return };
    machine.hear_all();
    gdb::serve();
    let now = timer::now();
    let mut next: Option<u64> = None;
    for slot in &machine.slots {
        let mut slot = slot.lock();
        if slot.button.is_some_and(|button| button <= now) {
            slot.button = None;
            slot.with_vm(|vm| vm.power_button(false));
        }
        if slot.deadline.is_some_and(|deadline| deadline <= now) {
            slot.deadline = None;
            machine.happens(&mut slot, Event::Timeout);
        }
        if !machine.settle(&mut slot) {
            slot.deadline.get_or_insert(now.saturating_add(timer::ticks(HALT_POLL)));
        }
        next = [next, slot.deadline, slot.button].into_iter().flatten().min();
    }
    let monitor = port::serve(machine, timer::microseconds_since_boot()).map(timer::ticks);
    let sockets = SOCKETS.serve(timer::microseconds_since_boot()).map(timer::ticks);
    timer::set(Alarm::Control, [next, monitor, sockets].into_iter().flatten().min());
    // The CPU may have become the housekeeper.
    watchdog::arm();
    machine.power_off_if_done();
}

/// Of the CPUs `shared`, those that could be given to one VM so that every other VM that exists keeps one: all that no
/// VM depends on alone.
pub fn expendable_cpus(shared: u64) -> u64 {
    let Some(machine) = MACHINE.get() else { return shared };
    let others = machine.slots.iter().filter_map(|slot| {
        // The slot that is locked is that of the VM itself.
        let slot = slot.try_lock()?;
        (slot.vm.is_some() && !slot.spec.scheduling.dedicated).then_some(slot.spec.scheduling.cpus & shared)
    });
    // Each keeps the first CPU that it may use.
    others.fold(shared, |left, cpus| left & !(cpus & cpus.wrapping_neg()))
}

/// Chooses the housekeeper: a CPU that no vCPU owns, if there is one.
fn settle_housekeeper() {
    let shared = scheduler::shared_cpus();
    let mut cpus = percpu::all();
    let Some(cpu) = cpus.find(|cpu| shared.contains(cpu.index)).or_else(|| percpu::all().next()) else {
        return;
    };
    if HOUSEKEEPER.swap(cpu.index, Ordering::SeqCst) != cpu.index {
        irq::move_to(cpu);
        request();
    }
}

impl Machine {
    /// Deals with everything that has been posted.
    fn hear_all(&self) {
        while let Some(happening) = { POSTED.lock().pop_front() } {
            self.hear(happening);
        }
    }

    /// Lets a VM whose vCPUs are on their way out of the guest arrive at its goal. `false`: they are not all out yet.
    fn settle(&self, slot: &mut Slot) -> bool {
        if let Phase::Halting(_) = slot.phase {
            if slot.vm.as_ref().is_some_and(|vm| !vm.is_halted()) {
                return false;
            }
            // What they have reported on their way out may change the goal.
            if POSTED.lock().iter().any(|happening| happening.vm == slot.id) {
                return false;
            }
            self.happens(slot, Event::AllHalted);
        }
        true
    }

    /// Something has happened to a VM by itself.
    fn hear(&self, happening: Happening) {
        let Some(slot) = self.slots.get(happening.vm) else { return };
        let mut slot = slot.lock();
        if let Some((vcpu, what)) = happening.detail {
            // The rest, of which an engine has much to say, is for the log.
            let brief = what.lines().next().unwrap_or_default().to_string();
            match happening.event {
                Event::VcpuCrashed => {
                    log::error!("VM {} crashed on vCPU {vcpu}: {what}", slot.spec.name);
                    if let Some(vm) = &slot.vm {
                        crash::report(vm, vcpu);
                    }
                    if slot.debugged {
                        gdb::report(VcpuId { vm: slot.id, index: vcpu }, Stop::Crashed(brief.clone()));
                    }
                }
                Event::OutOfMemory => {
                    log::error!("VM {} is paused until it is resumed: vCPU {vcpu}: {what}", slot.spec.name);
                }
                Event::BootFailed => log::error!("VM {} cannot start: {what}", slot.spec.name),
                _ => {}
            }
            slot.reason = Some(brief);
        }
        self.happens(&mut slot, happening.event);
    }

    /// An event that no state refuses.
    fn happens(&self, slot: &mut Slot, event: Event) {
        // Only orders are refused, and an order's failure to create is reported to whoever gave it.
        let _ = self.happen(slot, event);
    }

    /// Does what `event` means to the VM.
    fn happen(&self, slot: &mut Slot, event: Event) -> Result<(), Refusal> {
        let before = slot.phase;
        let transition = lifecycle::next(before, event).map_err(|refused| Refusal(refused.to_string()))?;
        if transition.phase != before || matches!(event, Event::Order(_)) {
            slot.deadline = None;
        }
        for action in transition.actions {
            self.act(slot, *action)?;
        }
        slot.phase = transition.phase;
        slot.announce(before);
        if slot.debugged {
            gdb::report_change(slot.id, before, slot.phase);
        }
        Ok(())
    }

    fn act(&self, slot: &mut Slot, action: Action) -> Result<(), Refusal> {
        match action {
            Action::Create => {
                slot.vm = Some(
                    Vm::new(slot.id, slot.spec, self.bundle).map_err(|error| Refusal(error.to_string()))?,
                );
                settle_housekeeper();
            }
            Action::Load => {
                slot.reason = None;
                // If it does not get any further, it has not run for long.
                slot.started = timer::now();
                slot.switch_on(Vm::load);
            }
            Action::Run if matches!(slot.phase, Phase::Starting(_)) => {
                slot.started = timer::now();
                slot.switch_on(Vm::release);
            }
            Action::Run => slot.with_vm(Vm::release),
            Action::Halt => slot.with_vm(Vm::halt),
            Action::PressPowerButton => {
                slot.with_vm(|vm| vm.power_button(true));
                slot.button = Some(timer::now().saturating_add(timer::ticks(PRESS)));
                slot.deadline = Some(timer::now().saturating_add(timer::ticks(GRACE)));
            }
            // It is to be looked at.
            Action::React(_) if slot.debugged && slot.phase == Phase::Halting(Halted::Crash) => {}
            Action::React(ending) => slot.react(ending),
            Action::Release => {
                if let Some(vm) = slot.vm.take() {
                    vm.dismantle();
                    // Its memory is scrubbed.
                    scheduler::while_away(|| drop(vm));
                }
                settle_housekeeper();
            }
        }
        Ok(())
    }

    /// Switches the machine off where that is wanted once no VM runs.
    fn power_off_if_done(&self) {
        let wanted = self.bundle.when_all_off() == WhenAllOff::PowerOff;
        if wanted && self.slots.iter().all(|slot| slot.lock().is_done()) {
            match power::can_switch_off() {
                true => log::info!("all VMs are off, the machine is switched off"),
                false => log::info!("all VMs are off; this machine has no means to switch itself off"),
            }
            power::off();
        }
    }
}

impl Slot {
    fn with_vm(&self, act: impl FnOnce(&Arc<Vm>)) {
        if let Some(vm) = &self.vm {
            act(vm);
        }
    }

    /// Takes `step` towards the VM's first instruction, which it does not execute where a debugger has it.
    fn switch_on(&self, step: fn(&Arc<Vm>)) {
        self.with_vm(|vm| match self.debugged {
            true => gdb::advance(vm, step),
            false => step(vm),
        });
    }

    /// Whether nothing will happen to the VM until the operator gives an order, and nobody looks at it.
    fn is_done(&self) -> bool {
        match self.phase {
            Phase::Defined | Phase::Stopped => self.deadline.is_none(),
            Phase::Crashed => self.deadline.is_none() && !self.debugged,
            _ => false,
        }
    }

    /// Does what the VM's description says about its end.
    fn react(&mut self, ending: Ending) {
        match ending.reaction(self.spec) {
            Reaction::Stop => {}
            Reaction::Restart { delay } => {
                let ran = timer::microseconds(timer::now().saturating_sub(self.started));
                let delay =
                    self.backoff.get_or_insert_with(|| Backoff::new(delay)).delay(Duration::from_micros(ran));
                self.restarts = self.restarts.saturating_add(1);
                log::info!("VM {} starts again in {} ms", self.spec.name, delay.as_millis());
                let ticks = timer::ticks(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
                self.deadline = Some(timer::now().saturating_add(ticks));
            }
            Reaction::PowerOff => {
                log::info!("VM {} has ended, the machine is switched off", self.spec.name);
                power::off();
            }
        }
    }

    /// Logs what the operator should know of a change.
    fn announce(&self, before: Phase) {
        let name = &self.spec.name;
        let (old, new) = (before.state(), self.phase.state());
        match new {
            State::Starting if matches!(old, State::Defined | State::Stopped) => {
                log::info!("VM {name} starts: {} vCPUs, {} MiB", self.spec.vcpus, self.spec.memory >> 20);
            }
            State::Starting if old != State::Starting => {
                if let Some(left_out) = self.vm.as_ref().and_then(|vm| vm.admit_log_line()) {
                    log::info!("VM {name} resets{left_out}");
                }
            }
            State::Stopped if matches!(old, State::Stopping) => log::info!("VM {name} is off"),
            _ => {}
        }
    }
}
