//! Jumps to where no code is, debug exceptions, waits and timers.

use core::arch::asm;

use guest_support::{
    cpu,
    machine::UNCLAIMED,
    mmio,
    mmu::{Memory, Window},
    timer::{ENABLE, IMASK, Timer, microseconds},
    write_sysreg,
};

use super::{Attack, quieten};

pub fn operation(attack: &mut Attack) {
    match attack.rng.below(8) {
        0 => trap(attack),
        1 => watch(attack),
        2 => wait(attack),
        3 => time(attack),
        _ => jump(attack),
    }
    quieten();
}

/// Jumps to a wild address: through a mapping, or straight to a virtual address that may have none.
fn jump(attack: &mut Attack) {
    let place = attack.place();
    let target = match attack.rng.below(4) {
        0 => attack.rng.next_u64(),
        1 => Window::A.map(place, Memory::Normal),
        2 => Window::A.map(place, Memory::Device),
        _ => Window::A.map(place, Memory::DeviceExecutable),
    };
    // Addresses are aligned more often than not.
    let target = if attack.rng.one_in(4) { target } else { target & !3 };
    if !attack.machine.ram.contains(&target) {
        let _ = attack.attempt(|| {
            // SAFETY: what is found there is not ours; a fault is caught. Every register is given up.
            unsafe { asm!("blr {0}", in(reg) target, clobber_abi("C")) };
            0
        });
    }
    Window::A.unmap();
}

/// BRK, HLT, SVC and DCPS with any immediate, and UDF.
fn trap(attack: &mut Attack) {
    let immediate = (attack.rng.next_u64() as u16 as u32) << 5;
    // brk, hlt, svc, dcps1, dcps2, dcps3, udf
    let kinds = [0xd420_0000, 0xd440_0000, 0xd400_0001, 0xd4a0_0001, 0xd4a0_0002, 0xd4a0_0003, 0];
    let registers = attack.registers();
    if let Some(kind) = attack.rng.pick(&kinds) {
        attack.execute(if *kind == 0 { immediate >> 5 } else { kind | immediate }, &registers);
    }
}

/// A watchpoint and a breakpoint of our own, with debug exceptions let in: MDSCR_EL1 MDE and KDE.
fn watch(attack: &mut Attack) {
    let control = attack.rng.next_u64();
    let watched = attack.machine.devicetree.start;
    write_sysreg!("dbgwvr0_el1", watched);
    // Enabled for EL1, loads and stores, eight bytes; and anything else that may be set.
    write_sysreg!("dbgwcr0_el1", control & 0x1fff_c000 | 0xff << 5 | 0b11 << 3 | 0b10 << 1 | 1);
    write_sysreg!("dbgbvr0_el1", UNCLAIMED);
    write_sysreg!("dbgbcr0_el1", control >> 32 & 0x00ff_c000 | 0xf << 5 | 0b10 << 1 | 1);
    write_sysreg!("mdscr_el1", 1 << 15 | 1 << 13);
    let _ = attack.attempt(|| {
        // SAFETY: the debug exception that may follow is caught, and the mask put back.
        unsafe { asm!("msr daifclr, #8", "isb", options(nostack)) };
        mmio::read64(watched)
    });
    quieten();
    write_sysreg!("dbgwcr0_el1", 0);
    write_sysreg!("dbgbcr0_el1", 0);
    cpu::isb();
}

/// WFI, WFE and their kinds with a timeout. A timer makes sure that every wait ends; WFE may wait for the
/// event stream, so it is sent one.
fn wait(attack: &mut Attack) {
    let gic = attack.machine.gic;
    gic.enable(Timer::Virtual.intid());
    Timer::Virtual.arm(microseconds(attack.rng.below(200)));
    // sevl (so that the wfe after it does not wait); wfi; wfet x0; wfit x0
    let kinds = [0xd503_20bf, 0xd503_207f, 0xd503_1000, 0xd503_1020];
    let mut registers = attack.registers();
    if let Some(deadline) = registers.first_mut()
        && attack.rng.one_in(2)
    {
        *deadline = Timer::Virtual.count() + microseconds(50);
    }
    if let Some(kind) = attack.rng.pick(&kinds) {
        attack.execute(*kind, &registers);
    }
    gic.disable(Timer::Virtual.intid());
}

/// Timers with any compare value, let in or not.
fn time(attack: &mut Attack) {
    let timer = if attack.rng.one_in(2) { Timer::Virtual } else { Timer::Physical };
    attack.machine.gic.enable(timer.intid());
    if attack.rng.one_in(2) {
        timer.set_compare(attack.rng.interesting());
    } else {
        timer.set_left(attack.rng.interesting() as i32);
    }
    timer.set_control(attack.rng.next_u64() & (ENABLE | IMASK));
    cpu::unmask_irqs();
    cpu::isb();
    cpu::mask_irqs();
    attack.machine.gic.disable(timer.intid());
}
