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
        report("ipi", &mut times);
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
/// When the vCPU that ran last went to sleep.
static ASLEEP: AtomicU64 = AtomicU64::new(0);
/// How long each switch took: to the second vCPU and to the first, in turn.
static TIMES: [AtomicU64; ROUNDS] = [const { AtomicU64::new(0) }; ROUNDS];

/// From one vCPU's WFI to the other's return from its own, on one physical CPU.
///
/// Each wakes the other before it sleeps, so that the other waits for the CPU by then. A scheduler that
/// prefers who is woken to who runs switches earlier, in the middle of the waking: that is measured then.
pub fn switch(machine: &'static Machine) {
    let started = machine.cpus().len() >= 2 && smp::start(machine, 1, follow).is_ok();
    if started && wait_until(microseconds(PATIENCE), || READY.load(Acquire)) {
        lead(machine);
        report("vcpu-switch", &mut TIMES.each_ref().map(|time| time.load(Relaxed)));
    } else {
        println!("bench: vcpu-switch skipped");
    }
}

/// The first vCPU's turns, with interrupts masked.
fn lead(machine: &Machine) {
    let Some(&second) = machine.cpus().get(1) else { return };
    for time in TIMES.iter().skip(1).step_by(2) {
        wake(&machine.gic, second);
        time.store(sleep(&machine.gic), Relaxed);
    }
}

/// The second vCPU's turns, with interrupts masked. It does not sleep after the last one but switches itself
/// off, which the median does not mind.
fn follow(_: usize) {
    let Some(machine) = machine::get() else { return };
    let Some(&first) = machine.cpus().first() else { return };
    machine.gic.init_cpu();
    machine.gic.enable(SGI);
    READY.store(true, Release);
    for time in TIMES.iter().step_by(2) {
        time.store(sleep(&machine.gic), Relaxed);
        wake(&machine.gic, first);
    }
}

fn wake(gic: &Gic, affinity: u64) {
    ASLEEP.store(Timer::Virtual.count(), Relaxed);
    gic.send_sgi(affinity, SGI);
}

/// Sleeps until the other's interrupt is there, and says how long ago the other went to sleep.
fn sleep(gic: &Gic) -> u64 {
    loop {
        let awake: u64;
        // SAFETY: stores one word to a static.
        unsafe {
            asm!("isb", "mrs {time}, cntvct_el0", "str {time}, [{asleep}]", "wfi", "isb", "mrs {time}, cntvct_el0",
                time = out(reg) awake, asleep = in(reg) ASLEEP.as_ptr(), options(nostack));
        }
        let took = awake.saturating_sub(ASLEEP.load(Relaxed));
        let ack = gic.acknowledge();
        if !ack.is_spurious() {
            gic.end(ack);
            return took;
        }
    }
}

/// Prints the median and the least of `times`.
fn report(name: &str, times: &mut [u64]) {
    times.sort_unstable();
    if let (Some(median), Some(least)) = (times.get(times.len() / 2), times.first()) {
        println!("bench: {name} {median}");
        println!("bench: {name}-min {least}");
    }
}
