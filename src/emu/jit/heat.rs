//! Code that changes too often to be worth translating.

use crate::places::Places;

/// How many guest instructions may pass between two changes for the second one to count.
const SOON: u64 = 1 << 20;
/// After how many such changes code is left to the interpreter.
const MAX_CHANGES: u32 = 8;
/// For how many guest instructions.
const REST: u64 = 1 << 22;
/// How many single stores to a page are watched before the whole page is taken for changed: a kernel patches instructions here
/// and there, a page that becomes another one is stored to all over.
const MAX_STORES: u32 = 64;
/// How many places are remembered.
const MAX_PLACES: usize = 4096;

/// What has been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The page of a guest-physical address.
    Page(u64),
    /// A block that starts at this one.
    Block(u64),
}

impl Place {
    /// The page that it is on.
    const fn page(self) -> Self {
        match self {
            Self::Page(address) | Self::Block(address) => Self::Page(address),
        }
    }

    const fn key(self) -> (u64, u32) {
        match self {
            Self::Page(address) => (address & !0xfff, 0),
            Self::Block(address) => (address, 1),
        }
    }
}

/// What is remembered of code that has been changed.
#[derive(Debug, Default)]
pub struct Heat(Places<Changes>);

#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    /// How many came soon after another.
    count: u32,
    /// When the last one was, in guest instructions of the hart that made it.
    last: u64,
    /// Of a page: how many stores have been watched since the last change.
    stores: u32,
}

impl Heat {
    fn changes(&mut self, place: Place) -> &mut Changes {
        if self.0.len() >= MAX_PLACES {
            self.0.clear();
        }
        self.0.get_or_insert(place.key(), Changes::default())
    }

    /// The place has been changed. Its page is remembered, too: so code on a page that is not has no place that is hot.
    pub fn add(&mut self, place: Place, time: u64) {
        self.changes(place.page());
        let changes = self.changes(place);
        let soon = time.wrapping_sub(changes.last) < SOON;
        let count = if soon { changes.count.saturating_add(1) } else { 0 };
        *changes = Changes { count, last: time, stores: 0 };
    }

    /// Something is stored to the page of `address`: whether that concerns what is stored to, and not the whole page.
    pub fn watches(&mut self, address: u64) -> bool {
        let changes = self.changes(Place::Page(address));
        changes.stores += 1;
        changes.stores <= MAX_STORES
    }

    /// Whether a block at `address` is to be left to the interpreter.
    pub fn is_hot(&self, address: u64, time: u64) -> bool {
        let is_hot =
            |changes: &Changes| changes.count >= MAX_CHANGES && time.wrapping_sub(changes.last) < REST;
        let of = |place: Place| self.0.get(place.key());
        of(Place::Page(address))
            .is_some_and(|page| is_hot(page) || of(Place::Block(address)).is_some_and(is_hot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_again_and_again_rests_for_a_while() {
        for (place, neighbour) in [(Place::Page(0x1234), true), (Place::Block(0x1000), false)] {
            let mut heat = Heat::default();
            (0..=u64::from(MAX_CHANGES)).for_each(|time| heat.add(place, SOON + time));
            let last = SOON + u64::from(MAX_CHANGES);
            assert!(heat.is_hot(0x1000, last) && !heat.is_hot(0x2000, last));
            assert_eq!(heat.is_hot(0x1002, last), neighbour);
            assert!(!heat.is_hot(0x1000, last + REST));
        }
    }

    #[test]
    fn changes_far_apart_do_not_add_up() {
        let mut heat = Heat::default();
        (1..100).for_each(|time| heat.add(Place::Page(0), time * SOON));
        assert!(!heat.is_hot(0, 100 * SOON));
    }

    #[test]
    fn a_page_that_is_stored_to_all_over_is_changed_as_a_whole() {
        let mut heat = Heat::default();
        for _ in 0..2 {
            assert!((0..u64::from(MAX_STORES)).all(|store| heat.watches(0x1000 + 8 * store)));
            assert!(!heat.watches(0x1ff8) && heat.watches(0x2000));
            heat.add(Place::Page(0x1000), 0);
        }
    }
}
