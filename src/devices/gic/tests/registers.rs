//! Registers through the bus, as the guest's drivers use them.

use alloc::{sync::Arc, vec::Vec};
use std::sync::Mutex;

use proptest::prelude::*;

use super::{
    super::{
        CpuInterface, GicVersion, ListRegister, VcpuSet, Vgic,
        device::{Distributor, Host, REDISTRIBUTOR_STRIDE, Redistributors, VgicDevice},
    },
    config,
};
use crate::{
    devices::{
        bus::{Access, MmioDevice, Width},
        irq::IrqController,
    },
    persist::Persist,
};

/// vCPUs that never run: their list registers stay as they were filled.
#[derive(Default)]
struct Idle {
    lists: Mutex<Vec<ListRegister>>,
    kicked: Mutex<Vec<VcpuSet>>,
}

impl Host for Idle {
    fn fold(&self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        let lists = self.lists.lock().unwrap();
        vgic.fold(vcpu, || 0, |n| lists.get(n).copied().unwrap_or_default())
    }

    fn kick(&self, vcpus: VcpuSet) {
        assert!(!vcpus.is_empty());
        self.kicked.lock().unwrap().push(vcpus);
    }
}

struct Gic {
    device: Arc<VgicDevice<Idle>>,
    distributor: Distributor<Idle>,
    redistributors: Redistributors<Idle>,
}

impl Gic {
    fn new(version: GicVersion, vcpus: u64, spis: u32) -> Self {
        let mut config = config(version, vcpus, 4);
        config.spis = spis;
        let device = VgicDevice::new(&config, Idle::default()).unwrap();
        Self {
            distributor: Distributor(device.clone()),
            redistributors: Redistributors(device.clone()),
            device,
        }
    }

    fn read(&self, vcpu: usize, offset: u64) -> u32 {
        self.distributor.read(Access { offset, width: Width::Word, vcpu }) as u32
    }

    fn write(&self, vcpu: usize, offset: u64, value: u32) {
        self.distributor.write(Access { offset, width: Width::Word, vcpu }, u64::from(value));
    }

    fn read_redistributor(&self, offset: u64, width: Width) -> u64 {
        self.redistributors.read(Access { offset, width, vcpu: 0 })
    }
}

#[test]
fn identification_is_qemu_s() {
    // Read with QEMU 10.0.2's monitor, `-M virt,gic-version=2`, one CPU.
    let gic = Gic::new(GicVersion::V2, 1, 256);
    assert_eq!((gic.read(0, 0x0), gic.read(0, 0x4), gic.read(0, 0x8)), (0, 0x8, 0x43b));
    assert_eq!((gic.read(0, 0x100), gic.read(0, 0xc00)), (0xffff, 0xaaaa_aaaa));
    let id: Vec<_> = (0xfd0..0x1000).step_by(4).map(|offset| gic.read(0, offset)).collect();
    assert_eq!(id, [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1]);

    // And `gic-version=3`, but without LPIs (GICD_TYPER bit 17) and with 1-of-N (bit 25 clear).
    let gic = Gic::new(GicVersion::V3, 2, 256);
    assert_eq!((gic.read(0, 0x0), gic.read(0, 0x4), gic.read(0, 0x8)), (0x50, 0x0178_0008, 0x43b));
    let id: Vec<_> = (0xffd0..0x1_0000).step_by(4).map(|offset| gic.read(0, offset)).collect();
    assert_eq!(id, [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    let read = |offset| gic.read_redistributor(offset, Width::Word);
    assert_eq!((read(0x0), read(0x4), read(0x14)), (0, 0x43b, 0x6));
    assert_eq!((read(0xffe0), read(0xffe8)), (0x93, 0x3b));
    assert_eq!((read(0x1_0100), read(0x1_0c00), read(0x1_0c04)), (0, 0xaaaa_aaaa, 0));
}

/// What drivers/irqchip/irq-gic.c does.
#[test]
fn linux_initialises_a_gicv2() {
    let gic = Gic::new(GicVersion::V2, 4, 256);
    let lines = ((gic.read(0, 4) & 0x1f) + 1) * 32;
    assert_eq!(lines, 288);
    // gic_get_cpumask: every CPU finds its own bit in the first ITARGETSR.
    for vcpu in 0..4 {
        assert_eq!(gic.read(vcpu, 0x800), 0x0101_0101 << vcpu);
        assert_eq!(gic.read(vcpu, 0x81c), 0x0101_0101 << vcpu);
    }
    gic.write(0, 0, 0);
    for intid in (32..u64::from(lines)).step_by(4) {
        gic.write(0, 0x800 + intid, 0x0101_0101);
    }
    for intid in (32..u64::from(lines)).step_by(16) {
        gic.write(0, 0xc00 + intid / 4, 0);
    }
    for intid in (32..u64::from(lines)).step_by(4) {
        gic.write(0, 0x400 + intid, 0xa0a0_a0a0);
    }
    for intid in (32..u64::from(lines)).step_by(32) {
        gic.write(0, 0x380 + intid / 8, u32::MAX);
        gic.write(0, 0x180 + intid / 8, u32::MAX);
    }
    gic.write(0, 0, 1);
    assert_eq!(gic.read(0, 0), 1);
    // gic_cpu_config, and that SGIs cannot be disabled.
    gic.write(0, 0x380, u32::MAX);
    gic.write(0, 0x180, 0xffff_0000);
    gic.write(0, 0x180, 0xffff);
    assert_eq!(gic.read(0, 0x100), 0xffff);
    // gic_set_type and gic_set_affinity of SPI 33.
    gic.write(0, 0xc08, 2 << 2);
    assert_eq!(gic.read(0, 0xc08), 2 << 2);
    gic.distributor.write(Access { offset: 0x821, width: Width::Byte, vcpu: 0 }, 0xf4);
    assert_eq!(gic.read(0, 0x820), 0x0101_0401, "there are four vCPUs");
    gic.write(0, 0x104, 2);
    gic.device.set_level(33, true);
    assert_eq!(gic.device.host().kicked.lock().unwrap().last(), Some(&VcpuSet::of(2)));
    // Only implemented bits of a priority are there.
    gic.write(0, 0x420, 0xffff_ff87);
    assert_eq!(gic.read(0, 0x420), 0xf8f8_f880);
}

/// What drivers/irqchip/irq-gic-v3.c does.
#[test]
fn linux_initialises_a_gicv3() {
    let gic = Gic::new(GicVersion::V3, 18, 256);
    assert_eq!(gic.read(0, 0xffe8) & 0xf0, 0x30, "gic_validate_dist_version");
    let typer = gic.read(0, 4);
    assert_eq!(((typer & 0x1f) + 1) * 32, 288);
    gic.write(0, 0, 0);
    for word in 1..9 {
        gic.write(0, 0x80 + 4 * word, u32::MAX);
        gic.write(0, 0x380 + 4 * word, u32::MAX);
        gic.write(0, 0x180 + 4 * word, u32::MAX);
    }
    gic.write(0, 0, 0x12);
    assert_eq!(gic.read(0, 0), 0x52);
    assert_eq!(gic.read(0, 0) >> 31, 0, "no write is ever pending");
    for intid in 32..288u64 {
        let access = Access { offset: 0x6000 + 8 * intid, width: Width::Double, vcpu: 0 };
        gic.distributor.write(access, 0x101);
        assert_eq!(gic.distributor.read(access), 0x101);
    }
    assert_eq!(gic.read(0, 0x6100), 0x101);
    gic.write(0, 0x6104, 0x1ff);
    assert_eq!(
        gic.distributor.read(Access { offset: 0x6100, width: Width::Double, vcpu: 0 }),
        0xff_0000_0101,
        "only the defined bits"
    );

    // gic_populate_rdist: each CPU looks for its affinity until Last.
    for vcpu in 0..18u64 {
        let affinity = ((vcpu / 16) << 8) | (vcpu % 16);
        let mut base = 0;
        let found = loop {
            assert_eq!(gic.read_redistributor(base + 0xffe8, Width::Word) & 0xf0, 0x30);
            let typer = gic.read_redistributor(base + 8, Width::Double);
            let halves = [8, 12].map(|offset| gic.read_redistributor(base + offset, Width::Word));
            assert_eq!(typer, halves[1] << 32 | halves[0]);
            if typer >> 32 == affinity {
                break typer;
            }
            assert_eq!(typer & 1 << 4, 0, "vCPU {vcpu} has no redistributor");
            base += REDISTRIBUTOR_STRIDE;
        };
        assert_eq!(base, vcpu * REDISTRIBUTOR_STRIDE);
        assert_eq!(found >> 8 & 0xffff, vcpu);
        assert_eq!(found & 1 << 4 != 0, vcpu == 17);
        assert_eq!(found & 1, 0, "no LPIs");
        // gic_enable_redist
        let waker = Access { offset: base + 0x14, width: Width::Word, vcpu: vcpu as usize };
        gic.redistributors.write(waker, gic.redistributors.read(waker) & !2);
        assert_eq!(gic.redistributors.read(waker), 0);
        // gic_cpu_init: all of Group 1, then the SGIs enabled.
        for (offset, value) in
            [(0x80, 0xffff_ffff), (0x380, 0xffff_ffff), (0x180, 0xffff_ffff), (0x100, 0xffff)]
        {
            let access = Access { offset: base + 0x1_0000 + offset, ..waker };
            gic.redistributors.write(access, value);
        }
        assert_eq!(gic.read_redistributor(base + 0x1_0100, Width::Word), 0xffff);
    }
    // With affinity routing the private interrupts are not the distributor's, nor are ITARGETSR and SGIR.
    gic.write(0, 0x100, u32::MAX);
    gic.write(0, 0x820, u32::MAX);
    assert_eq!((gic.read(0, 0x100), gic.read(0, 0x820), gic.read(0, 0xc00)), (0, 0, 0));
}

#[test]
fn a_guest_that_looks_at_its_own_cpu_sees_the_truth() {
    let gic = Gic::new(GicVersion::V3, 2, 64);
    gic.write(0, 0x84, u32::MAX);
    gic.write(0, 0x104, u32::MAX);
    gic.write(0, 0, 3);
    gic.device.set_level(33, true);
    let mut lists = Vec::new();
    let view = CpuInterface { threshold: 0xff, group0: true, group1: true };
    let fill = gic.device.lock().fill(0, || view, |_, lr| lists.push(lr));
    assert_eq!(fill.used, 1);
    // The guest acknowledges, of which the model knows nothing yet.
    *gic.device.host().lists.lock().unwrap() = lists.iter().map(|lr| lr.with_state(false, true)).collect();
    assert_eq!(gic.read(1, 0x304), 0, "another vCPU sees it as it was loaded");
    assert_eq!(gic.read(0, 0x304), 2);
    assert!(gic.device.host().kicked.lock().unwrap().last().unwrap().contains(0), "a refill is due");
}

fn fuzz(version: GicVersion, accesses: &[(u64, u8, usize, Option<u64>)]) {
    let gic = Gic::new(version, 3, 64);
    for &(offset, width, vcpu, write) in accesses {
        let width = Width::from_log2(width).unwrap();
        for device in [&gic.distributor as &dyn MmioDevice, &gic.redistributors] {
            let access = Access { offset, width, vcpu };
            match write {
                Some(value) => device.write(access, width.truncate(value)),
                None => assert_eq!(device.read(access), width.truncate(device.read(access))),
            }
        }
        let view = CpuInterface { threshold: 0xff, group0: true, group1: true };
        let mut lists = Vec::new();
        let _ = gic.device.host().fold(&mut gic.device.lock(), vcpu);
        let _ = gic.device.lock().fill(vcpu, || view, |_, lr| lists.push(lr));
        // The guest acknowledges every other one.
        for (n, lr) in lists.iter_mut().enumerate() {
            *lr = if n % 2 == 0 { lr.with_state(false, true) } else { *lr };
        }
        *gic.device.host().lists.lock().unwrap() = lists;
    }
    let state = gic.device.lock().save();
    Gic::new(version, 3, 64).device.lock().restore(&state).unwrap();
}

#[test]
fn every_offset_and_width_can_be_accessed() {
    for version in [GicVersion::V2, GicVersion::V3] {
        let writes = [None, Some(u64::MAX), Some(0), Some(0x8421_8421_8421_8421), None];
        let accesses: Vec<_> = writes
            .into_iter()
            .flat_map(|write| (0..0x1_0000u64).step_by(4).map(move |offset| (offset, write)))
            .flat_map(|(offset, write)| (0..4).map(move |width| (offset + u64::from(width), width, 1, write)))
            .filter(|&(offset, ..)| {
                !(0x1100..0x5f00).contains(&offset) && !(0x8100..0xff00).contains(&offset)
            })
            .collect();
        fuzz(version, &accesses);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_access_is_too_wild(
        v3: bool,
        accesses in prop::collection::vec(
            (
                prop_oneof![0u64..0x1000, 0x6000u64..0x6400, 0x1_0000u64..0x1_1000, 0u64..0x8_0000],
                0u8..4,
                0usize..3,
                any::<Option<u64>>(),
            ),
            1..200,
        ),
    ) {
        fuzz(if v3 { GicVersion::V3 } else { GicVersion::V2 }, &accesses);
    }
}
