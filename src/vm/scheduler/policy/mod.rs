//! The scheduler's policy: who runs next, for how long, and on which CPU. Pure: it reads no clock, takes no
//! lock and touches no hardware, so that the host simulates it with hundreds of vCPUs.

mod place;
mod queue;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod vtime;

pub use place::{CpuSet, CpuView, place};
pub use queue::{RunQueue, Waiting, woken};
pub use vtime::{Rate, Ticks, VTime};

/// The policy's constants, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Params {
    /// The longest slice.
    pub longest_slice: Ticks,
    /// The shortest slice, and the running time for which one is left alone by others of its kind.
    pub shortest_slice: Ticks,
    /// The time in which each of several vCPUs on one CPU shall run once, as far as the shortest slice lets it.
    pub latency: Ticks,
    /// Running time that a vCPU must gain to be moved to another CPU.
    pub threshold: Ticks,
    /// Running time for which a vCPU that slept may go before the one that has had least.
    pub bonus: Ticks,
    /// Running time that a vCPU can be owed, or owe, when it changes its CPU.
    pub max_lag: Ticks,
    /// Time in which the vCPUs of a CPU forget two thirds of what they are owed beyond that.
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
