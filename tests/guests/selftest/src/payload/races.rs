//! PSCI (DEN 0022) where several CPUs use it at once.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use guest_support::{
    cpu,
    machine::{self, Machine},
    psci, read_sysreg, smp,
    timer::{microseconds, wait_until},
};

use super::{
    check::{Failure, Outcome, Test},
    power::reported_smccc_version,
    smp_tests::{PATIENCE, READY, with_others},
};

pub const TESTS: &[Test] = &[
    Test::once("psci-off-on", off_on),
    Test::once("psci-already-on", already_on),
    Test::once("psci-cpu-on-race", cpu_on_race),
];

/// PSTATE.DAIF, all masked.
const MASKED: u64 = 0xf << 6;

/// How many times a CPU was started, and in how many of them something was wrong.
static STARTS: AtomicUsize = AtomicUsize::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

/// All other CPUs go off and on again a hundred times, and each time begin as PSCI says, 6.4.3.
fn off_on(machine: &'static Machine) -> Outcome {
    const TIMES: usize = 100;
    STARTS.store(0, Relaxed);
    WRONG.store(0, Relaxed);
    let others = 1..machine.cpus().len();
    for _ in 0..TIMES {
        for index in others.clone() {
            smp::start(machine, index, begin).map_err(|error| Failure::new("CPU_ON", error as u64, 0))?;
        }
        for (index, &affinity) in machine.cpus().iter().enumerate().skip(1) {
            let state = psci::affinity_info(affinity);
            ensure!((0..=2).contains(&state), "the state of a CPU that comes or goes");
            smp::wait_off(machine, index);
        }
    }
    ensure_eq!(WRONG.load(Relaxed), 0, "starts with a wrong state");
    ensure_eq!(STARTS.load(Relaxed), TIMES * others.len(), "starts");
    Ok(())
}

fn begin(index: usize) {
    let machine = machine::get();
    let affinity = machine.and_then(|machine| machine.cpus().get(index)).copied().unwrap_or(u64::MAX);
    let right = cpu::affinity() == affinity
        && read_sysreg!("daif") == MASKED
        && psci::affinity_info(affinity) == psci::ON;
    WRONG.fetch_add(u64::from(!right), Relaxed);
    STARTS.fetch_add(1, Relaxed);
    // The next start must not find it so.
    cpu::unmask_irqs();
    cpu::unmask_serror();
}

/// Every CPU finds every CPU on.
fn already_on(machine: &'static Machine) -> Outcome {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    fn ask(machine: &Machine) {
        READY.fetch_add(1, Release);
        // Until all have asked nobody may leave.
        let all = |count: usize| count >= machine.cpus().len();
        wait_until(microseconds(PATIENCE), || all(READY.load(Acquire) as usize));
        for &other in machine.cpus() {
            let answer = psci::psci(psci::CPU_ON, [other, 0, 0]);
            WRONG.fetch_add(u64::from(answer != psci::ALREADY_ON), Relaxed);
        }
        LEFT.fetch_add(1, AcqRel);
        wait_until(microseconds(PATIENCE), || all(LEFT.load(Acquire)));
    }
    WRONG.store(0, Relaxed);
    LEFT.store(0, Relaxed);
    let job = |_| {
        if let Some(machine) = machine::get() {
            ask(machine);
        }
    };
    with_others(machine, job, || {
        ask(machine);
        Ok(())
    })?;
    ensure_eq!(WRONG.load(Relaxed), 0, "answers of CPU_ON that are not ALREADY_ON");
    Ok(())
}

/// How many rounds of the race have begun; all who take part have answered as many.
static ROUND: AtomicUsize = AtomicUsize::new(0);
static ANSWERED: AtomicUsize = AtomicUsize::new(0);
static SUCCEEDED: AtomicUsize = AtomicUsize::new(0);
static OVER: AtomicBool = AtomicBool::new(false);
/// Whether the CPU that was raced for may switch itself off.
static LEAVE: AtomicBool = AtomicBool::new(false);
const RACES: usize = 20;

/// The last CPU, which all others switch on at once: one of them succeeds, and it starts once.
///
/// QEMU's own PSCI answers all of them with success, and resets the CPU as many times.
fn cpu_on_race(machine: &'static Machine) -> Outcome {
    let target = machine.cpus().len() - 1;
    if target < 2 || reported_smccc_version().is_none() {
        return Ok(());
    }
    for count in [&ROUND, &ANSWERED, &SUCCEEDED, &STARTS] {
        count.store(0, Relaxed);
    }
    WRONG.store(0, Relaxed);
    OVER.store(false, Relaxed);
    with_others(machine, take_part, || {
        smp::wait_off(machine, target);
        let outcome = (1..=RACES).try_for_each(|round| race(machine, target, round));
        OVER.store(true, Release);
        LEAVE.store(true, Release);
        outcome
    })
}

fn race(machine: &'static Machine, target: usize, round: usize) -> Outcome {
    LEAVE.store(false, Release);
    ROUND.store(round, Release);
    compete(machine, target);
    let soon = |done: &dyn Fn() -> bool| wait_until(microseconds(PATIENCE), done);
    ensure!(soon(&|| ANSWERED.load(Acquire) == round * target), "all who race get an answer");
    ensure_eq!(SUCCEEDED.load(Acquire), round, "CPU_ONs that succeeded");
    ensure_eq!(WRONG.load(Relaxed), 0, "other answers than ALREADY_ON and ON_PENDING");
    ensure!(soon(&|| STARTS.load(Acquire) == round), "the CPU starts once");
    LEAVE.store(true, Release);
    smp::wait_off(machine, target);
    ensure_eq!(STARTS.load(Acquire), round, "starts");
    Ok(())
}

/// What the others do: the one that is raced for leaves, the rest compete in each round.
fn take_part(index: usize) {
    READY.fetch_add(1, Release);
    let Some(machine) = machine::get() else { return };
    let target = machine.cpus().len() - 1;
    let mut round = 0;
    while index != target && !OVER.load(Acquire) {
        if ROUND.load(Acquire) == round {
            cpu::relax();
        } else {
            round += 1;
            compete(machine, target);
        }
    }
}

/// CPU_ON of `target`.
fn compete(machine: &'static Machine, target: usize) {
    let answer = smp::start(machine, target, |_| {
        STARTS.fetch_add(1, AcqRel);
        while !LEAVE.load(Acquire) {
            cpu::relax();
        }
    });
    match answer {
        Ok(()) => {
            SUCCEEDED.fetch_add(1, AcqRel);
        }
        Err(psci::ALREADY_ON | psci::ON_PENDING) => {}
        Err(_) => {
            WRONG.fetch_add(1, Relaxed);
        }
    }
    ANSWERED.fetch_add(1, AcqRel);
}
