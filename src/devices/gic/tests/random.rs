//! Random histories: whatever happens, the guest sees what an ideal GIC would show it.

use proptest::{prelude::*, sample::select};

use super::{
    super::{CpuInterface, GicVersion, IntId, SgiGroup},
    config,
    hardware::{Acknowledged, Machine},
    ideal::Ideal,
};
use crate::devices::bus::Width;

/// Few enough that 16 list registers hold all that can be pending or active.
const INTIDS: [u16; 12] = [0, 1, 7, 15, 20, 27, 31, 32, 33, 63, 64, 95];
/// Linked to the physical interrupt of the same number.
const LINKED: u16 = 27;
/// GICR_WAKER and the SGI frame of the second redistributor lie this far apart.
const REDISTRIBUTOR: u64 = 0x2_0000;
const SGI_FRAME: u64 = 0x1_0000;

#[derive(Clone, Debug)]
enum Op {
    Level(usize, u16, bool),
    Inject(usize),
    Retract(usize),
    Bit(usize, u64, u16),
    Group(usize, u16, bool),
    Priority(usize, u16, u8),
    Edge(usize, u16, bool),
    Route(u16, Option<usize>),
    Enables(u32),
    Sgi {
        sender: usize,
        target: usize,
        intid: u16,
        others: bool,
        group1: bool,
    },
    SgiSources {
        vcpu: usize,
        intid: u16,
        sources: u8,
        set: bool,
    },
    /// With a look at `has_pending` first.
    Acknowledge(usize, bool),
    End(usize),
    Deactivate(usize, usize),
    Threshold(usize, u8),
    InterfaceGroups(usize, bool, bool),
    Migrate,
}

const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const ICACTIVER: u64 = 0x380;

fn op() -> impl Strategy<Value = Op> {
    let vcpu = || 0usize..3;
    let any_intid = || select(&INTIDS[..]);
    let lined = || select(&[20u16, 31, 32, 33, 63, 64, 95][..]);
    let priority = || (0u8..6).prop_map(|n| n << 4 | 0x87);
    let bits = || {
        prop_oneof![
            3 => Just(ISENABLER),
            2 => Just(ISPENDR),
            4 => select(&[ICENABLER, ICPENDR, ISACTIVER, ICACTIVER][..]),
        ]
    };
    prop_oneof![
        8 => (vcpu(), lined(), any::<bool>()).prop_map(|(v, i, level)| Op::Level(v, i, level)),
        3 => vcpu().prop_map(Op::Inject),
        1 => vcpu().prop_map(Op::Retract),
        10 => (vcpu(), bits(), any_intid()).prop_map(|(v, o, i)| Op::Bit(v, o, i)),
        1 => (vcpu(), any_intid(), any::<bool>()).prop_map(|(v, i, g)| Op::Group(v, i, g)),
        3 => (vcpu(), any_intid(), priority()).prop_map(|(v, i, p)| Op::Priority(v, i, p)),
        1 => (vcpu(), any_intid(), any::<bool>()).prop_map(|(v, i, e)| Op::Edge(v, i, e)),
        2 => (select(&[32u16, 33, 63, 64, 95][..]), prop::option::weighted(0.9, vcpu()))
            .prop_map(|(i, t)| Op::Route(i, t)),
        1 => prop_oneof![5 => Just(3u32), 1 => 0..3u32].prop_map(Op::Enables),
        5 => (vcpu(), vcpu(), 0u16..2, prop::bool::weighted(0.3), any::<bool>()).prop_map(
            |(sender, target, intid, others, group1)| Op::Sgi { sender, target, intid, others, group1 }
        ),
        2 => (vcpu(), 0u16..2, any::<u8>(), any::<bool>())
            .prop_map(|(vcpu, intid, sources, set)| Op::SgiSources { vcpu, intid, sources, set }),
        25 => (vcpu(), prop::bool::weighted(0.2)).prop_map(|(v, look)| Op::Acknowledge(v, look)),
        20 => vcpu().prop_map(Op::End),
        12 => (vcpu(), 0usize..16).prop_map(|(v, n)| Op::Deactivate(v, n)),
        1 => (vcpu(), prop_oneof![3 => Just(0xf0u8), 1 => priority()]).prop_map(|(v, p)| Op::Threshold(v, p)),
        1 => (vcpu(), prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(v, g0, g1)| Op::InterfaceGroups(v, g0, g1)),
        1 => Just(Op::Migrate),
    ]
}

struct World {
    machine: Machine,
    ideal: Ideal,
    vcpus: usize,
    list_registers: usize,
    split: bool,
}

impl World {
    fn new(version: GicVersion, vcpus: usize, list_registers: usize, split: bool) -> Self {
        let mut machine = Machine::new(&config(version, vcpus as u64, list_registers));
        for (vcpu, interface) in machine.interfaces.iter_mut().enumerate() {
            interface.split = split;
            machine.vgic.link_hardware(vcpu, IntId::new(u32::from(LINKED)).unwrap(), LINKED);
        }
        let ideal = Ideal::new(version, vcpus, &INTIDS);
        let mut world = Self { machine, ideal, vcpus, list_registers, split };
        // Start with everything on and both groups in use, or most histories would be silent.
        world.apply(&Op::Enables(3));
        for (n, &intid) in INTIDS.iter().enumerate() {
            for vcpu in 0..vcpus {
                world.apply(&Op::Bit(vcpu, ISENABLER, intid));
                world.apply(&Op::Group(vcpu, intid, n % 3 != 0));
            }
            if intid >= 32 {
                world.apply(&Op::Route(intid, Some(n % vcpus)));
            }
        }
        world
    }

    fn v2(&self) -> bool {
        self.ideal.version == GicVersion::V2
    }

    /// The redistributor or distributor register at `base` with `bits` bits for each interrupt.
    fn register(&self, vcpu: usize, base: u64, intid: u16, bits: u64) -> (bool, u64) {
        let offset = base + u64::from(intid) * bits / 32 * 4;
        if self.v2() || intid >= 32 {
            (false, offset)
        } else {
            (true, REDISTRIBUTOR * vcpu as u64 + SGI_FRAME + offset)
        }
    }

    fn read(&mut self, vcpu: usize, base: u64, intid: u16, bits: u64) -> u32 {
        match self.register(vcpu, base, intid, bits) {
            (false, offset) => self.machine.read(vcpu, offset),
            // Redistributors are everybody's to access.
            (true, offset) => self.machine.read_redistributor(0, offset),
        }
    }

    fn write(&mut self, vcpu: usize, base: u64, intid: u16, bits: u64, value: u32) {
        match self.register(vcpu, base, intid, bits) {
            (false, offset) => self.machine.write(vcpu, offset, Width::Word, u64::from(value)),
            (true, offset) => self.machine.write_redistributor(0, offset, u64::from(value)),
        }
    }

    fn modify(&mut self, vcpu: usize, base: u64, intid: u16, bits: u64, change: impl FnOnce(u32) -> u32) {
        let old = self.read(vcpu, base, intid, bits);
        self.write(vcpu, base, intid, bits, change(old));
    }

    fn apply(&mut self, op: &Op) {
        let n = self.vcpus;
        match *op {
            Op::Level(vcpu, intid, level) => {
                self.machine.level(vcpu % n, u32::from(intid), level);
                self.ideal.set_level(vcpu % n, intid, level);
            }
            Op::Inject(vcpu) => {
                if self.machine.inject(vcpu % n, LINKED) {
                    self.ideal.get_mut(vcpu % n, LINKED).latch = true;
                }
            }
            Op::Retract(vcpu) => {
                self.machine
                    .run(|vgic| vgic.retract_hardware(vcpu % n, IntId::new(u32::from(LINKED)).unwrap()));
                self.ideal.get_mut(vcpu % n, LINKED).latch = false;
            }
            Op::Bit(vcpu, offset, intid) => self.write_bit(vcpu % n, offset, intid),
            Op::Group(vcpu, intid, group1) => {
                let bit = 1 << (intid % 32);
                self.modify(vcpu % n, 0x080, intid, 1, |old| if group1 { old | bit } else { old & !bit });
                self.ideal.get_mut(vcpu % n, intid).group1 = group1;
            }
            Op::Priority(vcpu, intid, priority) => {
                let shift = intid % 4 * 8;
                self.modify(vcpu % n, 0x400, intid, 8, |old| {
                    old & !(0xff << shift) | u32::from(priority) << shift
                });
                self.ideal.get_mut(vcpu % n, intid).priority = priority & 0xf8;
            }
            Op::Edge(vcpu, intid, edge) => {
                let bit = 2 << (intid % 16 * 2);
                self.modify(vcpu % n, 0xc00, intid, 2, |old| if edge { old | bit } else { old & !bit });
                let interrupt = self.ideal.get_mut(vcpu % n, intid);
                interrupt.edge = edge || intid < 16;
            }
            Op::Route(intid, target) => {
                let target = target.map(|vcpu| vcpu % n);
                if self.v2() {
                    // A uniprocessor has no ITARGETSR.
                    let mask = target.map_or(0, |vcpu| 1 << vcpu);
                    self.machine.write(0, 0x800 + u64::from(intid), Width::Byte, mask);
                    if n > 1 {
                        self.ideal.get_mut(0, intid).target = target;
                    }
                } else {
                    let route = target.map_or(0xff, |vcpu| vcpu as u64);
                    self.machine.write(0, 0x6000 + 8 * u64::from(intid), Width::Double, route);
                    self.ideal.get_mut(0, intid).target = target;
                }
            }
            Op::Enables(enables) => {
                self.machine.write(0, 0, Width::Word, u64::from(enables));
                self.ideal.enables = enables;
            }
            Op::Sgi { sender, target, intid, others, group1 } => {
                self.send_sgi(sender % n, target % n, intid, others, group1);
            }
            Op::SgiSources { vcpu, intid, sources, set } if self.v2() => {
                let offset = if set { 0xf20 } else { 0xf10 } + u64::from(intid);
                self.machine.write(vcpu % n, offset, Width::Byte, u64::from(sources));
                let interrupt = self.ideal.get_mut(vcpu % n, intid);
                if set {
                    interrupt.sources |= sources & ((1 << n) - 1);
                } else {
                    interrupt.sources &= !sources;
                }
            }
            Op::SgiSources { .. } => {}
            Op::Acknowledge(vcpu, look) => self.acknowledge(vcpu % n, look),
            Op::End(vcpu) => {
                if let Some(ended) = self.machine.end(vcpu % n)
                    && !self.split
                {
                    self.ideal.get_mut(vcpu % n, ended.intid).active = false;
                }
            }
            Op::Deactivate(vcpu, index) => self.deactivate(vcpu % n, index),
            Op::Threshold(vcpu, threshold) => {
                self.machine.interface(vcpu % n, |view| view.threshold = threshold);
            }
            Op::InterfaceGroups(vcpu, group0, group1) => self.machine.interface(vcpu % n, |view| {
                view.group0 = group0;
                view.group1 = group1;
            }),
            Op::Migrate => {
                let version = self.ideal.version;
                self.machine.migrate(&config(version, n as u64, self.list_registers));
                for vcpu in 0..n {
                    self.machine.vgic.link_hardware(vcpu, IntId::new(u32::from(LINKED)).unwrap(), LINKED);
                }
                self.machine.sync();
            }
        }
        self.ideal.adopt();
    }

    fn write_bit(&mut self, vcpu: usize, offset: u64, intid: u16) {
        // An interrupt that is deactivated behind its handler's back is ended later although it is not
        // active, or no longer the same. The hardware then merely counts, and whose end that was cannot be
        // known.
        let handled = self.machine.interfaces.iter().flat_map(|interface| &interface.running);
        let behind_its_back = handled.into_iter().any(|which| which.intid == intid);
        let crowded = self.list_registers < INTIDS.len();
        if matches!(offset, ISACTIVER | ICACTIVER) && !self.split && (behind_its_back || crowded) {
            return;
        }
        if offset == ISACTIVER {
            // Whose an interrupt becomes that nobody acknowledged depends on whose it last was known to be.
            self.machine.sync();
        }
        self.write(vcpu, offset, intid, 1, 1 << (intid % 32));
        let v2_sgi = self.v2() && intid < 16;
        let interrupt = self.ideal.get_mut(vcpu, intid);
        match offset {
            ISENABLER => interrupt.enabled = true,
            ICENABLER => interrupt.enabled = v2_sgi,
            ISPENDR if !v2_sgi => interrupt.latch = true,
            ICPENDR if !v2_sgi => interrupt.latch = false,
            ISACTIVER => interrupt.active = true,
            ICACTIVER => interrupt.active = false,
            _ => {}
        }
    }

    fn send_sgi(&mut self, sender: usize, target: usize, intid: u16, others: bool, group1: bool) {
        let id = u64::from(intid);
        if self.v2() {
            let value = if others { 1 << 24 } else { 1 << (16 + target) } | id;
            self.machine.write(sender, 0xf00, Width::Word, value);
        } else {
            let group = if group1 { SgiGroup::Group1 } else { SgiGroup::Group0 };
            let value = id << 24 | if others { 1 << 40 } else { 1 << target };
            self.machine.run(|vgic| vgic.send_sgi(sender, group, value));
        }
        let v2 = self.v2();
        for vcpu in (0..self.vcpus).filter(|&vcpu| if others { vcpu != sender } else { vcpu == target }) {
            let interrupt = self.ideal.get_mut(vcpu, intid);
            if v2 {
                interrupt.sources |= 1 << sender;
            } else if interrupt.group1 == group1 {
                interrupt.latch = true;
            }
        }
    }

    fn acknowledge(&mut self, vcpu: usize, look: bool) {
        let interface = &self.machine.interfaces[vcpu];
        let running = interface.running.last().map_or(0xff, |top| top.priority);
        let view = CpuInterface { threshold: interface.view.threshold.min(running), ..interface.view };
        let signalled = |group1: bool| if group1 { view.group1 } else { view.group0 };
        let urgency = self
            .ideal
            .forwarded(vcpu)
            .filter(|(_, interrupt)| signalled(interrupt.group1) && interrupt.priority < view.threshold)
            .map(|(_, interrupt)| interrupt.priority)
            .min();

        if look {
            let concerned = self.machine.fold(vcpu);
            assert_eq!(self.machine.vgic.has_pending(vcpu, || view), urgency.is_some(), "has_pending");
            self.machine.fill(vcpu);
            self.machine.run(|_| concerned);
        }
        let acknowledged = self.machine.acknowledge(vcpu);
        assert_eq!(acknowledged.map(|which| which.priority), urgency, "acknowledged {acknowledged:?}");
        if let Some(which) = acknowledged {
            let forwarded = self.ideal.forwarded(vcpu).any(|(intid, interrupt)| {
                intid == which.intid && interrupt.priority == which.priority && signalled(interrupt.group1)
            });
            assert!(forwarded, "{which:?} is not to be delivered");
            self.ideal.acknowledge(vcpu, which);
        }
    }

    fn deactivate(&mut self, vcpu: usize, index: usize) {
        if !self.split {
            return;
        }
        let active = |&intid: &u16| self.ideal.get(vcpu, intid).holder == Some(vcpu);
        let Some(intid) = INTIDS.into_iter().filter(active).cycle().nth(index) else { return };
        // The source of a GICv2's SGI is whatever the list registers say, or does not matter.
        let lists = &self.machine.interfaces[vcpu].lists;
        let source =
            lists.iter().find(|lr| lr.is_active() && lr.intid() == intid).map_or(0, |lr| lr.source());
        self.machine.deactivate(vcpu, Acknowledged { intid, source, priority: 0 });
        self.ideal.get_mut(vcpu, intid).active = false;
    }

    /// What the registers show is what the ideal GIC has.
    fn check(&mut self) {
        for vcpu in 0..self.vcpus {
            for &intid in &INTIDS {
                let bit = 1u32 << (intid % 32);
                let pending = self.read(vcpu, ISPENDR, intid, 1) & bit != 0;
                let active = self.read(vcpu, ISACTIVER, intid, 1) & bit != 0;
                let interrupt = self.ideal.get(vcpu, intid);
                assert_eq!(pending, interrupt.is_pending(), "{intid} of {vcpu}: pending");
                assert_eq!(active, interrupt.active, "{intid} of {vcpu}: active");
            }
            let timer = self.ideal.get(vcpu, LINKED);
            let alive = timer.latch || timer.active;
            let physical = self.machine.interfaces[vcpu].physical.contains(&LINKED);
            assert!(alive || !physical, "the physical interrupt of vCPU {vcpu} is stuck");
            assert!(!physical || self.machine.vgic.holds_hardware(vcpu) & 1 << LINKED != 0);
        }
    }

    /// Lets the guest handle whatever is left.
    fn drain(&mut self) {
        for vcpu in 0..self.vcpus {
            self.machine.interface(vcpu, |view| {
                *view = CpuInterface { threshold: 0xff, group0: true, group1: true };
            });
            for &intid in &INTIDS {
                if intid != LINKED && intid >= 16 {
                    self.apply(&Op::Level(vcpu, intid, false));
                }
            }
        }
        for _ in 0..200 {
            for vcpu in 0..self.vcpus {
                self.apply(&Op::End(vcpu));
                self.apply(&Op::Acknowledge(vcpu, false));
                for index in 0..4 {
                    self.apply(&Op::Deactivate(vcpu, index));
                }
            }
        }
        for vcpu in 0..self.vcpus {
            assert_eq!(self.ideal.forwarded(vcpu).count(), 0, "vCPU {vcpu} has something left");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// No interrupt is lost, delivered twice, delivered while disabled or masked, or delivered out of order;
    /// level, edge, routing and both EOI modes are right, however few list registers there are; and there is
    /// no maintenance storm.
    #[test]
    fn the_guest_sees_an_ideal_gic(
        v3: bool,
        vcpus in 1usize..=3,
        list_registers in select(&[1usize, 1, 2, 2, 3, 4, 16][..]),
        split: bool,
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let version = if v3 { GicVersion::V3 } else { GicVersion::V2 };
        let mut world = World::new(version, vcpus, list_registers, split);
        for op in &ops {
            world.apply(op);
        }
        world.check();
        world.drain();
        world.check();
    }

    /// With kicks that arrive late, edges may merge, but the last one is always seen, and none is invented.
    #[test]
    fn late_kicks_lose_nothing(
        list_registers in 1usize..=3,
        ops in prop::collection::vec((0u8..4, 0u32..5), 1..200),
    ) {
        const FIRST: u32 = 32;
        let mut machine = Machine::new(&config(GicVersion::V3, 1, list_registers));
        machine.write(0, 0xc08, Width::Word, u64::from(u32::MAX));
        machine.write(0, 0x104, Width::Word, u64::from(u32::MAX));
        machine.write(0, 0, Width::Word, 3);
        machine.prompt = false;
        let mut raised = [0u32; 5];
        let mut seen = [0u32; 5];
        let mut fresh = [false; 5];
        let mut acknowledge = |machine: &mut Machine, raised: &[u32; 5], fresh: &mut [bool; 5]| {
            let which = machine.acknowledge(0)?;
            let n = usize::from(which.intid) - FIRST as usize;
            seen[n] += 1;
            fresh[n] = false;
            assert!(seen[n] <= raised[n], "{which:?} was delivered {} times, raised {}", seen[n], raised[n]);
            Some(())
        };
        for (action, n) in ops {
            match action {
                0 => {
                    machine.level(0, FIRST + n, true);
                    machine.level(0, FIRST + n, false);
                    raised[n as usize] += 1;
                    fresh[n as usize] = true;
                }
                1 => { acknowledge(&mut machine, &raised, &mut fresh); }
                2 => { machine.end(0); }
                _ => machine.settle(),
            }
        }
        machine.prompt = true;
        machine.settle();
        for _ in 0..20 {
            machine.end(0);
            acknowledge(&mut machine, &raised, &mut fresh);
        }
        prop_assert_eq!(fresh, [false; 5]);
    }
}
