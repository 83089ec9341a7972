//! The address spaces of the guest that a hart has tables for, with their views.

use super::asids::Asid;
use super::tree::Tree;

/// How many address spaces a hart has tables for at the same time.
pub const SLOTS: usize = 24;
/// How many views of an address space can have pages: user, supervisor without and with SUM, machine.
pub const VIEWS: usize = 4;

/// Whether a view shows a supervisor's pages: what the guest maps globally is the same in both, and in all address spaces.
pub const fn is_supervisor(view: usize) -> bool {
    matches!(view, 1 | 2)
}

/// The guest's name of an address space: as in `satp`, bits 59:44 of the value that stands for it.
pub const fn guest_asid(space: u64) -> u16 {
    (space >> 44) as u16
}

/// What one view of an address space has. Nothing at first.
#[derive(Debug, Default)]
pub struct View {
    /// Its name for the TLB, which holds nothing of the view while there is none.
    pub asid: Option<Asid>,
    /// Its low half.
    pub low: Option<Tree>,
    /// Its high half, if that has pages which are not in the tree of global pages.
    pub high: Option<Tree>,
}

/// An address space.
#[derive(Debug)]
pub struct Space {
    /// What the front end calls it.
    pub key: u64,
    /// When it was last entered.
    used: u64,
    /// Its supervisor views have high halves of their own.
    pub separate: bool,
    /// Its views.
    pub views: [View; VIEWS],
}

/// The address spaces.
#[derive(Debug)]
pub struct Slots {
    spaces: [Option<Space>; SLOTS],
    /// How often one has been entered.
    clock: u64,
    /// Which one was entered last.
    last: usize,
}

impl Slots {
    pub const fn new() -> Self {
        Self { spaces: [const { None }; SLOTS], clock: 0, last: 0 }
    }

    /// The slot of the address space `key`, if it has one.
    pub fn find(&self, key: u64) -> Option<usize> {
        let is_it = |&slot: &usize| self.get(slot).is_some_and(|space| space.key == key);
        Some(self.last).filter(is_it).or_else(|| (0..SLOTS).find(is_it))
    }

    /// A slot that is free.
    pub fn free(&self) -> Option<usize> {
        self.spaces.iter().position(Option::is_none)
    }

    /// The slot other than `except` that has not been entered for longest.
    pub fn least_recently_used(&self, except: Option<usize>) -> Option<usize> {
        let used = |slot: usize| self.get(slot).map(|space| (space.used, slot));
        let (_, slot) = (0..SLOTS).filter(|&slot| Some(slot) != except).filter_map(used).min()?;
        Some(slot)
    }

    /// Makes `slot` the address space `key`, without pages if it was not that before.
    pub fn enter(&mut self, slot: usize, key: u64) {
        self.clock += 1;
        self.last = slot;
        let Some(place) = self.spaces.get_mut(slot) else { return };
        match place {
            Some(space) if space.key == key => space.used = self.clock,
            _ => *place = Some(Space { key, used: self.clock, separate: false, views: Default::default() }),
        }
    }

    /// Frees a slot.
    pub fn take(&mut self, slot: usize) -> Option<Space> {
        self.spaces.get_mut(slot)?.take()
    }

    pub fn get(&self, slot: usize) -> Option<&Space> {
        self.spaces.get(slot)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Space> {
        self.spaces.get_mut(slot)?.as_mut()
    }

    /// All address spaces that have a slot.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Space> {
        self.spaces.iter_mut().flatten()
    }
}
