//! What a CPU can do to the others of its machine.

use guest_support::{
    gic::{GICR_STRIDE, Gic, Version, gicd},
    mmio, mmu, psci,
    smp::MAX_CPUS,
    write_sysreg,
};

use super::{Attack, crew, devices};

pub fn operation(attack: &mut Attack) {
    match attack.rng.below(8) {
        0 | 1 => interrupt(attack),
        2 | 3 => configure(attack),
        4 => route(attack),
        5 => switch_on(attack),
        6 if attack.index != 0 && attack.rng.one_in(16) => crew::switch_off(attack),
        6 => mmu::flush_tlb(),
        _ => devices::stir(attack),
    }
}

/// An SGI to any CPUs, those that do not exist or are off among them.
fn interrupt(attack: &mut Attack) {
    let intid = attack.rng.below(16) as u32;
    let anything = attack.rng.interesting();
    match (attack.machine.gic.version(), attack.rng.below(3)) {
        (_, 0) => attack.machine.gic.send_sgi_to_others(intid),
        (Version::V2, 1) => attack.machine.gic.send_sgi(attack.rng.below(8), intid),
        (Version::V2, _) => {
            // Targets, filter and number; the rest is reserved.
            let value = anything as u32 & 0x03ff_000f;
            mmio::write32(attack.machine.gic.distributor() + gicd::SGIR, value);
        }
        (Version::V3, 1) => {
            let target = attack.rng.pick(attack.machine.cpus()).copied().unwrap_or_default();
            write_sysreg!("icc_sgi1r_el1", Gic::sgi1r(target, intid));
        }
        (Version::V3, _) => write_sysreg!("icc_sgi1r_el1", anything),
    }
}

/// Any value in any register of another CPU's redistributor, or of the distributor that all CPUs share.
fn configure(attack: &mut Attack) {
    let gic = attack.machine.gic;
    let frame = match gic.version() {
        Version::V2 => gic.distributor(),
        Version::V3 => {
            let cpu = attack.rng.below(attack.machine.cpus().len() as u64);
            // RD_base or SGI_base.
            gic.cpu_interface() + cpu * GICR_STRIDE + attack.rng.below(2) * (GICR_STRIDE / 2)
        }
    };
    let address = frame + (attack.rng.below(0x1000) & !3);
    let value = attack.rng.interesting() as u32;
    if !attack.spares(address) {
        let _ = attack.attempt(|| {
            mmio::write32(address, value);
            0
        });
    }
}

/// An SPI that goes to another CPU each time, and is made pending meanwhile.
fn route(attack: &mut Attack) {
    let gic = attack.machine.gic;
    // QEMU connects nothing to the last ones.
    let intid = gic.lines() - 1 - attack.rng.below(4) as u32;
    let target = attack.rng.pick(attack.machine.cpus()).copied().unwrap_or_default();
    gic.enable(intid);
    gic.set_pending(intid);
    gic.route(intid, target);
}

/// CPU_ON of somebody who is on, off, or on the way, while others do the same.
fn switch_on(attack: &mut Attack) {
    let target = attack.rng.below(attack.machine.cpus().len().min(MAX_CPUS) as u64) as usize;
    if let Some(&affinity) = attack.machine.cpus().get(target) {
        let level = attack.rng.interesting();
        psci::psci(psci::AFFINITY_INFO, [affinity, level, 0]);
        crew::switch_on(attack.machine, target);
    }
}
