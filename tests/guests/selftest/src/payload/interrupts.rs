//! The interrupt controller, seen from the boot CPU: GICv2 (IHI 0048) or GICv3 (IHI 0069).
//!
//! Most tests leave interrupts masked in PSTATE and play the handler by hand, step by step.

use guest_support::{
    gic::{Ack, DEFAULT_PRIORITY, Gic},
    machine::Machine,
    timer::{microseconds, wait_until},
};

use super::{
    check::{Failure, Outcome, Test},
    irqlog,
};

pub const TESTS: &[Test] = &[
    Test::everywhere("gic-sgi-self", sgi_self),
    Test::everywhere("gic-sgi-all", sgi_all),
    Test::everywhere("gic-ppi-pending", ppi_pending),
    Test::once("gic-spi-edge", |machine| spi(machine, true)),
    Test::once("gic-spi-level", |machine| spi(machine, false)),
    Test::everywhere("gic-priority-mask", priority_mask),
    Test::everywhere("gic-preemption", preemption),
    Test::everywhere("gic-active", active),
    Test::everywhere("gic-eoi-mode-1", eoi_mode_1),
    Test::once("gic-forty-pending", forty_pending),
    Test::once("gic-forty-taken", forty_taken),
    Test::once("gic-forty-active", forty_active),
    Test::everywhere("gic-disable-pending", disable_pending),
    Test::everywhere("gic-disable-active", disable_active),
    Test::everywhere("gic-registers", registers),
    Test::once("gic-cpu-masked", cpu_masked),
];

/// A PPI to which QEMU `virt` connects nothing.
const PPI: u32 = 20;
const PENDED: usize = 40;

/// SPI number `index` from the top: nothing is connected to the last ones.
fn free_spi(gic: &Gic, index: usize) -> u32 {
    gic.lines() - 1 - index as u32
}

fn soon(condition: impl FnMut() -> bool) -> bool {
    wait_until(microseconds(200_000), condition)
}

/// Waits for the interrupt and acknowledges it.
fn take(gic: &Gic, intid: u32) -> Result<Ack, Failure> {
    let signalled = soon(|| gic.is_signalled());
    let ack = gic.acknowledge();
    if signalled && ack.intid() == intid {
        Ok(ack)
    } else {
        Err(Failure::new("the interrupt that was acknowledged", u64::from(ack.intid()), u64::from(intid)))
    }
}

/// Makes sure that nothing is signalled and nothing can be acknowledged.
fn quiet(gic: &Gic, what: &'static str) -> Outcome {
    ensure!(soon(|| !gic.is_signalled()), what);
    ensure!(gic.acknowledge().is_spurious(), what);
    Ok(())
}

fn sgi_self(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.enable(3);
    for round in 1..=50 {
        gic.send_sgi_to_self(3);
        ensure!(irqlog::take_until(|| irqlog::count() >= round), "the SGI comes");
        ensure_eq!(irqlog::count(), round, "it comes once");
    }
    Ok(())
}

fn sgi_all(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    for intid in 0..16 {
        gic.enable(intid);
        gic.set_priority(intid, (15 - intid as u8) << 4);
        gic.send_sgi_to_self(intid);
    }
    ensure!(irqlog::take_until(|| irqlog::count() >= 16), "all SGIs come");
    for (index, wanted) in (0..16).rev().enumerate() {
        ensure_eq!(irqlog::intid(index).unwrap_or(u32::MAX), wanted, "the order of priorities");
    }
    quiet(gic, "each SGI comes once")
}

fn ppi_pending(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.set_pending(PPI);
    ensure!(gic.is_pending(PPI), "ISPENDR says what was written");
    quiet(gic, "an interrupt that is not enabled is not signalled")?;
    gic.enable(PPI);
    let ack = take(gic, PPI)?;
    gic.end(ack);
    quiet(gic, "it comes once")?;
    gic.set_priority_mask(0);
    gic.set_pending(PPI);
    gic.clear_pending(PPI);
    gic.set_priority_mask(0xff);
    ensure!(!gic.is_pending(PPI), "ICPENDR takes it away");
    quiet(gic, "what was taken away does not come")
}

/// An SPI made pending by software, edge or level: a latch in both cases.
fn spi(machine: &Machine, edge: bool) -> Outcome {
    let gic = &machine.gic;
    let intid = free_spi(gic, 0);
    gic.set_edge(intid, edge);
    gic.enable(intid);
    for _ in 0..3 {
        gic.set_pending(intid);
        gic.set_pending(intid);
        let ack = take(gic, intid)?;
        ensure!(!gic.is_pending(intid), "acknowledging takes the latch away");
        gic.set_pending(intid);
        ensure!(gic.is_active(intid) && gic.is_pending(intid), "active and pending");
        ensure!(!gic.is_signalled(), "it is not signalled again while it is active");
        gic.end(ack);
        let ack = take(gic, intid)?;
        gic.end(ack);
        quiet(gic, "two events while it waited are one interrupt")?;
    }
    Ok(())
}

fn priority_mask(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.enable(PPI);
    gic.set_priority_mask(0x80);
    gic.set_priority(PPI, 0x80);
    gic.set_pending(PPI);
    quiet(gic, "a priority equal to the mask is masked")?;
    gic.set_priority_mask(0x90);
    let ack = take(gic, PPI)?;
    gic.end(ack);
    gic.set_priority_mask(0);
    gic.set_priority(PPI, 0);
    gic.set_pending(PPI);
    quiet(gic, "mask 0 masks everything")?;
    gic.set_priority_mask(0xff);
    let ack = take(gic, PPI)?;
    gic.end(ack);
    Ok(())
}

/// A higher priority interrupts a lower one that is active, an equal or lower one waits. SGIs and a PPI, so
/// that it works on every CPU.
fn preemption(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    let (high, middle, equal, low) = (1, PPI, 2, 3);
    for (intid, priority) in [(high, 0x40), (middle, 0x80), (equal, 0x80), (low, 0xc0)] {
        gic.set_priority(intid, priority);
        gic.enable(intid);
    }
    ensure!(gic.running_priority() >= 0xf8, "the idle running priority");
    gic.set_pending(middle);
    let first = take(gic, middle)?;
    ensure_eq!(gic.running_priority(), 0x80, "the running priority");
    gic.send_sgi_to_self(low);
    gic.send_sgi_to_self(equal);
    quiet(gic, "equal and lower priorities wait")?;
    gic.send_sgi_to_self(high);
    let second = take(gic, high)?;
    ensure_eq!(gic.running_priority(), 0x40, "the running priority after preemption");
    gic.end(second);
    ensure_eq!(gic.running_priority(), 0x80, "the running priority after the preempting interrupt");
    quiet(gic, "equal and lower priorities still wait")?;
    gic.end(first);
    for intid in [equal, low] {
        let ack = take(gic, intid)?;
        gic.end(ack);
    }
    ensure!(gic.running_priority() >= 0xf8, "the idle running priority at the end");
    quiet(gic, "all were taken")
}

fn active(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.enable(PPI);
    gic.set_pending(PPI);
    ensure_eq!(gic.highest_pending(), PPI, "the highest pending interrupt");
    let ack = take(gic, PPI)?;
    ensure!(gic.is_active(PPI), "active after acknowledging");
    gic.end(ack);
    ensure!(!gic.is_active(PPI), "inactive after ending");
    // An interrupt that software makes active cannot be taken until software makes it inactive.
    gic.set_active(PPI, true);
    ensure!(gic.is_active(PPI), "ISACTIVER makes active");
    gic.set_pending(PPI);
    quiet(gic, "an active interrupt is not signalled")?;
    gic.set_active(PPI, false);
    let ack = take(gic, PPI)?;
    gic.end(ack);
    quiet(gic, "it comes once")
}

fn eoi_mode_1(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.set_eoi_mode(true);
    gic.enable(PPI);
    for _ in 0..3 {
        gic.set_pending(PPI);
        let ack = take(gic, PPI)?;
        gic.end(ack);
        ensure!(gic.running_priority() >= 0xf8, "EOIR drops the priority");
        ensure!(gic.is_active(PPI), "EOIR leaves the interrupt active");
        gic.set_pending(PPI);
        quiet(gic, "an active interrupt is not signalled again")?;
        gic.deactivate(ack);
        let ack = take(gic, PPI)?;
        gic.end(ack);
        gic.deactivate(ack);
        ensure!(!gic.is_active(PPI), "DIR ends the active state");
    }
    gic.set_eoi_mode(false);
    quiet(gic, "all were taken")
}

/// Makes [`PENDED`] SPIs ready, edge and level in turn, with priorities all over the place.
fn prepare_forty(gic: &Gic) {
    for index in 0..PENDED {
        let intid = free_spi(gic, index);
        gic.set_edge(intid, index % 2 == 0);
        gic.set_priority(intid, priority_of(index));
        gic.enable(intid);
    }
}

const fn priority_of(index: usize) -> u8 {
    ((index * 7 % 16) as u8) << 4
}

/// Far more pending interrupts than there are list registers: each comes once, in the order of priorities.
fn forty_pending(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    prepare_forty(gic);
    for _ in 0..3 {
        gic.set_priority_mask(0);
        for index in 0..PENDED {
            gic.set_pending(free_spi(gic, index));
        }
        gic.set_priority_mask(0xff);
        let mut seen = 0u64;
        let mut last = 0;
        for _ in 0..PENDED {
            ensure!(soon(|| gic.is_signalled()), "the next one is signalled");
            let ack = gic.acknowledge();
            let index = (free_spi(gic, 0).wrapping_sub(ack.intid())) as usize;
            ensure!(index < PENDED, "one of the forty comes");
            ensure!(seen & 1 << index == 0, "each comes once");
            ensure!(priority_of(index) >= last, "they come in the order of priorities");
            seen |= 1 << index;
            last = priority_of(index);
            gic.end(ack);
        }
        quiet(gic, "no more than forty come")?;
    }
    Ok(())
}

/// The same through the vector, the interrupts being made pending while others are taken.
fn forty_taken(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    prepare_forty(gic);
    for index in 0..PENDED {
        gic.set_pending(free_spi(gic, index));
        if index == PENDED / 2 {
            irqlog::take_for(10);
        }
    }
    ensure!(irqlog::take_until(|| irqlog::count() >= PENDED), "all are taken");
    irqlog::take_for(1000);
    ensure_eq!(irqlog::count(), PENDED, "interrupts in all");
    for index in 0..PENDED {
        let intid = free_spi(gic, index);
        let times = (0..PENDED).filter(|&position| irqlog::intid(position) == Some(intid)).count();
        ensure_eq!(times, 1, "each is taken once");
    }
    Ok(())
}

/// In EOI mode 1 all of them are active at once, and end in the reverse order; some become pending again
/// meanwhile.
fn forty_active(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    prepare_forty(gic);
    gic.set_eoi_mode(true);
    for index in 0..PENDED {
        gic.set_pending(free_spi(gic, index));
    }
    let mut taken = [Ack(0); PENDED];
    for slot in &mut taken {
        ensure!(soon(|| gic.is_signalled()), "the next one is signalled while the others are active");
        *slot = gic.acknowledge();
        ensure!(!slot.is_spurious(), "the next one can be acknowledged");
        gic.end(*slot);
    }
    quiet(gic, "no more than forty come")?;
    for index in 0..PENDED {
        ensure!(gic.is_active(free_spi(gic, index)), "all are active at once");
    }
    for ack in taken.iter().step_by(8) {
        gic.set_pending(ack.intid());
    }
    quiet(gic, "none comes again while it is active")?;
    for ack in taken.iter().rev() {
        gic.deactivate(*ack);
    }
    let mut again = 0;
    while soon(|| gic.is_signalled()) {
        let ack = gic.acknowledge();
        ensure!(
            taken.iter().step_by(8).any(|other| other.intid() == ack.intid()),
            "only those that were pending come again"
        );
        gic.end(ack);
        gic.deactivate(ack);
        again += 1;
    }
    ensure_eq!(again, PENDED.div_ceil(8), "those that were pending again");
    for index in 0..PENDED {
        ensure!(!gic.is_active(free_spi(gic, index)), "none is active at the end");
    }
    gic.set_eoi_mode(false);
    Ok(())
}

fn disable_pending(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.enable(PPI);
    gic.set_pending(PPI);
    ensure!(soon(|| gic.is_signalled()), "it is signalled");
    gic.disable(PPI);
    quiet(gic, "it is no longer signalled when it is disabled")?;
    ensure!(gic.is_pending(PPI), "it is still pending");
    gic.enable(PPI);
    let ack = take(gic, PPI)?;
    gic.end(ack);
    quiet(gic, "it comes once")
}

fn disable_active(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.enable(PPI);
    gic.set_pending(PPI);
    let ack = take(gic, PPI)?;
    gic.disable(PPI);
    ensure!(gic.is_active(PPI), "it is still active");
    gic.set_pending(PPI);
    gic.end(ack);
    ensure!(!gic.is_active(PPI), "ending works when it is disabled");
    quiet(gic, "it does not come while it is disabled")?;
    gic.enable(PPI);
    let ack = take(gic, PPI)?;
    gic.end(ack);
    quiet(gic, "it comes once")
}

/// Registers say what was written to them.
fn registers(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    ensure!(gic.lines() >= 64 && gic.lines().is_multiple_of(32), "the number of lines");
    ensure!(!gic.is_enabled(PPI), "off after reset");
    gic.enable(PPI);
    ensure!(gic.is_enabled(PPI), "ISENABLER says on");
    gic.disable(PPI);
    ensure!(!gic.is_enabled(PPI), "ICENABLER says off");
    ensure_eq!(gic.priority(PPI), DEFAULT_PRIORITY, "a priority");
    gic.set_priority(PPI, 0x50);
    ensure_eq!(gic.priority(PPI), 0x50, "a changed priority");
    ensure_eq!(gic.priority(PPI + 1), DEFAULT_PRIORITY, "the priority beside it");
    Ok(())
}

/// Interrupts that PSTATE masks wait, and come when they are let in.
fn cpu_masked(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.enable(PPI);
    gic.set_pending(PPI);
    wait_until(microseconds(1000), || false);
    ensure_eq!(irqlog::count(), 0, "interrupts while masked");
    ensure!(irqlog::take_until(|| irqlog::count() > 0), "it comes when let in");
    ensure_eq!(irqlog::intid(0).unwrap_or(0), PPI, "the interrupt");
    Ok(())
}
