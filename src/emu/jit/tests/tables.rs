//! Jump tables: what translated code finds there.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::collections::HashMap;

use proptest::prelude::*;

use crate::interp::Flush;
use crate::jit::tables::{Memory, SHARED, SLOTS, TableKey, Tables};

const MISS: u64 = 0x5555_0000;

/// A hart's tables, with the table that its code uses.
struct Hart {
    memory: Memory,
    tables: Tables,
    address: u64,
}

const fn key(context: u32, asid: u64) -> TableKey {
    TableKey { context, space: asid << 44 | 0x1234 }
}

impl Hart {
    fn new() -> Self {
        let mut hart = Self { memory: Memory::new(MISS), tables: Tables::new(MISS), address: 0 };
        hart.enter(key(0, 0));
        hart
    }

    fn enter(&mut self, key: TableKey) {
        self.address = self.tables.enter(&self.memory, key);
    }

    fn word(&self, address: u64) -> u64 {
        // SAFETY: a word of the memory, which is made of atomics, and lives as long as this.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(address as usize) }.load(Relaxed)
    }

    /// `ldr x16, [x28, #8 * slot]`
    fn slot(&self, slot: u32) -> Option<u64> {
        Some(self.word(self.address + 8 * u64::from(slot))).filter(|&entry| entry != MISS)
    }

    /// `sub x17, x28, w16, uxth #3`, `ldp x17, x30, [x17, #-16]`, `cmp x17, x16`
    fn indirect(&self, pc: u64) -> Option<u64> {
        let entry = self.address - ((pc & 0xffff) << 3) - 16;
        (self.word(entry) == pc).then(|| self.word(entry + 8))
    }

    fn fill_slot(&mut self, slot: u32, pc: u64, entry: u64) {
        self.tables.fill_slot(&self.memory, slot, (pc, 0), entry);
    }

    fn fill_indirect(&mut self, pc: u64, entry: u64) {
        self.tables.fill_indirect(&self.memory, (pc, 0), entry);
    }

    fn flush(&mut self, flush: Flush) {
        self.tables.flush(&self.memory, flush);
    }
}

#[test]
fn tables_know_nothing_at_first() {
    let hart = Hart::new();
    assert!((0..SLOTS as u32).all(|slot| hart.slot(slot).is_none()));
    assert!((0..0x1_0000).all(|pc| hart.indirect(pc).is_none() && hart.indirect(!0xffff + pc).is_none()));
}

#[test]
fn each_address_space_and_context_has_its_own() {
    let mut hart = Hart::new();
    let keys = [key(0, 1), key(0, 2), key(1, 1), TableKey { context: 0, space: SHARED }];
    for (number, key) in (1..).zip(keys) {
        hart.enter(key);
        assert_eq!((hart.slot(4095), hart.indirect(0x1000), hart.indirect(0x8ffe)), (None, None, None));
        hart.fill_slot(4095, 0x7000, number);
        hart.fill_indirect(0x1000, 10 * number);
        hart.fill_indirect(0x8ffe, 20 * number);
    }
    for (number, key) in (1..).zip(keys) {
        hart.enter(key);
        let found = (hart.slot(4095), hart.indirect(0x1000), hart.indirect(0x8ffe));
        assert_eq!(found, (Some(number), Some(10 * number), Some(20 * number)));
        assert_eq!((hart.slot(0), hart.indirect(0x1002), hart.indirect(0x1800)), (None, None, None));
    }
}

#[test]
fn the_table_that_was_not_used_for_longest_makes_room() {
    let mut hart = Hart::new();
    let known = |hart: &mut Hart, number: u64| {
        hart.enter(key(1, number));
        hart.slot(1).is_some()
    };
    for number in 0..15 {
        hart.enter(key(1, number));
        hart.fill_slot(1, 0x1000, number + 1);
    }
    assert!(known(&mut hart, 0));
    assert!(!known(&mut hart, 15));
    assert!(known(&mut hart, 0) && !known(&mut hart, 1) && known(&mut hart, 14));
}

#[test]
fn a_block_is_forgotten_in_all_tables_and_others_are_not() {
    let mut hart = Hart::new();
    for asid in 0..3 {
        hart.enter(key(0, asid));
        hart.fill_slot(7, 0x5000, 0x100);
        hart.fill_slot(8, 0x6000, 0x200);
        hart.fill_indirect(0x5000, 0x100);
        hart.fill_indirect(0x5002, 0x300);
    }
    hart.memory.forget(0x5000, Some(7), 0x100, MISS);
    for asid in 0..3 {
        hart.enter(key(0, asid));
        assert_eq!((hart.slot(7), hart.slot(8)), (None, Some(0x200)));
        assert_eq!((hart.indirect(0x5000), hart.indirect(0x5002)), (None, Some(0x300)));
    }
    // A slot that leads to another block by now.
    hart.memory.forget(0x6000, Some(8), 0x100, MISS);
    assert_eq!(hart.slot(8), Some(0x200));
}

#[test]
fn flushes_forget_what_they_are_about() {
    let far = 0x77_0000;
    let keys = [key(0, 1), key(1, 1), key(0, 2), TableKey { context: 0, space: SHARED }];
    for (flush, kept) in [
        (Flush::Nothing, [true; 4]),
        (Flush::page(0x1000, None), [false; 4]),
        (Flush::page(far, None), [true; 4]),
        (Flush::page(0x1000, Some(1)), [false, false, true, true]),
        (Flush::Space(2), [true, true, false, true]),
        (Flush::Space(3), [true; 4]),
        (Flush::All, [false; 4]),
    ] {
        let mut hart = Hart::new();
        for key in keys {
            hart.enter(key);
            hart.fill_slot(3, 0x7ffe, 9);
            hart.fill_indirect(0x1000, 9);
        }
        hart.flush(flush);
        for (key, kept) in keys.into_iter().zip(kept) {
            hart.enter(key);
            assert_eq!(
                (hart.slot(3).is_some(), hart.indirect(0x1000).is_some()),
                (kept, kept),
                "{flush:?} {key:?}"
            );
        }
    }
}

/// As many pages as a kernel's code has; its data's are fenced all the time.
#[test]
fn flushes_of_other_pages_forget_little() {
    const PAGES: u64 = 1000;
    let (code, data) = (0xffff_ffff_8000_0000, 0xffff_ffc6_fe80_0000_u64);
    let mut hart = Hart::new();
    let mut forgotten = 0;
    for page in 0..PAGES {
        if hart.indirect(code).is_none() {
            hart.enter(TableKey { context: 0, space: SHARED });
            // On as many pages, and each in an entry of its own.
            (0..PAGES).for_each(|page| hart.fill_indirect(code + 4098 * page, 9));
        }
        // Here and there in 4 GiB.
        let other = (page * page).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 44;
        hart.flush(Flush::page(data + 4096 * other, None));
        forgotten += u32::from(hart.indirect(code).is_none());
    }
    assert!(forgotten < 10, "{forgotten}");
}

#[test]
fn a_flush_of_one_page_is_one_of_the_whole_superpage() {
    let mut hart = Hart::new();
    hart.tables.fill_slot(&hart.memory, 3, (0x20_1000, 1), 9);
    hart.flush(Flush::page(0x40_0000, None));
    assert!(hart.slot(3).is_some());
    hart.flush(Flush::page(0x3f_f000, None));
    hart.enter(key(0, 0));
    assert!(hart.slot(3).is_none());
}

#[test]
fn filling_again_and_again_loses_entries_and_keeps_the_table() {
    let mut hart = Hart::new();
    let before = hart.address;
    for round in 0..5000u64 {
        hart.fill_indirect(0x1000, round);
        assert_eq!(hart.indirect(0x1000), Some(round));
    }
    hart.enter(key(0, 0));
    assert_eq!((hart.address, hart.indirect(0x1000)), (before, Some(4999)));
    hart.tables.clear_all(&hart.memory);
    hart.enter(key(0, 0));
    assert_eq!(hart.indirect(0x1000), None);
}

#[derive(Debug, Clone)]
enum Action {
    Enter(TableKey),
    FillSlot(u32),
    FillIndirect(u64),
    Forget(u64),
    Flush(Flush),
}

fn action() -> impl Strategy<Value = Action> {
    let spaces = prop_oneof![4 => (0u64..20).prop_map(|asid| key(0, asid).space), 1 => Just(SHARED)];
    let key = (0u32..2, spaces).prop_map(|(context, space)| TableKey { context, space });
    let asid = prop::option::of(0u16..20);
    let flush = (asid, 0u64..16, any::<bool>())
        .prop_map(|(asid, page, all)| if all { Flush::space(asid) } else { Flush::page(page << 12, asid) });
    prop_oneof![
        4 => key.prop_map(Action::Enter),
        6 => (0u32..32).prop_map(Action::FillSlot),
        6 => (0u64..32).prop_map(Action::FillIndirect),
        2 => (0u64..32).prop_map(Action::Forget),
        1 => flush.prop_map(Action::Flush),
    ]
}

/// The address of a block of this number, on one of 16 pages, and its size.
const fn address(number: u64) -> (u64, u8) {
    ((number % 16) << 12 | number << 1, if number.is_multiple_of(8) { 1 } else { 0 })
}

/// What of a [`TableKey`] can be hashed.
const fn parts(key: TableKey) -> (u32, u64) {
    (key.context, key.space)
}

proptest! {
    /// A table may always forget; what it knows must be true.
    #[test]
    fn tables_know_nothing_that_is_not_so(actions in prop::collection::vec(action(), 1..200)) {
        let mut hart = Hart::new();
        let mut current = key(0, 0);
        let mut truth: HashMap<((u32, u64), bool, u64), u64> = HashMap::new();
        for (entry, action) in (1..).zip(actions) {
            match action {
                Action::Enter(key) => {
                    current = key;
                    hart.enter(key);
                }
                Action::FillSlot(number) => {
                    let place = address(number.into());
                    hart.tables.fill_slot(&hart.memory, number, place, entry);
                    truth.insert((parts(current), true, number.into()), entry);
                    prop_assert_eq!(hart.slot(number), Some(entry));
                }
                Action::FillIndirect(number) => {
                    let place = address(number);
                    hart.tables.fill_indirect(&hart.memory, place, entry);
                    truth.insert((parts(current), false, number), entry);
                    prop_assert_eq!(hart.indirect(place.0), Some(entry));
                }
                Action::Forget(number) => {
                    // All that leads there is one block.
                    let entries: Vec<u64> = truth.iter().filter(|((_, _, of), _)| *of == number).map(|(_, &entry)| entry).collect();
                    for entry in entries {
                        hart.memory.forget(address(number).0, Some(number as u32), entry, MISS);
                    }
                    truth.retain(|&(_, _, of), _| of != number);
                }
                Action::Flush(flush) => {
                    hart.flush(flush);
                    truth.retain(|&((_, space), _, number), _| {
                        let (pc, level) = address(number);
                        let of_space = |asid| space != SHARED && Flush::asid_of(space) == asid;
                        !match flush {
                            Flush::Nothing => false,
                            Flush::Page { address, asid } => {
                                (pc ^ address) >> (12 + 9 * level) == 0 && asid.is_none_or(of_space)
                            }
                            Flush::Space(asid) => of_space(asid),
                            Flush::All => true,
                        }
                    });
                    // Before code goes on, its table is entered.
                    hart.enter(current);
                }
            }
            for number in 0..32 {
                for (is_slot, found) in [(true, hart.slot(number as u32)), (false, hart.indirect(address(number).0))] {
                    if let Some(found) = found {
                        prop_assert_eq!(truth.get(&(parts(current), is_slot, number)), Some(&found));
                    }
                }
            }
        }
    }
}
