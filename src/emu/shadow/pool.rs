//! Memory for tables: all of it is there from the start.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::code_pages::CodePages;
use super::descriptor::{Descriptor, Entry};

/// How many entries a table has.
pub const ENTRIES: usize = 512;
/// Bytes in a table, and in a page.
pub const PAGE: u64 = 4096;

/// A translation table.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Table([Entry; ENTRIES]);

impl Table {
    /// As many tables, all empty, in one piece.
    pub fn allocate(count: usize) -> Box<[Self]> {
        (0..count).map(|_| Self([const { Entry::new() }; ENTRIES])).collect()
    }
}

/// One of all harts' tables, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableId(u32);

/// An entry of one of all harts' tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId(u32);

impl TableId {
    /// Its entry of this index, modulo their number.
    pub const fn entry(self, index: usize) -> EntryId {
        EntryId(self.0 * ENTRIES as u32 + (index % ENTRIES) as u32)
    }

    /// Its number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl EntryId {
    /// The entry that [`EntryId::number`] says.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number among all tables' entries: less than `u32::MAX`.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its table.
    pub const fn table(self) -> TableId {
        TableId(self.0 / ENTRIES as u32)
    }

    /// Its index in the table.
    pub const fn index(self) -> usize {
        self.0 as usize % ENTRIES
    }
}

/// All harts' tables.
#[derive(Debug)]
pub struct Tables {
    tables: Box<[Table]>,
    /// Where the first one is, for the table walker.
    physical: u64,
}

impl Tables {
    /// `tables`, the first of which the table walker finds at `physical`.
    pub const fn new(tables: Box<[Table]>, physical: u64) -> Self {
        Self { tables, physical }
    }

    /// How many may be used: their entries' numbers, and one more, are 32 bits.
    pub fn len(&self) -> usize {
        self.tables.len().min((u32::MAX as usize - 1) / ENTRIES)
    }

    /// Where a table is, for the table walker.
    pub const fn physical(&self, table: TableId) -> u64 {
        self.physical + table.0 as u64 * PAGE
    }

    /// The table that a valid descriptor leads to, one that was made of [`Tables::physical`].
    pub fn below(&self, descriptor: Descriptor) -> Option<TableId> {
        let number = descriptor.address().wrapping_sub(self.physical) / PAGE;
        (descriptor.is_valid() && number < self.len() as u64).then_some(TableId(number as u32))
    }

    /// A table's entries.
    pub fn entries(&self, table: TableId) -> &[Entry; ENTRIES] {
        &self.tables[table.index()].0
    }

    /// An entry.
    pub fn entry(&self, entry: EntryId) -> &Entry {
        &self.entries(entry.table())[entry.index()]
    }
}

/// The tables of one hart.
#[derive(Debug)]
pub struct Pool {
    code: Arc<CodePages>,
    /// Those that are not in use. Their entries are 0.
    free: Vec<TableId>,
    capacity: usize,
}

impl Pool {
    /// Of all tables, those of these numbers.
    pub fn new(code: Arc<CodePages>, tables: Range<u32>) -> Self {
        let free: Vec<_> = tables.rev().map(TableId).collect();
        Self { code, capacity: free.len(), free }
    }

    /// What all harts share.
    pub fn code(&self) -> &CodePages {
        &self.code
    }

    /// All harts' tables.
    pub fn tables(&self) -> &Tables {
        self.code.tables()
    }

    /// How many tables the hart has.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many of them are free.
    pub const fn available(&self) -> usize {
        self.free.len()
    }

    /// An empty table.
    pub fn take(&mut self) -> Option<TableId> {
        self.free.pop()
    }

    /// Frees a table, whose entries are 0 again. It must not be used before the TLB has forgotten it.
    pub fn give_back(&mut self, table: TableId) {
        self.free.push(table);
    }
}
