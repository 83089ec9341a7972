//! Both EL1 timers (Arm ARM D12), on every CPU.

use guest_support::{
    cpu,
    gic::Version,
    machine::Machine,
    psci,
    timer::{ENABLE, IMASK, ISTATUS, Timer, microseconds, wait_until},
};

use super::{
    check::{Outcome, Test},
    irqlog,
};

pub const TESTS: &[Test] = &[
    Test::everywhere("timer-counter", counter),
    Test::everywhere("timer-virtual-due", |machine| due(machine, Timer::Virtual)),
    Test::everywhere("timer-physical-due", |machine| due(machine, Timer::Physical)),
    Test::everywhere("timer-virtual-masked", |machine| masked(machine, Timer::Virtual)),
    Test::everywhere("timer-physical-masked", |machine| masked(machine, Timer::Physical)),
    Test::everywhere("timer-virtual-past", |machine| past_and_future(machine, Timer::Virtual)),
    Test::everywhere("timer-physical-past", |machine| past_and_future(machine, Timer::Physical)),
    Test::everywhere("timer-virtual-level", |machine| level(machine, Timer::Virtual)),
    Test::everywhere("timer-physical-level", |machine| level(machine, Timer::Physical)),
    Test::everywhere("timer-tval", tval),
    Test::everywhere("timer-both", both),
    Test::everywhere("wfi-masked", |machine| {
        wakes_masked(machine, || {
            cpu::wfi();
            0
        })
    }),
    Test::everywhere("psci-cpu-suspend", |machine| {
        wakes_masked(machine, || psci::psci(psci::CPU_SUSPEND, [0; 3]))
    }),
    Test::everywhere("wfi-unmasked", wfi_unmasked),
];

const SHORT: u64 = 1_000;

fn counter(_: &Machine) -> Outcome {
    ensure!(cpu::counter_frequency() >= 1_000_000, "the counter runs at 1 MHz at least");
    for timer in [Timer::Virtual, Timer::Physical] {
        let mut last = timer.count();
        for _ in 0..1000 {
            let now = timer.count();
            ensure!(now >= last, "the counter never runs backwards");
            last = now;
        }
        let start = timer.count();
        ensure!(wait_until(u64::MAX, || timer.count() > start), "the counter runs");
    }
    Ok(())
}

/// Fires once per arming, not early, and only when armed.
fn due(machine: &Machine, timer: Timer) -> Outcome {
    machine.gic.enable(timer.intid());
    for round in 1..=20 {
        timer.arm(microseconds(SHORT));
        let control = timer.control();
        // Whoever runs this machine may have paused it for longer.
        if timer.count() < timer.compare() {
            ensure_eq!(control, ENABLE, "the control register of a timer that is not due");
        }
        ensure!(irqlog::take_until(|| irqlog::count() >= round), "the interrupt comes");
        ensure!(timer.count() >= timer.compare(), "it comes when it is due");
        ensure_eq!(irqlog::intid(round - 1).unwrap_or(0), timer.intid(), "the interrupt");
    }
    irqlog::take_for(3 * SHORT);
    ensure_eq!(irqlog::count(), 20, "interrupts in all");
    ensure_eq!(irqlog::spurious(), 0, "spurious interrupts");
    Ok(())
}

/// A timer that masks its interrupt says that it is due, and no more.
fn masked(machine: &Machine, timer: Timer) -> Outcome {
    machine.gic.enable(timer.intid());
    timer.set_compare(timer.count() + microseconds(SHORT));
    timer.set_control(ENABLE | IMASK);
    let is_due = irqlog::take_until(|| timer.control() & ISTATUS != 0);
    ensure!(is_due, "ISTATUS of a masked timer");
    irqlog::take_for(SHORT);
    ensure_eq!(irqlog::count(), 0, "interrupts while masked");
    timer.set_control(ENABLE);
    ensure!(irqlog::take_until(|| irqlog::count() > 0), "the interrupt comes when the mask is lifted");
    ensure_eq!(irqlog::count(), 1, "interrupts when the mask is lifted");
    Ok(())
}

fn past_and_future(machine: &Machine, timer: Timer) -> Outcome {
    machine.gic.enable(timer.intid());
    timer.set_compare(u64::MAX);
    timer.set_control(ENABLE);
    irqlog::take_for(SHORT);
    ensure_eq!(irqlog::count(), 0, "interrupts of a timer that is due at the end of time");
    timer.set_compare(0);
    ensure!(irqlog::take_until(|| irqlog::count() > 0), "a timer that was due at the beginning of time");
    irqlog::take_for(SHORT);
    ensure_eq!(irqlog::count(), 1, "interrupts of a timer that was stopped");
    Ok(())
}

/// The interrupt is a level: it is pending for as long as the timer is due, and no longer. A hypervisor
/// that gives the virtual timer to its guest cannot see that it is no longer due until the guest leaves for
/// some reason, so the questions below are asked of the emulated distributor too.
fn level(machine: &Machine, timer: Timer) -> Outcome {
    let gic = machine.gic;
    gic.enable(timer.intid());
    timer.set_compare(0);
    timer.set_control(ENABLE);
    ensure!(wait_until(microseconds(100_000), || gic.is_signalled()), "the interrupt is signalled");
    ensure!(gic.is_pending(timer.intid()), "a due timer is pending");
    timer.set_compare(u64::MAX);
    let gone = || !gic.is_pending(timer.intid()) && !gic.is_signalled();
    ensure!(wait_until(microseconds(100_000), gone), "it is gone when the timer is not due");
    ensure!(gic.acknowledge().is_spurious(), "nothing to acknowledge");
    timer.set_compare(0);
    for _ in 0..3 {
        ensure!(
            wait_until(microseconds(100_000), || gic.is_signalled()),
            "an interrupt that is not served comes again"
        );
        let ack = gic.acknowledge();
        ensure_eq!(ack.intid(), timer.intid(), "acknowledged");
        ensure!(gic.is_active(timer.intid()), "an acknowledged interrupt is active");
        gic.end(ack);
        if timer == Timer::Virtual && gic.version() == Version::V2 {
            // QEMU 10.0's GICv2 forwards the end of a hardware interrupt from its virtual CPU interface, but
            // looks at a level that is still high only when some line changes (`gic_complete_irq`).
            timer.set_compare(u64::MAX);
            timer.set_compare(0);
        }
    }
    timer.stop();
    ensure!(wait_until(microseconds(100_000), gone), "it is gone when the timer is stopped");
    Ok(())
}

fn tval(_: &Machine) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        timer.set_left(i32::MAX);
        let distance = timer.compare().wrapping_sub(timer.count());
        ensure!(distance <= i32::MAX as u64 && distance > i32::MAX as u64 / 2, "CVAL after a write of TVAL");
        ensure!(timer.left() > 0, "TVAL before the timer is due");
        timer.set_left(-1);
        timer.set_control(ENABLE | IMASK);
        ensure!(timer.left() < 0, "TVAL after the timer was due");
        ensure!(timer.control() & ISTATUS != 0, "a negative TVAL is due");
        timer.stop();
    }
    Ok(())
}

fn both(machine: &Machine) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        machine.gic.enable(timer.intid());
        timer.arm(microseconds(SHORT));
    }
    ensure!(irqlog::take_until(|| irqlog::count() >= 2), "both interrupts come");
    irqlog::take_for(SHORT);
    ensure_eq!(irqlog::count(), 2, "interrupts in all");
    let sum = irqlog::intid(0).unwrap_or(0) + irqlog::intid(1).unwrap_or(0);
    ensure_eq!(sum, Timer::Virtual.intid() + Timer::Physical.intid(), "one of each");
    Ok(())
}

/// A CPU that sleeps, by WFI or CPU_SUSPEND, wakes for an interrupt that PSTATE masks, which then is still there to be
/// taken.
fn wakes_masked(machine: &Machine, sleep: fn() -> i64) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        irqlog::clear();
        machine.gic.enable(timer.intid());
        for round in 1..=5 {
            timer.arm(microseconds(SHORT));
            while !machine.gic.is_signalled() {
                ensure_eq!(sleep(), 0, "what going to sleep returns");
            }
            ensure!(timer.control() & ISTATUS != 0, "the timer that woke the CPU is due");
            ensure_eq!(irqlog::count(), round - 1, "a masked interrupt is not taken");
            ensure!(irqlog::take_until(|| irqlog::count() == round), "it is taken when unmasked");
        }
    }
    Ok(())
}

/// WFI with interrupts let in. The interrupt may come just before WFI and leave nothing to wake it: hence the
/// second timer, far behind.
fn wfi_unmasked(machine: &Machine) -> Outcome {
    machine.gic.enable(Timer::Virtual.intid());
    machine.gic.enable(Timer::Physical.intid());
    for _ in 0..20 {
        irqlog::clear();
        Timer::Virtual.arm(microseconds(SHORT));
        Timer::Physical.arm(microseconds(100 * SHORT));
        cpu::unmask_irqs();
        cpu::wfi();
        cpu::mask_irqs();
        Timer::Physical.stop();
        ensure!(irqlog::take_until(|| irqlog::count() >= 1), "the interrupt comes");
        ensure_eq!(irqlog::intid(0).unwrap_or(0), Timer::Virtual.intid(), "the interrupt that comes first");
    }
    Ok(())
}
