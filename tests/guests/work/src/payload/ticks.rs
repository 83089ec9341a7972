//! Interrupts: a timer that ticks, how late it does, and SGIs.

use core::sync::atomic::{AtomicU64, Ordering::*};

use guest_support::{
    cpu,
    exception::cpu_index,
    machine::{self, Machine},
    smp::MAX_CPUS,
    timer::{Timer, microseconds},
};

/// What the CPUs send each other.
pub const SGI: u32 = 7;
/// Microseconds between ticks.
const PERIOD: u64 = 1000;

/// What came to one CPU.
struct Taken {
    ticks: AtomicU64,
    sgis: AtomicU64,
    /// The worst lateness in ticks of the counter, since somebody last asked.
    latest: AtomicU64,
}

static TAKEN: [Taken; MAX_CPUS] =
    [const { Taken { ticks: AtomicU64::new(0), sgis: AtomicU64::new(0), latest: AtomicU64::new(0) } };
        MAX_CPUS];

/// The interrupt handler.
pub fn handle() {
    let (Some(Machine { gic, .. }), Some(taken)) = (machine::get(), TAKEN.get(cpu_index())) else { return };
    let ack = gic.acknowledge();
    if ack.is_spurious() {
        return;
    }
    if ack.intid() == Timer::Virtual.intid() {
        let now = Timer::Virtual.count();
        let late = now.saturating_sub(Timer::Virtual.compare());
        taken.latest.fetch_max(late, Relaxed);
        taken.ticks.fetch_add(1, Relaxed);
        Timer::Virtual.set_compare(now + microseconds(PERIOD));
    } else {
        taken.sgis.fetch_add(1, Relaxed);
    }
    gic.end(ack);
}

/// Lets this CPU's timer tick, and interrupts be taken.
pub fn start(machine: &Machine) {
    for intid in [SGI, Timer::Virtual.intid()] {
        machine.gic.enable(intid);
    }
    Timer::Virtual.arm(microseconds(PERIOD));
    cpu::unmask_irqs();
}

/// Ends what [`start`] began.
pub fn stop() {
    cpu::mask_irqs();
    Timer::Virtual.stop();
}

/// How many ticks CPU `index` has taken.
pub fn ticks(index: usize) -> u64 {
    TAKEN.get(index).map_or(0, |taken| taken.ticks.load(Relaxed))
}

/// How many SGIs CPU `index` has taken.
pub fn sgis(index: usize) -> u64 {
    TAKEN.get(index).map_or(0, |taken| taken.sgis.load(Relaxed))
}

/// The worst lateness of any tick on any CPU since this was last asked, in microseconds.
pub fn worst_lateness() -> u64 {
    let worst = TAKEN.iter().map(|taken| taken.latest.swap(0, Relaxed)).max().unwrap_or(0);
    worst.saturating_mul(1_000_000) / cpu::counter_frequency()
}
