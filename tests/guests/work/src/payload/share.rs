//! How much of the CPUs a VM gets.

use core::sync::atomic::{AtomicU64, Ordering::*};

use guest_support::{cpu, machine::Machine, println, smp, timer::Timer};

use super::compute;

/// Numbers to sort in one round, which is what shares are counted in: some tens of thousands of instructions.
const NUMBERS: usize = 512;

/// The physical count from which on rounds count, and the one at which they end.
static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// Computes on all CPUs from `at` milliseconds of the physical count, or now if that is past, for `duration`
/// milliseconds.
pub fn run(machine: &'static Machine, name: &str, at: u64, duration: u64) {
    let count_of = |milliseconds: u64| cpu::counter_frequency() / 1000 * milliseconds;
    let start = Timer::Physical.count().max(count_of(at));
    START.store(start, Relaxed);
    END.store(start + count_of(duration), Relaxed);
    let others = 1..machine.cpus().len();
    for index in others.clone() {
        if let Err(error) = smp::start(machine, index, compute) {
            println!("work: ERROR CPU {index}: CPU_ON answers {error}");
        }
    }
    compute(0);
    for index in others {
        smp::wait_off(machine, index);
    }
    println!("work: {name} rounds {} in {duration} ms", ROUNDS.load(Relaxed));
    if ERRORS.load(Relaxed) != 0 {
        println!("work: ERROR {} rounds had a wrong result", ERRORS.load(Relaxed));
    }
}

/// What each CPU does, with interrupts masked.
fn compute(index: usize) {
    for round in 0.. {
        let right = compute::sorts(index, round, NUMBERS);
        ERRORS.fetch_add(u64::from(!right), Relaxed);
        let now = Timer::Physical.count();
        if now >= END.load(Relaxed) {
            return;
        }
        ROUNDS.fetch_add(u64::from(now >= START.load(Relaxed)), Relaxed);
    }
}
