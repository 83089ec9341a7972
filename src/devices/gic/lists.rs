//! Between the model and the list registers: `fold` and `fill`.

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
        match self.vcpus.get_mut(vcpu) {
            Some(cpu) if cpu.used != 0 || cpu.left_active != 0 => self.fold_loaded(vcpu, eoi_count, read),
            _ => VcpuSet::EMPTY,
        }
    }

    /// [`Vgic::fold`] of a vCPU that is loaded.
    fn fold_loaded(
        &mut self,
        vcpu: usize,
        eoi_count: impl FnOnce() -> u32,
        mut read: impl FnMut(usize) -> ListRegister,
    ) -> VcpuSet {
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        let (used, left_active) = (mem::take(&mut cpu.used), mem::take(&mut cpu.left_active));
        let mut concerned = VcpuSet::EMPTY;
        if left_active != 0 {
            // First, because those that are still active afterwards are then in the same place. More ends than were
            // left out are of interrupts that were not active at all, which the hardware counts as well.
            for _ in 0..eoi_count().min(left_active) {
                if let Some(intid) = self.first_unlisted(vcpu) {
                    concerned |= self.deactivate(vcpu, intid);
                }
            }
        }
        for n in 0..used {
            let lr = read(n);
            let Some(cpu) = self.vcpus.get_mut(vcpu) else { break };
            let Some(&intid) = cpu.slots.get(n) else { break };
            if cpu.offered >> n & 1 != 0 && !lr.is_pending() {
                cpu.taken = cpu.taken.wrapping_add(1);
            }
            if let Some(bank) = intid.word().checked_sub(1) {
                if let Some(spi) = self.spis.get_mut(bank) {
                    spi.bank.settle(intid.bit(), lr);
                    concerned |= self.refresh(bank, intid.bit());
                }
            } else {
                cpu.settle(intid, lr, self.version);
            }
        }
        concerned.without(vcpu)
    }

    /// Chooses what goes into the list registers of `vcpu`, which must be folded, and calls `write` with the
    /// number and value of each that is used. `interface` is asked for only if there are more interrupts than
    /// list registers.
    pub fn fill(
        &mut self,
        vcpu: usize,
        interface: impl FnOnce() -> CpuInterface,
        mut write: impl FnMut(usize, ListRegister),
    ) -> Fill {
        let Self { vcpus, spis, groups, version, list_registers, .. } = self;
        let Some(cpu) = vcpus.get_mut(vcpu) else { return Fill::default() };
        let private = cpu.private_candidates(*groups);
        if cpu.candidates(private) > *list_registers {
            return self.fill_crowded(vcpu, interface(), write);
        }
        let mut used = 0;
        for lane in Ones(private) {
            let intid = IntId::at(0, lane);
            let lr = cpu.load(intid, *groups, *version, false);
            write(used, lr);
            cpu.occupy(&mut used, intid, lr);
        }
        for bank in Ones(cpu.spi_words) {
            let (Some(&mine), Some(spi)) = (cpu.spis.get(bank), spis.get_mut(bank)) else { continue };
            for lane in Ones(mine) {
                let intid = IntId::at(bank + 1, lane);
                let lr = spi.load(intid, *groups, vcpu, false);
                write(used, lr);
                cpu.occupy(&mut used, intid, lr);
            }
        }
        cpu.used = used;
        Fill { used, release: mem::take(&mut cpu.release), ..Fill::default() }
    }

    /// `fill` where there are more interrupts than list registers.
    #[cold]
    fn fill_crowded(
        &mut self,
        vcpu: usize,
        interface: CpuInterface,
        mut write: impl FnMut(usize, ListRegister),
    ) -> Fill {
        let choice = self.choose(vcpu, interface);
        let mut fill = Fill {
            maintenance: choice.maintenance,
            trap_deactivate: choice.left_active > 0,
            ..Fill::default()
        };
        for intid in choice.intids() {
            let Self { vcpus, spis, groups, version, .. } = self;
            let Some(cpu) = vcpus.get_mut(vcpu) else { break };
            let lr = match intid.word().checked_sub(1) {
                None => cpu.load(intid, *groups, *version, true),
                Some(bank) => match spis.get_mut(bank) {
                    Some(spi) => spi.load(intid, *groups, vcpu, true),
                    None => break,
                },
            };
            write(fill.used, lr);
            cpu.occupy(&mut fill.used, intid, lr);
        }
        if let Some(cpu) = self.vcpus.get_mut(vcpu) {
            cpu.used = fill.used;
            cpu.left_active = choice.left_active;
            fill.release = mem::take(&mut cpu.release);
        }
        fill
    }
}

impl SpiBank {
    /// Moves an SPI into a list register of `vcpu`. `crowded`: others that are pending cannot be.
    fn load(&mut self, intid: IntId, groups: Groups, vcpu: usize, crowded: bool) -> ListRegister {
        // Its next delivery may be another vCPU's, once this one has deactivated it.
        let alone = crowded || self.target(intid.lane()) != Some(vcpu);
        let loaded = self.bank.load(intid.lane(), groups, alone);
        let deactivation = if loaded.recurs { Deactivation::Notify } else { Deactivation::Silent };
        loaded.list_register(intid, deactivation)
    }
}

impl Vcpu {
    /// How many interrupts want a list register, when these private ones do.
    fn candidates(&self, private: u32) -> usize {
        let spis = Ones(self.spi_words).filter_map(|bank| self.spis.get(bank));
        spis.fold(private.count_ones(), |sum, word| sum + word.count_ones()) as usize
    }

    /// Notes that the next list register holds this.
    fn occupy(&mut self, used: &mut usize, intid: IntId, lr: ListRegister) {
        if let Some(slot) = self.slots.get_mut(*used) {
            *slot = intid;
            self.offered = self.offered & !(1 << *used) | u16::from(lr.is_pending()) << *used;
            *used += 1;
        }
    }

    /// Moves a private interrupt into a list register. `crowded`: others that are pending cannot be.
    fn load(&mut self, intid: IntId, groups: Groups, version: GicVersion, crowded: bool) -> ListRegister {
        if version == GicVersion::V2 && intid.is_sgi() {
            return self.load_sourced_sgi(intid, groups);
        }
        let alone = crowded || self.polled & intid.bit() != 0;
        let loaded = self.private.load(intid.lane(), groups, alone);
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
    fn load_sourced_sgi(&mut self, intid: IntId, groups: Groups) -> ListRegister {
        let (Some(sources), Some(current)) =
            (self.sgi_sources.get_mut(intid.lane()), self.sgi_current.get_mut(intid.lane()))
        else {
            return ListRegister::EMPTY;
        };
        // A list register names one source, so another has to wait until this one is through.
        let loaded = self.private.load(intid.lane(), groups, true);
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
    fn settle(&mut self, intid: IntId, lr: ListRegister, version: GicVersion) {
        let bit = intid.bit();
        self.private.settle(bit, lr);
        if version == GicVersion::V2
            && intid.is_sgi()
            && lr.is_pending()
            && let (Some(sources), Some(current)) =
                (self.sgi_sources.get_mut(intid.lane()), self.sgi_current.get(intid.lane()))
        {
            *sources |= 1u8.unbounded_shl(u32::from(*current));
        }
        let by_hardware = lr.is_empty() && matches!(lr.deactivation(), Deactivation::Physical(_));
        if !by_hardware {
            self.release |= self.links & bit & !self.private.held();
        }
    }
}
