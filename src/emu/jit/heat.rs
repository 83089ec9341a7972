//! Pages whose code changes too often to be worth translating.

use alloc::collections::BTreeMap;

/// How many guest instructions may pass between two changes for the second one to count.
const SOON: u64 = 1 << 20;
/// After how many such changes a page is left to the interpreter.
const MAX_CHANGES: u32 = 8;
/// For how many guest instructions.
const REST: u64 = 1 << 22;
/// How many pages are remembered.
const MAX_PAGES: usize = 4096;

/// What is remembered of pages that have been changed.
#[derive(Debug, Default)]
pub struct Heat(BTreeMap<u64, Changes>);

#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    /// How many came soon after another.
    count: u32,
    /// When the last one was, in guest instructions of the hart that made it.
    last: u64,
}

impl Heat {
    /// The page of `address` has been changed.
    pub fn add(&mut self, address: u64, time: u64) {
        if self.0.len() >= MAX_PAGES {
            self.0.clear();
        }
        let changes = self.0.entry(address >> 12).or_default();
        let soon = time.wrapping_sub(changes.last) < SOON;
        changes.count = if soon { changes.count.saturating_add(1) } else { 0 };
        changes.last = time;
    }

    /// Whether the page of `address` is to be left to the interpreter.
    pub fn is_hot(&self, address: u64, time: u64) -> bool {
        self.0
            .get(&(address >> 12))
            .is_some_and(|changes| changes.count >= MAX_CHANGES && time.wrapping_sub(changes.last) < REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_changes_again_and_again_rests_for_a_while() {
        let mut heat = Heat::default();
        (0..=u64::from(MAX_CHANGES)).for_each(|time| heat.add(0x1234, SOON + time));
        let last = SOON + u64::from(MAX_CHANGES);
        assert!(heat.is_hot(0x1000, last) && !heat.is_hot(0x2000, last));
        assert!(!heat.is_hot(0x1000, last + REST));
    }

    #[test]
    fn changes_far_apart_do_not_add_up() {
        let mut heat = Heat::default();
        (1..100).for_each(|time| heat.add(0, time * SOON));
        assert!(!heat.is_hot(0, 100 * SOON));
    }
}
