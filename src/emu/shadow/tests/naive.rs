//! What each hart may translate: a set of everything that has been mapped, less what a fence has named.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::super::descriptor::Descriptor;
use super::super::{Flush, Kind, Page, guest_asid};
use super::{SUM, SUPERVISOR};

/// One hart's pages.
#[derive(Debug, Default)]
pub struct Naive {
    /// By address space, view and page.
    own: BTreeMap<(u64, usize, u64), Page>,
    /// What supervisors of all address spaces may share. More than one where it is not said which tree the last one is in.
    shared: BTreeMap<u64, Vec<Page>>,
    /// Address spaces that may have separate trees.
    separate: BTreeSet<u64>,
    /// Superpages, as level and number.
    superpages: BTreeSet<(u32, u64)>,
}

impl Naive {
    pub fn map(&mut self, space: u64, view: usize, address: u64, page: Page) {
        if page.level > 0 {
            self.superpages.insert(region(address, page.level));
        }
        let supervisor = view == SUPERVISOR || view == SUM;
        let high = address >> 63 != 0;
        if supervisor && high && page.global && !page.user {
            let shared = self.shared.entry(address).or_default();
            if !self.separate.contains(&space) {
                shared.clear();
                shared.push(page);
                return;
            }
            shared.push(page);
        } else if supervisor && high {
            self.separate.insert(space);
        }
        self.own.insert((space, view, address), page);
    }

    pub fn flush(&mut self, what: Flush) {
        match what {
            Flush::Page { address, space_asid } => {
                let named = |at: u64, page: &Page| {
                    at == address & !0xfff
                        || page.level > 0 && region(at, page.level) == region(address, page.level)
                };
                self.own.retain(|&(space, _, at), page| {
                    let stays = space_asid.is_some_and(|asid| asid != guest_asid(space) || page.global);
                    stays || !named(at, page)
                });
                if space_asid.is_none() {
                    for (&at, pages) in &mut self.shared {
                        pages.retain(|page| !named(at, page));
                    }
                }
            }
            Flush::Space(asid) => {
                self.own.retain(|&(space, ..), page| page.global || guest_asid(space) != asid);
            }
            Flush::All => {
                self.own.clear();
                self.shared.clear();
            }
        }
    }

    /// Whether `descriptor` may translate `address`.
    pub fn allows(
        &self,
        space: u64,
        view: usize,
        address: u64,
        descriptor: Descriptor,
        code: &BTreeSet<u64>,
    ) -> bool {
        let shared = self.shared.get(&address).filter(|_| view == SUPERVISOR || view == SUM);
        let pages = self.own.get(&(space, view, address)).into_iter().chain(shared.into_iter().flatten());
        let is_code = code.contains(&descriptor.address());
        pages.into_iter().any(|page| {
            page.physical & !0xfff == descriptor.address()
                && (descriptor.0 >> 2 & 7 == 0) == (page.kind == Kind::Normal)
                && (!descriptor.is_writable() || page.rights.store && !is_code)
        })
    }

    /// Whether a fence for the page `named` may be about `address`, too.
    pub fn may_go_together(&self, named: u64, address: u64) -> bool {
        named == address
            || (1..4).any(|level| {
                region(named, level) == region(address, level)
                    && self.superpages.contains(&region(address, level))
            })
    }
}

fn region(address: u64, level: u32) -> (u32, u64) {
    (level, address >> (12 + 9 * level))
}
