//! The interrupt controller, the UART and the clock, with any value, at any width, while interrupts come.

use guest_support::{
    cpu,
    gic::{GICR_STRIDE, Version},
    machine::{Machine, RTC, UART},
    mmio,
    timer::{Timer, microseconds, wait_until},
};

use super::{Attack, findings, repair};

pub fn operation(attack: &mut Attack) {
    let gic = attack.machine.gic;
    let (base, size) = match (attack.rng.below(8), gic.version()) {
        (0, _) => (UART, 0x1000),
        (1, _) => (RTC, 0x1000),
        (2..=4, _) => (gic.distributor(), 0x1_0000),
        (_, Version::V2) => (gic.cpu_interface(), 0x2000),
        (_, Version::V3) => (gic.cpu_interface(), GICR_STRIDE * attack.machine.cpus().len() as u64),
    };
    // Most registers are at the beginning.
    let offset =
        if attack.rng.one_in(2) { attack.rng.below(size) } else { attack.rng.below(size.min(0x1000)) };
    let width = 1 << attack.rng.below(4);
    let offset = if attack.rng.one_in(8) { offset } else { offset & !(width - 1) };
    let value = attack.rng.interesting();
    // What is written to the UART's data register would be noise on the console.
    let write = attack.rng.one_in(2) && (base != UART || offset >= 8);
    let address = base + offset;
    if attack.spares(address) {
        return;
    }
    let _ = attack.attempt(|| {
        match (write, width) {
            (true, 1) => mmio::write8(address, value as u8),
            (true, 2) => mmio::write16(address, value as u16),
            (true, 4) => mmio::write32(address, value as u32),
            (true, _) => mmio::write64(address, value),
            (false, 1) => return u64::from(mmio::read8(address)),
            (false, 2) => return u64::from(mmio::read16(address)),
            (false, 4) => return u64::from(mmio::read32(address)),
            (false, _) => return mmio::read64(address),
        }
        0
    });
    if attack.rng.one_in(16) {
        stir(attack);
    }
    if attack.done % 1024 == 1023 {
        match attack.machine.cpus().len() {
            1 => heal(attack.machine),
            _ => repair(attack.machine),
        }
    }
}

/// Lets interrupts come and be taken, in whatever state the controller is.
pub fn stir(attack: &mut Attack) {
    let gic = attack.machine.gic;
    gic.send_sgi_to_self(attack.rng.below(16) as u32);
    Timer::Virtual.arm(attack.rng.below(100));
    Timer::Physical.arm(attack.rng.below(100));
    cpu::unmask_irqs();
    cpu::isb();
    cpu::mask_irqs();
    let ack = gic.acknowledge();
    if attack.rng.one_in(2) {
        gic.end(ack);
    }
}

/// After being set up anew the controller works again, whatever was done to it, where nobody else does
/// anything to it.
pub fn heal(machine: &Machine) {
    let gic = machine.gic;
    repair(machine);
    let intid = 9;
    gic.enable(intid);
    gic.send_sgi_to_self(intid);
    let signalled = wait_until(microseconds(500_000), || gic.is_signalled());
    let ack = gic.acknowledge();
    gic.end(ack);
    if !signalled || ack.intid() != intid {
        findings::broken(
            "interrupt controller: sent, acknowledged",
            u64::from(intid),
            u64::from(ack.intid()),
        );
    }
}
