//! Software-generated interrupts.

use super::{GicVersion, VcpuSet, Vgic, bank::Ones, state::affected};

/// Which of the SGI registers of a GICv3 was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiGroup {
    /// `ICC_SGI0R_EL1`, or `ICC_ASGI1R_EL1`: the Group 1 of the other Security state is, with one state,
    /// Group 0.
    Group0,
    /// `ICC_SGI1R_EL1`.
    Group1,
}

impl Vgic {
    /// The guest's write of `value` to an SGI register of its CPU interface `sender` (IHI 0069,
    /// `ICC_SGI1R_EL1`). Only a GICv3 has them.
    pub fn send_sgi(&mut self, sender: usize, group: SgiGroup, value: u64) -> VcpuSet {
        if self.version != GicVersion::V3 {
            return VcpuSet::EMPTY;
        }
        let lane = (value >> 24) as u32 & 0xf;
        let to_all_others = value & (1 << 40) != 0;
        if to_all_others {
            return (0..self.vcpus.len())
                .filter(|&vcpu| vcpu != sender)
                .fold(VcpuSet::EMPTY, |kick, vcpu| kick | self.pend_sgi(vcpu, group, lane));
        }
        let field = |shift: u32| (value >> shift) as u32 & 0xff;
        let cluster = field(48) << 24 | field(32) << 16 | field(16) << 8;
        let range = (value >> 44) as u32 & 0xf;
        Ones(value as u32 & 0xffff).fold(VcpuSet::EMPTY, |kick, n| {
            match self.vcpu_at(cluster | range << 4 | n as u32) {
                Some(vcpu) => kick | self.pend_sgi(vcpu, group, lane),
                None => kick,
            }
        })
    }

    /// An SGI arrives at the redistributor of `vcpu`, which takes it if it is of the group that it has
    /// programmed.
    fn pend_sgi(&mut self, vcpu: usize, group: SgiGroup, lane: u32) -> VcpuSet {
        let groups = self.groups;
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        let bit = 1 << lane;
        if (cpu.private.group1 & bit != 0) != (group == SgiGroup::Group1) {
            return VcpuSet::EMPTY;
        }
        cpu.private.set_pending(bit);
        affected(vcpu, &cpu.private, bit, groups)
    }

    /// The hypervisor sends `vcpu` the SGI of this number. The guest takes it for one from itself.
    pub fn ring(&mut self, vcpu: usize, sgi: u32) -> VcpuSet {
        if self.version == GicVersion::V2 {
            return self.set_sgi_sources(vcpu, sgi as usize, 1u8.unbounded_shl(vcpu as u32));
        }
        let group1 = self.vcpus.get(vcpu).is_some_and(|cpu| cpu.private.group1 >> (sgi & 0xf) & 1 != 0);
        self.pend_sgi(vcpu, if group1 { SgiGroup::Group1 } else { SgiGroup::Group0 }, sgi & 0xf)
    }

    /// The guest's write to `GICD_SGIR` (IHI 0048B).
    pub(super) fn write_sgir(&mut self, sender: usize, value: u32) -> VcpuSet {
        let all = (1u32 << self.vcpus.len()) - 1;
        let itself = 1u32.unbounded_shl(sender as u32);
        let targets = match value >> 24 & 3 {
            0 => value >> 16 & all,
            1 => all & !itself,
            2 => itself,
            _ => 0,
        };
        let lane = value as usize & 0xf;
        Ones(targets).fold(VcpuSet::EMPTY, |kick, vcpu| kick | self.set_sgi_sources(vcpu, lane, itself as u8))
    }

    /// An SGI becomes pending at `vcpu` from each of `sources` (`GICD_SPENDSGIR`).
    pub(super) fn set_sgi_sources(&mut self, vcpu: usize, lane: usize, sources: u8) -> VcpuSet {
        let all = ((1u32 << self.vcpus.len()) - 1) as u8;
        let groups = self.groups;
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        let Some(slot) = cpu.sgi_sources.get_mut(lane) else { return VcpuSet::EMPTY };
        *slot |= sources & all;
        if *slot == 0 {
            return VcpuSet::EMPTY;
        }
        cpu.private.set_pending(1 << lane);
        affected(vcpu, &cpu.private, 1 << lane, groups)
    }

    /// An SGI is no longer pending at `vcpu`, which is folded, from each of `sources` (`GICD_CPENDSGIR`).
    pub(super) fn clear_sgi_sources(&mut self, vcpu: usize, lane: usize, sources: u8) {
        if let Some(cpu) = self.vcpus.get_mut(vcpu)
            && let Some(slot) = cpu.sgi_sources.get_mut(lane)
        {
            *slot &= !sources;
            if *slot == 0 {
                cpu.private.clear_pending(1 << lane);
            }
        }
    }

    /// Which vCPUs an SGI is pending at `vcpu` from.
    pub(super) fn sgi_sources(&self, vcpu: usize, lane: usize) -> u8 {
        self.vcpus.get(vcpu).map_or(0, |cpu| cpu.known_sgi_sources(lane))
    }
}
