//! Chooses what to do from the boot arguments, and keeps count.

mod calls;
mod devices;
mod execution;
mod gadget;
mod memory;
mod place;
mod sysregs;

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

const MODES: [(&str, Operation); 5] = [
    ("mmio", memory::operation),
    ("sysreg", sysregs::operation),
    ("gic", devices::operation),
    ("exec", execution::operation),
    // Last, since it ends by letting the other CPUs run wild.
    ("hvc", calls::operation),
];

/// The attack so far.
struct Attack {
    machine: &'static Machine,
    rng: Rng,
    /// Whether this is QEMU's own machine, so that its bugs must be spared.
    bare: bool,
    /// Operations in this mode.
    done: u64,
    /// Faults in this mode.
    faults: u64,
}

impl Attack {
    fn new(machine: &'static Machine, rng: Rng) -> Self {
        let bare = machine.bootargs.split_ascii_whitespace().any(|word| word == "bare");
        Self { machine, rng, bare, done: 0, faults: 0 }
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

pub fn main(machine: &'static Machine) {
    let mode = args::value(machine.bootargs, "mode").unwrap_or("all");
    let seed = args::number_of(machine.bootargs, "seed").unwrap_or(1);
    let operations = args::number_of(machine.bootargs, "ops").unwrap_or(DEFAULT_OPERATIONS);
    println!("hostile: mode {mode}, seed {seed}, {operations} operations in each mode");

    on_irq(drop_interrupt);
    cpu::unmask_serror();
    let mut total = 0;
    for (name, operation) in MODES.into_iter().filter(|(name, _)| mode == "all" || mode == *name) {
        let mut attack = Attack::new(machine, Rng::new(seed));
        repair(machine);
        while attack.done < operations {
            operation(&mut attack);
            attack.done += 1;
            if attack.done.is_multiple_of(operations.div_ceil(4)) || attack.done == operations {
                repair(machine);
                println!("hostile: {name} {}/{operations}, {} faults", attack.done, attack.faults);
            }
        }
        total += attack.done;
    }
    if total == 0 {
        println!("hostile: `{mode}` is no mode");
    }
    if mode == "all" || mode == "hvc" {
        calls::start_others_in_the_void(machine, Rng::new(seed));
    }
    println!("hostile: {} system errors", serrors());
    println!("hostile: survived {total} operations");
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
