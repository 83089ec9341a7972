//! Chooses what to do from the boot arguments, and keeps count.

mod arena;
mod code;
mod csr;
mod mmio;
mod monitor;
mod protection;
mod tables;

use core::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use guest_riscv_support::{
    args, console,
    harts::{self, MAX_HARTS},
    machine, println,
    rng::Rng,
};

const DEFAULT_OPERATIONS: u64 = 5_000;

/// One kind of attack: it does one operation when called.
type Operation = fn(&mut Attack);

const MODES: [(&str, Operation); 3] =
    [("code", code::operation), ("csr", csr::operation), ("mmio", mmio::operation)];

/// What one hart does in one mode.
struct Attack {
    hart: usize,
    rng: Rng,
    /// The first address behind RAM.
    ram_end: u64,
    /// Operations that ended in an exception.
    faults: u64,
}

static SEED: AtomicU64 = AtomicU64::new(0);
static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static HARTS: AtomicUsize = AtomicUsize::new(0);
static RAM_END: AtomicU64 = AtomicU64::new(0);
/// Operations of the current mode that ended in an exception, of all harts.
static FAULTS: AtomicU64 = AtomicU64::new(0);
/// How often a hart has come to the barrier.
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

/// Attacks with all harts at once, one mode after the other.
pub fn main() {
    let machine = machine::read();
    let harts = machine.harts.clamp(1, MAX_HARTS);
    let seed = args::number_of(machine.bootargs, "seed").unwrap_or(1);
    let operations = args::number_of(machine.bootargs, "ops").unwrap_or(DEFAULT_OPERATIONS);
    println!("hostile: seed {seed}, {harts} harts, {operations} operations for each in each mode");
    SEED.store(seed, Relaxed);
    OPERATIONS.store(operations, Relaxed);
    HARTS.store(harts, Relaxed);
    RAM_END.store(machine.ram.end, Relaxed);
    harts::start(harts, attack);
    attack(0);
    println!("hostile: survived {} operations", operations * (harts * MODES.len()) as u64);
}

/// What each hart does.
fn attack(hart: usize) {
    let seed = SEED.load(Relaxed) << 8 | hart as u64;
    let mut attack = Attack { hart, rng: Rng::new(seed), ram_end: RAM_END.load(Relaxed), faults: 0 };
    monitor::prepare();
    protection::prepare(attack.ram_end);
    code::prepare(&mut attack);
    for (index, (name, operation)) in MODES.iter().enumerate() {
        attack.faults = 0;
        for _ in 0..OPERATIONS.load(Relaxed) {
            operation(&mut attack);
        }
        FAULTS.fetch_add(attack.faults, Relaxed);
        meet(2 * index);
        if hart == 0 {
            report(name);
        }
        meet(2 * index + 1);
    }
}

/// Waits until all harts have come here; they have met `before` times.
fn meet(before: usize) {
    let harts = HARTS.load(Relaxed);
    ARRIVED.fetch_add(1, AcqRel);
    while ARRIVED.load(Acquire) < harts * (before + 1) {
        core::hint::spin_loop();
    }
}

fn report(mode: &str) {
    console::init();
    let operations = OPERATIONS.load(Relaxed) * HARTS.load(Relaxed) as u64;
    println!("hostile: {mode}: {operations} operations, {} faults", FAULTS.swap(0, Relaxed));
    arena::check();
}

/// Says that what must hold does not.
fn broken(what: &str, wanted: u64, found: u64) {
    console::init();
    println!("hostile: BROKEN {what}: {wanted:#x} and {found:#x}");
}
