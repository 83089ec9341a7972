//! Between the model and the list registers: `fold` and `fill`.
//!
//! Every switch of vCPUs goes through here, so the way of a private interrupt is inlined, and what is rarer is kept out
//! of it.

use core::mem;

use bitflags::bitflags;

use super::{
    CpuInterface, GicVersion, IntId, VcpuSet, Vgic,
    bank::{Groups, Ones},
    lr::{Deactivation, ListRegister},
    state::{SpiBank, Vcpu},
};

bitflags! {
    /// Which maintenance interrupts to enable, as the bits of `ICH_HCR_EL2` (IHI 0069) and `GICH_HCR` (IHI
    /// 0048B), where they are the same.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Maintenance: u32 {
        /// `LRENPIE`: an interrupt that is in no list register was ended.
        const ENTRY_NOT_PRESENT = 1 << 2;
        /// `NPIE`: no list register is pending.
        const NO_PENDING = 1 << 3;
        /// `VGrp0EIE`: the guest enabled Group 0.
        const GROUP0_ENABLED = 1 << 4;
        /// `VGrp0DIE`: the guest disabled Group 0.
        const GROUP0_DISABLED = 1 << 5;
        /// `VGrp1EIE`: the guest enabled Group 1.
        const GROUP1_ENABLED = 1 << 6;
        /// `VGrp1DIE`: the guest disabled Group 1.
        const GROUP1_DISABLED = 1 << 7;
    }
}

/// What a vCPU needs besides its list registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Fill {
    /// How many list registers were written; the others must be empty.
    pub used: usize,
    /// Which maintenance interrupts to enable. `EOIcount` is to be cleared along with it.
    pub maintenance: Maintenance,
    /// An active interrupt is in no list register: while `EOImode` is 1, writes to `ICC_DIR_EL1` (by
    /// `ICH_HCR_EL2.TDIR`) or `GICC_DIR` (by its page) have to be trapped and given to [`Vgic::deactivate`].
    /// The hardware would only count them.
    pub trap_deactivate: bool,
    /// Linked PPIs (a bit for each INTID) whose physical interrupts must now be deactivated, as the guest
    /// will not.
    pub release: u32,
}

impl Vgic {
    /// Takes back what the guest made of the list registers of `vcpu`. `read(n)` is list register `n`, for as
    /// many as the last `fill` used. `eoi_count`, which is asked for only if it matters, is `EOIcount` of
    /// `ICH_HCR_EL2` or `GICH_HCR`, but 0 while the guest's `EOImode` is 1: then it may include mere priority
    /// drops, and deactivations are trapped.
    ///
    /// Folding a vCPU that is not loaded changes nothing. Returns which *other* vCPUs are concerned.
    #[inline]
    pub fn fold(
        &mut self,
        vcpu: usize,
        eoi_count: impl FnOnce() -> u32,
        read: impl FnMut(usize) -> ListRegister,
    ) -> VcpuSet {
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        // First, because those that are still active afterwards are then in the same place.
        let concerned = match mem::take(&mut cpu.left_active) {
            0 => VcpuSet::EMPTY,
            left => self.end_unlisted(vcpu, eoi_count().min(left)),
        };
        concerned | self.take_back(vcpu, read)
    }

    /// Ends the next `count` of the active interrupts that are in no list register. More ends than were left out are of
    /// interrupts that were not active at all, which the hardware counts as well.
    #[cold]
    fn end_unlisted(&mut self, vcpu: usize, count: u32) -> VcpuSet {
        let mut concerned = VcpuSet::EMPTY;
        for _ in 0..count {
            if let Some(intid) = self.first_unlisted(vcpu) {
                concerned |= self.deactivate(vcpu, intid);
            }
        }
        concerned.without(vcpu)
    }

    /// Takes back what is in the list registers of `vcpu`. Returns which other vCPUs are concerned.
    #[inline(always)]
    fn take_back(&mut self, vcpu: usize, mut read: impl FnMut(usize) -> ListRegister) -> VcpuSet {
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        let mut concerned = VcpuSet::EMPTY;
        for n in 0..mem::take(&mut cpu.used) {
            let lr = read(n);
            let Some(cpu) = self.vcpus.get_mut(vcpu) else { break };
            let Some(&offered) = cpu.lists.get(n) else { break };
            if offered.is_pending() && !lr.is_pending() {
                cpu.taken = cpu.taken.wrapping_add(1);
            }
            let intid = IntId(offered.intid());
            match intid.word().checked_sub(1) {
                None => cpu.settle(intid, lr, self.version),
                Some(bank) => concerned |= self.settle_spi(vcpu, bank, intid, lr),
            }
        }
        concerned
    }

    /// Takes back what the guest left of an SPI. Returns which vCPUs besides `vcpu` are concerned.
    #[inline(never)]
    fn settle_spi(&mut self, vcpu: usize, bank: usize, intid: IntId, lr: ListRegister) -> VcpuSet {
        let Some(spi) = self.spis.get_mut(bank) else { return VcpuSet::EMPTY };
        spi.bank.settle(intid.bit(), lr);
        self.refresh(bank, intid.bit()).without(vcpu)
    }

    /// Chooses what goes into the list registers of `vcpu`, which must be folded, and calls `write` with the
    /// number and value of each that is used. `interface` is asked for only if there are more interrupts than
    /// list registers.
    #[inline]
    pub fn fill(
        &mut self,
        vcpu: usize,
        interface: impl FnOnce() -> CpuInterface,
        mut write: impl FnMut(usize, ListRegister),
    ) -> Fill {
        let Self { vcpus, spis, groups, version, list_registers, .. } = self;
        let Some(cpu) = vcpus.get_mut(vcpu) else { return Fill::default() };
        let deliverable = cpu.private.deliverable(*groups);
        for lane in Ones(cpu.private.active | deliverable) {
            if cpu.used == *list_registers {
                return self.fill_crowded(vcpu, interface(), write);
            }
            let intid = IntId::at(0, lane);
            let lr = cpu.load(intid, deliverable, *version, false);
            write(cpu.used, lr);
            cpu.note(lr);
        }
        for bank in Ones(cpu.spi_words) {
            let (Some(&mine), Some(spi)) = (cpu.spis.get(bank), spis.get_mut(bank)) else { continue };
            for lane in Ones(mine) {
                if cpu.used == *list_registers {
                    return self.fill_crowded(vcpu, interface(), write);
                }
                let intid = IntId::at(bank + 1, lane);
                let lr = spi.load(intid, *groups, vcpu, false);
                write(cpu.used, lr);
                cpu.note(lr);
            }
        }
        Fill { used: cpu.used, release: mem::take(&mut cpu.release), ..Fill::default() }
    }

    /// `fill` where there have turned out to be more interrupts than list registers.
    #[cold]
    fn fill_crowded(
        &mut self,
        vcpu: usize,
        interface: CpuInterface,
        mut write: impl FnMut(usize, ListRegister),
    ) -> Fill {
        let untouched = self.vcpus.get(vcpu).map_or([ListRegister::EMPTY; _], |cpu| cpu.lists);
        let _nothing_has_changed =
            self.take_back(vcpu, |n| untouched.get(n).copied().unwrap_or(ListRegister::EMPTY));
        let choice = self.choose(vcpu, interface);
        for intid in choice.intids() {
            let Self { vcpus, spis, groups, version, .. } = self;
            let Some(cpu) = vcpus.get_mut(vcpu) else { break };
            let lr = match intid.word().checked_sub(1) {
                None => cpu.load(intid, cpu.private.deliverable(*groups), *version, true),
                Some(bank) => match spis.get_mut(bank) {
                    Some(spi) => spi.load(intid, *groups, vcpu, true),
                    None => break,
                },
            };
            write(cpu.used, lr);
            cpu.note(lr);
        }
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return Fill::default() };
        cpu.left_active = choice.left_active;
        Fill {
            used: cpu.used,
            maintenance: choice.maintenance,
            trap_deactivate: choice.left_active > 0,
            release: mem::take(&mut cpu.release),
        }
    }
}

impl SpiBank {
    /// Moves an SPI into a list register of `vcpu`. `crowded`: others that are pending cannot be.
    fn load(&mut self, intid: IntId, groups: Groups, vcpu: usize, crowded: bool) -> ListRegister {
        // Its next delivery may be another vCPU's, once this one has deactivated it.
        let alone = crowded || self.target(intid.lane()) != Some(vcpu);
        let loaded = self.bank.load(intid.lane(), self.bank.deliverable(groups), alone);
        let deactivation = if loaded.recurs { Deactivation::Notify } else { Deactivation::Silent };
        loaded.list_register(intid, deactivation)
    }
}

impl Vcpu {
    /// Notes what the next list register holds.
    #[inline]
    fn note(&mut self, lr: ListRegister) {
        if let Some(slot) = self.lists.get_mut(self.used) {
            *slot = lr;
            self.used += 1;
        }
    }

    /// Moves a private interrupt into a list register. `deliverable` is [`Bank::deliverable`]; `crowded`: others that are
    /// pending cannot be.
    #[inline(always)]
    fn load(&mut self, intid: IntId, deliverable: u32, version: GicVersion, crowded: bool) -> ListRegister {
        if version == GicVersion::V2 && intid.is_sgi() {
            return self.load_sourced_sgi(intid, deliverable);
        }
        let alone = crowded || self.polled & intid.bit() != 0;
        let loaded = self.private.load(intid.lane(), deliverable, alone);
        // Active and pending at once is for software's interrupts only (IHI 0069, ICH_LR<n>_EL2.State).
        let by_software = loaded.recurs || (loaded.pending && loaded.active);
        let deactivation = match self.link(intid) {
            Some(physical) if !by_software => Deactivation::Physical(physical),
            None if !loaded.recurs => Deactivation::Silent,
            _ => Deactivation::Notify,
        };
        loaded.list_register(intid, deactivation)
    }

    /// Moves an SGI of a GICv2 into a list register: one of the vCPUs it was sent by at a time.
    #[inline(never)]
    fn load_sourced_sgi(&mut self, intid: IntId, deliverable: u32) -> ListRegister {
        let (Some(sources), Some(current)) =
            (self.sgi_sources.get_mut(intid.lane()), self.sgi_current.get_mut(intid.lane()))
        else {
            return ListRegister::EMPTY;
        };
        // A list register names one source, so another has to wait until this one is through.
        let loaded = self.private.load(intid.lane(), deliverable, true);
        if loaded.pending {
            *current = sources.trailing_zeros() as u8;
            *sources &= sources.wrapping_sub(1);
        }
        let more = *sources != 0;
        if more {
            self.private.set_pending(intid.bit());
        }
        let deactivation = if more { Deactivation::Notify } else { Deactivation::Silent };
        loaded.list_register(intid, deactivation).with_source(*current)
    }

    /// Takes back what the guest left of a private interrupt.
    #[inline]
    fn settle(&mut self, intid: IntId, lr: ListRegister, version: GicVersion) {
        let bit = intid.bit();
        self.private.settle(bit, lr);
        if lr.is_pending() && version == GicVersion::V2 && intid.is_sgi() {
            self.settle_sourced_sgi(intid);
        }
        if self.links & bit != 0 {
            let by_hardware = lr.is_empty() && matches!(lr.deactivation(), Deactivation::Physical(_));
            if !by_hardware {
                self.release |= bit & !self.private.held();
            }
        }
    }

    /// Takes back the source of an SGI of a GICv2 that the guest has yet to acknowledge.
    #[inline(never)]
    fn settle_sourced_sgi(&mut self, intid: IntId) {
        if let (Some(sources), Some(current)) =
            (self.sgi_sources.get_mut(intid.lane()), self.sgi_current.get(intid.lane()))
        {
            *sources |= 1u8.unbounded_shl(u32::from(*current));
        }
    }
}
