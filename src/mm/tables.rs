//! Translation tables in the VMSAv8-64 format with the 4 KiB granule (DDI 0487 D8.3), for EL2's own Stage-1
//! and the guests' Stage-2.
//!
//! Mappings are made as large as the two addresses allow (1 GiB, 2 MiB, 4 KiB), split when a part changes,
//! and merged again when a table has become one contiguous block. Every change of a live entry goes through
//! break-before-make (D8.16.1): invalid entry, TLB invalidation, then the new one.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::addr::{PAGE_SIZE, PhysAddr};
use super::frames::{Frames, OutOfFrames, Owner};

const ENTRIES: usize = 512;
const LAST_LEVEL: u8 = 3;

const VALID: u64 = 1 << 0;
/// At levels 0 to 2 a table, at level 3 a page; without it (levels 1 and 2) a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// The attribute bits of a leaf descriptor: bits 11:2 and 63:50, as its regime defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u64);

/// How a translation regime's cached translations are invalidated.
pub trait Tlb {
    /// Returns when no CPU uses a cached translation of `[address, address + len)` any more, including cached
    /// intermediate entries and, for a Stage-2, the combined Stage-1 and Stage-2 ones.
    fn invalidate(&self, address: u64, len: u64);

    /// Returns when the table walkers of all CPUs see the entries written so far.
    fn publish(&self);
}

/// What cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableError {
    /// The range is empty, wraps, or passes the regime's input size.
    OutOfRange {
        /// First input address.
        address: u64,
        /// Bytes.
        len: u64,
        /// Width of input addresses.
        input_bits: u32,
    },
    /// An address or the length is not a multiple of 4 KiB.
    Misaligned {
        /// The number that is not.
        value: u64,
    },
    /// No memory for a table.
    OutOfFrames(OutOfFrames),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { address, len, input_bits } => {
                write!(f, "{len:#x} bytes at {address:#x} are not within a {input_bits}-bit address space")
            }
            Self::Misaligned { value } => write!(f, "{value:#x} is not a multiple of 4 KiB"),
            Self::OutOfFrames(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TableError {}

impl From<OutOfFrames> for TableError {
    fn from(error: OutOfFrames) -> Self {
        Self::OutOfFrames(error)
    }
}

/// Where an input address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The output address of exactly the input address.
    pub output: PhysAddr,
    /// Bytes that the leaf entry covers: 4 KiB, 2 MiB or 1 GiB.
    pub leaf_size: u64,
    /// The leaf's attributes.
    pub attributes: Attributes,
}

/// One set of translation tables.
pub struct Tables<T: Tlb> {
    root: Frames,
    root_entries: usize,
    start_level: u8,
    input_bits: u32,
    /// Whether a live entry may be broken and made anew.
    changeable: bool,
    tlb: T,
}

/// What a walk does to the range that it is given.
#[derive(Clone, Copy)]
enum Change {
    /// Map to consecutive output addresses; the number is that of the range's first byte.
    Map(u64, Attributes),
    Unmap,
}

impl<T: Tlb> Tables<T> {
    /// Empty tables for input addresses of `input_bits` (25 to 48), the walk of which starts at `start_level`
    /// (0, 1 or 2).
    ///
    /// Where the top level has more entries than one table holds, it is a concatenation of up to 16 tables
    /// (D8.2.9), which only Stage-2 may use.
    ///
    /// # Errors
    /// [`TableError::OutOfFrames`] where there is no memory for the top level.
    pub fn new(input_bits: u32, start_level: u8, tlb: T) -> Result<Self, TableError> {
        let root_entries = 1usize << (input_bits - level_shift(start_level));
        assert!(start_level < LAST_LEVEL && root_entries <= 16 * ENTRIES);
        let size = (root_entries * 8).next_power_of_two().max(PAGE_SIZE as usize);
        let root = Frames::allocate_zeroed(size as u64, Owner::Hypervisor)?;
        Ok(Self { root, root_entries, start_level, input_bits, changeable: true, tlb })
    }

    /// From now on tables are not merged into blocks: whoever runs on these tables cannot break a live entry,
    /// and must not map over what is mapped either.
    pub fn forbid_changes(&mut self) {
        self.changeable = false;
    }

    /// Physical address of the top-level table, for the regime's TTBR.
    pub fn root(&self) -> PhysAddr {
        self.root.address()
    }

    /// The regime's invalidation, which also knows the regime's name (VMID).
    pub fn tlb(&self) -> &T {
        &self.tlb
    }

    /// The same, to be changed.
    pub fn tlb_mut(&mut self) -> &mut T {
        &mut self.tlb
    }

    /// Maps `[input, input + len)` to `[output, output + len)`, replacing what was mapped there.
    ///
    /// # Errors
    /// [`TableError`]; where memory for a table runs out, a part of the range may be mapped already.
    pub fn map(
        &mut self,
        input: u64,
        output: PhysAddr,
        len: u64,
        attributes: Attributes,
    ) -> Result<(), TableError> {
        for value in [input, output.0, len] {
            if !value.is_multiple_of(PAGE_SIZE) {
                return Err(TableError::Misaligned { value });
            }
        }
        self.change(input, len, Change::Map(output.0, attributes))
    }

    /// Removes every mapping of `[input, input + len)`.
    ///
    /// # Errors
    /// [`TableError`]; running out of memory is possible where a block must be split.
    pub fn unmap(&mut self, input: u64, len: u64) -> Result<(), TableError> {
        for value in [input, len] {
            if !value.is_multiple_of(PAGE_SIZE) {
                return Err(TableError::Misaligned { value });
            }
        }
        self.change(input, len, Change::Unmap)
    }

    /// Where `input` is mapped to, if it is.
    pub fn translate(&self, input: u64) -> Option<Mapping> {
        if input >> self.input_bits != 0 {
            return None;
        }
        let mut table = self.root_table();
        let mut level = self.start_level;
        loop {
            let entry = table.get(index(input, level, table.len()))?.load(Ordering::Relaxed);
            if entry & VALID == 0 {
                return None;
            }
            if is_leaf(entry, level) {
                let leaf_size = 1 << level_shift(level);
                return Some(Mapping {
                    output: PhysAddr((entry & ADDRESS) + (input & (leaf_size - 1))),
                    leaf_size,
                    attributes: attributes_of(entry),
                });
            }
            table = next_table(entry);
            level += 1;
        }
    }

    fn root_table(&self) -> &[AtomicU64] {
        // SAFETY: `root` is owned, zeroed at creation, and at least `root_entries` entries long.
        unsafe { core::slice::from_raw_parts(self.root.as_ptr().cast(), self.root_entries) }
    }

    fn change(&mut self, input: u64, len: u64, change: Change) -> Result<(), TableError> {
        let out_of_range = TableError::OutOfRange { address: input, len, input_bits: self.input_bits };
        let end = input.checked_add(len).ok_or(out_of_range)?;
        if len == 0 || end > 1 << self.input_bits {
            return Err(out_of_range);
        }
        let done = self.change_in(self.root_table(), self.start_level, input, end, change);
        self.tlb.publish();
        done
    }

    /// Applies `change` to the part `[input, end)` of what `table`, at `level`, covers.
    fn change_in(
        &self,
        table: &[AtomicU64],
        level: u8,
        mut input: u64,
        end: u64,
        mut change: Change,
    ) -> Result<(), TableError> {
        let entry_size = 1u64 << level_shift(level);
        while input < end {
            let Some(entry) = table.get(index(input, level, table.len())) else { return Ok(()) };
            let entry_start = input & !(entry_size - 1);
            let part_end = end.min(entry_start + entry_size);
            let whole = input == entry_start && part_end - input == entry_size;
            let old = entry.load(Ordering::Relaxed);
            let old_is_table = old & VALID != 0 && !is_leaf(old, level);

            match change {
                Change::Unmap if old & VALID == 0 => {}
                Change::Unmap if whole => self.replace(entry, level, entry_start, 0),
                Change::Map(output, attributes) if whole && can_be_leaf(level, output) => {
                    self.replace(entry, level, entry_start, leaf(level, output, attributes));
                }
                _ => {
                    if !old_is_table {
                        self.split(entry, level, entry_start, old)?;
                    }
                    let below = next_table(entry.load(Ordering::Relaxed));
                    self.change_in(below, level + 1, input, part_end, change)?;
                    self.fold(entry, level, entry_start, below);
                }
            }
            if let Change::Map(output, attributes) = change {
                change = Change::Map(output + (part_end - input), attributes);
            }
            input = part_end;
        }
        Ok(())
    }

    /// Puts a table in the place of `old`, an invalid entry or a block, that maps just what `old` did.
    fn split(&self, entry: &AtomicU64, level: u8, start: u64, old: u64) -> Result<(), TableError> {
        let table = Frames::allocate_zeroed(PAGE_SIZE, Owner::Hypervisor)?;
        let address = table.address().0;
        table.leak();
        let new = address | VALID | TABLE_OR_PAGE;
        if old & VALID != 0 {
            let part = 1u64 << level_shift(level + 1);
            for (number, below) in (0u64..).zip(next_table(new)) {
                below.store(
                    leaf(level + 1, (old & ADDRESS) + number * part, attributes_of(old)),
                    Ordering::Relaxed,
                );
            }
        }
        self.replace(entry, level, start, new);
        Ok(())
    }

    /// Takes the table below `entry` away where it has become empty, or one contiguous block.
    fn fold(&self, entry: &AtomicU64, level: u8, start: u64, below: &[AtomicU64]) {
        let Some(first) = below.first().map(|first| first.load(Ordering::Relaxed)) else { return };
        let part = 1u64 << level_shift(level + 1);
        let uniform = if first & VALID == 0 {
            below.iter().all(|entry| entry.load(Ordering::Relaxed) & VALID == 0)
        } else {
            is_leaf(first, level + 1)
                && can_be_leaf(level, first & ADDRESS)
                && (0u64..)
                    .zip(below)
                    .all(|(number, entry)| entry.load(Ordering::Relaxed) == first + number * part)
        };
        if uniform && self.changeable {
            let merged = match first & VALID {
                0 => 0,
                _ => leaf(level, first & ADDRESS, attributes_of(first)),
            };
            self.replace(entry, level, start, merged);
        }
    }

    /// Break-before-make; frees the tables that hung below the old entry.
    fn replace(&self, entry: &AtomicU64, level: u8, start: u64, new: u64) {
        let old = entry.load(Ordering::Relaxed);
        if old == new {
            return;
        }
        if old & VALID != 0 {
            entry.store(0, Ordering::Relaxed);
            self.tlb.invalidate(start, 1 << level_shift(level));
        }
        // A new table's content must be visible before the entry that leads there.
        entry.store(new, Ordering::Release);
        if old & VALID != 0 && !is_leaf(old, level) {
            free_table(old, level);
        }
    }
}

impl<T: Tlb> Drop for Tables<T> {
    fn drop(&mut self) {
        for entry in self.root_table() {
            let entry = entry.load(Ordering::Relaxed);
            if entry & VALID != 0 && !is_leaf(entry, self.start_level) {
                free_table(entry, self.start_level);
            }
        }
    }
}

/// log2 of the bytes that one entry at `level` covers.
const fn level_shift(level: u8) -> u32 {
    12 + 9 * (LAST_LEVEL - level) as u32
}

fn index(input: u64, level: u8, entries: usize) -> usize {
    (input >> level_shift(level)) as usize & (entries - 1)
}

fn is_leaf(entry: u64, level: u8) -> bool {
    level == LAST_LEVEL || entry & TABLE_OR_PAGE == 0
}

fn can_be_leaf(level: u8, output: u64) -> bool {
    level >= 1 && output.is_multiple_of(1 << level_shift(level))
}

fn leaf(level: u8, output: u64, attributes: Attributes) -> u64 {
    let kind = if level == LAST_LEVEL { TABLE_OR_PAGE } else { 0 };
    output | attributes.0 | kind | VALID
}

fn attributes_of(entry: u64) -> Attributes {
    Attributes(entry & !ADDRESS & !(VALID | TABLE_OR_PAGE))
}

fn next_table<'a>(entry: u64) -> &'a [AtomicU64] {
    // SAFETY: a valid table entry holds the address of a table that `split` made; physical memory is mapped
    // one to one.
    unsafe { core::slice::from_raw_parts((entry & ADDRESS) as *const AtomicU64, ENTRIES) }
}

/// Frees the table that `entry`, at `level`, leads to, and all below it. Nothing can reach it any more.
fn free_table(entry: u64, level: u8) {
    if level + 1 < LAST_LEVEL {
        for below in next_table(entry) {
            let below = below.load(Ordering::Relaxed);
            if below & VALID != 0 && !is_leaf(below, level + 1) {
                free_table(below, level + 1);
            }
        }
    }
    if let Some(table) = NonNull::new((entry & ADDRESS) as *mut u8) {
        // SAFETY: `split` leaked one page for this table, and this is the last reference to it.
        drop(unsafe { Frames::from_raw(table, PAGE_SIZE, Owner::Hypervisor) });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::addr::{GIB, MIB};
    use super::*;

    /// Counts what it is asked to invalidate.
    #[derive(Default)]
    struct Recorder {
        invalidated: RefCell<Vec<(u64, u64)>>,
        published: Cell<u32>,
    }

    impl Tlb for Recorder {
        fn invalidate(&self, address: u64, len: u64) {
            self.invalidated.borrow_mut().push((address, len));
        }
        fn publish(&self) {
            self.published.set(self.published.get() + 1);
        }
    }

    const RW: Attributes = Attributes(0b11 << 6 | 1 << 10);
    const RO: Attributes = Attributes(0b01 << 6 | 1 << 10);

    fn tables() -> Tables<Recorder> {
        Tables::new(40, 1, Recorder::default()).unwrap()
    }

    #[test]
    fn the_largest_leaf_that_fits_is_used() {
        let mut tables = tables();
        tables.map(GIB - 2 * MIB, PhysAddr(3 * GIB - 2 * MIB), GIB + 2 * MIB + 4096, RW).unwrap();
        let size = |input| tables.translate(input).map(|mapping| mapping.leaf_size);
        assert_eq!(size(GIB - 1), Some(2 * MIB));
        assert_eq!(size(GIB), Some(GIB));
        assert_eq!(size(2 * GIB), Some(4096));
        assert_eq!(size(2 * GIB + 4096), None);
        assert_eq!(tables.translate(GIB + 0x1234).unwrap().output, PhysAddr(3 * GIB + 0x1234));
        assert!(tables.tlb().invalidated.borrow().is_empty(), "nothing was live, nothing is invalidated");
    }

    #[test]
    fn a_block_splits_by_break_before_make_and_merges_back() {
        let mut tables = tables();
        tables.map(GIB, PhysAddr(GIB), GIB, RW).unwrap();
        tables.map(GIB + 4096, PhysAddr(GIB + 4096), 4096, RO).unwrap();
        assert_eq!(tables.translate(GIB).unwrap().leaf_size, 4096);
        assert_eq!(tables.translate(GIB + 4096).unwrap().attributes, RO);
        assert_eq!(tables.translate(GIB + 2 * MIB).unwrap().leaf_size, 2 * MIB);
        assert!(tables.tlb().invalidated.borrow().contains(&(GIB, GIB)));
        tables.map(GIB + 4096, PhysAddr(GIB + 4096), 4096, RW).unwrap();
        assert_eq!(tables.translate(GIB).unwrap().leaf_size, GIB, "merged all the way up");
    }

    #[test]
    fn what_cannot_be_mapped_is_named() {
        let mut tables = tables();
        assert_eq!(
            tables.map(1 << 40, PhysAddr(0), 4096, RW),
            Err(TableError::OutOfRange { address: 1 << 40, len: 4096, input_bits: 40 })
        );
        assert!(matches!(
            tables.map(u64::MAX - 4095, PhysAddr(0), 4096, RW),
            Err(TableError::OutOfRange { .. })
        ));
        assert_eq!(tables.map(4096, PhysAddr(1), 4096, RW), Err(TableError::Misaligned { value: 1 }));
        assert_eq!(tables.translate(1 << 40), None);
    }

    proptest! {
        /// Any sequence of changes leaves just what a map from page to page says, and frees what it no longer
        /// needs.
        #[test]
        fn agrees_with_a_flat_map(changes in proptest::collection::vec(
            (0u64..1200, 1u64..1100, 0u64..4, any::<bool>(), any::<bool>()), 1..24)) {
            let base = GIB - 600 * 4096;
            let mut tables = tables();
            let mut flat = BTreeMap::new();
            for (first, count, slide, map, write) in changes {
                let input = base + first * 4096;
                // Slides of a whole 2 MiB keep blocks possible; the others forbid them.
                let output = input + slide * 2 * MIB + if slide == 3 { 4096 } else { 0 };
                let attributes = if write { RW } else { RO };
                if map {
                    tables.map(input, PhysAddr(output), count * 4096, attributes).unwrap();
                } else {
                    tables.unmap(input, count * 4096).unwrap();
                }
                for page in 0..count {
                    let entry = (output + page * 4096, attributes);
                    if map { flat.insert(input + page * 4096, entry); } else { flat.remove(&(input + page * 4096)); }
                }
            }
            for page in 0..2400 {
                let input = base + page * 4096;
                let found = tables.translate(input).map(|m| (m.output.0, m.attributes));
                prop_assert_eq!(found, flat.get(&input).copied());
            }
        }
    }
}
