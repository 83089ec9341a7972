//! Harts in parallel: what one protects, the others do not make writable.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::descriptor::{Descriptor, Entry};
use super::super::{CodePages, Flush, Hardware, Kind, Shadow, Table, guest_asid};
use super::{ENGINE, RAM, RAM_PAGES, SUPERVISOR, TABLES, USER, page, space};

/// A CPU without a TLB.
#[derive(Debug)]
struct NoTlb;

impl Hardware for NoTlb {
    fn asids(&self) -> u32 {
        256
    }
    fn set_ttbr0(&self, _: u64) {}
    fn set_ttbr1(&self, _: u64) {}
    fn invalidate_page(&self, _: Option<u16>, _: u64, _: bool) {}
    fn invalidate_asid(&self, _: u16) {}
    fn invalidate_all(&self) {}
    fn synchronise(&self) {}
}

/// Whether any table lets the page at `physical` be written.
fn is_writable(code: &CodePages, physical: u64) -> bool {
    let tables = code.tables();
    (0..tables.len()).any(|table| {
        let table = tables.below(Descriptor::table(TABLES + table as u64 * 0x1000)).unwrap();
        tables.entries(table).iter().any(|entry| {
            let descriptor = entry.get();
            // Tables look like it, but lie elsewhere.
            descriptor.is_writable() && descriptor.address() == physical
        })
    })
}

#[test]
fn what_one_hart_protects_no_other_one_makes_writable() {
    const TABLES_EACH: u32 = 24;
    let code = Arc::new(CodePages::new(
        RAM..RAM + RAM_PAGES * 0x1000,
        Table::allocate(2 * TABLES_EACH as usize),
        TABLES,
    ));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 1..3u64 {
            let mut shadow = Shadow::new(NoTlb, code.clone(), TABLES_EACH, ENGINE).unwrap();
            let stop = &stop;
            scope.spawn(move || {
                let mut random = seed;
                while !stop.load(Ordering::Relaxed) {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let bits = random >> 33;
                    let space = space(bits % 5, 1);
                    let address = (bits >> 3) % 700 * 0x1000;
                    shadow.enter(space, if bits & 4 == 0 { USER } else { SUPERVISOR });
                    match bits >> 16 & 0xff {
                        0 => shadow.flush(Flush::All),
                        1..8 => shadow.flush(Flush::Space(guest_asid(space))),
                        8..60 => shadow.flush(Flush::Page { address, space_asid: None }),
                        what => {
                            let mut page = page(RAM + (bits >> 5) % RAM_PAGES * 0x1000, false);
                            page.rights.store = what & 3 != 0;
                            assert!(shadow.map(address, page));
                        }
                    }
                }
            });
        }
        for round in 0..4000 {
            let physical = RAM + round % RAM_PAGES * 0x1000;
            code.protect(&NoTlb, physical);
            for _ in 0..3 {
                assert!(!is_writable(&code, physical), "round {round}");
            }
            code.unprotect(physical);
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Nothing that can be written has been lost from the lists.
    for page in 0..RAM_PAGES {
        code.protect(&NoTlb, RAM + page * 0x1000);
        assert!(!is_writable(&code, RAM + page * 0x1000));
    }
}

#[test]
fn what_a_hart_makes_invalid_stays_so() {
    let entry = Entry::new();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                entry.protect();
            }
        });
        let mut valid = 0;
        for round in 0..200_000 {
            entry.set(Descriptor::page(RAM, true, Kind::Normal).linked());
            (0..round % 16).for_each(|_| hint::spin_loop());
            entry.invalidate();
            valid += (0..20).filter(|_| entry.get().is_valid()).count();
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(valid, 0);
    });
}
