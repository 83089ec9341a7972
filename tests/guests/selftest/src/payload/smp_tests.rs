//! CPUs together: interrupts between them, routing, and coherent memory.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

use guest_support::{
    cpu,
    machine::{self, Machine},
    psci,
    smp::{self, MAX_CPUS},
    timer::{microseconds, wait_until},
};
use spin::Mutex;

use super::{
    check::{Failure, Outcome, Test},
    irqlog,
};

pub const TESTS: &[Test] = &[
    Test::once("smp-sgi", sgi),
    Test::once("smp-sgi-wfi", |machine| sgi_to_sleeper(machine, |index| serve(index, cpu::wfi))),
    Test::once("smp-sgi-suspend", |machine| sgi_to_sleeper(machine, |index| serve(index, suspend))),
    Test::once("smp-route", route),
    Test::once("smp-memory", memory),
];

const SGI: u32 = 5;
/// Microseconds for what needs another CPU to run, whose turn on a busy host may be late.
pub const PATIENCE: u64 = 20_000_000;

/// How many other CPUs have begun.
pub static READY: AtomicU32 = AtomicU32::new(0);
static LEAVE: AtomicBool = AtomicBool::new(false);
/// How many interrupts each CPU has taken.
static TAKEN: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

fn taken(index: usize) -> u32 {
    TAKEN.get(index).map_or(0, |taken| taken.load(Acquire))
}

/// CPU_SUSPEND to a state that keeps the registers.
fn suspend() {
    psci::psci(psci::CPU_SUSPEND, [0; 3]);
}

/// Takes interrupts until told to leave: again and again it lets `pause` go by with interrupts masked, and then
/// takes those that are there.
fn serve(index: usize, pause: fn()) {
    let Some(machine) = machine::get() else { return };
    machine.gic.init_cpu();
    machine.gic.enable(SGI);
    irqlog::clear();
    READY.fetch_add(1, Release);
    while !LEAVE.load(Acquire) {
        pause();
        cpu::unmask_irqs();
        cpu::isb();
        cpu::mask_irqs();
        if let Some(taken) = TAKEN.get(index) {
            taken.store(irqlog::count() as u32, Release);
        }
    }
}

/// Runs `test` while all other CPUs run `job`.
pub fn with_others(machine: &Machine, job: fn(usize), test: impl FnOnce() -> Outcome) -> Outcome {
    READY.store(0, Relaxed);
    LEAVE.store(false, Relaxed);
    for taken in &TAKEN {
        taken.store(0, Relaxed);
    }
    let others = 1..machine.cpus().len();
    for index in others.clone() {
        smp::start(machine, index, job).map_err(|error| Failure::new("CPU_ON", error as u64, 0))?;
    }
    let started = wait_until(microseconds(PATIENCE), || READY.load(Acquire) as usize == others.len());
    let outcome = if started { test() } else { Err(Failure::new("the other CPUs start", 0, 1)) };
    LEAVE.store(true, Release);
    for index in others {
        // Whoever sleeps must see that it is over.
        machine.gic.send_sgi(machine.cpus().get(index).copied().unwrap_or(0), SGI);
        smp::wait_off(machine, index);
    }
    outcome
}

fn interrupt_each(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    let soon = |index, wanted| wait_until(microseconds(PATIENCE), || taken(index) >= wanted);
    for round in 1..=20 {
        for (index, &affinity) in machine.cpus().iter().enumerate().skip(1) {
            gic.send_sgi(affinity, SGI);
            ensure!(soon(index, 2 * round - 1), "an SGI to one CPU comes");
            for other in (1..machine.cpus().len()).filter(|&other| other > index) {
                ensure_eq!(taken(other), 2 * round - 2, "an SGI to one CPU comes to no other");
            }
        }
        gic.send_sgi_to_others(SGI);
        for index in 1..machine.cpus().len() {
            ensure!(soon(index, 2 * round), "an SGI to all others comes");
            ensure_eq!(taken(index), 2 * round, "it comes once");
        }
    }
    ensure!(gic.acknowledge().is_spurious(), "an SGI to all others does not come to oneself");
    Ok(())
}

fn sgi(machine: &'static Machine) -> Outcome {
    with_others(machine, |index| serve(index, cpu::relax), || interrupt_each(machine))
}

fn sgi_to_sleeper(machine: &'static Machine, sleeper: fn(usize)) -> Outcome {
    with_others(machine, sleeper, || interrupt_each(machine))
}

/// An SPI goes to the CPU to which it is routed, also when that changes.
fn route(machine: &'static Machine) -> Outcome {
    let gic = &machine.gic;
    let intid = gic.lines() - 1;
    gic.set_edge(intid, true);
    with_others(
        machine,
        |index| serve(index, cpu::wfi),
        || {
            gic.enable(intid);
            for round in 1..=5 {
                for (index, &affinity) in machine.cpus().iter().enumerate().skip(1) {
                    gic.route(intid, affinity);
                    gic.set_pending(intid);
                    ensure!(
                        wait_until(microseconds(PATIENCE), || taken(index) >= round),
                        "the SPI comes to its CPU"
                    );
                    ensure!(gic.acknowledge().is_spurious(), "and to no other");
                }
            }
            gic.route_here(intid);
            gic.set_pending(intid);
            ensure!(irqlog::take_until(|| irqlog::count() > 0), "the SPI comes back");
            Ok(())
        },
    )
}

const INCREMENTS: u32 = 20_000;
static LOCKED: Mutex<u32> = Mutex::new(0);
static ATOMIC: AtomicU32 = AtomicU32::new(0);

fn increment(_: usize) {
    READY.fetch_add(1, Release);
    for _ in 0..INCREMENTS {
        *LOCKED.lock() += 1;
        ATOMIC.fetch_add(1, Relaxed);
    }
}

/// Locks lock, and atomic operations are atomic.
fn memory(machine: &'static Machine) -> Outcome {
    *LOCKED.lock() = 0;
    ATOMIC.store(0, Relaxed);
    with_others(machine, increment, || {
        increment(0);
        Ok(())
    })?;
    let wanted = machine.cpus().len() as u32 * INCREMENTS;
    ensure_eq!(*LOCKED.lock(), wanted, "increments under a lock");
    ensure_eq!(ATOMIC.load(Relaxed), wanted, "atomic increments");
    Ok(())
}
