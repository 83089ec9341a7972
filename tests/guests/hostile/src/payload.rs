//! Chooses what to do from the boot arguments, and keeps count.

mod calls;
mod crew;
mod devices;
mod execution;
mod findings;
mod gadget;
mod memory;
mod neighbours;
mod place;
mod sysregs;
mod virtio;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use guest_support::{
    args, console, cpu,
    exception::{Fault, on_irq, probe, serrors},
    gic::Ack,
    machine::{self, Machine},
    println,
    rng::Rng,
    timer::Timer,
    write_sysreg,
};

const DEFAULT_OPERATIONS: u64 = 20_000;

/// One kind of attack: it does one operation when called.
type Operation = fn(&mut Attack);

const MODES: [(&str, Operation); 7] = [
    ("mmio", memory::operation),
    ("sysreg", sysregs::operation),
    ("gic", devices::operation),
    ("virtio", virtio::operation),
    ("exec", execution::operation),
    ("smp", neighbours::operation),
    // Last, since it ends by letting the other CPUs run wild.
    ("hvc", calls::operation),
];

/// What one CPU does in one mode.
struct Attack {
    machine: &'static Machine,
    /// Which CPU this is.
    index: usize,
    rng: Rng,
    /// Whether this is QEMU's own machine, so that its bugs must be spared.
    bare: bool,
    /// Whether any operation may be followed by a reset of the machine.
    resets: bool,
    /// Operations in this mode.
    done: u64,
    /// Faults in this mode.
    faults: u64,
}

impl Attack {
    fn new(machine: &'static Machine, index: usize, rng: Rng) -> Self {
        let (bare, resets) = (has_word(machine, "bare"), has_word(machine, "reset"));
        Self { machine, index, rng, bare, resets, done: 0, faults: 0 }
    }

    /// Does `access`, and counts the fault that it may raise.
    fn attempt<F: FnOnce() -> u64 + Copy>(&mut self, access: F) -> Result<u64, Fault> {
        let outcome = probe(access);
        if outcome.is_err() {
            self.faults += 1;
        }
        outcome
    }
}

fn has_word(machine: &Machine, wanted: &str) -> bool {
    machine.bootargs.split_ascii_whitespace().any(|word| word == wanted)
}

pub fn main(machine: &'static Machine) {
    let mode = args::value(machine.bootargs, "mode").unwrap_or("all");
    let mut seed = args::number_of(machine.bootargs, "seed").unwrap_or(1);
    let operations = args::number_of(machine.bootargs, "ops").unwrap_or(DEFAULT_OPERATIONS);
    if has_word(machine, "reset") {
        // Not the same again after each reset.
        seed = seed.wrapping_add(machine.entry_count);
    }
    println!(
        "hostile: mode {mode}, seed {seed}, {} CPUs, {operations} operations for each in each mode",
        machine.cpus().len()
    );
    if mode != "all" && MODES.iter().all(|(name, _)| *name != mode) {
        println!("hostile: `{mode}` is no mode");
        return;
    }

    on_irq(drop_interrupt);
    cpu::unmask_serror();
    let mut total = lap(machine, mode, seed, operations);
    while has_word(machine, "forever") || has_word(machine, "reset") {
        seed = seed.wrapping_add(1);
        total += lap(machine, mode, seed, operations);
    }
    if mode == "all" || mode == "hvc" {
        calls::start_others_in_the_void(machine, Rng::new(seed));
    }
    println!("hostile: {} system errors", serrors());
    println!("hostile: survived {total} operations");
}

/// Every mode once, or the one called `mode`. Returns the number of operations.
fn lap(machine: &'static Machine, mode: &str, seed: u64, operations: u64) -> u64 {
    let mut total = 0;
    for (index, (name, _)) in MODES.iter().enumerate().filter(|(_, (name, _))| mode == "all" || mode == *name)
    {
        repair(machine);
        let (done, faults) = crew::attack(machine, index, seed, operations);
        devices::heal(machine);
        console::init();
        findings::report();
        println!("hostile: {name}: {done} operations, {faults} faults, seed {seed}");
        total += done;
    }
    total
}

/// Brings the devices that this program needs back into a state in which they can be used.
fn repair(machine: &Machine) {
    cpu::mask_irqs();
    quieten();
    machine.gic.init();
    // QEMU's GICv2 looks at the active priorities that were just cleared only when an interrupt ends.
    if machine.gic.running_priority() < 0xf8 {
        machine.gic.end(Ack(0));
    }
    console::init();
}

/// Takes back what would disturb the operations that follow: timers and debug exceptions.
fn quieten() {
    Timer::Virtual.stop();
    Timer::Physical.stop();
    write_sysreg!("mdscr_el1", 0);
    cpu::isb();
}

/// Interrupts that nobody can acknowledge, in a row.
static STUCK: AtomicU32 = AtomicU32::new(0);

/// Whatever comes is ended, and its source is disabled. An interrupt of a group that cannot be acknowledged
/// here would come for ever.
fn drop_interrupt() {
    let Some(machine) = machine::get() else { return };
    let ack = machine.gic.acknowledge();
    if !ack.is_spurious() {
        STUCK.store(0, Relaxed);
        machine.gic.disable(ack.intid());
        machine.gic.end(ack);
    } else if STUCK.fetch_add(1, Relaxed) == 100 {
        STUCK.store(0, Relaxed);
        machine.gic.init();
    }
    quieten();
}
