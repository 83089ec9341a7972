//! A vCPU as the scheduler sees it: what it is doing, and where.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use bitflags::bitflags;
use spin::{Mutex, MutexGuard, Once};

use super::policy::{Asleep, CpuSet, Rate, Ticks, VTime};
use super::{cpu, make_ready};
use crate::arch::aarch64::{gic, percpu, timer};
use crate::vm::control;
use crate::vm::instance::Vm;
use crate::vm::operator::Activity;
use crate::vm::vcpu::{Attention, Counter, Exit, Shared, VcpuId, VcpuOps};

/// What the vCPUs of one VM have in common for the scheduler.
#[derive(Debug)]
pub struct Share {
    weight: u32,
    /// The rate when one of the vCPUs is runnable.
    alone: Rate,
    /// Each of the vCPUs owns its CPU.
    dedicated: bool,
    /// How many of the vCPUs run or wait for a CPU.
    runnable: AtomicU32,
    /// See [`Asleep::clock`].
    clock: AtomicU64,
}

impl Share {
    /// The share of a VM with the given weight, or whose vCPUs own their CPUs.
    pub fn new(weight: u32, dedicated: bool) -> Self {
        Self {
            weight,
            alone: Rate::of(weight, 1),
            dedicated,
            runnable: AtomicU32::new(0),
            clock: AtomicU64::new(0),
        }
    }

    /// At which rate the virtual time of each of the VM's vCPUs passes now.
    pub(super) fn rate(&self) -> Rate {
        match self.runnable.load(Ordering::Relaxed) {
            0 | 1 => self.alone,
            runnable => Rate::of(self.weight, runnable),
        }
    }

    /// One of the vCPUs has run for `ticks`.
    pub(super) fn charge(&self, ticks: Ticks) {
        self.clock.fetch_add(self.alone.advance(ticks), Ordering::Relaxed);
    }

    pub(super) fn clock(&self) -> VTime {
        VTime::from_raw(self.clock.load(Ordering::Relaxed))
    }

    pub(super) fn one_more(&self) {
        self.runnable.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn one_less(&self) {
        self.runnable.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a task is. Only the CPU that holds it may change `Running` and `Waiting` (the latter with the lock of
/// its queue); whoever wins the exchange may take it out of `Parked` and `Blocked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody will run it until it is unparked: it is off, or its VM is held.
    Parked,
    /// It waits for an interrupt.
    Blocked,
    /// On its way from one of these into a queue.
    Waking,
    /// In the queue of the CPU of this index.
    Waiting(usize),
    /// On the CPU of this index.
    Running(usize),
}

impl State {
    fn encode(self) -> u32 {
        match self {
            Self::Parked => 0,
            Self::Blocked => 1,
            Self::Waking => 2,
            Self::Waiting(cpu) => 3 | (cpu as u32) << 8,
            Self::Running(cpu) => 4 | (cpu as u32) << 8,
        }
    }

    fn decode(word: u32) -> Self {
        let cpu = (word >> 8) as usize;
        match word & 0xff {
            0 => Self::Parked,
            1 => Self::Blocked,
            2 => Self::Waking,
            3 => Self::Waiting(cpu),
            _ => Self::Running(cpu),
        }
    }
}

/// How a task leaves a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on when its turn comes.
    Preempted,
    /// It goes on when its turn comes, and not before the next one's.
    Yielded,
    /// It waits for an interrupt, which its own timer may bring at the given time.
    Blocked(Option<u64>),
    /// It is off or held.
    Parked,
}

/// For how long a task did what, in ticks of the physical counter.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub run: Counter,
    pub steal: Counter,
    pub idle: Counter,
    pub migrations: Counter,
    /// Since when it does what it does now.
    pub since: AtomicU64,
}

bitflags! {
    /// Why a vCPU must not run.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Hold: u32 {
        /// Its VM does not run.
        const VM = 1 << 0;
        /// It has reported something that concerns its VM, which is yet to be dealt with.
        const REPORT = 1 << 1;
        /// Somebody looks at it for a moment.
        const LOOK = 1 << 2;
        /// The debugger holds it.
        const DEBUGGER = 1 << 3;
    }
}

/// A vCPU in the hands of the scheduler.
pub struct Task {
    id: VcpuId,
    vm: Once<Weak<Vm>>,
    /// What the vCPU shares with everybody while it runs.
    pub shared: Arc<Shared>,
    /// The vCPU, locked by the CPU that runs it for as long as it does. `None` while its VM is off.
    vcpu: Mutex<Option<Box<dyn VcpuOps>>>,
    state: AtomicU32,
    /// Why it must not run: bits of [`Hold`].
    holds: AtomicU32,
    /// Its guest has switched it on and not off.
    on: AtomicBool,
    /// An order to start it waits at the VM's power controller.
    start: AtomicBool,
    /// What [`Asleep`] holds, from when it last left a CPU.
    asleep: [AtomicU64; 3],
    /// The CPU that it last ran on.
    home: AtomicU32,
    /// The CPUs that it may run on.
    allowed: CpuSet,
    pub(super) share: Arc<Share>,
    pub(super) times: Times,
}

impl Task {
    /// The vCPU `id`, parked and off.
    pub fn new(id: VcpuId, share: Arc<Share>, allowed: CpuSet) -> Self {
        Self {
            id,
            vm: Once::new(),
            shared: Arc::default(),
            vcpu: Mutex::new(None),
            state: AtomicU32::new(State::Parked.encode()),
            holds: AtomicU32::new(Hold::VM.bits()),
            on: AtomicBool::new(false),
            start: AtomicBool::new(false),
            asleep: [const { AtomicU64::new(0) }; 3],
            home: AtomicU32::new(allowed.iter().next().unwrap_or(0) as u32),
            allowed,
            share,
            times: Times::default(),
        }
    }

    /// Which vCPU it is.
    pub fn id(&self) -> VcpuId {
        self.id
    }

    /// Makes it a vCPU of `vm`, whose registers are in `vcpu`.
    pub fn join(&self, vm: &Arc<Vm>, vcpu: Box<dyn VcpuOps>) {
        self.vm.call_once(|| Arc::downgrade(vm));
        *self.vcpu.lock() = Some(vcpu);
    }

    /// Gives its registers up, for they keep the VM alive.
    pub fn leave(&self) {
        self.vcpu.lock().take();
    }

    fn vm(&self) -> Option<Arc<Vm>> {
        self.vm.get()?.upgrade()
    }

    pub(super) fn state(&self) -> State {
        State::decode(self.state.load(Ordering::SeqCst))
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state.encode(), Ordering::SeqCst);
    }

    /// How long it has done what it did, which ends at `now`.
    pub(super) fn lap(&self, now: u64) -> u64 {
        // Whoever has taken the task out of its state is the only one to write this.
        let since = self.times.since.load(Ordering::Relaxed);
        self.times.since.store(now, Ordering::Relaxed);
        now.saturating_sub(since)
    }

    /// Takes it from `from` into `Waking`, if that is where it is.
    pub(super) fn take_from(&self, from: State) -> bool {
        self.exchange(from, State::Waking)
    }

    fn exchange(&self, from: State, to: State) -> bool {
        let (from, to) = (from.encode(), to.encode());
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Where it stood when it left a CPU.
    pub(super) fn asleep(&self) -> Asleep {
        let [vtime, cpu, clock] =
            self.asleep.each_ref().map(|word| VTime::from_raw(word.load(Ordering::Relaxed)));
        Asleep { vtime, cpu, clock }
    }

    /// It leaves, at `vtime`, a CPU that has come as far as `cpu`.
    pub(super) fn fall_asleep(&self, vtime: VTime, cpu: VTime) {
        for (word, time) in self.asleep.iter().zip([vtime, cpu, self.share.clock()]) {
            word.store(time.raw(), Ordering::Relaxed);
        }
    }

    /// It does not run or wait any more: it is parked, as in [`Task::fall_asleep`].
    pub(super) fn park(&self, vtime: VTime, cpu: VTime) {
        self.fall_asleep(vtime, cpu);
        self.share.one_less();
        self.set_state(State::Parked);
    }

    pub(super) fn home(&self) -> usize {
        self.home.load(Ordering::Relaxed) as usize
    }

    pub(super) fn set_home(&self, cpu: usize) {
        if self.home.swap(cpu as u32, Ordering::Relaxed) != cpu as u32 {
            self.times.migrations.count();
        }
    }

    /// Whether it owns its CPU.
    pub fn owns_cpu(&self) -> bool {
        self.share.dedicated
    }

    /// The CPUs that it may run on.
    pub fn allowed(&self) -> CpuSet {
        self.allowed
    }

    pub(super) fn is_halted(&self) -> bool {
        self.holds.load(Ordering::SeqCst) != 0
    }

    /// Whether something was wanted of it while nobody looked.
    pub(super) fn is_called(&self) -> bool {
        fence(Ordering::SeqCst);
        self.shared.attention.peek() != 0
    }

    /// Whether it is to run, and may: for one that has just been parked, whoever wanted that may have changed
    /// his mind before it was.
    pub(super) fn is_to_go_on(&self) -> bool {
        fence(Ordering::SeqCst);
        (self.on.load(Ordering::Relaxed) || self.start.load(Ordering::SeqCst)) && !self.is_halted()
    }

    /// Runs it on this CPU until it leaves.
    pub(super) fn run(&self) -> Fate {
        let mut slot = self.vcpu.lock();
        let Some(vcpu) = slot.as_mut() else { return Fate::Parked };
        loop {
            if self.is_halted() {
                return Fate::Parked;
            }
            if self.start.load(Ordering::Relaxed) && !self.obey_start(vcpu.as_mut()) {
                return Fate::Parked;
            }
            if !self.on.load(Ordering::Relaxed) {
                // Reset while it was on its way here.
                return Fate::Parked;
            }
            match vcpu.run() {
                Exit::Preempted => return Fate::Preempted,
                Exit::Yielded => return Fate::Yielded,
                Exit::Waiting { until } => return Fate::Blocked(until),
                Exit::Stopped => {}
                exit => {
                    self.end(exit);
                    return Fate::Parked;
                }
            }
        }
    }

    /// Takes note of an exit after which it does not go on by itself.
    fn end(&self, exit: Exit) {
        match exit {
            Exit::Off => self.on.store(false, Ordering::Relaxed),
            Exit::Debug(stop) => {
                self.hold(Hold::DEBUGGER);
                control::gdb::report(self.id, stop);
            }
            exit => {
                // Resuming the VM lets a vCPU try again that found no memory; what else it has reported is final.
                self.hold(match exit {
                    Exit::OutOfMemory(_) => Hold::VM,
                    _ => Hold::REPORT,
                });
                if let Some(vm) = self.vm() {
                    vm.left(self.id.index, exit);
                }
            }
        }
    }

    /// Brings its guest, while it is halted and has left its CPU, to where its registers can be looked at and changed, as
    /// [`VcpuOps::settle`] does. `false`: it is not there yet. Does nothing where it has not left its CPU.
    pub fn settle(&self, until: u64) -> bool {
        let Some(mut slot) = self.vcpu.try_lock().filter(|_| self.state() == State::Parked) else {
            return true;
        };
        let Some(vcpu) = slot.as_mut() else { return true };
        if self.start.load(Ordering::SeqCst) {
            self.obey_start(vcpu.as_mut());
        }
        let has_ended = self.holds.load(Ordering::SeqCst) & Hold::REPORT.bits() != 0;
        if has_ended || !self.on.load(Ordering::Relaxed) {
            return true;
        }
        vcpu.settle(until).unwrap_or_else(|exit| {
            self.end(exit);
            true
        })
    }

    /// Obeys the order to start `vcpu`, which is this one's. `false`: it is off nevertheless.
    fn obey_start(&self, vcpu: &mut dyn VcpuOps) -> bool {
        self.start.store(false, Ordering::SeqCst);
        let Some(start) = self.vm().and_then(|vm| vm.take_start(self.id.index)) else { return false };
        vcpu.start_at(start.entry, start.context);
        self.on.store(true, Ordering::Relaxed);
        true
    }

    /// Obeys an order to start it here and now, as far as that can be done while it is held: it is on then, and about
    /// to execute its first instruction.
    pub fn start_held(&self) {
        if let Some(vcpu) = self.vcpu.lock().as_mut()
            && self.start.load(Ordering::SeqCst)
        {
            self.obey_start(vcpu.as_mut());
        }
    }

    /// Raises `flags` of its attention and sees to it that it looks.
    pub fn raise(self: &Arc<Self>, flags: u32) {
        self.shared.attention.raise(flags);
        match self.state() {
            State::Running(cpu) if cpu != percpu::this_cpu().index => {
                if let Some(cpu) = percpu::cpu(cpu) {
                    gic::kick(cpu);
                }
            }
            State::Blocked => self.wake(),
            // On this CPU it looks before it goes on; elsewhere it looks when it is loaded.
            _ => {}
        }
    }

    /// Whether it runs on this CPU.
    pub fn is_here(&self) -> bool {
        self.state() == State::Running(percpu::this_cpu().index)
    }

    /// Lets it run if it waits for an interrupt.
    pub(super) fn wake(self: &Arc<Self>) {
        if self.take_from(State::Blocked) {
            make_ready(self);
        }
    }

    /// There is an order to start it, which it takes as soon as it may.
    pub fn start(self: &Arc<Self>) {
        self.start.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.unpark();
    }

    fn unpark(self: &Arc<Self>) {
        if !self.is_halted() && self.take_from(State::Parked) {
            // It has not been idle, but off or held.
            self.lap(timer::about_now());
            make_ready(self);
        }
    }

    /// Keeps it from running once it has left its CPU, which it is about to do.
    pub fn hold(&self, why: Hold) {
        self.holds.fetch_or(why.bits(), Ordering::SeqCst);
    }

    /// Keeps it from running from now on. [`Task::is_parked`] tells when it has left its CPU.
    pub fn halt(self: &Arc<Self>, why: Hold) {
        self.hold(why);
        loop {
            let done = match self.state() {
                State::Parked => true,
                State::Blocked => self.halt_blocked(),
                State::Waiting(cpu) => cpu::take_out(cpu, self),
                State::Running(_) => {
                    self.raise(Attention::STOP);
                    true
                }
                // Whoever wakes it is about to put it into a queue.
                State::Waking => false,
            };
            if done {
                return;
            }
            core::hint::spin_loop();
        }
    }

    /// Parks it if it waits for an interrupt; `false` if it does not.
    fn halt_blocked(&self) -> bool {
        if !self.take_from(State::Blocked) {
            return false;
        }
        let idle = self.lap(timer::about_now());
        self.times.idle.add(idle);
        // Nobody has wanted it to start meanwhile, for it is on.
        self.set_state(State::Parked);
        true
    }

    /// Whether it is halted and has left its CPU.
    pub fn is_parked(self: &Arc<Self>) -> bool {
        match self.state() {
            State::Parked => true,
            // It left its CPU for a queue as it was halted.
            State::Waiting(cpu) => self.is_halted() && cpu::take_out(cpu, self),
            _ => false,
        }
    }

    /// Takes back why it was halted. If nothing else holds it and its guest has it switched on, it goes on.
    pub fn release(self: &Arc<Self>, why: Hold) {
        self.holds.fetch_and(!why.bits(), Ordering::SeqCst);
        if self.on.load(Ordering::Relaxed) || self.start.load(Ordering::SeqCst) {
            self.unpark();
        }
    }

    /// Forgets, while parked, that its guest had it switched on, and what it has reported.
    pub fn switch_off(&self) {
        self.holds.fetch_and(!Hold::REPORT.bits(), Ordering::SeqCst);
        self.on.store(false, Ordering::Relaxed);
        self.start.store(false, Ordering::SeqCst);
        self.shared.attention.take();
    }

    /// Whether its guest has switched it on.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The vCPU itself, unless it runs.
    pub fn try_vcpu(&self) -> Option<MutexGuard<'_, Option<Box<dyn VcpuOps>>>> {
        self.vcpu.try_lock()
    }

    /// The vCPU itself; waits while it runs.
    pub fn vcpu(&self) -> MutexGuard<'_, Option<Box<dyn VcpuOps>>> {
        self.vcpu.lock()
    }

    /// What it is doing.
    pub fn activity(&self) -> Activity {
        match self.state() {
            State::Running(cpu) => match percpu::cpu(cpu).is_some_and(|cpu| cpu.scheduler.is_idle()) {
                true => Activity::Blocked,
                false => Activity::Running(cpu),
            },
            State::Waiting(cpu) => Activity::Waiting(cpu),
            State::Blocked | State::Waking => Activity::Blocked,
            State::Parked if self.on.load(Ordering::Relaxed) => Activity::Halted,
            State::Parked => Activity::Off,
        }
    }

    /// Ticks for which it has run, has waited for a CPU, and has waited for an interrupt; and how often it
    /// has changed CPUs.
    pub fn times(&self) -> [u64; 4] {
        let Times { run, steal, idle, migrations, since } = &self.times;
        let mut times = [run.get(), steal.get(), idle.get(), migrations.get()];
        let lasts = timer::about_now().saturating_sub(since.load(Ordering::Relaxed));
        let [run, steal, idle, _] = &mut times;
        match self.activity() {
            Activity::Running(_) => *run += lasts,
            Activity::Waiting(_) => *steal += lasts,
            Activity::Blocked => *idle += lasts,
            Activity::Off | Activity::Halted => {}
        }
        times
    }
}
