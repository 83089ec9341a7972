//! One CPU's part of the scheduler, and what passes between CPUs.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use spin::{Mutex, MutexGuard};

use super::policy::{self, CpuSet, CpuView, Params, Rate, RunQueue, VTime, Waiting};
use super::task::{Fate, State, Task};
use crate::arch::aarch64::percpu::{self, PerCpu};
use crate::arch::aarch64::timer::{self, Alarm};
use crate::arch::aarch64::{cpu, gic, irq};
use crate::platform::{crash, devices};
use crate::vm::vcpu::VcpuId;
use crate::vm::{control, watchdog};

/// The CPUs that no vCPU owns, a bit each.
static SHARED_CPUS: AtomicU64 = AtomicU64::new(u64::MAX);

/// The CPUs that are busy with something long, a bit each.
static AWAY_CPUS: AtomicU64 = AtomicU64::new(0);

type Queue = RunQueue<Arc<Task>>;

/// A vCPU that is blocked until an interrupt, of which its own timer may be the cause.
struct Sleeper {
    until: u64,
    task: Arc<Task>,
}

/// What a CPU has of its own for the scheduler.
pub struct CpuScheduler {
    /// The policy's constants in ticks of this machine's counter.
    params: Params,
    queue: Mutex<Queue>,
    /// Blocked vCPUs that were last here, with the times of their timers.
    sleepers: Mutex<Vec<Sleeper>>,
    /// The CPU is to look at its queue.
    called: AtomicBool,
    /// A time slice has ended since it last looked whether a task should move to another CPU.
    tick: AtomicBool,
    /// It sleeps, or is about to.
    idle: AtomicBool,
    /// What others may know of the queue without its lock: how many wait, its virtual time and level at
    /// `published`, and the rate at which these advance (0: not until they are published again).
    waiting: AtomicUsize,
    vtime: AtomicU64,
    level: AtomicU64,
    published: AtomicU64,
    rate: AtomicU32,
    /// Which vCPU runs: [`NOBODY`], or its VM's number above 32 bits of its index.
    current: AtomicU64,
    /// Statistics, in ticks.
    idle_ticks: AtomicU64,
    started: AtomicU64,
    switches: AtomicU64,
    /// Goes up whenever the CPU decides anew what to do.
    turns: AtomicU64,
}

const NOBODY: u64 = u64::MAX;

fn id_of(current: u64) -> Option<VcpuId> {
    (current != NOBODY).then_some(VcpuId { vm: (current >> 32) as usize, index: current as u32 as usize })
}

/// The CPUs that no vCPU owns.
pub fn shared_cpus() -> CpuSet {
    CpuSet::from_bits(SHARED_CPUS.load(Ordering::SeqCst))
}

/// Sees to it that no queue has to grow while it is in use: there are `tasks` vCPUs in all.
pub fn reserve(tasks: usize) {
    for cpu in percpu::all() {
        cpu.scheduler.queue.lock().reserve(tasks);
        let mut sleepers = cpu.scheduler.sleepers.lock();
        let more = tasks.saturating_sub(sleepers.len());
        sleepers.reserve(more);
    }
}

/// Keeps shared vCPUs off the CPUs `owned` from now on; those that are there leave at once.
pub fn dedicate(owned: CpuSet) {
    if owned.is_empty() {
        return;
    }
    SHARED_CPUS.fetch_and(!owned.bits(), Ordering::SeqCst);
    for cpu in percpu::all() {
        if owned.contains(cpu.index) {
            cpu.scheduler.evacuate(cpu);
        }
        // One of the others may be a watchman now.
        cpu.scheduler.call(cpu);
    }
}

/// Gives the CPUs `owned` back to all.
pub fn undedicate(owned: CpuSet) {
    SHARED_CPUS.fetch_or(owned.bits(), Ordering::SeqCst);
}

/// Forgets the timers of `tasks`, which are parked for good.
pub fn forget(tasks: &[Arc<Task>]) {
    for cpu in percpu::all() {
        // A CPU that has just found one of them blocked sets its timer before it unlocks its queue.
        let _queue = cpu.scheduler.queue.lock();
        let is_one = |sleeper: &Sleeper| tasks.iter().any(|task| Arc::ptr_eq(task, &sleeper.task));
        cpu.scheduler.sleepers.lock().retain(|sleeper| !is_one(sleeper));
    }
}

/// The CPUs that `task` may run on now.
fn allowed(task: &Task) -> CpuSet {
    match task.owns_cpu() {
        true => task.allowed(),
        false => CpuSet::from_bits(task.allowed().bits() & SHARED_CPUS.load(Ordering::SeqCst)),
    }
}

/// Of these, the CPUs that are not away; all, if all are.
fn preferred(task: &Task) -> CpuSet {
    let allowed = allowed(task);
    let present = CpuSet::from_bits(allowed.bits() & !AWAY_CPUS.load(Ordering::SeqCst));
    if present.is_empty() { allowed } else { present }
}

/// Does something on this CPU that takes long and cannot be interrupted, while those that wait for the CPU go
/// elsewhere, if they may.
pub fn while_away<R>(work: impl FnOnce() -> R) -> R {
    let own = percpu::this_cpu();
    let bit = CpuSet::of(own.index).bits();
    AWAY_CPUS.fetch_or(bit, Ordering::SeqCst);
    own.scheduler.evacuate(own);
    let result = work();
    AWAY_CPUS.fetch_and(!bit, Ordering::SeqCst);
    result
}

/// Where `task`, of virtual time `vtime` among the tasks of `home`, should go.
fn place(task: &Task, vtime: VTime, home: usize) -> &'static PerCpu {
    let now = timer::about_now();
    let views = percpu::all().map(|cpu| cpu.scheduler.view(cpu.index, now));
    // A VM is only started if the CPUs that are left to it exist.
    let own = percpu::this_cpu();
    policy::place(&own.scheduler.params, vtime, task.share.rate(), home, preferred(task), views)
        .and_then(percpu::cpu)
        .unwrap_or(own)
}

/// The highest level of the CPUs that are busy.
fn furthest(now: u64) -> Option<VTime> {
    let views = percpu::all().map(|cpu| cpu.scheduler.view(cpu.index, now));
    views.filter(|view| !view.idle).map(|view| view.level).reduce(VTime::later)
}

/// Prepares `queue`, if its CPU has nothing to do, for something to be put into it.
fn leave_idle(queue: &mut Queue, now: u64) {
    if queue.is_idle()
        && let Some(furthest) = furthest(now)
    {
        queue.leave_idle(furthest);
    }
}

/// `task` as it waits in a queue.
fn waiting(task: Arc<Task>, vtime: VTime) -> Waiting<Arc<Task>> {
    Waiting { vtime, rate: task.share.rate(), allowed: task.allowed(), task }
}

/// Puts `task`, which the caller has taken into [`State::Waking`], into the queue of the CPU that suits it
/// best.
pub(super) fn make_ready(task: &Arc<Task>) {
    let now = timer::about_now();
    let params = &percpu::this_cpu().scheduler.params;
    task.share.one_more();
    let home = task.home();
    let home_vtime = percpu::cpu(home).map_or(VTime::default(), |cpu| cpu.scheduler.vtime_at(now));
    let rate = task.share.rate();
    let vtime = task.asleep().vtime_at(params, home_vtime, task.share.clock(), rate);
    let cpu = place(task, policy::woken(params, home_vtime, vtime, rate), home);
    let idle = task.lap(now);
    task.times.idle.add(idle);
    let mut queue = cpu.scheduler.queue.lock();
    task.set_state(State::Waiting(cpu.index));
    leave_idle(&mut queue, now);
    queue.wake(params, now, waiting(task.clone(), vtime), home_vtime);
    cpu.scheduler.joined(cpu, queue, now);
}

/// Takes `task` out of the queue of the CPU of index `cpu`, and parks it. `false`: it was not there.
pub(super) fn take_out(cpu: usize, task: &Arc<Task>) -> bool {
    let Some(cpu) = percpu::cpu(cpu) else { return false };
    let mut queue = cpu.scheduler.queue.lock();
    let Some(found) = queue.remove(|waiting| Arc::ptr_eq(waiting, task)) else { return false };
    let now = timer::about_now();
    found.task.park(found.vtime, queue.vtime(&cpu.scheduler.params, now));
    cpu.scheduler.publish(&queue, now);
    true
}

impl Default for CpuScheduler {
    /// Nothing to run.
    fn default() -> Self {
        Self {
            params: Params::new(timer::frequency()),
            queue: Mutex::new(RunQueue::new()),
            sleepers: Mutex::new(Vec::new()),
            called: AtomicBool::new(false),
            tick: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            vtime: AtomicU64::new(0),
            level: AtomicU64::new(0),
            published: AtomicU64::new(0),
            rate: AtomicU32::new(0),
            current: AtomicU64::new(NOBODY),
            idle_ticks: AtomicU64::new(0),
            started: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            turns: AtomicU64::new(0),
        }
    }
}

impl CpuScheduler {
    /// Whether the CPU sleeps.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }

    /// A number that changes while the CPU decides what to do, and the vCPU that it runs.
    pub fn progress(&self) -> (u64, Option<VcpuId>) {
        (self.turns.load(Ordering::Relaxed), id_of(self.current.load(Ordering::Relaxed)))
    }

    /// How far the queue has advanced since it was published.
    fn advance(&self, now: u64) -> u64 {
        let passed = now.saturating_sub(self.published.load(Ordering::Relaxed));
        Rate::from_raw(self.rate.load(Ordering::Relaxed)).advance(passed)
    }

    /// The queue's virtual time, as far as it can be told from outside.
    fn vtime_at(&self, now: u64) -> VTime {
        VTime::from_raw(self.vtime.load(Ordering::Relaxed).wrapping_add(self.advance(now)))
    }

    fn view(&self, index: usize, now: u64) -> CpuView {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let level = VTime::from_raw(self.level.load(Ordering::Relaxed).wrapping_add(self.advance(now)));
        CpuView { index, idle: self.is_idle() && waiting == 0, level, waiting }
    }

    /// Tells others how the queue stands.
    fn publish(&self, queue: &Queue, now: u64) {
        // While somebody waits, that one's virtual time counts, and it stands.
        let rate = queue.running_rate().filter(|_| queue.waiting() == 0).map_or(0, Rate::raw);
        let (vtime, level) = queue.progress(&self.params, now);
        self.waiting.store(queue.waiting(), Ordering::SeqCst);
        self.vtime.store(vtime.raw(), Ordering::Relaxed);
        self.level.store(level.raw(), Ordering::Relaxed);
        self.published.store(now, Ordering::Relaxed);
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Makes the CPU look at its queue.
    fn call(&self, cpu: &PerCpu) {
        self.called.store(true, Ordering::SeqCst);
        gic::kick(cpu);
    }

    /// A task has joined the queue, which is unlocked here: whoever should do something else now is told.
    fn joined(&self, cpu: &PerCpu, queue: MutexGuard<'_, Queue>, now: u64) {
        self.publish(&queue, now);
        let matters = queue.waiting() == 1 || queue.preempts(&self.params, now);
        let candidates = queue.front().map(|front| allowed(&front.task));
        drop(queue);
        fence(Ordering::SeqCst);
        if matters || self.is_idle() {
            self.call(cpu);
        }
        // A CPU that has gone to sleep meanwhile has not seen the task, and would steal it.
        let candidates = candidates.filter(|_| !self.is_idle());
        let sleeper = candidates.and_then(|cpus| {
            percpu::all().find(|other| cpus.contains(other.index) && other.scheduler.is_idle())
        });
        if let Some(sleeper) = sleeper {
            sleeper.scheduler.call(sleeper);
        }
    }

    /// Puts a task in [`State::Waking`] that is ready to go on into the queue, with its virtual time as it is.
    fn adopt(&self, cpu: &PerCpu, task: Arc<Task>, vtime: VTime) {
        let now = timer::about_now();
        let mut queue = self.queue.lock();
        task.set_state(State::Waiting(cpu.index));
        leave_idle(&mut queue, now);
        queue.insert(&self.params, now, waiting(task, vtime));
        self.joined(cpu, queue, now);
    }

    /// Moves every task that waits here and should not.
    fn evacuate(&self, own: &PerCpu) {
        loop {
            let mut queue = self.queue.lock();
            let Some(found) = queue.remove(|task| !preferred(task).contains(own.index)) else { return };
            found.task.set_state(State::Waking);
            self.publish(&queue, timer::about_now());
            drop(queue);
            rehome(own, Some((found.task, found.vtime)));
        }
    }

    /// Looks at the queue: whether `task`, which runs, must leave, and else how long it may stay.
    #[cold]
    fn review(&self, own: &PerCpu, task: &Task) -> bool {
        self.called.store(false, Ordering::SeqCst);
        if !allowed(task).contains(own.index) {
            return true;
        }
        watchdog::arm();
        let now = timer::about_now();
        let mut queue = self.queue.lock();
        task.share.charge(queue.uncharged(now));
        queue.set_rate(now, task.share.rate());
        if queue.preempts(&self.params, now) || queue.expired(&self.params, now) {
            return true;
        }
        self.publish(&queue, now);
        self.set_slice(&queue, now);
        self.balance(own, queue);
        false
    }

    fn set_slice(&self, queue: &Queue, now: u64) {
        timer::set(Alarm::Slice, queue.next_tick(&self.params, now).map(|delay| now.saturating_add(delay)));
    }

    /// Puts the task that has left this CPU where it belongs, and takes the next one, unless the CPU is `wanted` for
    /// something else.
    fn switch(&self, own: &PerCpu, leaving: Option<(Arc<Task>, Fate)>, wanted: bool) -> Option<Arc<Task>> {
        let now = timer::about_now();
        let mut queue = self.queue.lock();
        let homeless = leaving.and_then(|(task, fate)| self.retire(own, &mut queue, task, fate, now));
        let next = if wanted { None } else { self.next(&mut queue, now) };
        let next = next.map(|next| self.start(own, &mut queue, next, now));
        self.publish(&queue, now);
        self.set_slice(&queue, now);
        self.balance(own, queue);
        rehome(own, homeless);
        next
    }

    /// Takes the first that waits and may run.
    fn next(&self, queue: &mut Queue, now: u64) -> Option<Waiting<Arc<Task>>> {
        loop {
            let next = queue.pop()?;
            if !next.task.is_halted() {
                return Some(next);
            }
            // Halted after it had been put here.
            next.task.park(next.vtime, queue.vtime(&self.params, now));
        }
    }

    /// Compares the queue, which is unlocked here, with other CPUs' once for each time slice.
    #[inline]
    fn balance(&self, own: &PerCpu, queue: MutexGuard<'_, Queue>) {
        // Nobody else touches the flag.
        if self.tick.load(Ordering::Relaxed) {
            self.tick.store(false, Ordering::Relaxed);
            self.move_front(own, queue);
        }
    }

    /// Moves the task that is next in the queue, which is unlocked here, to another CPU if it fares better there.
    #[cold]
    fn move_front(&self, own: &PerCpu, mut queue: MutexGuard<'_, Queue>) {
        let Some(front) = queue.front() else { return };
        let target = place(&front.task, front.vtime, own.index);
        if target.index == own.index {
            let (cpus, rate) = (allowed(&front.task), front.rate);
            drop(queue);
            self.compare(own, cpus, rate);
            return;
        }
        let Some(Waiting { task, vtime, .. }) = queue.pop() else { return };
        task.set_state(State::Waking);
        self.publish(&queue, timer::about_now());
        drop(queue);
        target.scheduler.adopt(target, task, vtime);
    }

    /// Lets the CPUs `others` know that a task of rate `rate`, which waits here, has no reason to come to them.
    fn compare(&self, own: &PerCpu, others: CpuSet, rate: Rate) {
        let now = timer::about_now();
        let level = self.view(own.index, now).level;
        for cpu in percpu::all().filter(|cpu| cpu.index != own.index && others.contains(cpu.index)) {
            // Only those that have not come as far have something to forget.
            if cpu.scheduler.vtime_at(now).is_before(level) {
                let mut queue = cpu.scheduler.queue.lock();
                queue.catch_up(&self.params, now, level, rate);
                cpu.scheduler.publish(&queue, now);
            }
        }
    }

    /// What becomes of `task`, which leaves this CPU. A task that may not come back to it is returned.
    fn retire(
        &self,
        own: &PerCpu,
        queue: &mut Queue,
        task: Arc<Task>,
        fate: Fate,
        now: u64,
    ) -> Option<(Arc<Task>, VTime)> {
        let ran = queue.uncharged(now);
        let mut vtime = queue.stop(&self.params, now).unwrap_or(queue.reached());
        task.share.charge(ran);
        self.current.store(NOBODY, Ordering::Relaxed);
        task.times.run.add(task.lap(now));
        match fate {
            Fate::Preempted => {}
            Fate::Yielded => {
                if let Some(front) = queue.front() {
                    vtime = vtime.later(front.vtime.after(1));
                }
            }
            Fate::Blocked(until) => {
                task.fall_asleep(vtime, queue.reached());
                task.share.one_less();
                // From here on whoever wants it wakes it; what was wanted before is looked for now.
                task.set_state(State::Blocked);
                if !task.is_called() && until.is_none_or(|until| until > now) {
                    if let Some(until) = until {
                        self.sleep(task, until);
                    }
                    return None;
                }
                if !task.take_from(State::Blocked) {
                    return None;
                }
                task.share.one_more();
            }
            Fate::Parked => {
                task.park(vtime, queue.reached());
                if !task.is_to_go_on() || !task.take_from(State::Parked) {
                    return None;
                }
                task.share.one_more();
            }
        }
        if !allowed(&task).contains(own.index)
            || fate == Fate::Preempted && place(&task, vtime, own.index).index != own.index
        {
            task.set_state(State::Waking);
            return Some((task, vtime));
        }
        task.set_state(State::Waiting(own.index));
        queue.insert(&self.params, now, waiting(task, vtime));
        None
    }

    /// Remembers when a timer of `task`, which is blocked, will fire.
    fn sleep(&self, task: Arc<Task>, until: u64) {
        let mut sleepers = self.sleepers.lock();
        sleepers.retain(|sleeper| !Arc::ptr_eq(&sleeper.task, &task));
        sleepers.push(Sleeper { until, task });
        timer::set(Alarm::Sleeper, sleepers.iter().map(|sleeper| sleeper.until).min());
    }

    /// Wakes the blocked vCPUs whose timers have fired.
    fn wake_sleepers(&self, now: u64) {
        loop {
            let mut sleepers = self.sleepers.lock();
            let due = sleepers.iter().position(|sleeper| sleeper.until <= now);
            let Some(due) = due.map(|index| sleepers.swap_remove(index)) else {
                timer::set(Alarm::Sleeper, sleepers.iter().map(|sleeper| sleeper.until).min());
                return;
            };
            drop(sleepers);
            due.task.wake();
        }
    }

    /// `next` runs on this CPU from now on.
    fn start(&self, own: &PerCpu, queue: &mut Queue, next: Waiting<Arc<Task>>, now: u64) -> Arc<Task> {
        let Waiting { vtime, task, .. } = next;
        task.set_state(State::Running(own.index));
        task.set_home(own.index);
        task.times.steal.add(task.lap(now));
        let id = task.id();
        self.current.store((id.vm as u64) << 32 | id.index as u64, Ordering::Relaxed);
        self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        queue.start(now, vtime, task.share.rate());
        task
    }

    /// Takes the task that has had least of those that wait for other CPUs and may run here into the own queue; tells
    /// whether there was one.
    fn steal(&self, own: &PerCpu) -> bool {
        if !shared_cpus().contains(own.index) {
            return false;
        }
        let first = |cpu: &'static PerCpu| {
            let queue = cpu.scheduler.queue.lock();
            Some((queue.iter().find(|found| found.allowed.contains(own.index))?.vtime, cpu))
        };
        let earlier = |one: (VTime, _), other: (VTime, _)| if other.0.is_before(one.0) { other } else { one };
        let Some((_, cpu)) = crowded(own).filter_map(first).reduce(earlier) else { return false };
        let stolen = {
            let mut queue = cpu.scheduler.queue.lock();
            // Somebody else may have come first.
            let Some(found) = queue.steal(own.index) else { return false };
            found.task.set_state(State::Waking);
            cpu.scheduler.publish(&queue, timer::about_now());
            found
        };
        let now = timer::about_now();
        let mut queue = self.queue.lock();
        stolen.task.set_state(State::Waiting(own.index));
        leave_idle(&mut queue, now);
        queue.insert(&self.params, now, stolen);
        self.publish(&queue, now);
        true
    }

    /// Whether [`CpuScheduler::steal`] would find something.
    fn could_steal(&self, own: &PerCpu) -> bool {
        let is_for_us = |found: &Waiting<_>| found.allowed.contains(own.index);
        shared_cpus().contains(own.index)
            && crowded(own).any(|cpu| cpu.scheduler.queue.lock().iter().any(is_for_us))
    }

    /// Sleeps until an interrupt comes, unless there is something to do; tells for how long, in ticks, and
    /// whether there was nothing.
    fn doze(&self, own: &PerCpu) -> (u64, bool) {
        self.idle.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let before = timer::about_now();
        let quiet = !self.is_called(own) && !self.could_steal(own);
        if quiet {
            cpu::wait_for_interrupt();
        }
        self.idle.store(false, Ordering::SeqCst);
        let slept = timer::about_now().saturating_sub(before);
        self.idle_ticks.store(self.idle_ticks.load(Ordering::Relaxed).wrapping_add(slept), Ordering::Relaxed);
        (slept, quiet)
    }

    /// Whether somebody wants the CPU for something else than it does.
    fn is_called(&self, own: &PerCpu) -> bool {
        self.called.load(Ordering::SeqCst)
            || self.waiting.load(Ordering::Relaxed) > 0
            || control::is_wanted_on(own.index)
    }
}

/// The other CPUs for which tasks wait.
fn crowded(own: &PerCpu) -> impl Iterator<Item = &'static PerCpu> {
    percpu::all().filter(|cpu| cpu.index != own.index && cpu.scheduler.waiting.load(Ordering::SeqCst) > 0)
}

/// Sends a task that may not stay on this CPU elsewhere.
fn rehome(own: &PerCpu, homeless: Option<(Arc<Task>, VTime)>) {
    if let Some((task, vtime)) = homeless {
        let target = place(&task, vtime, own.index);
        target.scheduler.adopt(target, task, vtime);
    }
}

/// What a CPU does from the end of its bring-up on: it runs the vCPUs in its queue, and sleeps in between.
pub fn run_cpu() -> ! {
    let own = percpu::this_cpu();
    let scheduler = &own.scheduler;
    scheduler.started.store(timer::now(), Ordering::Relaxed);
    crash::stuck_on_request(own.index);
    let mut leaving = None;
    loop {
        scheduler.turns.store(scheduler.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let wanted = control::is_wanted_on(own.index);
        scheduler.called.store(false, Ordering::SeqCst);
        let next = scheduler.switch(own, leaving.take(), wanted);
        if wanted {
            // The task that has just left has been put away: the control plane may want to halt that very one.
            control::run();
        } else if let Some(task) = next {
            let fate = task.run();
            leaving = Some((task, fate));
        } else if !scheduler.steal(own) {
            watchdog::arm();
            scheduler.doze(own);
            irq::handle_idle();
        }
    }
}

/// This CPU's alarm has gone off.
pub fn alarm() {
    let scheduler = &percpu::this_cpu().scheduler;
    let now = timer::now();
    if timer::take(Alarm::Slice, now) {
        scheduler.tick.store(true, Ordering::Relaxed);
        scheduler.called.store(true, Ordering::SeqCst);
    }
    if timer::take(Alarm::Sleeper, now) {
        scheduler.wake_sleepers(now);
    }
    if timer::take(Alarm::Control, now) {
        control::request();
    }
    if timer::take(Alarm::Watchdog, now) {
        watchdog::look();
    }
    if timer::take(Alarm::Devices, now) {
        devices::resume();
    }
}

/// Whether `task`, which runs on this CPU, must leave it. Asked after every interrupt.
#[inline]
pub fn must_leave(task: &Task) -> bool {
    let own = percpu::this_cpu();
    control::is_wanted_on(own.index)
        || own.scheduler.called.load(Ordering::Relaxed) && own.scheduler.review(own, task)
}

/// Whether others wait for this CPU.
#[inline]
pub fn is_contended() -> bool {
    percpu::this_cpu().scheduler.waiting.load(Ordering::Relaxed) > 0
}

/// `task`, which runs on this CPU, has nothing to do: the CPU sleeps until an interrupt comes. `false`: it has
/// not slept, for there is something else to do.
pub fn nap(task: &Task) -> bool {
    let own = percpu::this_cpu();
    let scheduler = &own.scheduler;
    if scheduler.is_called(own) {
        return false;
    }
    let now = timer::about_now();
    task.times.run.add(task.lap(now));
    task.share.one_less();
    let (slept, quiet) = scheduler.doze(own);
    task.share.one_more();
    task.times.idle.add(slept);
    let now = timer::about_now();
    task.times.since.store(now, Ordering::Relaxed);
    let mut queue = scheduler.queue.lock();
    task.share.charge(queue.slept(&scheduler.params, now, slept, || furthest(now)));
    scheduler.publish(&queue, now);
    quiet
}

/// A CPU as the operator sees it, in ticks.
pub struct Snapshot {
    /// Whether a vCPU owns it.
    pub dedicated: bool,
    /// Which vCPU runs.
    pub running: Option<VcpuId>,
    /// Which vCPUs wait, the next one first.
    pub waiting: Vec<VcpuId>,
    /// Since it was started.
    pub up: u64,
    /// For how long it slept.
    pub idle: u64,
    /// How often it took up a vCPU.
    pub switches: u64,
}

/// What `cpu` does now.
pub fn snapshot(cpu: &PerCpu) -> Snapshot {
    let scheduler = &cpu.scheduler;
    Snapshot {
        dedicated: !shared_cpus().contains(cpu.index),
        running: scheduler.progress().1.filter(|_| !scheduler.is_idle()),
        waiting: scheduler.queue.lock().iter().map(|found| found.task.id()).collect(),
        up: timer::now().saturating_sub(scheduler.started.load(Ordering::Relaxed)),
        idle: scheduler.idle_ticks.load(Ordering::Relaxed),
        switches: scheduler.switches.load(Ordering::Relaxed),
    }
}
