//! Random histories of several harts.

use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;

use super::super::descriptor::Descriptor;
use super::super::pool::PAGE;
use super::super::{Flush, Kind, Page, Rights, guest_asid};
use super::naive::Naive;
use super::{AS_OTHER, PAGES, RAM, RAM_PAGES, World, space};
use crate::interp::CHUNK;

const HARTS: usize = 3;
/// Beside RAM.
const DEVICE: u64 = 0x1000_0000;

#[derive(Debug, Clone)]
enum Step {
    Enter { space: u64, view: usize },
    Map { at: usize, page: Page },
    Flush(Flush),
    Protect(u64),
    Unprotect(u64),
}

/// Few address spaces come often, some share an ASID, and all together are more than there are slots.
fn spaces() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (1u64..4, 1u64..3).prop_map(|(asid, root)| space(asid, root)),
        1 => (4u64..40).prop_map(|asid| space(asid, 1)),
        1 => Just(0),
    ]
}

fn physical() -> impl Strategy<Value = u64> {
    (0..RAM_PAGES).prop_map(|page| RAM + page * 0x1000)
}

fn pages() -> impl Strategy<Value = Page> {
    let level = prop_oneof![6 => Just(0u32), 3 => 1u32..4, 1 => Just(4)];
    let address = prop_oneof![8 => physical(), 1 => Just(DEVICE), 1 => Just(1 << 48)];
    (
        address,
        any::<[bool; 2]>(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.9),
        level,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(physical, [store, odd], user, global, load, level, chunk)| Page {
            physical: physical + if odd { 0x123 } else { 0 },
            rights: Rights { load, store },
            kind: if physical == DEVICE { Kind::Device } else { Kind::Normal },
            user,
            global,
            level,
            whole_chunk: chunk && (RAM..RAM + CHUNK).contains(&physical),
        })
}

fn flushes() -> impl Strategy<Value = Flush> {
    prop_oneof![
        8 => (0..PAGES.len(), prop::option::of(0u16..4)).prop_map(|(at, space_asid)| {
            Flush::Page { address: PAGES[at] + 8, space_asid }
        }),
        2 => (0u16..4).prop_map(Flush::Space),
        1 => Just(Flush::All),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (spaces(), 0..=AS_OTHER).prop_map(|(space, view)| Step::Enter { space, view }),
        8 => (0..PAGES.len(), pages()).prop_map(|(at, page)| Step::Map { at, page }),
        3 => flushes().prop_map(Step::Flush),
        1 => physical().prop_map(Step::Protect),
        1 => physical().prop_map(Step::Unprotect),
    ]
}

/// The harts, what they may translate, and what they have entered.
struct Test {
    world: World,
    naive: Vec<Naive>,
    entered: Vec<(u64, usize)>,
    code: BTreeSet<u64>,
}

impl Test {
    fn new(tables: u32, asids: u32) -> Self {
        let mut world = World::new(HARTS, tables, asids);
        for hart in &mut world.harts {
            hart.enter(0, 0);
        }
        let naive = (0..HARTS).map(|_| Naive::default()).collect();
        Self { world, naive, entered: [(0, 0)].repeat(HARTS), code: BTreeSet::new() }
    }

    fn step(&mut self, hart: usize, step: &Step) {
        let (space, view) = self.entered[hart];
        match *step {
            Step::Enter { space, view } => {
                self.world.harts[hart].enter(space, view);
                self.entered[hart] = (space, view);
            }
            Step::Map { at, page } => {
                let possible =
                    page.rights.load && page.physical >> 48 == 0 && page.level < 4 && view != AS_OTHER;
                let before = PAGES.map(|page| self.world.walk(hart, page));
                let shadow = &mut self.world.harts[hart];
                assert_eq!(shadow.map(PAGES[at] + 0x10, page), possible);
                if possible {
                    self.naive[hart].map(space, view, PAGES[at], page);
                    self.map_around(hart, PAGES[at], page, before);
                    let found = self.world.walk(hart, PAGES[at]).expect("mapped");
                    let writable = page.rights.store && !self.code.contains(&found.address());
                    assert_eq!((found.address(), found.is_writable()), (page.physical & !0xfff, writable));
                    for used in self.world.machine.translations(hart, PAGES[at]) {
                        assert_eq!(
                            (used.address(), used.is_writable()),
                            (found.address(), writable),
                            "as before"
                        );
                    }
                }
            }
            Step::Flush(what) => {
                let before = PAGES.map(|page| self.world.walk(hart, page));
                self.world.harts[hart].flush(what);
                self.naive[hart].flush(what);
                for (page, before) in PAGES.into_iter().zip(before) {
                    let stays = match what {
                        Flush::Page { address, space_asid } => {
                            space_asid.is_some_and(|asid| asid != guest_asid(space))
                                || !self.naive[hart].may_go_together(address & !0xfff, page)
                        }
                        Flush::Space(asid) => asid != guest_asid(space),
                        Flush::All => false,
                    };
                    assert!(!stays || self.world.walk(hart, page) == before, "{page:#x} is gone");
                }
            }
            Step::Protect(physical) => {
                let hardware = self.world.harts[hart].hardware();
                self.world.code.protect(hardware, physical);
                self.code.insert(physical);
            }
            Step::Unprotect(physical) => {
                self.world.code.unprotect(physical);
                self.code.remove(&physical);
            }
        }
        self.check();
    }

    /// What may have been mapped along with `page` at `address`.
    fn map_around(
        &mut self,
        hart: usize,
        address: u64,
        page: Page,
        before: [Option<Descriptor>; PAGES.len()],
    ) {
        let (space, view) = self.entered[hart];
        let begins_alike = (address ^ page.physical) & (CHUNK - PAGE) == 0;
        // What is mapped like that already is left as it is, and all around.
        let is_new = PAGES
            .into_iter()
            .zip(before)
            .all(|(other, before)| other != address || self.world.walk(hart, other) != before);
        for (other, before) in PAGES.into_iter().zip(before) {
            let in_chunk = other & !(CHUNK - 1) == address & !(CHUNK - 1) && other != address;
            let now = self.world.walk(hart, other);
            if now == before || !in_chunk {
                continue;
            }
            if now.is_some() {
                assert!(page.whole_chunk && begins_alike, "{other:#x} is mapped along");
                let physical = (page.physical & !(PAGE - 1)).wrapping_add(other.wrapping_sub(address));
                self.naive[hart].map(space, view, other, Page { physical, ..page });
            }
        }
        if page.whole_chunk && begins_alike && is_new {
            let around = PAGES.into_iter().filter(|other| other & !(CHUNK - 1) == address & !(CHUNK - 1));
            around.for_each(|other| assert!(self.world.walk(hart, other).is_some(), "{other:#x} is not"));
        }
    }

    /// No hart may do more than it is allowed to.
    fn check(&self) {
        self.world.machine.speculate();
        assert!(!self.world.machine.is_pending(), "not synchronised");
        for hart in 0..HARTS {
            let (space, view) = self.entered[hart];
            for page in PAGES {
                for found in self.world.machine.translations(hart, page) {
                    assert!(view != AS_OTHER && self.world.machine.asid(hart) != 0);
                    assert!(
                        self.naive[hart].allows(space, view, page, found, &self.code),
                        "hart {hart}, space {space:x}, view {view}, {page:#x}: {found:x?}"
                    );
                }
            }
        }
        for page in 0..RAM_PAGES {
            let physical = RAM + page * 0x1000;
            assert_eq!(self.world.code.is_code(physical + 0xfff), self.code.contains(&physical));
        }
    }

    /// Looks at what is known in all views, where nothing may be written, then forgets it.
    fn finish(mut self) {
        for page in 0..RAM_PAGES {
            self.step(0, &Step::Protect(RAM + page * 0x1000));
        }
        for hart in 0..HARTS {
            for asid in 0..6 {
                for view in 0..=AS_OTHER {
                    let space = if asid == 0 { 0 } else { space(asid % 4, asid / 4 + 1) };
                    self.step(hart, &Step::Enter { space, view });
                }
            }
            self.step(hart, &Step::Flush(Flush::All));
            let shadow = &self.world.harts[hart];
            assert_eq!(shadow.pool.available(), shadow.pool.capacity() - 3, "a table is lost");
        }
    }
}

proptest! {
    #[test]
    fn no_hart_may_do_more_than_it_is_allowed_to(
        tables in prop_oneof![4 => 16u32..40, 1 => 60u32..80],
        asids in prop_oneof![2u32..8, Just(256)],
        steps in prop::collection::vec((0..HARTS, steps()), 1..150),
    ) {
        let mut test = Test::new(tables, asids);
        for (hart, step) in &steps {
            test.step(*hart, step);
        }
        test.finish();
    }
}
