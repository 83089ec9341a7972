//! The vCPUs of one CPU: the one that runs and those that wait.

use alloc::vec::Vec;

use super::{CpuSet, CpuView, Params, Rate, Ticks, VTime};

/// A vCPU that waits for a CPU.
#[derive(Debug, Clone)]
pub struct Waiting<T> {
    /// Its virtual time.
    pub vtime: VTime,
    /// The rate at which it will run. What it may be ahead or behind is measured in its own running time.
    pub rate: Rate,
    /// The CPUs that it may use.
    pub allowed: CpuSet,
    /// What the mechanism knows it by.
    pub task: T,
}

/// What is kept of a vCPU that blocks.
#[derive(Debug, Clone, Copy)]
pub struct Asleep {
    /// Its virtual time.
    pub vtime: VTime,
    /// How far its CPU had come: [`RunQueue::vtime`].
    pub cpu: VTime,
    /// Its VM's clock: how long all vCPUs of the VM have run, at the rate that the VM has when only one is
    /// runnable.
    pub clock: VTime,
}

impl Asleep {
    /// Its virtual time on the CPU where it blocked, when that has come as far as `cpu` and its VM's clock to
    /// `clock`.
    ///
    /// It goes on with the VM's clock: what siblings took meanwhile is the VM's share, which a vCPU cannot be
    /// owed a second time. But siblings that had CPUs to themselves do not put it at a disadvantage: it falls
    /// back behind this CPU only as far as [`Params::bonus`] of its running time.
    pub fn vtime_at(&self, params: &Params, cpu: VTime, clock: VTime, rate: Rate) -> VTime {
        let behind = cpu.after(rate.distance(params.bonus));
        let limit = cpu.since(self.cpu).max(behind.since(self.vtime));
        self.vtime.after(clock.since(self.clock).min(limit).max(0))
    }
}

/// [`RunQueue::woken`] on a CPU of which only [`RunQueue::vtime`] is known: `start`.
pub fn woken(params: &Params, start: VTime, vtime: VTime, rate: Rate) -> VTime {
    vtime.later(start).earlier(start.after(rate.distance(params.max_lag)))
}

/// The vCPU that runs.
#[derive(Debug, Clone, Copy)]
struct Running {
    /// Its virtual time at `charged`.
    vtime: VTime,
    rate: Rate,
    charged: Ticks,
    started: Ticks,
}

impl Running {
    fn vtime(&self, now: Ticks) -> VTime {
        self.vtime.after(self.rate.distance(now.saturating_sub(self.charged)))
    }

    fn ran(&self, now: Ticks) -> Ticks {
        now.saturating_sub(self.started)
    }
}

/// The run queue of one CPU.
#[derive(Debug)]
pub struct RunQueue<T> {
    /// By virtual time, the lowest last; among equals, the one that has waited longest is last.
    waiting: Vec<Waiting<T>>,
    running: Option<Running>,
    /// What [`Self::vtime`] has reached, noted whenever the level may go down.
    reached: VTime,
    /// When [`Self::catch_up`] was last asked for.
    compared: Ticks,
}

impl<T> Default for RunQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> RunQueue<T> {
    /// The queue of a CPU that has nothing to do.
    pub const fn new() -> Self {
        Self { waiting: Vec::new(), running: None, reached: VTime::from_raw(0), compared: 0 }
    }

    /// Makes room for `n` vCPUs in all, so that queueing them allocates nothing.
    pub fn reserve(&mut self, n: usize) {
        self.waiting.reserve(n.saturating_sub(self.waiting.len()));
    }

    /// Whether nothing runs or waits here.
    pub fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    /// How far this CPU has come: the highest [`level`](CpuView::level) that it ever had. It never goes back.
    pub fn vtime(&self, params: &Params, now: Ticks) -> VTime {
        let (vtime, _) = self.progress(params, now);
        vtime
    }

    /// [`Self::vtime`], and the [`level`](CpuView::level).
    pub fn progress(&self, params: &Params, now: Ticks) -> (VTime, VTime) {
        let level = self.level(params, now);
        (self.reached.later(level), level)
    }

    /// What [`place`](super::place) has to know of this CPU.
    pub fn view(&self, params: &Params, now: Ticks, index: usize) -> CpuView {
        let level = self.level(params, now);
        CpuView { index, idle: self.is_idle(), level, waiting: self.waiting.len() }
    }

    fn level(&self, params: &Params, now: Ticks) -> VTime {
        let lowest = self.lowest(now);
        lowest.map_or(self.reached, |(vtime, rate)| vtime.after(-rate.distance(params.bonus)))
    }

    /// The lowest virtual time of the vCPUs here, and the rate of that vCPU.
    fn lowest(&self, now: Ticks) -> Option<(VTime, Rate)> {
        let running = self.running.map(|it| (it.vtime(now), it.rate));
        let front = self.front().map(|it| (it.vtime, it.rate));
        match (running, front) {
            (Some(one), Some(other)) => Some(if other.0.is_before(one.0) { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    /// Something is about to be queued on this CPU, which is idle; `furthest` is the highest
    /// [`level`](CpuView::level) of the busy CPUs. This one's own is as old as its idleness.
    pub fn leave_idle(&mut self, furthest: VTime) {
        self.reached = self.reached.later(furthest);
    }

    /// What [`Self::vtime`] was when something was last queued, or stopped.
    pub fn reached(&self) -> VTime {
        self.reached
    }

    /// How many vCPUs wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The one that waits with the lowest virtual time.
    pub fn front(&self) -> Option<&Waiting<T>> {
        self.waiting.last()
    }

    /// Those that wait, lowest virtual time first.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting<T>> {
        self.waiting.iter().rev()
    }

    /// Where one stands here that has slept and is at `vtime` otherwise. Sleep is not saved up: it comes no
    /// earlier than [`Self::vtime`], or than the lowest here, if that is one that is owed something. What it
    /// has had too much is remembered, up to [`Params::max_lag`] of its running time.
    pub fn woken(&self, params: &Params, now: Ticks, vtime: VTime, rate: Rate) -> VTime {
        let start = self.vtime(params, now);
        let start = self.lowest(now).map_or(start, |(lowest, _)| start.earlier(lowest));
        woken(params, start, vtime, rate)
    }

    /// Queues one that has woken up, or that may no longer use the CPU where it waited. Its virtual time is
    /// that among the vCPUs of a CPU whose [`Self::vtime`] is `home` now; by how much it is ahead of that, or
    /// behind, is what counts here.
    pub fn wake(&mut self, params: &Params, now: Ticks, mut it: Waiting<T>, home: VTime) {
        let vtime = self.vtime(params, now).after(it.vtime.since(home));
        it.vtime = self.woken(params, now, vtime, it.rate);
        self.queue(params, now, it);
    }

    /// Queues one that can go on but has to wait: it was preempted here, or [`place`](super::place) or
    /// [`Self::steal`] brings it from another CPU. Virtual time compares across CPUs, so it stays what it is;
    /// but it does not come with more than [`Params::max_lag`] owed to it, in running time of its own or of
    /// the first here, whichever is worth more.
    pub fn insert(&mut self, params: &Params, now: Ticks, mut it: Waiting<T>) {
        let rate = self.lowest(now).map_or(it.rate, |(_, rate)| rate.steeper(it.rate));
        it.vtime = it.vtime.later(self.vtime(params, now).after(-rate.distance(params.max_lag)));
        self.queue(params, now, it);
    }

    fn queue(&mut self, params: &Params, now: Ticks, it: Waiting<T>) {
        self.reached = self.vtime(params, now);
        let index = self.waiting.partition_point(|other| it.vtime.is_before(other.vtime));
        self.waiting.insert(index, it);
    }

    /// Takes the one with the lowest virtual time.
    pub fn pop(&mut self) -> Option<Waiting<T>> {
        self.waiting.pop()
    }

    /// Takes the first of which `which` holds.
    pub fn remove(&mut self, mut which: impl FnMut(&T) -> bool) -> Option<Waiting<T>> {
        self.take(|it| which(&it.task))
    }

    /// Takes the one with the lowest virtual time of those that may use the CPU `thief`, which has nothing to
    /// do and will [`Self::insert`] it into its own queue.
    pub fn steal(&mut self, thief: usize) -> Option<Waiting<T>> {
        self.take(|it| it.allowed.contains(thief))
    }

    fn take(&mut self, which: impl FnMut(&Waiting<T>) -> bool) -> Option<Waiting<T>> {
        let index = self.waiting.iter().rposition(which)?;
        Some(self.waiting.remove(index))
    }

    /// One that was taken from this queue runs from now on.
    pub fn start(&mut self, now: Ticks, vtime: VTime, rate: Rate) {
        self.running = Some(Running { vtime, rate, charged: now, started: now });
    }

    /// From now on the one that runs does so at this rate.
    pub fn set_rate(&mut self, now: Ticks, rate: Rate) {
        if let Some(running) = &mut self.running {
            *running = Running { vtime: running.vtime(now), rate, charged: now, ..*running };
        }
    }

    /// For how long the one that runs has run since [`Self::start`] or the last [`Self::set_rate`].
    pub fn uncharged(&self, now: Ticks) -> Ticks {
        self.running.map_or(0, |running| now.saturating_sub(running.charged))
    }

    /// The one that runs has slept for so long, with nothing else here to run: it is as if that time had not been.
    /// After more than a moment it counts as any other sleep (see [`Self::woken`]); `furthest` is as for
    /// [`Self::leave_idle`] then. Returns the ticks by which its VM's clock is to be advanced.
    pub fn slept(
        &mut self,
        params: &Params,
        now: Ticks,
        slept: Ticks,
        furthest: impl FnOnce() -> Option<VTime>,
    ) -> Ticks {
        let Some(running) = &mut self.running else { return 0 };
        running.charged = running.charged.saturating_add(slept).min(now);
        running.started = running.started.saturating_add(slept).min(now);
        if slept <= params.shortest_slice {
            return 0;
        }
        let rate = running.rate;
        let uncharged = self.uncharged(now);
        if let Some(vtime) = self.stop(params, now) {
            if let Some(furthest) = furthest() {
                self.leave_idle(furthest);
            }
            let vtime = self.woken(params, now, vtime, rate);
            self.start(now, vtime, rate);
        }
        uncharged
    }

    /// The rate of the one that runs.
    pub fn running_rate(&self) -> Option<Rate> {
        self.running.map(|running| running.rate)
    }

    /// The virtual time of the one that runs.
    pub fn running(&self, now: Ticks) -> Option<VTime> {
        self.running.map(|running| running.vtime(now))
    }

    /// The one that runs leaves the CPU: its virtual time.
    pub fn stop(&mut self, params: &Params, now: Ticks) -> Option<VTime> {
        let vtime = self.running(now);
        self.reached = self.vtime(params, now);
        self.running = None;
        vtime
    }

    /// Whether the first that waits should have the CPU at once, when it has just been queued. The one that
    /// runs keeps the CPU until it is ahead by [`Params::shortest_slice`] of its running time, so that
    /// equals do not displace each other without end.
    pub fn preempts(&self, params: &Params, now: Ticks) -> bool {
        let (Some(running), Some(front)) = (&self.running, self.front()) else {
            return false;
        };
        let ahead = running.vtime(now).since(front.vtime);
        ahead > running.rate.distance(params.shortest_slice) || self.expired(params, now)
    }

    /// Whether the slice of the one that runs is over, and the first that waits is not behind it.
    pub fn expired(&self, params: &Params, now: Ticks) -> bool {
        let (Some(running), Some(front), Some(slice)) = (&self.running, self.front(), self.slice(params))
        else {
            return false;
        };
        running.ran(now) >= slice && !running.vtime(now).is_before(front.vtime)
    }

    /// In how many ticks to look again: at the end of the running one's slice. `None` if none waits, so that
    /// there is nothing to look for. It changes whenever something is queued, taken or started.
    pub fn next_tick(&self, params: &Params, now: Ticks) -> Option<Ticks> {
        let slice = self.slice(params)?;
        let ran = self.running.map_or(0, |running| running.ran(now));
        ran.checked_rem(slice).map(|used| slice - used)
    }

    /// For how long one runs before the next is looked at, if others wait.
    fn slice(&self, params: &Params) -> Option<Ticks> {
        let runnable = (self.waiting.len() as u64).checked_add(1).filter(|&n| n > 1)?;
        Some((params.latency / runnable).min(params.longest_slice).max(params.shortest_slice))
    }

    /// Lets the CPU forget what its vCPUs are owed: one of rate `rate` that waits for a CPU of this `level`,
    /// and may use this one, has found that it has no reason to come here.
    ///
    /// Being owed up to [`Params::max_lag`] of running time, their own or the waiting one's, is how vCPUs of
    /// different CPUs come to their shares. More is owed only where it could not be had: to one that has the
    /// CPU to itself and yet less than its weight asks for, or to several that may use no other. The first
    /// loses it at once. The others lose it by and by, most of it within [`Params::memory`], so that they
    /// still compare with those who have as much to lose.
    pub fn catch_up(&mut self, params: &Params, now: Ticks, level: VTime, rate: Rate) {
        let elapsed = now.saturating_sub(self.compared).min(params.memory);
        self.compared = now;
        let Some(running) = self.running else {
            return;
        };
        let most = running.rate.steeper(rate).distance(params.max_lag);
        let excess = level.since(self.vtime(params, now)).saturating_sub(most);
        if excess <= 0 {
            return;
        }
        let forgotten = match self.waiting.is_empty() {
            true => excess,
            false => (i128::from(excess) * i128::from(elapsed) / i128::from(params.memory.max(1))) as i64,
        };
        self.reached = self.vtime(params, now).after(forgotten);
        for it in &mut self.waiting {
            it.vtime = it.vtime.after(forgotten);
        }
        if let Some(running) = &mut self.running {
            running.vtime = running.vtime.after(forgotten);
        }
    }
}
