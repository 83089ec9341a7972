//! What takes two CPUs.
//!
//! Under `-icount` QEMU runs one CPU at a time, and time is what all of them have executed: whatever the
//! sender executes between sending and the receiver's turn counts as if the receiver had to wait for it. So
//! the sender spins on YIELD, which EL2 cannot trap and at which QEMU goes on to the next CPU: what is
//! counted of the sender is the way into EL2 and back, which the receiver of a real machine would wait for
//! only in part.

use core::{
    arch::asm,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::*},
};

use guest_support::{
    cpu,
    gic::{Gic, Version, gicd},
    machine::{self, Machine},
    mmio, println, smp,
    timer::{Timer, microseconds, wait_until},
    write_sysreg,
};

use super::{SGI, loops};

const ROUNDS: usize = 500;
/// Microseconds for the second CPU to come, whose turn may be late.
const PATIENCE: u64 = 1_000_000;
/// Microseconds for the receiver to fall asleep.
const PAUSE: u64 = 20;

/// How many rounds the receiver has to do, once it has begun this one.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// When the receiver acknowledged, 0 before.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// From the write that sends an SGI to its acknowledgement by a CPU that was asleep.
pub fn ipi(machine: &'static Machine) {
    let mut times = [0; ROUNDS];
    if machine.cpus().len() < 2
        || smp::start(machine, 1, receive).is_err()
        || send(machine, &mut times).is_none()
    {
        println!("bench: ipi skipped");
    } else {
        println!("bench: ipi {}", median(&mut times));
    }
}

fn receive(_: usize) {
    let Some(Machine { gic, .. }) = machine::get() else { return };
    gic.init_cpu();
    gic.enable(SGI);
    let (answer, interface) = match gic.version() {
        Version::V2 => (loops::answer_v2, gic.cpu_interface()),
        Version::V3 => (loops::answer_v3, 0),
    };
    answer.run(ROUNDS as u64, HANDLED.as_ptr() as u64, LEFT.as_ptr() as u64, interface);
}

/// Fills `times`; `None` if the receiver does not come.
fn send(machine: &Machine, times: &mut [u64]) -> Option<()> {
    let target = *machine.cpus().get(1)?;
    let (register, command) = match machine.gic.version() {
        Version::V2 => (machine.gic.distributor() + gicd::SGIR, 1 << (16 + (target & 7)) | u64::from(SGI)),
        Version::V3 => (0, Gic::sgi1r(target, SGI)),
    };
    for (left, time) in (1..=ROUNDS as u64).rev().zip(times) {
        spin_until(PATIENCE, || LEFT.load(Acquire) == left).then_some(())?;
        spin_until(PAUSE, || false);
        HANDLED.store(0, Release);
        cpu::dsb();
        let sent = Timer::Virtual.count();
        match register {
            0 => write_sysreg!("icc_sgi1r_el1", command),
            register => mmio::write32(register, command as u32),
        }
        cpu::relax();
        spin_until(PATIENCE, || HANDLED.load(Acquire) != 0).then_some(())?;
        *time = HANDLED.load(Acquire).saturating_sub(sent);
    }
    Some(())
}

/// Waits for at most `time` microseconds, leaving QEMU's one CPU at a time to others; says whether it is done.
fn spin_until(time: u64, mut done: impl FnMut() -> bool) -> bool {
    wait_until(microseconds(time), || {
        cpu::relax();
        done()
    })
}

/// Whether the second vCPU is there.
static READY: AtomicBool = AtomicBool::new(false);
/// What one of the two vCPUs knows.
struct Side {
    /// When it last went to sleep, or began to wake the other.
    asleep: AtomicU64,
    /// How long each switch to it took.
    times: [AtomicU64; ROUNDS],
}

static SIDES: [Side; 2] =
    [const { Side { asleep: AtomicU64::new(0), times: [const { AtomicU64::new(0) }; ROUNDS] } }; 2];

/// From one vCPU's WFI to the other's return from its own, on one physical CPU.
///
/// Each wakes the other before it sleeps, so that the other waits for the CPU by then. A scheduler that lets
/// who is woken take the CPU from who runs switches already then, and waking is measured with that; but the
/// way back, to a vCPU that was interrupted so, is a switch and nothing else.
pub fn switch(machine: &'static Machine) {
    let started = machine.cpus().len() >= 2 && smp::start(machine, 1, follow).is_ok();
    if !started || !wait_until(microseconds(PATIENCE), || READY.load(Acquire)) {
        println!("bench: vcpu-switch skipped");
        return;
    }
    let [first, second] = &SIDES;
    if let Some(&other) = machine.cpus().get(1) {
        for time in &first.times {
            wake(&machine.gic, other, first);
            time.store(sleep(&machine.gic, first, second), Relaxed);
        }
    }
    let medians =
        SIDES.each_ref().map(|side| median(&mut side.times.each_ref().map(|time| time.load(Relaxed))));
    let [to_first, to_second] = medians;
    println!("bench: vcpu-switch {}", to_first.min(to_second));
    println!("bench: vcpu-switch-woken {}", to_first.max(to_second));
}

/// What the second vCPU does, with interrupts masked as on the first.
fn follow(_: usize) {
    let Some(machine) = machine::get() else { return };
    let Some(&other) = machine.cpus().first() else { return };
    machine.gic.init_cpu();
    machine.gic.enable(SGI);
    READY.store(true, Release);
    let [first, second] = &SIDES;
    for time in &second.times {
        time.store(sleep(&machine.gic, second, first), Relaxed);
        wake(&machine.gic, other, second);
    }
}

fn wake(gic: &Gic, other: u64, own: &Side) {
    own.asleep.store(Timer::Virtual.count(), Relaxed);
    gic.send_sgi(other, SGI);
}

/// Sleeps until the other's interrupt is there, and says how long ago the other went to sleep.
fn sleep(gic: &Gic, own: &Side, other: &Side) -> u64 {
    loop {
        let awake: u64;
        // SAFETY: stores one word to an atomic.
        unsafe {
            asm!("isb", "mrs {time}, cntvct_el0", "str {time}, [{asleep}]", "wfi", "isb", "mrs {time}, cntvct_el0",
                time = out(reg) awake, asleep = in(reg) own.asleep.as_ptr(), options(nostack));
        }
        let took = awake.saturating_sub(other.asleep.load(Relaxed));
        let ack = gic.acknowledge();
        if !ack.is_spurious() {
            gic.end(ack);
            return took;
        }
    }
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
