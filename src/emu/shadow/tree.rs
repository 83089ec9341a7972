//! One half of an address space: four levels of tables, pages of 4 KiB at the last.

use super::descriptor::{Descriptor, Entry};
use super::pool::{ENTRIES, EntryId, Pool, TableId};

/// The last level.
const LEAF: u32 = 3;
/// The level 0 entry of the low half's root, behind the guest's own, that leads to the engine.
const ENGINE: usize = ENTRIES / 2;

/// Which half of a guest's addresses: those of 48 bits, sign-extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Below 2^47: TTBR0.
    Low,
    /// From -2^47 on: TTBR1.
    High,
}

impl Half {
    /// Where `address` is; `None` if it is in neither.
    pub const fn of(address: u64) -> Option<Self> {
        match address.cast_signed() >> 47 {
            0 => Some(Self::Low),
            -1 => Some(Self::High),
            _ => None,
        }
    }
}

/// What [`Tree::forget_page`] has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// Nothing was there.
    Nothing,
    /// The page.
    Page,
    /// All pages of the superpage that it was of, and their tables.
    Superpage,
}

/// The tables of one half. The caller invalidates the TLB after what it removes.
#[derive(Debug)]
pub struct Tree {
    root: TableId,
}

impl Tree {
    /// The low half without pages; `engine` is the entry behind it.
    pub fn low(pool: &mut Pool, engine: Descriptor) -> Option<Self> {
        let root = pool.take()?;
        pool.tables().entry(root.entry(ENGINE)).set(engine);
        Some(Self { root })
    }

    /// The high half without pages.
    pub fn high(pool: &mut Pool) -> Option<Self> {
        pool.take().map(|root| Self { root })
    }

    /// Where the table walker starts.
    pub fn physical(&self, pool: &Pool) -> u64 {
        pool.tables().physical(self.root)
    }

    /// The entry for the page of `address`, which lies in a superpage of the guest of `superpage`: 0 for 4 KiB, 1 for 2 MiB.
    /// `None` if there are no tables left.
    pub fn entry(&self, pool: &mut Pool, address: u64, superpage: u32) -> Option<EntryId> {
        let mut table = self.root;
        for level in 0..LEAF {
            let entry = table.entry(index(address, level));
            let mut descriptor = pool.tables().entry(entry).get();
            table = match pool.tables().below(descriptor) {
                Some(below) => below,
                None => {
                    let below = pool.take()?;
                    descriptor = Descriptor::table(pool.tables().physical(below));
                    pool.tables().entry(entry).set(descriptor);
                    below
                }
            };
            if level + superpage == LEAF && !descriptor.is_superpage() {
                pool.tables().entry(entry).set(descriptor.superpage());
            }
        }
        Some(table.entry(index(address, LEAF)))
    }

    /// Removes the page of `address`, together with the superpage that it is of.
    pub fn forget_page(&self, pool: &mut Pool, address: u64) -> Forgotten {
        let mut table = self.root;
        for level in 0..LEAF {
            let place = pool.tables().entry(table.entry(index(address, level)));
            let descriptor = place.get();
            let Some(below) = pool.tables().below(descriptor) else { return Forgotten::Nothing };
            if descriptor.is_superpage() {
                place.set(Descriptor::NONE);
                free(pool, below, level + 1);
                return Forgotten::Superpage;
            }
            table = below;
        }
        let place = pool.tables().entry(table.entry(index(address, LEAF)));
        if place.get().is_valid() && place.invalidate().is_valid() {
            Forgotten::Page
        } else {
            Forgotten::Nothing
        }
    }

    /// Removes all pages.
    pub fn clear(&self, pool: &mut Pool) {
        clear(pool, self.root, 0);
    }

    /// Removes all pages and itself.
    pub fn free(self, pool: &mut Pool) {
        self.clear(pool);
        pool.tables().entry(self.root.entry(ENGINE)).set(Descriptor::NONE);
        pool.give_back(self.root);
    }
}

/// Which entry of a table of `level` is for `address`.
const fn index(address: u64, level: u32) -> usize {
    (address >> (39 - 9 * level)) as usize % ENTRIES
}

/// Frees what the entries of a table lead to, and makes them invalid. The engine's entry leads to no table of a pool.
fn clear(pool: &mut Pool, table: TableId, level: u32) {
    if level == LEAF {
        return pool.code().clear(table);
    }
    for index in 0..ENTRIES {
        let place: &Entry = pool.tables().entry(table.entry(index));
        if let Some(below) = pool.tables().below(place.get()) {
            place.set(Descriptor::NONE);
            free(pool, below, level + 1);
        }
    }
}

fn free(pool: &mut Pool, table: TableId, level: u32) {
    clear(pool, table, level);
    pool.give_back(table);
}
