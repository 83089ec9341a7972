//! The CPUs that attack: all at once, one mode at a time, each with a seed of its own.
//!
//! The boot CPU leads: it starts a mode on the others, and waits until each has done its operations. In some
//! modes CPUs switch themselves off and each other on, so a CPU may be on its way many times; every CPU_ON
//! that was answered with success is to give one start, and no more.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

use guest_support::{
    cpu,
    exception::cpu_index,
    machine::{self, Machine},
    psci,
    rng::Rng,
    smp::{self, MAX_CPUS},
    timer::{microseconds, wait_until},
};

use super::{Attack, MODES, findings};

/// Microseconds for what other CPUs do, whose turn may be late.
const PATIENCE: u64 = 60_000_000;

/// With the boot argument `reset`, one in so many operations is followed by a reset.
const RESET_EVERY: u64 = 30_000;

/// The mode's index in [`MODES`], the seed, and how many operations each CPU does.
static MODE: AtomicUsize = AtomicUsize::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);
static OPERATIONS: AtomicU64 = AtomicU64::new(0);
/// Operations and faults of each CPU in this mode.
static DONE: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static FAULTS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// CPU_ONs that succeeded, starts that came of them, and ends that came of those.
static ORDERED: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Lets all CPUs do `operations` of mode `mode`, an index in [`MODES`]. Returns their operations and faults.
pub fn attack(machine: &'static Machine, mode: usize, seed: u64, operations: u64) -> (u64, u64) {
    MODE.store(mode, Relaxed);
    SEED.store(seed, Relaxed);
    OPERATIONS.store(operations, Relaxed);
    for count in DONE.iter().chain(&FAULTS).chain([&ORDERED, &STARTED, &ENDED]) {
        count.store(0, Release);
    }
    let others = 1..machine.cpus().len();
    others.clone().for_each(|index| switch_on(machine, index));
    work(machine, 0);
    let finished = wait_until(microseconds(PATIENCE), || {
        // Who is off in the middle of its work may wait for somebody who is done.
        let unfinished = || others.clone().filter(|&index| !is_finished(index));
        unfinished().for_each(|index| switch_on(machine, index));
        unfinished().next().is_none()
    });
    let off = |index| machine.cpus().get(index).is_none_or(|&cpu| psci::affinity_info(cpu) == psci::OFF);
    let ended = wait_until(microseconds(PATIENCE), || {
        ENDED.load(Acquire) == ORDERED.load(Acquire) && others.clone().all(off)
    });
    if !finished || !ended || STARTED.load(Acquire) != ORDERED.load(Acquire) {
        findings::broken(
            "CPU_ON: answered with success, started",
            ORDERED.load(Acquire),
            STARTED.load(Acquire),
        );
    }
    let sum = |counts: &[AtomicU64]| counts.iter().map(|count| count.load(Relaxed)).sum();
    (sum(&DONE), sum(&FAULTS))
}

fn is_finished(index: usize) -> bool {
    DONE.get(index).is_none_or(|done| done.load(Acquire) >= OPERATIONS.load(Relaxed))
}

/// Lets CPU `index` work, if it is off.
pub fn switch_on(machine: &'static Machine, index: usize) {
    // QEMU's own PSCI answers with success until the CPU runs, and resets it as often, in the middle of
    // whatever it does by then: only one CPU at a time may be on its way, and only the leader order it.
    let spared = super::has_word(machine, "bare")
        && (cpu_index() != 0 || STARTED.load(Acquire) != ORDERED.load(Acquire));
    if !spared && smp::start(machine, index, run).is_ok() {
        ORDERED.fetch_add(1, AcqRel);
    }
}

/// Switches this CPU off in the middle of its work.
pub fn switch_off(attack: &mut Attack) {
    // It will go on behind this operation.
    attack.done += 1;
    save(attack);
    cpu::mask_irqs();
    ENDED.fetch_add(1, AcqRel);
    psci::cpu_off();
    findings::broken("CPU_OFF returned on CPU", attack.index as u64, 0);
}

fn save(attack: &Attack) {
    if let (Some(done), Some(faults)) = (DONE.get(attack.index), FAULTS.get(attack.index)) {
        faults.fetch_add(attack.faults, Relaxed);
        done.store(attack.done, Release);
    }
}

/// What a CPU does that was switched on.
fn run(index: usize) {
    STARTED.fetch_add(1, AcqRel);
    if let Some(machine) = machine::get() {
        machine.gic.init_cpu();
        cpu::unmask_serror();
        work(machine, index);
    }
    cpu::mask_irqs();
    ENDED.fetch_add(1, AcqRel);
}

/// Goes on with the work of CPU `index` where it was left.
fn work(machine: &'static Machine, index: usize) {
    let Some((_, operation)) = MODES.get(MODE.load(Relaxed)) else { return };
    let done = DONE.get(index).map_or(u64::MAX, |done| done.load(Acquire));
    // A CPU that comes again must not do the same again.
    let seed = SEED.load(Relaxed).wrapping_add((index as u64) << 32).wrapping_add(done << 40);
    let mut attack = Attack::new(machine, index, Rng::new(seed));
    attack.done = done;
    while attack.done < OPERATIONS.load(Relaxed) {
        operation(&mut attack);
        attack.done += 1;
        if attack.resets && attack.rng.one_in(RESET_EVERY) {
            psci::system_reset();
        }
    }
    save(&attack);
}
