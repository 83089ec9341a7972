//! Notices a CPU that is stuck in EL2, and says where. The housekeeper looks at all others, and another CPU at the
//! housekeeper, once a second.
//!
//! A CPU is stuck if it is neither asleep nor in a guest, and neither takes up something else nor leaves its guest
//! anew from one look to the next. Nothing is done about it: what holds it up may be a device that will answer,
//! and a lock that it holds must not be broken.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::control;
use super::scheduler::{Task, shared_cpus};
use crate::arch::aarch64::percpu::{self, PerCpu};
use crate::arch::aarch64::timer::{self, Alarm};
use crate::arch::aarch64::vcpu::trace;

/// Time between two looks, in microseconds.
const INTERVAL: u64 = 1_000_000;
/// After how many looks without progress a CPU is reported: an emulated machine may be held up for a while.
const PATIENCE: u32 = 4;

/// What the watchdog remembers of a CPU.
#[derive(Debug, Default)]
pub struct Watched {
    /// A number that has changed if the CPU has come on.
    progress: AtomicU64,
    /// For how many looks it has not.
    looks: AtomicU32,
}

/// Makes this CPU look from now on, if it is one of those that do and does not yet.
pub fn arm() {
    if is_watchman(percpu::this_cpu()) && !timer::is_set(Alarm::Watchdog) {
        timer::set(Alarm::Watchdog, Some(timer::now().saturating_add(timer::ticks(INTERVAL))));
    }
}

/// Whether `cpu` is the housekeeper, or the first other CPU that no vCPU owns: an owner is not to be disturbed.
fn is_watchman(cpu: &PerCpu) -> bool {
    let housekeeper = control::housekeeper();
    let mut others = shared_cpus().iter().filter(|&other| other != housekeeper);
    cpu.index == housekeeper || others.next() == Some(cpu.index)
}

/// Looks at the CPUs that this one watches.
pub fn look() {
    let own = percpu::this_cpu();
    let housekeeper = control::housekeeper();
    for cpu in percpu::all().filter(|cpu| cpu.index != own.index) {
        if own.index == housekeeper || cpu.index == housekeeper {
            watch(cpu);
        }
    }
    arm();
}

fn watch(cpu: &PerCpu) {
    let (turns, running) = cpu.scheduler.progress();
    let task = running.and_then(control::task);
    let exits = task.as_ref().map_or(0, |task| task.shared.trace.count());
    let progress = turns.wrapping_add(exits);
    let busy = !cpu.scheduler.is_idle()
        && task.as_ref().is_none_or(|task| !task.shared.in_guest.load(Ordering::Relaxed));
    if cpu.watched.progress.swap(progress, Ordering::Relaxed) != progress || !busy {
        cpu.watched.looks.store(0, Ordering::Relaxed);
        return;
    }
    if cpu.watched.looks.fetch_add(1, Ordering::Relaxed) + 1 == PATIENCE {
        report(cpu, task.as_ref());
    }
}

fn report(cpu: &PerCpu, task: Option<&Arc<Task>>) {
    let (index, seconds) = (cpu.index, u64::from(PATIENCE) * INTERVAL / 1_000_000);
    let Some(task) = task else {
        log::error!("CPU {index} has been stuck in EL2 for {seconds} s, with no vCPU loaded");
        return;
    };
    match task.shared.trace.entries().next_back().map(trace::describe) {
        Some(exit) => log::error!(
            "CPU {index} has been stuck in EL2 for {seconds} s, with vCPU {}, which left its guest at {:#x}: {}",
            task.id(),
            exit.pc,
            exit.cause
        ),
        None => log::error!(
            "CPU {index} has been stuck in EL2 for {seconds} s, with vCPU {}, which has not been in its guest yet",
            task.id()
        ),
    }
}
