//! The scheduler's policy: who runs next, for how long, and on which CPU. Pure: it reads no clock, takes no
//! lock and touches no hardware, so that the host simulates it with hundreds of vCPUs.
//!
//! **Virtual time.** Each vCPU has a virtual time. While it runs, that advances by
//!
//! ```text
//! time run * 100 * (runnable vCPUs of its VM) / (weight of its VM)
//! ```
//!
//! and the one with the lowest is next. So all advance alike, and time is shared by weight. The weight is the
//! VM's, and those of its vCPUs that run or wait divide it: a VM gets no more for having more vCPUs.
//!
//! **One queue for each CPU** ([`RunQueue`]), so that CPUs do not fight for one lock, a vCPU stays where its
//! cache is warm, and a CPU for which nobody waits needs no tick. Virtual time nevertheless compares *across*
//! CPUs. The first that waits for a CPU looks at each tick how far the others have come, and goes where it is
//! far behind all ([`place`]). This makes shares right over the whole machine, where CPUs that only balance
//! the number of their vCPUs cannot: three equal vCPUs get two thirds each of two CPUs.
//!
//! Three things would go wrong with that alone:
//!
//! * Several CPUs see another one ahead and send their vCPUs there all at once; then the other way round,
//!   ever wilder. So what is compared is a CPU's [`level`](CpuView::level), the *lowest* virtual time there
//!   now. The first to arrive lowers it, and the rest stay.
//! * A vCPU that has a CPU to itself may be worth more than that, and vCPUs bound to a crowded CPU get less
//!   than their due. What they fall behind they would later be owed, for hours. [`RunQueue::catch_up`]
//!   forgets it.
//! * A vCPU that sleeps earns what others take meanwhile. Were that all that it missed, it could keep the CPU
//!   for long after a long sleep; were it nothing, a short sleep would cost its turn. It may come back a
//!   little before those who ran: [`Params::bonus`]. And what its siblings took meanwhile was its own share
//!   too: [`Asleep`].
//!
//! All allowances are *running time* of the vCPU in question, so that they are the same slices for a light
//! vCPU, whose virtual time flies, as for a heavy one.
//!
//! **What holds**, each with a test on the simulated machine (`tests.rs`):
//!
//! * Shares of vCPUs that do not block are within 2 % of the ideal, or within five slices, the grain in
//!   which time is dealt out. The ideal is proportional to weight, with no vCPU above one CPU.
//! * Such a vCPU gets what would be its own if nobody blocked, whatever the others do.
//! * No CPU idles while a vCPU waits that may use it.
//! * A vCPU that mostly sleeps runs at most one longest slice plus the bursts of the other sleepers after it
//!   wakes up; at once, if it is alone among its equals. Where weights differ widely, it may also have to
//!   wait for a vCPU that comes from another CPU to be made up for what it is owed: one sleeper in twenty, up
//!   to ten times as long.
//! * A vCPU with a CPU to itself takes no tick. Load that is spread evenly does not move.
//!
//! The mechanism is expected to do this:
//!
//! * *blocks*: [`RunQueue::stop`], and keep an [`Asleep`].
//! * *wake-up*: [`Asleep::vtime_at`] on the CPU where it blocked, [`place`] with that within the bounds of
//!   [`woken`], [`RunQueue::wake`] there, after [`RunQueue::leave_idle`] if that CPU is idle. Kick the CPU if
//!   it was idle or [`RunQueue::preempts`].
//! * *displaced*, by a kick or a tick: [`RunQueue::stop`], [`place`], [`RunQueue::insert`] there, and a kick
//!   as above. Asking [`place`] matters: an idle CPU may be open to this one that was not to the one that
//!   displaced it.
//! * *tick*, after [`RunQueue::next_tick`]: if [`RunQueue::expired`], displace. Then ask [`place`] for the
//!   front; if it is to go elsewhere, move it (`pop`, `insert`, kick), else [`RunQueue::catch_up`] on the
//!   other CPUs that it may use.
//! * *nothing to run*: [`RunQueue::steal`] from the CPU where the lowest waits that may come here,
//!   `leave_idle`, `insert`, `pop`; else sleep.
//! * *change of a VM's weight or runnable vCPUs*: [`RunQueue::set_rate`] where they run.
//! * *VM's clock*: before `stop` and `set_rate`, advance it by [`RunQueue::uncharged`] at the rate of one
//!   runnable vCPU.

mod place;
mod queue;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod vtime;

pub use place::{CpuSet, CpuView, place};
pub use queue::{Asleep, RunQueue, Waiting, woken};
pub use vtime::{Rate, Ticks, VTime};

/// The policy's constants, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Params {
    /// The longest slice.
    pub longest_slice: Ticks,
    /// The shortest slice, and the running time for which one is left alone by others of its kind.
    pub shortest_slice: Ticks,
    /// The time in which each of several vCPUs on one CPU shall run once, as far as the shortest slice lets
    /// it.
    pub latency: Ticks,
    /// Running time that a vCPU must gain to be moved to another CPU. One slice: less is the chance of who
    /// runs now.
    pub threshold: Ticks,
    /// Running time, of the vCPU that has had least, by which one that slept may come before it. One slice:
    /// so much those who take turns are apart anyway. It must exceed the shortest slice, or nobody is
    /// displaced.
    pub bonus: Ticks,
    /// Running time that a vCPU can be owed by those of other CPUs, or owe after a sleep. A dozen slices:
    /// what a vCPU that is moved is rightly owed is a few, and it may keep the CPU for so long.
    pub max_lag: Ticks,
    /// Time in which the vCPUs of a crowded CPU forget most of what they are owed beyond that.
    pub memory: Ticks,
}

impl Params {
    /// The constants for a counter of this frequency in Hz.
    pub const fn new(frequency: u64) -> Self {
        const fn milliseconds(frequency: u64, n: u64) -> Ticks {
            frequency.saturating_mul(n) / 1000
        }
        Self {
            longest_slice: milliseconds(frequency, 4),
            shortest_slice: milliseconds(frequency, 1),
            latency: milliseconds(frequency, 12),
            threshold: milliseconds(frequency, 4),
            bonus: milliseconds(frequency, 4),
            max_lag: milliseconds(frequency, 50),
            memory: milliseconds(frequency, 1000),
        }
    }
}
