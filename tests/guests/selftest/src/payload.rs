//! Runs the tests, one after the other, and counts.

#[macro_use]
mod check;
mod accesses;
mod devices;
mod faults;
mod interrupts;
mod irqlog;
mod memory;
mod power;
mod races;
mod registers;
mod smp_tests;
mod timers;

use check::{Failure, Outcome, Test};
use guest_support::{
    console, cpu,
    exception::{on_irq, serrors},
    machine::{self, Machine},
    println,
    smp::{self, MAX_CPUS},
    timer::Timer,
};
use spin::Mutex;

/// In this order: RAM is looked at before anything else writes to it.
const SUITES: [&[Test]; 10] = [
    memory::TESTS,
    power::TESTS,
    registers::TESTS,
    faults::TESTS,
    accesses::TESTS,
    devices::TESTS,
    timers::TESTS,
    interrupts::TESTS,
    smp_tests::TESTS,
    races::TESTS,
];

pub fn main(machine: &'static Machine) {
    println!("selftest: {} CPUs, GIC{:?}", machine.cpus().len(), machine.gic.version());
    on_irq(irqlog::record);
    let (mut passed, mut failed) = (0, 0);
    for test in SUITES.into_iter().flatten() {
        let outcome = run(machine, test);
        console::init();
        match outcome {
            Ok(()) => {
                println!("ok {}", test.name);
                passed += 1;
            }
            Err((cpu, failure)) => {
                println!("FAIL {}: CPU {cpu}: {failure}", test.name);
                failed += 1;
            }
        }
    }
    if serrors() != 0 {
        println!("FAIL serror: {} system errors were taken", serrors());
        failed += 1;
    }
    println!("selftest: {passed} passed, {failed} failed");
}

/// Runs `test` here, and then on all other CPUs at once if it wants that; the first failure and its CPU's
/// index.
fn run(machine: &'static Machine, test: &'static Test) -> Result<(), (usize, Failure)> {
    machine.gic.init();
    run_here(machine, test).map_err(|failure| (0, failure))?;
    if !test.everywhere {
        return Ok(());
    }
    *CURRENT.lock() = Some(test);
    let others = 1..machine.cpus().len();
    for index in others.clone() {
        smp::start(machine, index, run_current)
            .map_err(|error| (index, Failure::new("CPU_ON", error as u64, 0)))?;
    }
    for index in others.clone() {
        smp::wait_off(machine, index);
    }
    for index in others {
        let outcome = OUTCOMES.get(index).and_then(|slot| slot.lock().take());
        outcome
            .unwrap_or(Err(Failure::new("the CPU did not run the test", 0, 1)))
            .map_err(|failure| (index, failure))?;
    }
    Ok(())
}

fn run_here(machine: &'static Machine, test: &Test) -> Outcome {
    irqlog::clear();
    let outcome = (test.run)(machine);
    cpu::mask_irqs();
    Timer::Virtual.stop();
    Timer::Physical.stop();
    outcome
}

static CURRENT: Mutex<Option<&'static Test>> = Mutex::new(None);
static OUTCOMES: [Mutex<Option<Outcome>>; MAX_CPUS] = [const { Mutex::new(None) }; MAX_CPUS];

/// What the other CPUs do for a test that runs everywhere.
fn run_current(index: usize) {
    let test = *CURRENT.lock();
    if let (Some(test), Some(machine), Some(slot)) = (test, machine::get(), OUTCOMES.get(index)) {
        machine.gic.init_cpu();
        *slot.lock() = Some(run_here(machine, test));
    }
}
