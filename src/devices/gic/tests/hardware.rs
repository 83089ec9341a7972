//! Simulated hardware: virtual CPU interfaces with list registers (IHI 0069, chapter 6), the hypervisor's
//! part of the protocol, and the physical interrupts behind linked ones.

use alloc::{vec, vec::Vec};
use std::collections::BTreeSet;

use super::super::{
    CpuInterface, Deactivation, Fill, IntId, ListRegister, Maintenance, VcpuSet, Vgic, VgicConfig, dist,
    redist,
};
use crate::{
    devices::bus::{Access, Width},
    persist::Persist,
};

/// An interrupt that the guest has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub intid: u16,
    pub source: u8,
    pub priority: u8,
}

/// One virtual CPU interface.
pub struct Interface {
    pub view: CpuInterface,
    /// EOIR only drops the priority, DIR deactivates.
    pub split: bool,
    pub lists: Vec<ListRegister>,
    pub fill: Fill,
    pub eoi_count: u32,
    /// The active priorities, most urgent last.
    pub running: Vec<Acknowledged>,
    /// The physical interrupts that are active, by INTID.
    pub physical: BTreeSet<u16>,
    pub maintenance_count: u32,
}

impl Interface {
    fn next(&self) -> Option<usize> {
        let running = self.running.last().map_or(0xff, |top| top.priority);
        (0..self.lists.len())
            .filter(|&n| self.lists[n].is_pending() && !self.lists[n].is_active())
            .filter(|&n| if self.lists[n].is_group1() { self.view.group1 } else { self.view.group0 })
            .min_by_key(|&n| self.lists[n].priority())
            .filter(|&n| self.lists[n].priority() < self.view.threshold.min(running))
    }

    fn acknowledge(&mut self) -> Option<Acknowledged> {
        let next = self.next()?;
        let lr = &mut self.lists[next];
        *lr = lr.with_state(false, true);
        let top = Acknowledged { intid: lr.intid(), source: lr.source(), priority: lr.priority() };
        self.running.push(top);
        Some(top)
    }

    fn deactivate(&mut self, n: usize) {
        let lr = &mut self.lists[n];
        *lr = lr.with_state(lr.is_pending(), false);
        if let Deactivation::Physical(physical) = lr.deactivation() {
            self.physical.remove(&physical);
        }
    }

    fn find_active(&self, which: Acknowledged) -> Option<usize> {
        self.lists
            .iter()
            .position(|lr| lr.is_active() && lr.intid() == which.intid && lr.source() == which.source)
    }

    fn end(&mut self) -> Option<Acknowledged> {
        let top = self.running.pop()?;
        match self.find_active(top) {
            Some(n) if !self.split && self.lists[n].priority() == top.priority => self.deactivate(n),
            Some(_) => {}
            None => self.eoi_count += 1,
        }
        Some(top)
    }

    fn wants_maintenance(&self) -> bool {
        let wants = |flag| self.fill.maintenance.contains(flag);
        let ended = self.lists.iter().any(|lr| {
            lr.is_empty() && *lr != ListRegister::EMPTY && lr.deactivation() == Deactivation::Notify
        });
        let pending = self.lists.iter().any(|lr| lr.is_pending() && !lr.is_active());
        ended
            || wants(Maintenance::NO_PENDING) && !pending
            || wants(Maintenance::ENTRY_NOT_PRESENT) && self.eoi_count > 0
            || wants(Maintenance::GROUP0_ENABLED) && self.view.group0
            || wants(Maintenance::GROUP0_DISABLED) && !self.view.group0
            || wants(Maintenance::GROUP1_ENABLED) && self.view.group1
            || wants(Maintenance::GROUP1_DISABLED) && !self.view.group1
    }
}

/// A VM's GIC on simulated hardware.
pub struct Machine {
    pub vgic: Vgic,
    pub interfaces: Vec<Interface>,
    /// Kicks wait here until [`Machine::settle`].
    pub kicked: VcpuSet,
    /// Whether every operation ends with [`Machine::settle`].
    pub prompt: bool,
}

impl Machine {
    pub fn new(config: &VgicConfig) -> Self {
        let interface = || Interface {
            view: CpuInterface { threshold: 0xff, group0: true, group1: true },
            split: false,
            lists: vec![ListRegister::EMPTY; config.list_registers],
            fill: Fill::default(),
            eoi_count: 0,
            running: Vec::new(),
            physical: BTreeSet::new(),
            maintenance_count: 0,
        };
        Self {
            vgic: Vgic::new(config).unwrap(),
            interfaces: config.vcpus.iter().map(|_| interface()).collect(),
            kicked: VcpuSet::EMPTY,
            prompt: true,
        }
    }

    pub fn fold(&mut self, vcpu: usize) -> VcpuSet {
        let interface = &mut self.interfaces[vcpu];
        let count = if interface.split { 0 } else { interface.eoi_count };
        interface.eoi_count = 0;
        self.vgic.fold(vcpu, || count, |n| interface.lists[n])
    }

    pub fn fill(&mut self, vcpu: usize) {
        let Interface { lists, view, physical, fill, .. } = &mut self.interfaces[vcpu];
        lists.fill(ListRegister::EMPTY);
        *fill = self.vgic.fill(vcpu, || *view, |n, lr| lists[n] = lr);
        assert!(lists.iter().skip(fill.used).all(|lr| *lr == ListRegister::EMPTY));
        assert!(lists.iter().take(fill.used).all(|lr| !lr.is_empty()), "a list register is wasted");
        for lr in lists.iter() {
            let hardware = matches!(lr.deactivation(), Deactivation::Physical(_));
            assert!(!(hardware && lr.is_pending() && lr.is_active()), "unpredictable list register {lr:?}");
        }
        for intid in 0..32 {
            if fill.release & (1 << intid) != 0 {
                physical.remove(&intid);
            }
        }
        assert!(!self.interfaces[vcpu].wants_maintenance(), "a maintenance storm");
    }

    /// Handles kicks and maintenance interrupts until there are none.
    pub fn settle(&mut self) {
        for _round in 0..100 {
            let maintenance = (0..self.interfaces.len()).filter(|&n| self.interfaces[n].wants_maintenance());
            let mut due = core::mem::take(&mut self.kicked);
            for vcpu in maintenance.collect::<Vec<_>>() {
                self.interfaces[vcpu].maintenance_count += 1;
                due |= VcpuSet::of(vcpu);
            }
            if due.is_empty() {
                return;
            }
            for vcpu in due.iter() {
                let concerned = self.fold(vcpu);
                self.kicked |= concerned;
                self.fill(vcpu);
            }
        }
        panic!("the GIC does not settle");
    }

    /// Folds and fills everyone.
    pub fn sync(&mut self) {
        self.kicked = VcpuSet::first(self.interfaces.len());
        self.settle();
    }

    pub fn run(&mut self, operation: impl FnOnce(&mut Vgic) -> VcpuSet) {
        self.kicked |= operation(&mut self.vgic);
        if self.prompt {
            self.settle();
        }
    }

    fn after_guest(&mut self) {
        if self.prompt {
            self.settle();
        }
    }

    pub fn acknowledge(&mut self, vcpu: usize) -> Option<Acknowledged> {
        let acknowledged = self.interfaces[vcpu].acknowledge();
        self.after_guest();
        acknowledged
    }

    /// Ends the most urgent running interrupt.
    pub fn end(&mut self, vcpu: usize) -> Option<Acknowledged> {
        let ended = self.interfaces[vcpu].end();
        self.after_guest();
        ended
    }

    /// DIR.
    pub fn deactivate(&mut self, vcpu: usize, which: Acknowledged) {
        if self.interfaces[vcpu].fill.trap_deactivate {
            let intid = IntId::new(u32::from(which.intid)).unwrap();
            let kick = self.fold(vcpu) | self.vgic.deactivate(vcpu, intid) | VcpuSet::of(vcpu);
            self.run(|_| kick);
            return;
        }
        let interface = &mut self.interfaces[vcpu];
        match interface.find_active(which) {
            Some(n) => interface.deactivate(n),
            None => panic!("{which:?} is not in a list register, and DIR is not trapped"),
        }
        self.after_guest();
    }

    pub fn interface(&mut self, vcpu: usize, change: impl FnOnce(&mut CpuInterface)) {
        change(&mut self.interfaces[vcpu].view);
        self.after_guest();
    }

    pub fn level(&mut self, vcpu: usize, intid: u32, level: bool) {
        self.run(|vgic| vgic.set_level(vcpu, IntId::new(intid).unwrap(), level));
    }

    /// The physical interrupt behind a linked PPI fires, if it can.
    pub fn inject(&mut self, vcpu: usize, ppi: u16) -> bool {
        let fires = self.interfaces[vcpu].physical.insert(ppi);
        if fires {
            self.run(|vgic| vgic.inject_hardware(vcpu, IntId::new(u32::from(ppi)).unwrap()));
        }
        fires
    }

    pub fn write(&mut self, vcpu: usize, offset: u64, width: Width, value: u64) {
        let live = if dist::is_live(offset) { self.fold(vcpu) | VcpuSet::of(vcpu) } else { VcpuSet::EMPTY };
        let access = Access { offset, width, vcpu };
        self.run(|vgic| live | vgic.write_distributor(access, value));
    }

    pub fn write_redistributor(&mut self, vcpu: usize, offset: u64, value: u64) {
        let live = if redist::is_live(offset) { self.fold(vcpu) | VcpuSet::of(vcpu) } else { VcpuSet::EMPTY };
        let access = Access { offset, width: Width::Word, vcpu };
        self.run(|vgic| live | vgic.write_redistributor(access, value));
    }

    pub fn read(&mut self, vcpu: usize, offset: u64) -> u32 {
        self.sync();
        self.vgic.read_distributor(Access { offset, width: Width::Word, vcpu }) as u32
    }

    pub fn read_redistributor(&mut self, vcpu: usize, offset: u64) -> u32 {
        self.sync();
        self.vgic.read_redistributor(Access { offset, width: Width::Word, vcpu }) as u32
    }

    /// Moves the whole GIC into a new one by way of its saved state, serialised.
    pub fn migrate(&mut self, config: &VgicConfig) {
        for vcpu in 0..self.interfaces.len() {
            let _concerned = self.fold(vcpu);
        }
        let bytes = postcard::to_allocvec(&self.vgic.save()).unwrap();
        self.vgic = Vgic::new(config).unwrap();
        self.vgic.restore(&postcard::from_bytes(&bytes).unwrap()).unwrap();
        self.sync();
    }
}
