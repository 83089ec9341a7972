//! Pages of RAM with translated code, which no hart may write unnoticed; and the reverse map that finds who might.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::Mutex;

use super::descriptor::Descriptor;
use super::hardware::Hardware;
use super::pool::{ENTRIES, EntryId, PAGE, Table, TableId, Tables};
use crate::interp::CHUNK;

/// As many writable entries a page may have. The next one makes those read-only, so the work under the lock is bounded
/// whatever a guest does.
const MAX_WRITABLE: usize = 64;

/// Which pages of RAM hold translated code, and which entries of all harts' tables let RAM be written. Shared by all harts.
#[derive(Debug)]
pub struct CodePages {
    tables: Tables,
    /// How many tables belong to a hart already.
    taken: AtomicU32,
    /// The guest-physical address of RAM's first page.
    base: u64,
    /// How many pages RAM has.
    pages: u64,
    /// A bit for each page: it holds translated code. Set under the lock.
    code: Box<[AtomicU64]>,
    reverse: Mutex<Reverse>,
}

/// The entries that let a page be written, for each page a list through [`Reverse::next`]. Those that are invalid meanwhile
/// stay in it until they are used again. An entry's number plus one stands for it; 0 ends a list.
#[derive(Debug)]
struct Reverse {
    /// For each page of RAM the first entry.
    first: Vec<u32>,
    /// For each entry of all tables the next one.
    next: Vec<u32>,
    /// For each table the guest-virtual address of its first entry's page, if one is in a list.
    address: Vec<u64>,
}

impl CodePages {
    /// No page of the guest's `ram` holds code; all harts together have these `tables`, which are empty, and the first of which
    /// the table walker finds at `physical`.
    ///
    /// It takes 2 KiB for each table, and some 4 bytes for each page.
    pub fn new(ram: Range<u64>, tables: Box<[Table]>, physical: u64) -> Self {
        let tables = Tables::new(tables, physical);
        let pages = ram.end.saturating_sub(ram.start) / PAGE;
        let reverse = Reverse {
            first: vec![0; pages as usize],
            next: vec![0; tables.len() * ENTRIES],
            address: vec![0; tables.len()],
        };
        Self {
            taken: AtomicU32::new(0),
            base: ram.start,
            pages,
            code: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            reverse: Mutex::new(reverse),
            tables,
        }
    }

    /// The page of the guest-physical address `physical` holds translated code: when this returns, no hart can write it by its
    /// shadow tables. What was written before can be seen. Nothing happens where there is no RAM.
    pub fn protect(&self, hardware: &impl Hardware, physical: u64) {
        let Some(page) = self.page(physical) else { return };
        let mut reverse = self.reverse.lock();
        let (word, bit) = self.bit(page);
        word.fetch_or(bit, Ordering::AcqRel);
        reverse.protect(&self.tables, hardware, page);
    }

    /// The page holds none any more. It gets writable again by [`Shadow::map`](super::Shadow::map), when it is written.
    pub fn unprotect(&self, physical: u64) {
        let Some(page) = self.page(physical) else { return };
        let _reverse = self.reverse.lock();
        let (word, bit) = self.bit(page);
        word.fetch_and(!bit, Ordering::AcqRel);
    }

    /// Whether the page of the guest-physical address `physical` holds translated code. Takes no lock.
    pub fn is_code(&self, physical: u64) -> bool {
        self.page(physical).is_some_and(|page| self.is_code_page(page))
    }

    /// All harts' tables.
    pub(super) const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// `count` tables that no hart has yet.
    pub(super) fn take_tables(&self, count: u32) -> Option<Range<u32>> {
        let end = |taken: u32| taken.checked_add(count).filter(|&end| end as usize <= self.tables.len());
        let start = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end).ok()?;
        Some(start..start + count)
    }

    /// Writes `descriptor` to `entry`, which is its hart's and not valid, and which maps the page at the guest-virtual
    /// `address`; read-only if the page holds code.
    pub(super) fn set(&self, hardware: &impl Hardware, entry: EntryId, address: u64, descriptor: Descriptor) {
        let place = self.tables.entry(entry);
        // Nobody else links it.
        if !descriptor.is_writable() && !place.get().is_linked() {
            return place.set(descriptor);
        }
        self.set_locked(&mut self.reverse.lock(), hardware, entry, address, descriptor);
    }

    /// Does so with all entries of the [`CHUNK`] around that are not valid. `address` and the page of `descriptor` are as far
    /// from the beginning of theirs.
    pub(super) fn set_chunk(
        &self,
        hardware: &impl Hardware,
        entry: EntryId,
        address: u64,
        descriptor: Descriptor,
    ) {
        let before = (address % CHUNK) & !(PAGE - 1);
        let first = descriptor.address() - before;
        let mut reverse = self.reverse.lock();
        for offset in (0..CHUNK).step_by(PAGE as usize) {
            // A chunk is in one table.
            let entry =
                entry.table().entry(entry.index() - (before / PAGE) as usize + (offset / PAGE) as usize);
            if !self.tables.entry(entry).get().is_valid() {
                let address = address - before + offset;
                self.set_locked(&mut reverse, hardware, entry, address, descriptor.at(first + offset));
            }
        }
    }

    /// [`CodePages::set`], with the lock of the reverse map.
    fn set_locked(
        &self,
        reverse: &mut Reverse,
        hardware: &impl Hardware,
        entry: EntryId,
        address: u64,
        descriptor: Descriptor,
    ) {
        let page = self.page(descriptor.address()).filter(|_| descriptor.is_writable());
        self.unlink(reverse, entry);
        self.tables.entry(entry).set(match page {
            Some(page) if self.is_code_page(page) => descriptor.protected(),
            Some(page) => {
                reverse.link(&self.tables, hardware, page, entry, address);
                descriptor.linked()
            }
            None => descriptor,
        });
    }

    /// Empties a table of the last level.
    pub(super) fn clear(&self, table: TableId) {
        let mut reverse = None;
        for (index, place) in self.tables.entries(table).iter().enumerate() {
            if place.get().is_linked() {
                self.unlink(reverse.get_or_insert_with(|| self.reverse.lock()), table.entry(index));
            }
            place.set(Descriptor::NONE);
        }
    }

    /// Takes `entry` out of its list, if it is in one. What it says must be replaced then, before the lock is released.
    fn unlink(&self, reverse: &mut Reverse, entry: EntryId) {
        let descriptor = self.tables.entry(entry).get();
        if let Some(page) = self.page(descriptor.address()).filter(|_| descriptor.is_linked()) {
            reverse.unlink(page, entry);
        }
    }

    /// The number of the page of RAM at `physical`.
    fn page(&self, physical: u64) -> Option<usize> {
        let page = physical.checked_sub(self.base)? / PAGE;
        (page < self.pages).then_some(page as usize)
    }

    /// Where a page's bit is.
    fn bit(&self, page: usize) -> (&AtomicU64, u64) {
        (&self.code[page / 64], 1 << (page % 64))
    }

    fn is_code_page(&self, page: usize) -> bool {
        let (word, bit) = self.bit(page);
        word.load(Ordering::Acquire) & bit != 0
    }
}

impl Reverse {
    /// Adds `entry` to the list of `page`.
    fn link(&mut self, tables: &Tables, hardware: &impl Hardware, page: usize, entry: EntryId, address: u64) {
        if self.list(page).nth(MAX_WRITABLE - 1).is_some() {
            self.protect(tables, hardware, page);
        }
        self.next[entry.number() as usize] = self.first[page];
        self.first[page] = entry.number() + 1;
        self.address[entry.table().index()] = address & !(PAGE * ENTRIES as u64 - 1);
    }

    /// Takes `entry` out of the list of `page`, which it is in.
    fn unlink(&mut self, page: usize, entry: EntryId) {
        let link = entry.number() + 1;
        let after = self.next[entry.number() as usize];
        if self.first[page] == link {
            self.first[page] = after;
            return;
        }
        let before = self.list(page).find(|before| self.next[before.number() as usize] == link);
        if let Some(before) = before {
            self.next[before.number() as usize] = after;
        }
    }

    /// Makes all entries of `page` read-only for all harts, and its list empty.
    fn protect(&mut self, tables: &Tables, hardware: &impl Hardware, page: usize) {
        if self.first[page] == 0 {
            return;
        }
        for entry in self.list(page) {
            tables.entry(entry).protect();
            // Also if it is invalid: its hart may be about to say so to its TLB.
            let address = self.address[entry.table().index()] + entry.index() as u64 * PAGE;
            hardware.invalidate_page(None, address, true);
        }
        hardware.synchronise();
        self.first[page] = 0;
    }

    /// The entries of `page`.
    fn list(&self, page: usize) -> impl Iterator<Item = EntryId> {
        let entry = |link: u32| link.checked_sub(1).map(EntryId::from_number);
        core::iter::successors(entry(self.first[page]), move |at| entry(self.next[at.number() as usize]))
    }
}
