//! A machine on which the policy is tested: a mechanism without locks, guests or interrupts, in which time
//! passes from event to event and a kick arrives at once.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Asleep, CpuSet, CpuView, Params, Rate, RunQueue, Ticks, VTime, Waiting, place, woken};

/// A tick is a nanosecond.
pub const MS: Ticks = 1_000_000;
pub const US: Ticks = 1_000;
pub const SECOND: Ticks = 1000 * MS;
pub const PARAMS: Params = Params::new(SECOND);

/// What a vCPU does when it has the CPU.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// It never blocks.
    Hog,
    /// It runs for the first time and sleeps for the second, over and over.
    Bursts(Ticks, Ticks),
    /// The same with times evenly spread from nothing to twice these.
    Random(Ticks, Ticks),
    /// It runs until just before its slice ends and sleeps for so long.
    Dodger(Ticks),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Waiting,
    Blocked,
    Gone,
}

#[derive(Debug)]
pub struct Vcpu {
    vm: usize,
    allowed: CpuSet,
    load: Load,
    state: State,
    /// While it is blocked.
    asleep: Asleep,
    home: usize,
    /// What is left of its burst.
    burst: Ticks,
    /// When it got its CPU, or began to wait for one.
    since: Ticks,
    woke: Option<Ticks>,
    /// How long it has run.
    pub got: Ticks,
    /// The longest time from a wake-up to running.
    pub latency: Ticks,
    /// The longest time for which it waited for a CPU.
    pub wait: Ticks,
    pub migrations: usize,
}

#[derive(Debug)]
struct Vm {
    weight: u32,
    runnable: u32,
    clock: VTime,
}

#[derive(Debug)]
struct Cpu {
    queue: RunQueue<usize>,
    running: Option<usize>,
    /// Distinguishes the events of what runs now from stale ones.
    epoch: usize,
    /// When it looks again whether the next should run.
    tick: Option<Ticks>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(usize),
    Done { cpu: usize, epoch: usize },
    Tick(usize),
}

pub struct Machine {
    now: Ticks,
    cpus: Vec<Cpu>,
    vms: Vec<Vm>,
    pub vcpus: Vec<Vcpu>,
    events: BinaryHeap<Reverse<(Ticks, Event)>>,
    random: Random,
    /// How often a CPU has looked whether the next should run.
    pub ticks: usize,
}

impl Machine {
    pub fn new(cpus: usize, seed: u64) -> Self {
        let cpu = || Cpu { queue: RunQueue::new(), running: None, epoch: 0, tick: None };
        Self {
            now: 0,
            cpus: (0..cpus).map(|_| cpu()).collect(),
            vms: Vec::new(),
            vcpus: Vec::new(),
            events: BinaryHeap::new(),
            random: Random(seed),
            ticks: 0,
        }
    }

    /// Adds a VM, whose vCPUs wake up now.
    pub fn vm(&mut self, weight: u32, vcpus: impl IntoIterator<Item = (Load, CpuSet)>) -> usize {
        let vm = self.vms.len();
        self.vms.push(Vm { weight, runnable: 0, clock: VTime::default() });
        for (load, allowed) in vcpus {
            let index = self.vcpus.len();
            let home =
                allowed.iter().next().filter(|_| allowed != CpuSet::ALL).unwrap_or(index % self.cpus.len());
            let vtime = self.cpus[home].queue.vtime(&PARAMS, self.now);
            let asleep = Asleep { vtime, cpu: vtime, clock: VTime::default() };
            let burst = Ticks::MAX;
            self.vcpus.push(Vcpu {
                vm,
                allowed,
                load,
                state: State::Blocked,
                asleep,
                home,
                burst,
                since: self.now,
                woke: None,
                got: 0,
                latency: 0,
                wait: 0,
                migrations: 0,
            });
            self.events.push(Reverse((self.now, Event::Wake(index))));
        }
        vm
    }

    pub fn set_weight(&mut self, vm: usize, weight: u32) {
        self.vms[vm].weight = weight;
        self.update_rates(vm);
    }

    /// Ends a vCPU.
    pub fn kill(&mut self, vcpu: usize) {
        match self.vcpus[vcpu].state {
            State::Running => {
                let cpu = self.vcpus[vcpu].home;
                self.stop(cpu);
                self.vcpus[vcpu].state = State::Gone;
                self.runnable(vcpu, -1);
                self.dispatch(cpu);
            }
            State::Waiting => {
                let home = self.vcpus[vcpu].home;
                self.cpus[home].queue.remove(|&it| it == vcpu);
                self.vcpus[vcpu].state = State::Gone;
                self.runnable(vcpu, -1);
            }
            State::Blocked | State::Gone => self.vcpus[vcpu].state = State::Gone,
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Ticks) {
        let end = self.now + time;
        while let Some(Reverse((at, event))) = self.events.pop_if_before(end) {
            self.now = at;
            match event {
                Event::Wake(vcpu) => self.wake(vcpu),
                Event::Done { cpu, epoch } if self.cpus[cpu].epoch == epoch => self.block(cpu),
                Event::Done { .. } => {}
                Event::Tick(cpu) if self.cpus[cpu].tick == Some(at) => self.tick(cpu),
                Event::Tick(_) => {}
            }
            self.check_work_conservation();
        }
        self.now = end;
        for vcpu in &mut self.vcpus {
            let time = end - vcpu.since;
            match vcpu.state {
                State::Running => {
                    vcpu.got += time;
                    vcpu.since = end;
                    vcpu.burst = vcpu.burst.saturating_sub(time);
                }
                State::Waiting => vcpu.wait = vcpu.wait.max(time),
                State::Blocked | State::Gone => {}
            }
        }
    }

    /// Forgets what was measured.
    pub fn reset(&mut self) {
        self.ticks = 0;
        for it in &mut self.vcpus {
            (it.got, it.latency, it.wait, it.migrations) = (0, 0, 0, 0);
        }
    }

    pub fn migrations(&self) -> usize {
        self.vcpus.iter().map(|it| it.migrations).sum()
    }

    fn rate(&self, vcpu: usize) -> Rate {
        let vm = &self.vms[self.vcpus[vcpu].vm];
        Rate::of(vm.weight, vm.runnable)
    }

    fn runnable(&mut self, vcpu: usize, change: i32) {
        let vm = self.vcpus[vcpu].vm;
        self.vms[vm].runnable = self.vms[vm].runnable.checked_add_signed(change).unwrap();
        self.update_rates(vm);
    }

    fn update_rates(&mut self, vm: usize) {
        for cpu in 0..self.cpus.len() {
            if let Some(vcpu) = self.cpus[cpu].running.filter(|&it| self.vcpus[it].vm == vm) {
                let rate = self.rate(vcpu);
                self.advance_clock(vm, cpu);
                self.cpus[cpu].queue.set_rate(self.now, rate);
            }
        }
    }

    /// Adds what the vCPU of `vm` that runs on this CPU has run.
    fn advance_clock(&mut self, vm: usize, cpu: usize) {
        let ran = self.cpus[cpu].queue.uncharged(self.now);
        let vm = &mut self.vms[vm];
        vm.clock = vm.clock.after(Rate::of(vm.weight, 1).advance(ran) as i64);
    }

    fn views(&self) -> impl Iterator<Item = CpuView> + Clone {
        self.cpus.iter().enumerate().map(|(index, cpu)| cpu.queue.view(&PARAMS, self.now, index))
    }

    fn place(&self, vcpu: usize, vtime: VTime, home: usize) -> usize {
        place(&PARAMS, vtime, self.rate(vcpu), home, self.vcpus[vcpu].allowed, self.views()).unwrap()
    }

    fn leave_idle(&mut self, cpu: usize) {
        let busy = self.views().filter(|it| !it.idle).map(|it| it.level);
        if let Some(furthest) = busy.reduce(VTime::later) {
            self.cpus[cpu].queue.leave_idle(furthest);
        }
    }

    fn wake(&mut self, vcpu: usize) {
        if self.vcpus[vcpu].state != State::Blocked {
            return;
        }
        self.runnable(vcpu, 1);
        let (home, rate) = (self.vcpus[vcpu].home, self.rate(vcpu));
        let now = self.now;
        let (asleep, clock) = (self.vcpus[vcpu].asleep, self.vms[self.vcpus[vcpu].vm].clock);
        let from = self.cpus[home].queue.vtime(&PARAMS, now);
        let vtime = asleep.vtime_at(&PARAMS, from, clock, rate);
        let cpu = self.place(vcpu, woken(&PARAMS, from, vtime, rate), home);
        if self.cpus[cpu].queue.is_idle() {
            self.leave_idle(cpu);
        }
        let it = &mut self.vcpus[vcpu];
        it.woke = Some(now);
        it.burst = match it.load {
            Load::Hog => Ticks::MAX,
            Load::Bursts(run, _) => run,
            Load::Random(run, _) => 1 + self.random.below(2 * run),
            Load::Dodger(_) => PARAMS.longest_slice,
        };
        let waiting = self.waits(vcpu, vtime, cpu);
        self.cpus[cpu].queue.wake(&PARAMS, now, waiting, from);
        self.kick(cpu);
    }

    /// The vCPU begins to wait for this CPU.
    fn waits(&mut self, vcpu: usize, vtime: VTime, cpu: usize) -> Waiting<usize> {
        let rate = self.rate(vcpu);
        let it = &mut self.vcpus[vcpu];
        if it.state != State::Waiting {
            it.state = State::Waiting;
            it.since = self.now;
        }
        it.migrations += usize::from(it.home != cpu);
        it.home = cpu;
        Waiting { vtime, rate, allowed: it.allowed, task: vcpu }
    }

    /// Something has been queued.
    fn kick(&mut self, cpu: usize) {
        if self.cpus[cpu].running.is_none() {
            self.dispatch(cpu);
        } else if self.cpus[cpu].queue.preempts(&PARAMS, self.now) {
            self.reschedule(cpu);
        } else {
            self.arm(cpu);
        }
    }

    fn arm(&mut self, cpu: usize) {
        let it = &mut self.cpus[cpu];
        let tick = it.queue.next_tick(&PARAMS, self.now).map(|delay| self.now + delay);
        if tick != it.tick {
            it.tick = tick;
            self.events.extend(tick.map(|at| Reverse((at, Event::Tick(cpu)))));
        }
    }

    /// The one that runs stops: it and its virtual time.
    fn stop(&mut self, cpu: usize) -> (usize, VTime) {
        let vcpu = self.cpus[cpu].running.take().unwrap();
        self.advance_clock(self.vcpus[vcpu].vm, cpu);
        let vtime = self.cpus[cpu].queue.stop(&PARAMS, self.now).unwrap();
        self.cpus[cpu].epoch += 1;
        let it = &mut self.vcpus[vcpu];
        let ran = self.now - it.since;
        it.got += ran;
        it.burst = it.burst.saturating_sub(ran);
        (vcpu, vtime)
    }

    /// The one that runs makes way for the first that waits.
    fn reschedule(&mut self, cpu: usize) {
        let (vcpu, vtime) = self.stop(cpu);
        let to = self.place(vcpu, vtime, cpu);
        self.insert(vcpu, vtime, to);
        self.dispatch(cpu);
        if to != cpu {
            self.kick(to);
        }
    }

    fn insert(&mut self, vcpu: usize, vtime: VTime, cpu: usize) {
        if self.cpus[cpu].queue.is_idle() {
            self.leave_idle(cpu);
        }
        let waiting = self.waits(vcpu, vtime, cpu);
        self.cpus[cpu].queue.insert(&PARAMS, self.now, waiting);
    }

    /// The CPU runs whoever is next, or takes one from another.
    fn dispatch(&mut self, cpu: usize) {
        if self.cpus[cpu].queue.waiting() == 0 {
            let candidates = self.cpus.iter().enumerate().filter_map(|(index, other)| {
                Some((other.queue.iter().find(|it| it.allowed.contains(cpu))?.vtime, index))
            });
            let victim = candidates.reduce(|one, other| if other.0.is_before(one.0) { other } else { one });
            if let Some((_, victim)) = victim {
                let it = self.cpus[victim].queue.steal(cpu).unwrap();
                self.insert(it.task, it.vtime, cpu);
            }
        }
        let Some(next) = self.cpus[cpu].queue.pop() else {
            return;
        };
        let (now, vcpu, rate) = (self.now, next.task, self.rate(next.task));
        self.cpus[cpu].queue.start(now, next.vtime, rate);
        self.cpus[cpu].running = Some(vcpu);
        self.cpus[cpu].epoch += 1;
        let slice = self.cpus[cpu].queue.next_tick(&PARAMS, now).unwrap_or(PARAMS.longest_slice);
        let it = &mut self.vcpus[vcpu];
        it.state = State::Running;
        it.wait = it.wait.max(now - it.since);
        it.since = now;
        if let Some(woke) = it.woke.take() {
            it.latency = it.latency.max(now - woke);
        }
        let burst = match it.load {
            Load::Dodger(_) => slice - US,
            _ => it.burst,
        };
        if let Some(end) = now.checked_add(burst) {
            self.events.push(Reverse((end, Event::Done { cpu, epoch: self.cpus[cpu].epoch })));
        }
        self.arm(cpu);
    }

    fn block(&mut self, cpu: usize) {
        let (vcpu, vtime) = self.stop(cpu);
        let sleep = match self.vcpus[vcpu].load {
            Load::Hog => Ticks::MAX / 2,
            Load::Bursts(_, sleep) | Load::Dodger(sleep) => sleep,
            Load::Random(_, sleep) => self.random.below(2 * sleep),
        };
        self.vcpus[vcpu].state = State::Blocked;
        self.runnable(vcpu, -1);
        let clock = self.vms[self.vcpus[vcpu].vm].clock;
        self.vcpus[vcpu].asleep = Asleep { vtime, cpu: self.cpus[cpu].queue.vtime(&PARAMS, self.now), clock };
        self.events.push(Reverse((self.now + sleep, Event::Wake(vcpu))));
        self.dispatch(cpu);
    }

    fn tick(&mut self, cpu: usize) {
        self.cpus[cpu].tick = None;
        self.ticks += 1;
        if self.cpus[cpu].queue.expired(&PARAMS, self.now) {
            self.reschedule(cpu);
        }
        self.balance(cpu);
        self.arm(cpu);
    }

    /// Moves the first that waits to where it is better off.
    fn balance(&mut self, cpu: usize) {
        let Some((vcpu, vtime)) = self.cpus[cpu].queue.front().map(|it| (it.task, it.vtime)) else {
            return;
        };
        let to = self.place(vcpu, vtime, cpu);
        if to != cpu {
            self.cpus[cpu].queue.pop();
            self.insert(vcpu, vtime, to);
            self.kick(to);
        } else {
            let allowed = self.vcpus[vcpu].allowed;
            let (level, rate) = (self.cpus[cpu].queue.view(&PARAMS, self.now, cpu).level, self.rate(vcpu));
            let others = self
                .cpus
                .iter_mut()
                .enumerate()
                .filter(|(index, _)| *index != cpu && allowed.contains(*index));
            for (_, other) in others {
                other.queue.catch_up(&PARAMS, self.now, level, rate);
            }
        }
    }

    fn check_work_conservation(&self) {
        for (index, _) in self.cpus.iter().enumerate().filter(|(_, it)| it.queue.is_idle()) {
            let waits = self.cpus.iter().flat_map(|it| it.queue.iter()).find(|it| it.allowed.contains(index));
            assert!(waits.is_none(), "CPU {index} is idle while vCPU {waits:?} waits");
        }
    }
}

trait PopIfBefore {
    fn pop_if_before(&mut self, end: Ticks) -> Option<Reverse<(Ticks, Event)>>;
}

impl PopIfBefore for BinaryHeap<Reverse<(Ticks, Event)>> {
    fn pop_if_before(&mut self, end: Ticks) -> Option<Reverse<(Ticks, Event)>> {
        self.peek().filter(|Reverse((at, _))| *at < end)?;
        self.pop()
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
