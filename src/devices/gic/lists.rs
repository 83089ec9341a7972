//! Between the model and the list registers: `fold` and `fill`.

use core::mem;

use bitflags::bitflags;

use super::{
    CpuInterface, GicVersion, IntId, MAX_LIST_REGISTERS, VcpuSet, Vgic,
    bank::{Groups, Ones},
    lr::{Deactivation, ListRegister},
    state::Vcpu,
};

bitflags! {
    /// Which maintenance interrupts to enable, as the bits of `ICH_HCR_EL2` (IHI 0069, 12.4.6) and `GICH_HCR` (IHI 0048B,
    /// 5.3.2), where they are the same.
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
    /// An active interrupt is in no list register: while `EOImode` is 1, writes to `ICC_DIR_EL1` (`ICH_HCR_EL2.TDIR`) or
    /// `GICC_DIR` (its page) have to be trapped and given to [`Vgic::deactivate`], because the hardware would only count them.
    pub trap_deactivate: bool,
    /// Linked PPIs (a bit for each INTID) whose physical interrupts must now be deactivated, as the guest will not.
    pub release: u32,
}

/// The interrupts that want one of the list registers of a vCPU.
struct Candidates<'a> {
    /// The rest of the current word.
    lanes: Ones,
    word: usize,
    /// The rest of the SPIs.
    words: Ones,
    spis: &'a [u32],
}

impl<'a> Candidates<'a> {
    fn new(cpu: &'a Vcpu, groups: Groups) -> Self {
        let private = cpu.private.active | cpu.private.deliverable(groups);
        Self { lanes: Ones(private), word: 0, words: Ones(cpu.spi_words), spis: &cpu.spis }
    }
}

impl Iterator for Candidates<'_> {
    type Item = IntId;

    fn next(&mut self) -> Option<IntId> {
        loop {
            if let Some(lane) = self.lanes.next() {
                return Some(IntId::at(self.word, lane));
            }
            let bank = self.words.next()?;
            self.word = bank + 1;
            self.lanes = Ones(self.spis.get(bank).copied().unwrap_or_default());
        }
    }
}

/// The best candidates for a limited number of list registers. A candidate's key orders by rank, then priority, then INTID.
struct Shortlist {
    keys: [u32; MAX_LIST_REGISTERS],
    limit: usize,
}

/// How much a candidate needs a list register, most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Next,
    Active,
    Pending,
    /// Pending, but the guest's CPU interface has its group disabled.
    Muted,
}

impl Shortlist {
    const NONE: u32 = u32::MAX;

    fn key(rank: Rank, priority: u8, intid: IntId) -> u32 {
        (rank as u32) << 24 | u32::from(priority) << 16 | u32::from(intid.number())
    }

    fn offer(&mut self, key: u32) {
        let at = self.keys.partition_point(|&better| better < key);
        if let Some(worse) = self.keys.get_mut(at..self.limit) {
            worse.rotate_right(1);
            if let Some(slot) = worse.first_mut() {
                *slot = key;
            }
        }
    }

    fn contains(&self, key: u32) -> bool {
        self.keys.binary_search(&key).is_ok()
    }

    fn intids(&self) -> impl Iterator<Item = IntId> {
        self.keys.iter().filter(|&&key| key != Self::NONE).map(|&key| IntId::at(0, usize::from(key as u16)))
    }
}

impl Vgic {
    /// Takes back what the guest made of the list registers of `vcpu`. `read(n)` is list register `n`, for as many as the last
    /// `fill` used. `eoi_count` is `EOIcount` of `ICH_HCR_EL2` or `GICH_HCR`, but 0 while the guest's
    /// `EOImode` is 1: then it may include mere priority drops, and deactivations are trapped.
    ///
    /// Folding a vCPU that is not loaded changes nothing. Returns which *other* vCPUs are concerned.
    pub fn fold(
        &mut self,
        vcpu: usize,
        eoi_count: u32,
        mut read: impl FnMut(usize) -> ListRegister,
    ) -> VcpuSet {
        let mut concerned = VcpuSet::EMPTY;
        // First, because those that are still active afterwards are then in the same place.
        for _ in 0..eoi_count {
            concerned |= self.end_unlisted(vcpu);
        }
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        let slots = cpu.slots;
        for (n, intid) in slots.into_iter().take(mem::take(&mut cpu.used)).enumerate() {
            let lr = read(n);
            if let Some(bank) = intid.word().checked_sub(1) {
                if let Some(spi) = self.spis.get_mut(bank) {
                    spi.bank.settle(intid.bit(), lr);
                    concerned |= self.refresh(bank, intid.bit());
                }
            } else if let Some(cpu) = self.vcpus.get_mut(vcpu) {
                cpu.settle(intid, lr, self.version);
            }
        }
        concerned.without(vcpu)
    }

    /// Chooses what goes into the list registers of `vcpu`, which must be folded, and calls `write` with the number and
    /// value of each that is used. `interface` is asked for only if there are more interrupts than list registers.
    pub fn fill(
        &mut self,
        vcpu: usize,
        interface: impl FnOnce() -> CpuInterface,
        mut write: impl FnMut(usize, ListRegister),
    ) -> Fill {
        let groups = self.groups;
        let limit = self.list_registers;
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return Fill::default() };
        let mut fill = Fill { release: mem::take(&mut cpu.release), ..Fill::default() };
        let mut chosen = [IntId::default(); MAX_LIST_REGISTERS];
        let mut candidates = Candidates::new(cpu, groups);
        for (slot, intid) in chosen.iter_mut().zip(candidates.by_ref().take(limit)) {
            *slot = intid;
            fill.used += 1;
        }
        if candidates.next().is_some() {
            let best = self.shortlist(vcpu, interface(), &mut fill);
            for (slot, intid) in chosen.iter_mut().zip(best.intids()) {
                *slot = intid;
            }
        }
        for (n, intid) in chosen.into_iter().take(fill.used).enumerate() {
            write(n, self.load(vcpu, intid));
        }
        if let Some(cpu) = self.vcpus.get_mut(vcpu) {
            cpu.slots = chosen;
            cpu.used = fill.used;
        }
        fill
    }

    /// The candidates that need a list register most, where there are too many, and in `fill` what that entails.
    fn shortlist(&self, vcpu: usize, interface: CpuInterface, fill: &mut Fill) -> Shortlist {
        let mut best = Shortlist { keys: [Shortlist::NONE; MAX_LIST_REGISTERS], limit: self.list_registers };
        let Some(cpu) = self.vcpus.get(vcpu) else { return best };
        let ranked = || {
            Candidates::new(cpu, self.groups).filter_map(|intid| {
                let bank = self.bank(vcpu, intid.word())?;
                let group1 = bank.group1 & intid.bit() != 0;
                let rank = if bank.active & intid.bit() != 0 {
                    Rank::Active
                } else if if group1 { interface.group1 } else { interface.group0 } {
                    Rank::Pending
                } else {
                    Rank::Muted
                };
                Some((rank, group1, bank.current_priority(intid.lane()), intid))
            })
        };
        let next = ranked()
            .filter(|&(rank, ..)| rank == Rank::Pending)
            .map(|(_, _, priority, intid)| (priority, intid))
            .min();
        let key = |(rank, _, priority, intid)| {
            let rank = if next == Some((priority, intid)) { Rank::Next } else { rank };
            Shortlist::key(rank, priority, intid)
        };
        ranked().for_each(|candidate| best.offer(key(candidate)));

        let mut pending_groups = Maintenance::empty();
        for candidate in ranked() {
            let (rank, group1, ..) = candidate;
            let left_out = !best.contains(key(candidate));
            match rank {
                Rank::Active => fill.trap_deactivate |= left_out,
                Rank::Muted if left_out => fill.maintenance |= group_enabled(group1),
                Rank::Pending => {
                    pending_groups |= group_disabled(group1);
                    if left_out {
                        fill.maintenance |= Maintenance::NO_PENDING;
                    }
                }
                _ => {}
            }
        }
        if fill.trap_deactivate {
            fill.maintenance |= Maintenance::ENTRY_NOT_PRESENT;
        }
        // Where both groups wait, disabling the one that has the list registers lets the other pass.
        let both = Maintenance::GROUP0_DISABLED | Maintenance::GROUP1_DISABLED;
        if fill.maintenance.contains(Maintenance::NO_PENDING) && pending_groups == both {
            fill.maintenance |= both;
        }
        best
    }

    /// Moves one interrupt into a list register.
    fn load(&mut self, vcpu: usize, intid: IntId) -> ListRegister {
        let groups = self.groups;
        if let Some(bank) = intid.word().checked_sub(1) {
            let Some(spi) = self.spis.get_mut(bank) else { return ListRegister::EMPTY };
            let loaded = spi.bank.load(intid.lane(), groups);
            let deactivation = if loaded.recurs { Deactivation::Notify } else { Deactivation::Silent };
            return loaded.list_register(intid, deactivation);
        }
        match self.vcpus.get_mut(vcpu) {
            Some(cpu) if self.version == GicVersion::V2 && intid.is_sgi() => {
                cpu.load_sourced_sgi(intid, groups)
            }
            Some(cpu) => cpu.load(intid, groups),
            None => ListRegister::EMPTY,
        }
    }

    /// The guest ended an active interrupt of `vcpu` that is in no list register. Which one follows from the order in which a
    /// guest has to end them: the most urgent first.
    fn end_unlisted(&mut self, vcpu: usize) -> VcpuSet {
        let Some(cpu) = self.vcpus.get(vcpu) else { return VcpuSet::EMPTY };
        let ended = Candidates::new(cpu, self.groups)
            .filter_map(|intid| {
                let bank = self.bank(vcpu, intid.word())?;
                let unlisted = bank.active & !bank.loaded() & intid.bit() != 0;
                unlisted.then(|| (bank.current_priority(intid.lane()), intid))
            })
            .min();
        match ended {
            Some((_, intid)) => self.deactivate(vcpu, intid),
            None => VcpuSet::EMPTY,
        }
    }
}

impl Vcpu {
    /// Moves a PPI, or an SGI of a GICv3, into a list register.
    fn load(&mut self, intid: IntId, groups: Groups) -> ListRegister {
        let loaded = self.private.load(intid.lane(), groups);
        let linked = self.links & intid.bit() != 0;
        let physical = self.physical.get(intid.lane()).copied();
        let deactivation = match physical {
            // Active and pending at once is for software's interrupts only (IHI 0069, ICH_LR<n>_EL2.State).
            Some(physical) if linked && !(loaded.pending && loaded.active) => {
                Deactivation::Physical(physical)
            }
            _ if linked || loaded.recurs => Deactivation::Notify,
            _ => Deactivation::Silent,
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
        // A list register names one source, so the next has to wait until this one is through.
        let active = self.private.active & intid.bit() != 0;
        let loaded = self.private.load(intid.lane(), if active { Groups::default() } else { groups });
        if !active {
            *current = sources.trailing_zeros() as u8;
            *sources &= sources.wrapping_sub(1);
            if *sources != 0 {
                self.private.set_pending(intid.bit());
            }
        }
        let more = self.private.deliverable(groups) & intid.bit() != 0;
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

const fn group_enabled(group1: bool) -> Maintenance {
    if group1 { Maintenance::GROUP1_ENABLED } else { Maintenance::GROUP0_ENABLED }
}

const fn group_disabled(group1: bool) -> Maintenance {
    if group1 { Maintenance::GROUP1_DISABLED } else { Maintenance::GROUP0_DISABLED }
}
