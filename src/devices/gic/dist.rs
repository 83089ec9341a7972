//! The distributor's registers: GICv2 (IHI 0048B) and GICv3 (IHI 0069).

use super::{
    GicVersion, IntId, VcpuSet, Vgic,
    registers::{Register, read_bytes, write_bytes},
    state::ROUTE_MASK,
};
use crate::devices::bus::{Access, Width};

/// `GICD_IIDR` and `GICR_IIDR`: Arm, r0p0, which is what QEMU says.
pub(super) const IIDR: u32 = 0x43b;

const GICD_CTLR: u64 = 0x000;
const GICD_TYPER: u64 = 0x004;
const GICD_IIDR: u64 = 0x008;
const GICD_ITARGETSR: u64 = 0x800;
const GICD_ITARGETSR_END: u64 = 0xc00;
const GICD_SGIR: u64 = 0xf00;
const GICD_CPENDSGIR: u64 = 0xf10;
const GICD_SPENDSGIR: u64 = 0xf20;
const GICD_SPENDSGIR_END: u64 = 0xf30;
/// `GICD_IROUTER<32>`; the private interrupts before it have none.
const GICD_IROUTER32: u64 = 0x6100;
const GICD_IROUTER_END: u64 = 0x7fe0;

/// `GICD_CTLR.ARE` and `.DS`.
const CTLR_V3: u32 = 1 << 4 | 1 << 6;
/// `GICD_TYPER.A3V`: Aff3 may be other than zero.
const TYPER_A3V: u32 = 1 << 24;
/// `GICD_TYPER.IDbits`: 16-bit INTIDs, as QEMU has them.
const TYPER_ID_BITS: u32 = 0xf << 19;
/// `GICD_TYPER.RSS`: SGIs reach Aff0 above 15.
const TYPER_RSS: u32 = 1 << 26;

/// Peripheral and component identification, from `PIDR4` to `CIDR3`, one byte in each register. `first` is
/// `PIDR0`.
const fn identification_v3(first: u8) -> [u8; 12] {
    [0x44, 0, 0, 0, first, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1]
}
const DISTRIBUTOR_V2: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
const DISTRIBUTOR_V3: [u8; 12] = identification_v3(0x92);
const REDISTRIBUTOR_V3: [u8; 12] = identification_v3(0x93);
const IDENTIFICATION_V2: u64 = 0xfd0;
const IDENTIFICATION_V3: u64 = 0xffd0;

/// The identification register at `offset`, of 64 KiB frames.
pub(super) fn redistributor_identification(offset: u64) -> u32 {
    identification(&REDISTRIBUTOR_V3, IDENTIFICATION_V3, offset)
}

fn identification(registers: &[u8; 12], base: u64, offset: u64) -> u32 {
    let index = offset.checked_sub(base).filter(|from| from % 4 == 0).map(|from| from as usize / 4);
    index.and_then(|index| registers.get(index)).map_or(0, |&byte| u32::from(byte))
}

/// What of a distributor never changes, to be read without a lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct DistributorId {
    version: GicVersion,
    typer: u32,
}

impl DistributorId {
    pub fn new(vgic: &Vgic) -> Self {
        let lines = vgic.spis.len() as u32;
        let typer = match vgic.version {
            GicVersion::V2 => lines | (vgic.vcpus.len() as u32 - 1) << 5,
            GicVersion::V3 => {
                let beyond_16 = vgic.vcpus.iter().any(|vcpu| vcpu.affinity & 0xff > 15);
                lines | TYPER_ID_BITS | TYPER_A3V | if beyond_16 { TYPER_RSS } else { 0 }
            }
        };
        Self { version: vgic.version, typer }
    }

    /// The constant register at `offset`, or `None` where there is another, or none.
    pub fn read(&self, offset: u64, width: Width) -> Option<u64> {
        if width != Width::Word {
            return None;
        }
        match (offset, self.version) {
            (GICD_TYPER, _) => Some(self.typer),
            (GICD_IIDR, _) => Some(IIDR),
            (IDENTIFICATION_V2..0x1000, GicVersion::V2) => {
                Some(identification(&DISTRIBUTOR_V2, IDENTIFICATION_V2, offset))
            }
            (IDENTIFICATION_V3..0x1_0000, GicVersion::V3) => {
                Some(identification(&DISTRIBUTOR_V3, IDENTIFICATION_V3, offset))
            }
            _ => None,
        }
        .map(u64::from)
    }
}

/// Whether an access to `offset` needs the accessing vCPU folded.
pub(super) fn is_live(offset: u64) -> bool {
    Register::at(offset).is_some_and(Register::is_live)
        || matches!(offset, GICD_CPENDSGIR..GICD_SPENDSGIR_END)
}

impl Vgic {
    /// A read of a register that [`DistributorId`] does not have.
    pub(super) fn read_distributor(&self, access: Access) -> u64 {
        let Access { offset, width, vcpu } = access;
        if !offset.is_multiple_of(width.bytes()) {
            return 0;
        }
        if let Some(register) = Register::at(offset) {
            // With affinity routing the private interrupts are the redistributors'.
            let elsewhere = self.version == GicVersion::V3 && register.word() == 0;
            return if elsewhere { 0 } else { self.read_register(vcpu, register, width) };
        }
        match (offset, self.version) {
            (GICD_CTLR, GicVersion::V2) if width == Width::Word => u64::from(self.enables),
            (GICD_CTLR, GicVersion::V3) if width == Width::Word => u64::from(self.enables | CTLR_V3),
            (GICD_ITARGETSR..GICD_ITARGETSR_END, GicVersion::V2) => {
                read_bytes(width, |n| self.targets(vcpu, (offset - GICD_ITARGETSR) as u32 + n as u32))
            }
            (GICD_CPENDSGIR..GICD_SPENDSGIR_END, GicVersion::V2) => {
                read_bytes(width, |n| self.sgi_sources(vcpu, offset as usize % 16 + n))
            }
            (GICD_IROUTER32..GICD_IROUTER_END, GicVersion::V3) => {
                let Some(intid) = self.routed(offset) else { return 0 };
                match width {
                    Width::Double => self.route(intid),
                    Width::Word => width.truncate(self.route(intid) >> shift(offset)),
                    Width::Byte | Width::Half => 0,
                }
            }
            _ => 0,
        }
    }

    /// A write to a register of the distributor.
    pub(super) fn write_distributor(&mut self, access: Access, value: u64) -> VcpuSet {
        let Access { offset, width, vcpu } = access;
        if !offset.is_multiple_of(width.bytes()) {
            return VcpuSet::EMPTY;
        }
        if let Some(register) = Register::at(offset) {
            let elsewhere = self.version == GicVersion::V3 && register.word() == 0;
            return if elsewhere {
                VcpuSet::EMPTY
            } else {
                self.write_register(vcpu, register, width, value)
            };
        }
        let mut kick = VcpuSet::EMPTY;
        match (offset, self.version) {
            (GICD_CTLR, _) if width == Width::Word => kick = self.set_enables(value as u32),
            (GICD_ITARGETSR..GICD_ITARGETSR_END, GicVersion::V2) => {
                let first = (offset - GICD_ITARGETSR) as u32;
                write_bytes(width, value, |n, targets| kick |= self.set_targets(first + n as u32, targets));
            }
            (GICD_SGIR, GicVersion::V2) if width == Width::Word => kick = self.write_sgir(vcpu, value as u32),
            (GICD_CPENDSGIR..GICD_SPENDSGIR, GicVersion::V2) => {
                write_bytes(width, value, |n, from| {
                    self.clear_sgi_sources(vcpu, offset as usize % 16 + n, from);
                });
            }
            (GICD_SPENDSGIR..GICD_SPENDSGIR_END, GicVersion::V2) => {
                write_bytes(width, value, |n, from| {
                    kick |= self.set_sgi_sources(vcpu, offset as usize % 16 + n, from);
                });
            }
            (GICD_IROUTER32..GICD_IROUTER_END, GicVersion::V3) => {
                let Some(intid) = self.routed(offset) else { return VcpuSet::EMPTY };
                let route = match width {
                    Width::Double => value,
                    Width::Word => {
                        let half = u64::from(u32::MAX) << shift(offset);
                        self.route(intid) & !half | value << shift(offset)
                    }
                    Width::Byte | Width::Half => return VcpuSet::EMPTY,
                };
                kick = self.set_route(intid, route & ROUTE_MASK);
            }
            _ => {}
        }
        kick
    }

    /// `GICD_ITARGETSR` of one interrupt: that of a private one says who is reading. A uniprocessor has none.
    fn targets(&self, vcpu: usize, number: u32) -> u8 {
        match self.existing(number) {
            Some(_) if self.vcpus.len() == 1 => 0,
            Some(intid) if intid.is_private() => 1u8.unbounded_shl(vcpu as u32),
            Some(intid) => self.route(intid) as u8,
            None => 0,
        }
    }

    fn set_targets(&mut self, number: u32, targets: u8) -> VcpuSet {
        match self.existing(number) {
            Some(intid) if self.vcpus.len() > 1 && !intid.is_private() => {
                self.set_route(intid, u64::from(targets) & ((1 << self.vcpus.len()) - 1))
            }
            _ => VcpuSet::EMPTY,
        }
    }

    /// Which SPI the `GICD_IROUTER` at `offset` routes.
    fn routed(&self, offset: u64) -> Option<IntId> {
        self.existing(((offset - GICD_IROUTER32) / 8) as u32 + 32)
    }
}

/// Where the addressed half of a 64-bit register starts in it.
const fn shift(offset: u64) -> u32 {
    if offset & 4 == 0 { 0 } else { 32 }
}
