//! Which interrupts get the list registers of a vCPU.

use core::mem;

use super::{
    CpuInterface, IntId, MAX_LIST_REGISTERS, Maintenance, Vgic,
    bank::{Groups, Ones},
    state::Vcpu,
};

/// The interrupts that want one of the list registers of a vCPU, by INTID.
pub(super) struct Candidates<'a> {
    /// The rest of the current word.
    lanes: Ones,
    word: usize,
    /// The rest of the SPIs.
    banks: Ones,
    spis: &'a [u32],
}

impl<'a> Candidates<'a> {
    pub fn new(cpu: &'a Vcpu, groups: Groups) -> Self {
        Self {
            lanes: Ones(cpu.private.active | cpu.private.deliverable(groups)),
            word: 0,
            banks: Ones(cpu.spi_words),
            spis: &cpu.spis,
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = IntId;

    fn next(&mut self) -> Option<IntId> {
        loop {
            if let Some(lane) = self.lanes.next() {
                return Some(IntId::at(self.word, lane));
            }
            let bank = self.banks.next()?;
            self.word = bank + 1;
            self.lanes = Ones(self.spis.get(bank).copied().unwrap_or_default());
        }
    }
}

/// How much a candidate needs a list register, most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The most urgent pending one.
    Next,
    Active,
    Pending,
    /// Pending, but the guest's CPU interface has its group disabled.
    Muted,
}

/// A candidate with all that its choice depends on, in the order in which they are chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    rank: Rank,
    priority: u8,
    intid: IntId,
    group1: bool,
}

/// The best candidates for a limited number of list registers, and what follows for those left out.
pub(super) struct Choice {
    best: [Option<Ranked>; MAX_LIST_REGISTERS],
    limit: usize,
    /// Which maintenance interrupts are needed to bring the others in.
    pub maintenance: Maintenance,
    /// How many active interrupts were left out.
    pub left_active: u32,
}

impl Choice {
    /// What was chosen.
    pub fn intids(&self) -> impl Iterator<Item = IntId> {
        self.best.iter().flatten().map(|candidate| candidate.intid)
    }

    /// Puts a candidate in its place, at the expense of the worst.
    fn offer(&mut self, candidate: Ranked) {
        let mut falling = Some(candidate);
        for slot in self.best.iter_mut().take(self.limit) {
            if slot.is_none() || falling < *slot {
                mem::swap(slot, &mut falling);
            }
            if falling.is_none() {
                break;
            }
        }
    }

    fn contains(&self, candidate: Ranked) -> bool {
        self.best.contains(&Some(candidate))
    }
}

impl Vgic {
    /// Where there are too many, chooses those that need a list register most.
    pub(super) fn choose(&self, vcpu: usize, interface: CpuInterface) -> Choice {
        let next = self.rank(vcpu, interface).filter(|candidate| candidate.rank == Rank::Pending).min();
        let ranked = || {
            self.rank(vcpu, interface).map(|candidate| match next {
                Some(next) if next == candidate => Ranked { rank: Rank::Next, ..candidate },
                _ => candidate,
            })
        };
        let mut choice = Choice {
            best: [None; MAX_LIST_REGISTERS],
            limit: self.list_registers,
            maintenance: Maintenance::empty(),
            left_active: 0,
        };
        ranked().for_each(|candidate| choice.offer(candidate));

        let mut disabled = Maintenance::empty();
        for candidate in ranked() {
            if matches!(candidate.rank, Rank::Next | Rank::Pending) {
                disabled |= if candidate.group1 {
                    Maintenance::GROUP1_DISABLED
                } else {
                    Maintenance::GROUP0_DISABLED
                };
            }
            if !choice.contains(candidate) {
                choice.maintenance |= match candidate.rank {
                    Rank::Active => Maintenance::ENTRY_NOT_PRESENT,
                    Rank::Next | Rank::Pending => Maintenance::NO_PENDING,
                    Rank::Muted if candidate.group1 => Maintenance::GROUP1_ENABLED,
                    Rank::Muted => Maintenance::GROUP0_ENABLED,
                };
                choice.left_active += u32::from(candidate.rank == Rank::Active);
            }
        }
        // Where both groups wait, disabling the one that has the list registers lets the other pass.
        let both = Maintenance::GROUP0_DISABLED | Maintenance::GROUP1_DISABLED;
        if choice.maintenance.contains(Maintenance::NO_PENDING) && disabled == both {
            choice.maintenance |= both;
        }
        choice
    }

    fn rank(&self, vcpu: usize, interface: CpuInterface) -> impl Iterator<Item = Ranked> {
        self.candidates(vcpu).filter_map(move |intid| {
            let bank = self.bank(vcpu, intid.word())?;
            let group1 = bank.group1 & intid.bit() != 0;
            let rank = if bank.active & intid.bit() != 0 {
                Rank::Active
            } else if interface.signals(group1) {
                Rank::Pending
            } else {
                Rank::Muted
            };
            Some(Ranked { rank, priority: bank.current_priority(intid.lane()), intid, group1 })
        })
    }

    /// Of the active interrupts of `vcpu` that are in no list register, the one that the guest ends first:
    /// the order in which it has to end them is from the most urgent to the least.
    pub(super) fn first_unlisted(&self, vcpu: usize) -> Option<IntId> {
        let unlisted = self.candidates(vcpu).filter_map(|intid| {
            let bank = self.bank(vcpu, intid.word())?;
            let unlisted = bank.active & !bank.loaded() & intid.bit() != 0;
            unlisted.then(|| (bank.current_priority(intid.lane()), intid))
        });
        unlisted.min().map(|(_, intid)| intid)
    }

    fn candidates(&self, vcpu: usize) -> impl Iterator<Item = IntId> {
        self.vcpus.get(vcpu).into_iter().flat_map(|cpu| Candidates::new(cpu, self.groups))
    }
}
