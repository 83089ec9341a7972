//! Sv39, Sv48 and Sv57 (Privileged ISA, 12.3 to 12.6), as the tables in memory have it.
//!
//! A and D are not set by the hart but must be set (Svade). Svnapot and Svpbmt are not there, so their bits
//! are reserved.

use bitflags::bitflags;

use super::mode::Mode;
use super::pmp::Rights;

bitflags! {
    /// Bits of a page-table entry.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Entry: u64 {
        const V = 1 << 0;
        const R = 1 << 1;
        const W = 1 << 2;
        const X = 1 << 3;
        const U = 1 << 4;
        const G = 1 << 5;
        const A = 1 << 6;
        const D = 1 << 7;
        /// Bits 63:54: N, PBMT, and those that no extension has yet.
        const RESERVED = 0x3ff << 54;
        /// RSW and PPN: anything.
        const _ = 0x3 << 8 | PPN << 10;
    }
}

/// A physical page number, before it is shifted.
const PPN: u64 = (1 << 44) - 1;
/// `satp`: the number of the address space.
const ASID: u64 = 0xffff << 44;
/// `satp`: the mode.
const MODE: u64 = 0xf << 60;

/// Why there is no translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The tables have none.
    Page,
    /// A table cannot be read.
    Access,
}

/// `satp`: the address space of modes below machine mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Satp(pub u64);

impl Satp {
    /// How many levels its tables have; 0 if there is no translation, `None` if the mode is reserved.
    pub const fn levels(self) -> Option<u32> {
        match self.0 >> 60 {
            0 => Some(0),
            8 => Some(3),
            9 => Some(4),
            10 => Some(5),
            _ => None,
        }
    }

    const fn root(self) -> u64 {
        (self.0 & PPN) << 12
    }

    /// What a write makes of the register where virtual addresses have up to `bits` bits: nothing if there is no such
    /// mode.
    pub fn written(self, value: u64, bits: u32) -> Self {
        let new = Self(value & (MODE | ASID | PPN));
        if new.levels().is_some_and(|levels| address_bits(levels) <= bits) { new } else { self }
    }

    /// A number for the address space: [`Satp::BARE`] where nothing is translated.
    pub fn space(self) -> u64 {
        if self.levels() == Some(0) { Self::BARE } else { self.0 }
    }

    /// No `satp` that translates has this value.
    pub const BARE: u64 = 0;
}

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The physical address.
    pub address: u64,
    /// The entry that maps it.
    pub entry: Entry,
    /// At which level: 0 is a page of 4 KiB, 1 is 2 MiB.
    pub level: u32,
    /// G is set on the way: the same is in every address space (12.3.1).
    pub global: bool,
}

impl Leaf {
    /// What `mode` may do there. `sum` and `mxr` are those of `mstatus`.
    pub fn rights(&self, mode: Mode, sum: bool, mxr: bool) -> Rights {
        let has = |bit| self.entry.contains(bit);
        if !has(Entry::A) {
            return Rights::empty();
        }
        let user = has(Entry::U);
        let (data, code) = match mode {
            Mode::User => (user, user),
            Mode::Supervisor | Mode::Machine => (!user || sum, !user),
        };
        let mut rights = Rights::empty();
        rights.set(Rights::LOAD, data && (has(Entry::R) || mxr && has(Entry::X)));
        rights.set(Rights::STORE, data && has(Entry::W) && has(Entry::D));
        rights.set(Rights::FETCH, code && has(Entry::X));
        rights
    }
}

/// How many bits of an address so many levels of tables translate.
const fn address_bits(levels: u32) -> u32 {
    12 + 9 * levels
}

/// Looks `address` up. `read` reads an entry of a table by its physical address; `None` if that must not be.
///
/// # Errors
/// Why there is no translation, or none that is valid.
pub fn walk(satp: Satp, address: u64, mut read: impl FnMut(u64) -> Option<u64>) -> Result<Leaf, Fault> {
    let Some(levels @ 1..) = satp.levels() else { return Err(Fault::Page) };
    // The bits above the address space are all copies of its highest one.
    let unused = 64 - address_bits(levels);
    if (address << unused).cast_signed() >> unused != address.cast_signed() {
        return Err(Fault::Page);
    }
    let mut table = satp.root();
    let mut global = false;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let index = (address >> shift) & 0x1ff;
        let bits = read(table + index * 8).ok_or(Fault::Access)?;
        let entry = Entry::from_bits_retain(bits);
        let writable_only = entry & (Entry::R | Entry::W) == Entry::W;
        if !entry.contains(Entry::V) || writable_only || entry.intersects(Entry::RESERVED) {
            return Err(Fault::Page);
        }
        global |= entry.contains(Entry::G);
        let target = (bits >> 10 & PPN) << 12;
        if entry.intersects(Entry::R | Entry::X) {
            let offset = (1u64 << shift) - 1;
            if target & offset != 0 {
                return Err(Fault::Page);
            }
            return Ok(Leaf { address: target | address & offset, entry, level, global });
        }
        // Reserved in entries that point to a table.
        if entry.intersects(Entry::D | Entry::A | Entry::U) {
            return Err(Fault::Page);
        }
        table = target;
    }
    Err(Fault::Page)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const SV39: u64 = 8 << 60;
    const KERNEL: u64 = 0xcf;

    fn entry(address: u64, flags: u64) -> u64 {
        address >> 12 << 10 | flags
    }

    fn look_up(satp: u64, address: u64, tables: &[(u64, u64)]) -> Result<Leaf, Fault> {
        let tables: HashMap<_, _> = tables.iter().copied().collect();
        walk(Satp(satp), address, |at| tables.get(&at).copied())
    }

    #[test]
    fn three_levels_lead_to_a_page() {
        // 0x40201000: entry 1 of each table.
        let tables =
            [(0x1008, entry(0x2000, 1)), (0x2008, entry(0x3000, 1)), (0x3008, entry(0x8000_1000, KERNEL))];
        let leaf = look_up(SV39 | 1, 0x4020_1abc, &tables).unwrap();
        assert_eq!((leaf.address, leaf.level), (0x8000_1abc, 0));
        assert_eq!(leaf.rights(Mode::Supervisor, false, false), Rights::all());
        assert_eq!(leaf.rights(Mode::User, false, false), Rights::empty());
    }

    #[test]
    fn superpages_must_be_aligned() {
        let at = |address| look_up(SV39 | 1, 0x4023_4567, &[(0x1008, entry(address, KERNEL))]);
        assert_eq!(at(0x8000_0000).unwrap().address, 0x8023_4567);
        assert_eq!(at(0x8000_1000), Err(Fault::Page));
        assert_eq!(at(0x8020_0000), Err(Fault::Page));
    }

    #[test]
    fn addresses_are_canonical() {
        let tables = [(0x1ff8, entry(0x8000_0000, KERNEL))];
        assert!(look_up(SV39 | 1, 0xffff_ffff_c000_0000, &tables).is_ok());
        assert_eq!(look_up(SV39 | 1, 0x0000_007f_c000_0000, &tables), Err(Fault::Page));
        let sv57 = [(0x1ff8, entry(1 << 48, KERNEL))];
        assert!(look_up(10 << 60 | 1, 0xffff_0000_0000_0000, &sv57).is_ok());
        assert_eq!(look_up(10 << 60 | 1, 0x01ff_0000_0000_0000, &sv57), Err(Fault::Page));
    }

    #[test]
    fn reserved_combinations_fault() {
        let with = |flags| look_up(SV39 | 1, 0x4000_0000, &[(0x1008, entry(0x4000_0000, flags))]);
        assert!(with(KERNEL).is_ok());
        for flags in
            [KERNEL & !1, 0xc5, KERNEL | 1 << 63, KERNEL | 1 << 61, KERNEL | 1 << 54, 0x41, 0x81, 0x11]
        {
            assert_eq!(with(flags), Err(Fault::Page), "{flags:#x}");
        }
        assert_eq!(look_up(SV39 | 1, 0x4000_0000, &[]), Err(Fault::Access));
    }

    #[test]
    fn rights_depend_on_mode_sum_mxr_and_what_is_marked() {
        let leaf =
            |flags: u64| Leaf { address: 0, entry: Entry::from_bits_retain(flags), level: 0, global: false };
        let user_code = leaf(0x59);
        assert_eq!(user_code.rights(Mode::User, false, false), Rights::FETCH);
        assert_eq!(user_code.rights(Mode::User, false, true), Rights::FETCH | Rights::LOAD);
        assert_eq!(user_code.rights(Mode::Supervisor, true, true), Rights::LOAD);
        assert_eq!(user_code.rights(Mode::Supervisor, false, true), Rights::empty());
        // Neither accessed, nor written before.
        assert_eq!(leaf(0x8f).rights(Mode::Supervisor, false, false), Rights::empty());
        assert_eq!(leaf(0x47).rights(Mode::Supervisor, false, false), Rights::LOAD);
    }

    #[test]
    fn satp_keeps_modes_that_there_are() {
        assert_eq!(Satp(5).written(SV39 | 0xffff << 44 | 7, 57), Satp(SV39 | 0xffff << 44 | 7));
        assert_eq!(Satp(SV39 | 5).written(7, 39), Satp(7));
        for (mode, bits) in [(8, 39), (9, 48), (10, 57)] {
            assert_eq!(Satp(5).written(mode << 60 | 7, bits), Satp(mode << 60 | 7));
            assert_eq!(Satp(5).written(mode << 60 | 7, bits - 1), Satp(5));
        }
        assert_eq!(Satp(5).written(11 << 60 | 7, 64), Satp(5));
    }

    #[test]
    fn address_spaces_are_told_apart_unless_nothing_is_translated() {
        assert_eq!(Satp(7).space(), Satp(1 << 44).space());
        let spaces = [7, SV39 | 7, SV39 | 8, SV39 | 1 << 44 | 7, 9 << 60 | 7].map(|satp| Satp(satp).space());
        assert_eq!(std::collections::HashSet::from(spaces).len(), spaces.len());
    }

    #[test]
    fn a_page_is_global_if_anything_on_the_way_is() {
        for (flags, global) in
            [([1, 1, 0xcf], false), ([1, 1, 0xef], true), ([1, 0x21, 0xcf], true), ([0x21, 1, 0xcf], true)]
        {
            let [first, second, third] = flags;
            let tables = [
                (0x1008, entry(0x2000, first)),
                (0x2008, entry(0x3000, second)),
                (0x3008, entry(0x8000_1000, third)),
            ];
            assert_eq!(look_up(SV39 | 1, 0x4020_1abc, &tables).unwrap().global, global, "{flags:x?}");
        }
    }

    /// The algorithm of 12.3.2, step by step as it is written there.
    fn model(satp: u64, va: u64, read: &dyn Fn(u64) -> Option<u64>) -> Result<(u64, u64, u32), Fault> {
        let levels = match satp >> 60 {
            8 => 3i64,
            9 => 4,
            _ => 5,
        };
        let bits = 12 + 9 * levels;
        let top = va >> (bits - 1);
        if top != 0 && top != u64::MAX >> (bits - 1) {
            return Err(Fault::Page);
        }
        let vpn = |i: i64| va >> (12 + 9 * i) & 0x1ff;
        let mut a = (satp & 0xfff_ffff_ffff) * 4096;
        let mut i = levels - 1;
        loop {
            let pte = read(a + vpn(i) * 8).ok_or(Fault::Access)?;
            let (v, r, w, x) = (pte & 1, pte >> 1 & 1, pte >> 2 & 1, pte >> 3 & 1);
            if v == 0 || r == 0 && w == 1 || pte >> 54 != 0 {
                return Err(Fault::Page);
            }
            if r == 1 || x == 1 {
                let ppn = pte >> 10 & 0xfff_ffff_ffff;
                for j in 0..i {
                    if ppn >> (9 * j) & 0x1ff != 0 {
                        return Err(Fault::Page);
                    }
                }
                let low = 12 + 9 * i;
                return Ok(((ppn << 12 >> low << low) + va % (1 << low), pte, i as u32));
            }
            if pte & 0b1101_0000 != 0 {
                return Err(Fault::Page);
            }
            i -= 1;
            if i < 0 {
                return Err(Fault::Page);
            }
            a = (pte >> 10 & 0xfff_ffff_ffff) * 4096;
        }
    }

    proptest! {
        /// Eight tables that point into each other or to pages, mostly well formed.
        #[test]
        fn walks_like_the_specification(
            mode in 8u64..11,
            entries in prop::collection::vec(
                (
                    0u64..8,
                    prop_oneof![Just(1u64), 0u64..256, Just(0xcfu64)],
                    prop_oneof![9 => Just(0u64), 1 => 0..64u64],
                ),
                64,
            ),
            indices in prop::collection::vec(0u64..8, 5),
            high: bool,
            offset in 0u64..4096,
        ) {
            // The last tables of the eight are followed by addresses of large alignment.
            let read = |at: u64| {
                let (table, slot) = (at >> 12, at >> 3 & 0x1ff);
                let &(target, flags, odd) = entries.get((table * 8 + slot % 8) as usize)?;
                let target = if flags & 0xe == 0 || odd == 1 { target << 12 } else { target << 48 };
                Some(entry(target, flags) | if odd > 60 { 1 << odd } else { 0 })
            };
            let mut va = indices.iter().fold(0, |va, index| va << 9 | index) << 12 | offset;
            if high {
                va = va.wrapping_neg();
            }
            let satp = mode << 60;
            let found = walk(Satp(satp), va, read).map(|leaf| (leaf.address, leaf.entry.bits(), leaf.level));
            prop_assert_eq!(found, model(satp, va, &read));
        }
    }
}
