//! Jump tables: where jumps lead that cannot be linked, by guest-virtual address.
//!
//! Translated code reads them itself, through a register that points into the table of the current address space. A table
//! has two parts. *Slots* are for known targets on other pages: each target has a number of its own, so its slot needs no
//! tag. Below them, the *indirect part* is a direct-mapped cache by address, with tags. What a slot or a tag does not know
//! leads to the runtime.
//!
//! A hart writes only its own tables, holding the cache; whoever invalidates a block clears entries in the tables of all
//! harts. A hart that has just read an entry may still enter the block: that is as if it had been there before.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::boxed;
use crate::hash;
use crate::interp::{Flush, Superpages};

/// How many slots a table has: as many as an offset of 12 bits reaches.
pub const SLOTS: usize = 4096;
/// How many entries the indirect part has. Bits 1 to 15 of the address select one: two that many jumps lead to should
/// not meet in one entry.
const INDIRECT: usize = 32768;
/// Bit 0 of the address, which jumps ignore, selects the word in front of a tag: that of another entry's code, which is no odd
/// address. In front of the last tag, there are words for that.
const GUARD: usize = 2;
/// Words of a table.
const WORDS: usize = GUARD + 2 * INDIRECT + SLOTS;
/// How many tables each hart has: as many as are just below 8 MiB, for an allocator of powers of two.
const TABLES: usize = 15;
/// The tag of an empty entry: with an even address, it is compared with none that is odd.
const NO_TAG: u64 = 1;

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableKey {
    /// The context of the blocks.
    pub context: u32,
    /// The address space, or [`SHARED`].
    pub space: u64,
}

/// For code that lies at the same place in all address spaces.
pub const SHARED: u64 = u64::MAX;

/// The memory of one hart's tables.
#[derive(Debug)]
pub struct Memory(Box<[AtomicU64]>);

impl Memory {
    /// Tables in which everything leads to `miss`.
    pub fn new(miss: u64) -> Self {
        let word = |index: usize| match index % WORDS {
            word if is_tag(word) => AtomicU64::new(NO_TAG),
            _ => AtomicU64::new(miss),
        };
        Self((0..TABLES * WORDS).map(word).collect())
    }

    /// Makes every entry for a block lead to `miss`: the block at `pc`, with this slot if its address has one, and this entry.
    pub fn forget(&self, pc: u64, slot: Option<u32>, entry: u64, miss: u64) {
        for table in 0..TABLES {
            let tag = indirect(table, pc);
            if self.word(tag).is_some_and(|tag| tag.load(Relaxed) == pc) {
                self.set(tag, NO_TAG);
            }
            let Some(slot) = slot else { continue };
            let index = self::slot(table, slot);
            if self.word(index).is_some_and(|word| word.load(Relaxed) == entry) {
                self.set(index, miss);
            }
        }
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.0.get(index)
    }

    fn set(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Relaxed);
        }
    }

    /// What translated code's register holds while it uses a table.
    fn address(&self, table: usize) -> u64 {
        self.word(slot(table, 0)).map_or(0, |word| word as *const AtomicU64 as u64)
    }
}

/// The index of the word of a slot.
const fn slot(table: usize, slot: u32) -> usize {
    table * WORDS + GUARD + 2 * INDIRECT + slot as usize % SLOTS
}

/// The index of the tag for an address; the entry is behind it. Entries go down from the slots.
const fn indirect(table: usize, pc: u64) -> usize {
    table * WORDS + GUARD + 2 * (INDIRECT - 1 - (pc >> 1) as usize % INDIRECT)
}

/// Whether this word of a table is a tag.
const fn is_tag(word: usize) -> bool {
    GUARD <= word && word < GUARD + 2 * INDIRECT && word.is_multiple_of(2)
}

/// What a hart knows of one of its tables.
#[derive(Debug, Clone)]
struct Table {
    key: Option<TableKey>,
    /// When it was last made the current one.
    used: u64,
    /// The words that have been filled.
    filled: Vec<u32>,
    /// The pages that entries are about, and the superpages that these are parts of.
    pages: Pages,
    superpages: Superpages,
}

/// How many filled words a table remembers. When there are more, it is cleared: that bounds what clearing costs.
const FILLED: usize = 4 * 4096;

/// How many bits the filter of pages has, a power of two, and how many of them stand for a page. A kernel's code has thousands of
/// pages, fences of its data's are frequent, and one that is taken for a page of code costs all that the table leads to.
const PAGES: usize = 1 << 15;
const BITS: usize = 3;

/// A filter of pages (Bloom, Space/Time Trade-offs in Hash Coding with Allowable Errors).
#[derive(Debug, Clone)]
struct Pages(Box<[u64; PAGES / 64]>);

impl Pages {
    fn new() -> Self {
        Self(boxed::filled(0))
    }

    /// The words and bits that stand for a page.
    fn places(address: u64) -> impl Iterator<Item = (usize, u64)> {
        let hash = hash::spread(address >> 12);
        (1..=BITS as u32).map(move |part| {
            let bit = (hash >> (u64::BITS - part * PAGES.trailing_zeros())) as usize % PAGES;
            (bit / 64, 1 << (bit % 64))
        })
    }

    fn add(&mut self, address: u64) {
        Self::places(address).for_each(|(word, bit)| self.0[word] |= bit);
    }

    fn may_contain(&self, address: u64) -> bool {
        Self::places(address).all(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// The tables of one hart, as the hart itself sees them.
#[derive(Debug)]
pub struct Tables {
    tables: Vec<Table>,
    current: usize,
    time: u64,
    miss: u64,
}

impl Tables {
    /// Of a hart whose [`Memory`] was made with the same `miss`.
    pub fn new(miss: u64) -> Self {
        let table = || Table {
            key: None,
            used: 0,
            filled: Vec::with_capacity(FILLED),
            pages: Pages::new(),
            superpages: Superpages::default(),
        };
        Self { tables: (0..TABLES).map(|_| table()).collect(), current: 0, time: 0, miss }
    }

    /// Makes the table of `key` the current one; its address.
    pub fn enter(&mut self, memory: &Memory, key: TableKey) -> u64 {
        let is_current = self.tables.get(self.current).is_some_and(|table| table.key == Some(key));
        if !is_current {
            self.time += 1;
            let known = self.tables.iter().position(|table| table.key == Some(key));
            self.current = known.unwrap_or_else(|| {
                let oldest = self.tables.iter().enumerate().min_by_key(|(_, table)| table.used);
                let oldest = oldest.map_or(0, |(index, _)| index);
                self.clear(memory, oldest);
                oldest
            });
            if let Some(table) = self.tables.get_mut(self.current) {
                table.key = Some(key);
                table.used = self.time;
            }
        }
        memory.address(self.current)
    }

    /// The number of the current table.
    pub const fn current(&self) -> usize {
        self.current
    }

    /// In the current table, lets slot `number` lead to `entry`, the block at `pc`, which a page of `level` contains.
    pub fn fill_slot(&mut self, memory: &Memory, number: u32, (pc, level): (u64, u8), entry: u64) {
        let index = slot(self.current, number);
        self.fill(memory, (pc, level), index);
        memory.set(index, entry);
    }

    /// In the current table, lets indirect jumps to `pc` lead to `entry`.
    pub fn fill_indirect(&mut self, memory: &Memory, (pc, level): (u64, u8), entry: u64) {
        let tag = indirect(self.current, pc);
        self.fill(memory, (pc, level), tag);
        memory.set(tag, NO_TAG);
        memory.set(tag + 1, entry);
        memory.set(tag, pc);
    }

    /// What the current table leads to depends on this page, too, which is part of one of `level`.
    pub fn depend(&mut self, (address, level): (u64, u8)) {
        if let Some(table) = self.tables.get_mut(self.current) {
            table.pages.add(address);
            table.superpages.add(address, level);
        }
    }

    fn fill(&mut self, memory: &Memory, (pc, level): (u64, u8), index: usize) {
        let current = self.current;
        if self.tables.get(current).is_some_and(|table| table.filled.len() >= FILLED) {
            let key = self.tables.get(current).and_then(|table| table.key);
            self.clear(memory, current);
            if let Some(table) = self.tables.get_mut(current) {
                table.key = key;
            }
        }
        self.depend((pc, level));
        if let Some(table) = self.tables.get_mut(current) {
            table.filled.push((index - current * WORDS) as u32);
        }
    }

    /// Forgets everything in one table, which has no key then.
    fn clear(&mut self, memory: &Memory, index: usize) {
        let Some(table) = self.tables.get_mut(index) else { return };
        for &filled in &table.filled {
            let filled = filled as usize;
            let empty = if is_tag(filled) { NO_TAG } else { self.miss };
            memory.set(index * WORDS + filled, empty);
        }
        table.filled.clear();
        table.pages.0.fill(0);
        table.superpages.clear();
        table.key = None;
    }

    /// Forgets everything.
    pub fn clear_all(&mut self, memory: &Memory) {
        for index in 0..self.tables.len() {
            self.clear(memory, index);
        }
    }

    /// Forgets what is no longer known of translations.
    pub fn flush(&mut self, memory: &Memory, flush: Flush) {
        if flush == Flush::Nothing {
            return;
        }
        for index in 0..self.tables.len() {
            let Some(Table { key: Some(key), pages, superpages, .. }) = self.tables.get(index) else {
                continue;
            };
            // What is shared is global, which fences of one address space do not concern.
            let of_space = |asid| key.space != SHARED && Flush::asid_of(key.space) == asid;
            let concerned = match superpages.widen(flush) {
                Flush::Nothing => false,
                Flush::Page { address, asid } => pages.may_contain(address) && asid.is_none_or(of_space),
                Flush::Space(asid) => of_space(asid),
                Flush::All => true,
            };
            if concerned {
                self.clear(memory, index);
            }
        }
    }
}
