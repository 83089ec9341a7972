//! The suite's interrupt handler: it acknowledges, quietens the source, ends, and writes down what came, per
//! CPU.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use guest_support::{
    console::{ICR, IMSC},
    cpu,
    exception::cpu_index,
    machine::{self, UART_INTID},
    mmio,
    smp::MAX_CPUS,
    timer::{Timer, microseconds, wait_until},
};

const ENTRIES: usize = 128;

struct Log {
    length: AtomicUsize,
    spurious: AtomicU32,
    intids: [AtomicU32; ENTRIES],
}

static LOGS: [Log; MAX_CPUS] = [const {
    Log {
        length: AtomicUsize::new(0),
        spurious: AtomicU32::new(0),
        intids: [const { AtomicU32::new(0) }; ENTRIES],
    }
}; MAX_CPUS];

fn log() -> Option<&'static Log> {
    LOGS.get(cpu_index())
}

/// The handler.
pub fn record() {
    let (Some(machine), Some(log)) = (machine::get(), log()) else { return };
    let ack = machine.gic.acknowledge();
    if ack.is_spurious() {
        log.spurious.fetch_add(1, Relaxed);
        return;
    }
    let intid = ack.intid();
    for timer in [Timer::Virtual, Timer::Physical] {
        if intid == timer.intid() {
            timer.stop();
        }
    }
    if intid == UART_INTID {
        mmio::write32(IMSC, 0);
        mmio::write32(ICR, 0x7ff);
    }
    machine.gic.end(ack);
    let length = log.length.load(Relaxed);
    if let Some(slot) = log.intids.get(length) {
        slot.store(intid, Relaxed);
    }
    log.length.store(length + 1, Relaxed);
}

/// Forgets what came to this CPU.
pub fn clear() {
    if let Some(log) = log() {
        log.length.store(0, Relaxed);
        log.spurious.store(0, Relaxed);
    }
}

/// How many interrupts came to this CPU.
pub fn count() -> usize {
    log().map_or(0, |log| log.length.load(Relaxed))
}

/// How many interrupts were gone again when this CPU acknowledged.
pub fn spurious() -> u32 {
    log().map_or(0, |log| log.spurious.load(Relaxed))
}

/// The `index`th interrupt that came to this CPU.
pub fn intid(index: usize) -> Option<u32> {
    let log = log()?;
    let known = log.intids.get(..log.length.load(Relaxed).min(ENTRIES))?;
    known.get(index).map(|slot| slot.load(Relaxed))
}

/// Lets interrupts in until `done`, for at most a second; says whether it is done. They are masked
/// afterwards.
pub fn take_until(done: impl FnMut() -> bool) -> bool {
    cpu::unmask_irqs();
    let done = wait_until(microseconds(1_000_000), done);
    cpu::mask_irqs();
    done
}

/// Lets interrupts in for `microseconds`.
pub fn take_for(time: u64) {
    cpu::unmask_irqs();
    wait_until(microseconds(time), || false);
    cpu::mask_irqs();
}
