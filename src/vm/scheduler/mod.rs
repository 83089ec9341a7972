//! Which CPU runs which vCPU, and when.
//!
//! [`policy`] decides; it is pure and is simulated on the host. The rest is mechanism:
//!
//! * a [`Task`] is a vCPU with its state: parked, blocked, waiting in a CPU's queue, or running;
//! * a [`CpuScheduler`] is one CPU's queue, and what other CPUs may know of it without its lock;
//! * [`run_cpu`] is what every CPU does all the time.
//!
//! A vCPU stays loaded on its CPU until another one gets that CPU. While it waits for an interrupt and nobody
//! else wants the CPU, the CPU sleeps with the vCPU loaded ([`nap`]), so that waking it up costs no switch.
//!
//! Locks: a CPU's queue is a leaf. No lock but that of the CPU's sleepers is taken under it, and never two queues at
//! once. Whoever
//! wants something of a CPU raises a flag and kicks it; what is asked for is then looked for under the lock
//! by the CPU itself.

#[cfg(target_os = "none")]
mod cpu;
pub mod policy;
#[cfg(target_os = "none")]
mod task;

#[cfg(target_os = "none")]
use cpu::make_ready;
#[cfg(target_os = "none")]
pub use cpu::{
    CpuScheduler, Snapshot, alarm, dedicate, forget, is_contended, must_leave, nap, reserve, run_cpu,
    shared_cpus, snapshot, undedicate, while_away,
};
#[cfg(target_os = "none")]
pub use task::{Hold, Share, Task};
