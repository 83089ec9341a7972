//! The known traps, one by one.

use super::{
    super::{
        ConfigError, CpuInterface, Deactivation, GicVersion, IntId, ListRegister, Maintenance, SgiGroup,
        VcpuSet, Vgic, VgicConfig,
    },
    config,
    hardware::{Acknowledged, Machine},
};
use crate::{devices::bus::Width, persist::Persist};

const ALL: u64 = 0xffff_ffff;

/// A GIC with everything enabled, in Group 1, at priority 0x80, SPIs to vCPU 0.
fn machine(version: GicVersion, vcpus: u64, list_registers: usize) -> Machine {
    let mut machine = Machine::new(&config(version, vcpus, list_registers));
    for word in 0..3 {
        if version == GicVersion::V2 || word > 0 {
            enable_word(&mut machine, 0, word);
        }
    }
    for vcpu in 0..vcpus as usize {
        match version {
            GicVersion::V2 => enable_word(&mut machine, vcpu, 0),
            GicVersion::V3 => {
                let frame = vcpu as u64 * 0x2_0000 + 0x1_0000;
                machine.write_redistributor(vcpu, frame + 0x80, ALL);
                machine.write_redistributor(vcpu, frame + 0x100, ALL);
                (0..8).for_each(|n| machine.write_redistributor(vcpu, frame + 0x400 + 4 * n, 0x8080_8080));
            }
        }
    }
    if version == GicVersion::V2 {
        (32..96).for_each(|intid| machine.write(0, 0x800 + intid, Width::Byte, 1));
    }
    machine.write(0, 0, Width::Word, 3);
    machine
}

fn enable_word(machine: &mut Machine, vcpu: usize, word: u64) {
    machine.write(vcpu, 0x80 + 4 * word, Width::Word, ALL);
    machine.write(vcpu, 0x100 + 4 * word, Width::Word, ALL);
    (0..32).for_each(|n| machine.write(vcpu, 0x400 + 32 * word + n, Width::Byte, 0x80));
}

fn priority(machine: &mut Machine, spi: u64, priority: u64) {
    machine.write(0, 0x400 + spi, Width::Byte, priority);
}

fn taken(machine: &mut Machine, vcpu: usize) -> Option<u16> {
    machine.acknowledge(vcpu).map(|which| which.intid)
}

fn exits(machine: &Machine, vcpu: usize) -> u32 {
    machine.interfaces[vcpu].maintenance_count
}

fn id(number: u32) -> IntId {
    IntId::new(number).unwrap()
}

#[test]
fn an_sgi_of_two_senders_is_delivered_twice() {
    let mut machine = machine(GicVersion::V2, 3, 4);
    for sender in [1, 2, 1] {
        machine.write(sender, 0xf00, Width::Word, 1 << 16 | 5);
    }
    assert_eq!(machine.read(0, 0xf24) >> 8 & 0xff, 0b110);
    let first = machine.acknowledge(0).unwrap();
    assert_eq!((first.intid, first.source), (5, 1));
    assert_eq!(taken(&mut machine, 0), None, "the second has the same priority");
    machine.end(0);
    let second = machine.acknowledge(0).unwrap();
    assert_eq!((second.intid, second.source), (5, 2));
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), None);
}

#[test]
fn sgir_filters_targets() {
    for (value, expected) in
        [(0b110 << 16, 0b110), (0xff << 16, 0b111), (1 << 24, 0b110), (2 << 24, 1), (3 << 24, 0)]
    {
        let mut machine = machine(GicVersion::V2, 3, 4);
        machine.write(0, 0xf00, Width::Word, value | 1 << 15 | 3);
        for vcpu in 0..3 {
            let expected = (expected >> vcpu & 1 != 0).then_some(3);
            assert_eq!(taken(&mut machine, vcpu), expected, "{value:#x} at {vcpu}");
        }
    }
}

#[test]
fn sgi1r_reaches_by_affinity_range_and_group() {
    let mut config = config(GicVersion::V3, 1, 4);
    config.vcpus = alloc::vec![0x0000, 0x0001, 0x0100, 0x0012, 0x12_0003_0201];
    let send = |group, value| {
        let mut vgic = Vgic::new(&config).unwrap();
        // All SGIs but the last one of Group 1, on every vCPU.
        for vcpu in 0..5 {
            let _ = vgic.write_redistributor(
                crate::devices::bus::Access {
                    offset: vcpu as u64 * 0x2_0000 + 0x1_0080,
                    width: Width::Word,
                    vcpu,
                },
                0x7fff,
            );
        }
        let _ = vgic.send_sgi(1, group, value);
        (0..5).map(|vcpu| vgic.bank(vcpu, 0).unwrap().known_pending()).collect::<alloc::vec::Vec<_>>()
    };
    let one = SgiGroup::Group1;
    assert_eq!(send(one, 5 << 24 | 0b11), [1 << 5, 1 << 5, 0, 0, 0]);
    assert_eq!(send(one, 5 << 24 | 1 << 16 | 0b11), [0, 0, 1 << 5, 0, 0]);
    assert_eq!(send(one, 5 << 24 | 1 << 44 | 0b100), [0, 0, 0, 1 << 5, 0]);
    assert_eq!(send(one, 5 << 24 | 0x12 << 48 | 3 << 32 | 2 << 16 | 0b10), [0, 0, 0, 0, 1 << 5]);
    assert_eq!(send(one, 5 << 24 | 1 << 40 | 0xffff), [1 << 5, 0, 1 << 5, 1 << 5, 1 << 5]);
    assert_eq!(send(one, 15 << 24 | 0b11), [0; 5], "SGI 15 is of Group 0");
    assert_eq!(send(SgiGroup::Group0, 15 << 24 | 0b1), [1 << 15, 0, 0, 0, 0]);
    assert_eq!(send(SgiGroup::Group0, 5 << 24 | 0b1), [0; 5]);
}

#[test]
fn a_level_recurs_while_it_is_high_and_costs_no_exit_once_it_fell() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.level(0, 33, true);
    assert_eq!(taken(&mut machine, 0), Some(33));
    machine.end(0);
    assert_eq!(exits(&machine, 0), 1);
    assert_eq!(taken(&mut machine, 0), Some(33), "the input is still high");
    machine.level(0, 33, false);
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), None);
    assert_eq!(exits(&machine, 0), 1, "the input had fallen before the end");
}

#[test]
fn an_unacknowledged_level_is_retracted() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.level(0, 33, true);
    machine.level(0, 33, false);
    assert_eq!(taken(&mut machine, 0), None);
    // Unless software latched it.
    machine.level(0, 33, true);
    machine.write(0, 0x204, Width::Word, 1 << 1);
    machine.level(0, 33, false);
    assert_eq!(taken(&mut machine, 0), Some(33));
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), None);
}

#[test]
fn an_edge_while_active_is_delivered_after_the_end() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.write(0, 0xc08, Width::Word, 2 << 2);
    for _ in 0..2 {
        machine.level(0, 33, true);
        machine.level(0, 33, false);
    }
    assert_eq!(taken(&mut machine, 0), Some(33), "two edges before the acknowledge are one interrupt");
    machine.level(0, 33, true);
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), Some(33));
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), None, "the input is high, but that is no edge");
    assert_eq!(exits(&machine, 0), 0);
}

#[test]
fn more_pending_than_list_registers_come_in_order() {
    for list_registers in 1..=4 {
        let mut machine = machine(GicVersion::V2, 1, list_registers);
        for n in 0..20 {
            priority(&mut machine, 32 + n, (19 - n) << 3);
            machine.level(0, 32 + n as u32, true);
        }
        for expected in (32..52).rev() {
            assert_eq!(taken(&mut machine, 0), Some(expected));
            machine.level(0, u32::from(expected), false);
            machine.end(0);
        }
        assert_eq!(taken(&mut machine, 0), None);
        // With one register each interrupt costs its acknowledgement and its end; else only each refill costs
        // an exit.
        let refills = if list_registers == 1 { 40 } else { 20 / (list_registers as u32 - 1) };
        assert!(exits(&machine, 0) <= refills, "{} exits", exits(&machine, 0));
    }
}

#[test]
fn preemption_deeper_than_the_list_registers_unwinds() {
    for (version, split) in [(GicVersion::V2, false), (GicVersion::V3, false), (GicVersion::V3, true)] {
        let mut machine = machine(version, 1, 2);
        machine.interfaces[0].split = split;
        machine.write(0, 0xc08, Width::Word, ALL);
        for n in 0..8 {
            priority(&mut machine, 32 + n, (20 - n) << 3);
            machine.level(0, 32 + n as u32, true);
            assert_eq!(taken(&mut machine, 0), Some(32 + n as u16), "preempts");
        }
        assert_eq!(machine.read(0, 0x304), 0xff);
        assert!(machine.interfaces[0].fill.trap_deactivate);
        for n in (0..8).rev() {
            assert_eq!(machine.end(0).unwrap().intid, 32 + n);
            if split {
                let which = Acknowledged { intid: 32 + n, source: 0, priority: 0 };
                machine.deactivate(0, which);
            }
            assert_eq!(machine.read(0, 0x304), (1 << n) - 1, "{version:?}, split {split}");
        }
        assert_eq!(taken(&mut machine, 0), None);
    }
}

#[test]
fn full_list_registers_do_not_storm() {
    // All active, in EOImode 1, and one more that cannot preempt: `Machine::fill` would see the storm.
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.interfaces[0].split = true;
    for intid in 32..36 {
        machine.level(0, intid, true);
        assert_eq!(taken(&mut machine, 0), Some(intid as u16));
        machine.end(0);
    }
    machine.interface(0, |view| view.threshold = 0);
    let before = exits(&machine, 0);
    machine.level(0, 40, true);
    machine.level(0, 41, true);
    assert_eq!(exits(&machine, 0), before);
    assert!(machine.interfaces[0].fill.maintenance.contains(Maintenance::NO_PENDING));
    machine.interface(0, |view| view.threshold = 0xff);
    assert_eq!(taken(&mut machine, 0), Some(40));
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), Some(41));
}

#[test]
fn an_active_one_that_recurs_does_not_hold_up_those_that_wait() {
    let mut machine = machine(GicVersion::V3, 1, 2);
    machine.interfaces[0].split = true;
    machine.level(0, 33, true);
    assert_eq!(taken(&mut machine, 0), Some(33));
    machine.end(0);
    for spi in [40, 41] {
        priority(&mut machine, spi, 0x40);
        machine.level(0, spi as u32, true);
    }
    // 41 is in no list register. If 33 could become pending in its own by being deactivated, it would hide
    // that.
    machine.deactivate(0, Acknowledged { intid: 33, source: 0, priority: 0x80 });
    assert_eq!(taken(&mut machine, 0), Some(40));
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), Some(41));
}

#[test]
fn the_end_of_an_inactive_interrupt_is_not_that_of_another() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.level(0, 33, true);
    assert_eq!(taken(&mut machine, 0), Some(33));
    machine.level(0, 33, false);
    machine.write(0, 0x384, Width::Word, 1 << 1);
    machine.end(0);
    assert_eq!(machine.interfaces[0].eoi_count, 1, "the hardware counts it");
    machine.run(|vgic| vgic.change_bits(0, 1, 1 << 2, super::super::bank::Bank::set_active));
    assert_eq!(machine.read(0, 0x304), 1 << 2);
}

#[test]
fn disabling_what_is_in_a_list_register() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    // Pending: withdrawn, and back when enabled again.
    machine.level(0, 33, true);
    machine.write(0, 0x184, Width::Word, 1 << 1);
    assert_eq!(taken(&mut machine, 0), None);
    machine.write(0, 0x104, Width::Word, 1 << 1);
    assert_eq!(taken(&mut machine, 0), Some(33));
    // Active: stays active, and is ended by the guest.
    machine.write(0, 0x184, Width::Word, 1 << 1);
    assert_eq!(machine.read(0, 0x304), 1 << 1);
    machine.end(0);
    assert_eq!(machine.read(0, 0x304), 0);
    assert_eq!(taken(&mut machine, 0), None);
}

#[test]
fn routing_away_moves_the_pending_and_keeps_the_active() {
    let mut machine = machine(GicVersion::V3, 2, 4);
    machine.level(0, 33, true);
    machine.write(1, 0x6108, Width::Double, 1);
    assert_eq!(taken(&mut machine, 0), None);
    assert_eq!(taken(&mut machine, 1), Some(33));
    machine.write(0, 0x6108, Width::Double, 0);
    assert_eq!(taken(&mut machine, 0), None, "it is active on vCPU 1");
    machine.end(1);
    assert_eq!(taken(&mut machine, 1), None);
    assert_eq!(taken(&mut machine, 0), Some(33));
}

#[test]
fn one_of_n_goes_to_somebody_awake() {
    let mut machine = machine(GicVersion::V3, 3, 4);
    machine.write_redistributor(2, 2 * 0x2_0000 + 0x14, 0);
    machine.write(0, 0x6108, Width::Double, 1 << 31);
    machine.level(0, 33, true);
    assert_eq!(taken(&mut machine, 2), Some(33));
    machine.level(0, 33, false);
    machine.end(2);
    machine.write_redistributor(1, 0x2_0000 + 0x14, 0);
    machine.level(0, 33, true);
    assert_eq!(taken(&mut machine, 1), Some(33));
}

#[test]
fn a_linked_interrupt_is_ended_by_the_hardware_or_released() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.vgic.link_hardware(0, id(27), 27);
    // The usual way: no exit, no release.
    assert!(machine.inject(0, 27));
    let lr = machine.interfaces[0].lists[0];
    assert_eq!((lr.intid(), lr.deactivation()), (27, Deactivation::Physical(27)));
    assert_eq!(taken(&mut machine, 0), Some(27));
    assert_eq!(machine.vgic.holds_hardware(0), 1 << 27);
    machine.end(0);
    assert!(!machine.interfaces[0].physical.contains(&27));
    machine.sync();
    assert_eq!((exits(&machine, 0), machine.vgic.holds_hardware(0)), (0, 0));
    assert_eq!(machine.interfaces[0].fill.release, 0);
    // The timer is cancelled before the guest looks; the guest clears it; it resets: each releases the
    // physical one.
    for n in 0..3 {
        assert!(machine.inject(0, 27), "the physical interrupt can fire again");
        match n {
            0 => machine.run(|vgic| vgic.retract_hardware(0, id(27))),
            1 => machine.write_redistributor(0, 0x1_0280, 1 << 27),
            _ => {
                let _ = machine.fold(0);
                machine.vgic.reset();
                machine.sync();
            }
        }
        assert!(!machine.interfaces[0].physical.contains(&27), "case {n}");
        assert_eq!(taken(&mut machine, 0), None);
    }
}

#[test]
fn an_active_linked_interrupt_that_software_pends_again() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.vgic.link_hardware(0, id(27), 27);
    machine.inject(0, 27);
    assert_eq!(taken(&mut machine, 0), Some(27));
    machine.write_redistributor(0, 0x1_0200, 1 << 27);
    machine.end(0);
    assert_eq!(taken(&mut machine, 0), Some(27));
    machine.end(0);
    assert!(!machine.interfaces[0].physical.contains(&27), "ended along with the second one");
}

#[test]
fn a_priority_change_does_not_lose_the_end_of_an_active_interrupt() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.level(0, 33, true);
    assert_eq!(taken(&mut machine, 0), Some(33));
    machine.level(0, 33, false);
    priority(&mut machine, 33, 0x40);
    machine.end(0);
    assert_eq!(machine.read(0, 0x304), 0);
}

#[test]
fn a_group_that_the_guest_mutes_does_not_block_the_other() {
    let mut machine = machine(GicVersion::V3, 1, 1);
    machine.write(0, 0x84, Width::Word, ALL & !1);
    priority(&mut machine, 32, 0x40);
    machine.level(0, 32, true);
    machine.level(0, 33, true);
    machine.interface(0, |view| view.group0 = false);
    assert_eq!(taken(&mut machine, 0), Some(33));
    machine.interface(0, |view| view.group0 = true);
    assert_eq!(taken(&mut machine, 0), Some(32), "preempts");
}

#[test]
fn wakes_for_what_would_be_signalled() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    let view = CpuInterface { threshold: 0xf0, group0: false, group1: true };
    let wakes = |machine: &mut Machine, view| {
        let _ = machine.fold(0);
        let wakes = machine.vgic.has_pending(0, || view);
        machine.fill(0);
        wakes
    };
    assert!(!wakes(&mut machine, view));
    machine.level(0, 33, true);
    assert!(wakes(&mut machine, view));
    assert!(!wakes(&mut machine, CpuInterface { threshold: 0x80, ..view }));
    assert!(!wakes(&mut machine, CpuInterface { group1: false, ..view }));
    machine.write(0, 0, Width::Word, 1);
    assert!(!wakes(&mut machine, view));
    assert_eq!(CpuInterface::from_vmcr(0xf000_0002), view);
}

#[test]
fn only_whom_it_concerns_is_kicked() {
    let mut machine = machine(GicVersion::V3, 3, 4);
    let vgic = &mut machine.vgic;
    assert_eq!(vgic.set_level(0, id(33), true), VcpuSet::of(0));
    assert_eq!(vgic.set_level(0, id(33), true), VcpuSet::EMPTY);
    // It is in no list register yet: nobody has to withdraw it.
    assert_eq!(vgic.set_level(0, id(33), false), VcpuSet::EMPTY);
    assert_eq!(vgic.set_level(2, id(20), true), VcpuSet::of(2));
    assert_eq!(vgic.send_sgi(1, SgiGroup::Group1, 1 << 40), VcpuSet::of(0) | VcpuSet::of(2));
    machine.write(0, 0x184, Width::Word, ALL);
    assert_eq!(machine.vgic.set_level(0, id(34), true), VcpuSet::EMPTY);
    // What does not exist is nobody's.
    assert_eq!(machine.vgic.set_level(9, id(20), true), VcpuSet::EMPTY);
    assert_eq!(machine.vgic.set_level(0, id(900), true), VcpuSet::EMPTY);
    assert_eq!(machine.vgic.send_sgi(0, SgiGroup::Group1, 0xff << 16 | 0xffff), VcpuSet::EMPTY);
}

#[test]
fn folding_twice_changes_nothing() {
    let mut machine = machine(GicVersion::V3, 1, 4);
    machine.level(0, 33, true);
    let _ = machine.fold(0);
    let saved = machine.vgic.save();
    let _ = machine.vgic.fold(0, || 0, |_| ListRegister::from_bits(u64::MAX));
    assert_eq!(machine.vgic.save(), saved);
}

#[test]
fn reset_forgets_all_but_the_inputs() {
    let config = config(GicVersion::V2, 2, 4);
    let mut machine = machine(GicVersion::V2, 2, 4);
    machine.level(0, 33, true);
    machine.write(1, 0xf00, Width::Word, 1 << 16 | 5);
    machine.acknowledge(0);
    for vcpu in 0..2 {
        let _ = machine.fold(vcpu);
    }
    machine.vgic.reset();
    machine.sync();
    let mut fresh = Vgic::new(&config).unwrap();
    let _ = fresh.set_level(0, id(33), true);
    assert_eq!(machine.vgic.save(), fresh.save());
}

#[test]
fn damaged_state_is_refused_and_changes_nothing() {
    let mut machine = machine(GicVersion::V2, 2, 4);
    machine.level(0, 33, true);
    let _ = machine.fold(0);
    let good = machine.vgic.save();
    let other = Vgic::new(&config(GicVersion::V2, 3, 4)).unwrap().save();
    assert_eq!(machine.vgic.restore(&other).unwrap_err().field, "vgic.vcpus.len");
    let bytes = postcard::to_allocvec(&good).unwrap();
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x15;
        if let Ok(state) = postcard::from_bytes(&damaged)
            && machine.vgic.restore(&state).is_err()
        {
            refused += 1;
            assert_eq!(machine.vgic.save(), good);
        } else {
            // Some damage is a possible state. It must work as one.
            machine.sync();
            let _ = machine.fold(0) | machine.fold(1);
            machine.vgic.restore(&good).unwrap();
        }
    }
    assert!(refused > 0);
}

#[test]
fn impossible_configurations_are_refused() {
    let good = config(GicVersion::V3, 2, 4);
    let refuse = |change: &dyn Fn(&mut VgicConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Vgic::new(&config).err().unwrap()
    };
    assert_eq!(refuse(&|c| c.vcpus.clear()), ConfigError::Vcpus { found: 0, limit: 123 });
    assert_eq!(refuse(&|c| c.vcpus[1] = 0x8000_0000), ConfigError::Affinity(0));
    assert_eq!(refuse(&|c| c.spis = 33), ConfigError::Spis(33));
    assert_eq!(refuse(&|c| c.spis = 992), ConfigError::Spis(992));
    assert_eq!(refuse(&|c| c.list_registers = 17), ConfigError::ListRegisters(17));
    assert_eq!(refuse(&|c| c.priority_bits = 4), ConfigError::PriorityBits(4));
    let nine = config(GicVersion::V2, 9, 4);
    assert_eq!(Vgic::new(&nine).err().unwrap(), ConfigError::Vcpus { found: 9, limit: 8 });
}
