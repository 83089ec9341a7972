//! Rounds of work on every CPU at once, in step.

use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::*},
};

use guest_support::{
    cpu,
    exception::on_irq,
    machine::{self, Machine},
    println, smp,
    timer::{microseconds, wait_until},
};

use super::{compute, hold, ticks};

/// Numbers to sort in a round.
const NUMBERS: usize = 16 * 1024;
/// Microseconds for what another CPU does, whose turn may be late.
const PATIENCE: u64 = 20_000_000;

static ROUNDS: AtomicU64 = AtomicU64::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);
/// How many times a CPU has come to the barrier.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// Works for `rounds` rounds, or for ever if that is 0.
pub fn run(machine: &'static Machine, rounds: u64) {
    println!("work: {} CPUs, {rounds} rounds", machine.cpus().len());
    ROUNDS.store(rounds, Relaxed);
    on_irq(ticks::handle);
    machine.gic.init();
    let others = 1..machine.cpus().len();
    for index in others.clone() {
        if let Err(error) = smp::start(machine, index, work) {
            println!("work: ERROR CPU {index}: CPU_ON answers {error}");
            return;
        }
    }
    work(0);
    for index in others {
        smp::wait_off(machine, index);
    }
    println!("work: done, {} errors", ERRORS.load(Relaxed));
}

/// What each CPU does.
fn work(index: usize) {
    let Some(machine) = machine::get() else { return };
    if index != 0 {
        machine.gic.init_cpu();
    }
    ticks::start(machine);
    // Nobody sends an SGI before the receiver is ready for it.
    meet(machine, 0);
    let rounds = ROUNDS.load(Relaxed);
    for round in 1.. {
        check(machine, index, round);
        meet(machine, 2 * round - 1);
        if index == 0 {
            report(round);
        }
        meet(machine, 2 * round);
        if round == rounds {
            break;
        }
    }
    ticks::stop();
}

/// Waits, asleep between ticks, until all CPUs have come here; `before` is how many times they have met.
fn meet(machine: &Machine, before: u64) {
    ARRIVED.fetch_add(1, AcqRel);
    let all = (before + 1) * machine.cpus().len() as u64;
    while ARRIVED.load(Acquire) < all {
        cpu::wfi();
    }
}

fn report(round: u64) {
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    let errors = ERRORS.load(Relaxed);
    let verdict = if errors == BEFORE.swap(errors, Relaxed) { "ok" } else { "BAD" };
    println!("work: round {round} {verdict}, worst lateness {} us", ticks::worst_lateness());
}

fn error(index: usize, round: u64, what: fmt::Arguments<'_>) {
    ERRORS.fetch_add(1, Relaxed);
    println!("work: ERROR CPU {index}, round {round}: {what}");
}

/// One round on one CPU.
fn check(machine: &Machine, index: usize, round: u64) {
    let seed = round << 8 | index as u64;
    let ticks_before = ticks::ticks(index);
    if !compute::sorts(index, seed, NUMBERS) {
        error(index, round, format_args!("numbers are not sorted, or not the same"));
    }
    hold::check(seed, |wrong| error(index, round, format_args!("{wrong}")));

    let next = (index + 1) % machine.cpus().len();
    machine.gic.send_sgi(machine.cpus().get(next).copied().unwrap_or_default(), ticks::SGI);
    let came = wait_until(microseconds(PATIENCE), || {
        ticks::sgis(index) >= round && ticks::ticks(index) > ticks_before
    });
    if !came || ticks::sgis(index) != round {
        error(
            index,
            round,
            format_args!("{} SGIs came, {} ticks", ticks::sgis(index), ticks::ticks(index) - ticks_before),
        );
    }
}
