//! Shadow tables: Stage-1 tables that map a guest's virtual pages for the unprivileged accesses of translated code.
//!
//! They are filled by faults, page by page, and emptied by the guest's fences. `docs/shadow.md` tells how they are made.

mod asids;
mod code_pages;
mod descriptor;
mod flush;
mod hardware;
mod pool;
mod slots;
#[cfg(test)]
mod tests;
mod tree;

use alloc::sync::Arc;

pub use self::code_pages::CodePages;
pub use self::descriptor::{Kind, Rights};
pub use self::flush::Flush;
pub use self::hardware::Hardware;
pub use self::pool::Table;
pub use self::slots::guest_asid;

use self::asids::{Asid, Asids};
use self::descriptor::Descriptor;
use self::pool::{PAGE, Pool};
use self::slots::{SLOTS, Slots, Space, VIEWS, View, is_supervisor};
use self::tree::{Half, Tree};
use crate::interp::CHUNK;

/// The fewest tables that a hart can have: three for good, and what two pages take.
pub const MIN_TABLES: u32 = 16;
/// As many tables a page takes at most: two roots, three levels below.
const PER_PAGE: usize = 5;

/// A page of the guest, as its tables and physical memory protection have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// A guest-physical address in it.
    pub physical: u64,
    /// What may be done with it in the view.
    pub rights: Rights,
    /// What lies there.
    pub kind: Kind,
    /// It is a user's.
    pub user: bool,
    /// It is mapped in all address spaces (PTE.G).
    pub global: bool,
    /// At which level the guest maps it: 0 is a page of 4 KiB, 1 is one of 2 MiB, 3 is the largest.
    pub level: u32,
    /// All this is true of the whole [`CHUNK`], with the addresses that are as far from these, and it is RAM: its other pages
    /// are mapped along if they are not mapped yet.
    pub whole_chunk: bool,
}

/// The shadow tables of one hart.
#[derive(Debug)]
pub struct Shadow<H> {
    hardware: H,
    pool: Pool,
    asids: Asids,
    slots: Slots,
    /// The high half of supervisor views, in all address spaces that have asked for nothing else there.
    global: Tree,
    /// What is loaded while a view has no pages.
    empty: Roots,
    /// The root's entry behind the guest's low half.
    engine: Descriptor,
    entered: Option<(u64, usize)>,
    /// The slot and view that have been entered, if it is a view that can have pages.
    current: Option<(usize, usize)>,
    /// What the CPU's registers are. `None` if that is not known.
    loaded: Option<Roots>,
}

/// Where the CPU walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Roots {
    ttbr0: u64,
    ttbr1: u64,
}

impl<H: Hardware> Shadow<H> {
    /// The tables of the hart that runs on `hardware`: `tables` of those of `code`, which no other hart gets.
    /// `engine` is the level 0 descriptor of [2^47, 2^48).
    ///
    /// `None` if there are not as many tables left, or if they are fewer than [`MIN_TABLES`].
    pub fn new(hardware: H, code: Arc<CodePages>, tables: u32, engine: u64) -> Option<Self> {
        if tables < MIN_TABLES {
            return None;
        }
        let tables = code.take_tables(tables)?;
        let mut pool = Pool::new(code, tables);
        let engine = Descriptor(engine);
        let (low, high) = (Tree::low(&mut pool, engine)?, Tree::high(&mut pool)?);
        let empty = Roots { ttbr0: low.physical(&pool), ttbr1: high.physical(&pool) };
        let global = Tree::high(&mut pool)?;
        hardware.synchronise();
        Some(Self {
            asids: Asids::new(hardware.asids()),
            slots: Slots::new(),
            global,
            empty,
            engine,
            entered: None,
            current: None,
            loaded: None,
            hardware,
            pool,
        })
    }

    /// Makes the CPU translate by what has been mapped in `view` of the address space `space`: any number that tells it from
    /// others, with the guest's ASID in bits 59:44 as `satp` has it. Views are those of `riscv::View`; in one from machine mode
    /// as another mode on, nothing is ever mapped.
    #[inline]
    pub fn enter(&mut self, space: u64, view: usize) {
        if self.entered != Some((space, view)) {
            self.change(space, view);
        }
    }

    /// Maps the page of the guest-virtual `address` in what has been entered, and replaces what was there; with what is around
    /// it in a larger page of the guest's, as a hart that goes through memory will want it next. A page of translated code is
    /// mapped read-only whatever its rights are. True if the page may be read then.
    pub fn map(&mut self, address: u64, page: Page) -> bool {
        let (Some(half), Some((slot, view))) = (Half::of(address), self.current) else { return false };
        if !page.rights.load || page.physical >> 48 != 0 || page.level > 3 {
            return false;
        }
        // First, as it may forget even this address space.
        self.reserve(PER_PAGE);
        if half == Half::High && is_supervisor(view) && (page.user || !page.global) {
            self.separate(slot);
        }
        self.activate(half == Half::High);

        let Self { hardware, pool, slots, global, .. } = self;
        let Some(space) = slots.get(slot) else { return false };
        let Some((tree, asid)) = tree(space, view, half, global) else { return false };
        let Some(entry) = tree.entry(pool, address, page.level) else { return false };
        let descriptor = Descriptor::page(page.physical, page.rights.store, page.kind);
        let place = pool.tables().entry(entry);
        let old = place.get();
        if old.is_valid() {
            if old.same_mapping(descriptor) {
                return true;
            }
            // Break before make (DDI 0487 D8.16.1).
            place.invalidate();
            hardware.invalidate_page(asid.map(Asid::get), address, false);
            hardware.synchronise();
        }
        if page.whole_chunk && (address ^ page.physical) & (CHUNK - PAGE) == 0 {
            pool.code().set_chunk(hardware, entry, address, descriptor);
        } else {
            pool.code().set(hardware, entry, address, descriptor);
        }
        hardware.synchronise();
        true
    }

    /// The CPU it is for.
    pub const fn hardware(&self) -> &H {
        &self.hardware
    }

    #[cold]
    fn change(&mut self, space: u64, view: usize) {
        self.entered = Some((space, view));
        self.current = None;
        if view < VIEWS {
            let slot = self.slots.find(space).or_else(|| self.slots.free()).unwrap_or_else(|| {
                let oldest = self.slots.least_recently_used(None).unwrap_or(SLOTS - 1);
                self.evict(oldest);
                oldest
            });
            self.slots.enter(slot, space);
            self.current = Some((slot, view));
        }
        self.activate(false);
    }

    /// Loads the roots of the current view, which gets what it needs for that, if it has not: an ASID, a low tree, and a high
    /// one of its own if it is to have pages there that are not global.
    fn activate(&mut self, high: bool) {
        let Some((slot, view)) = self.current else { return self.load(self.empty) };
        self.reserve(2);
        let asid = self.asid(slot, view);
        let Self { hardware, pool, slots, global, empty, engine, .. } = self;
        let roots = slots.get_mut(slot).and_then(|space| {
            let separate = space.separate || !is_supervisor(view);
            let tables = space.views.get_mut(view)?;
            tables.asid = Some(asid?);
            if tables.low.is_none() {
                tables.low = Some(Tree::low(pool, *engine)?);
                hardware.synchronise();
            }
            if high && separate && tables.high.is_none() {
                tables.high = Some(Tree::high(pool)?);
                hardware.synchronise();
            }
            let low = tables.low.as_ref()?.physical(pool);
            let high = if separate { tables.high.as_ref() } else { Some(&*global) };
            let ttbr1 = high.map_or(empty.ttbr1, |tree| tree.physical(pool));
            Some(Roots { ttbr0: low | u64::from(asid?.get()) << 48, ttbr1 })
        });
        self.load(roots.unwrap_or(self.empty));
    }

    /// The ASID of a view; a new one if it has none.
    fn asid(&mut self, slot: usize, view: usize) -> Option<Asid> {
        if let Some(asid) = self.slots.get(slot)?.views.get(view)?.asid {
            return Some(asid);
        }
        self.asids.take().or_else(|| {
            self.rename();
            self.asids.take()
        })
    }

    /// Takes all ASIDs away.
    fn rename(&mut self) {
        // Or the CPU might still walk and remember by one, without being told to.
        self.load(self.empty);
        for space in self.slots.iter_mut() {
            for view in &mut space.views {
                view.asid = None;
            }
        }
        self.hardware.invalidate_all();
        self.hardware.synchronise();
        self.asids.give_back_all();
    }

    /// Gives the supervisor views of a slot high halves of their own.
    fn separate(&mut self, slot: usize) {
        let Some(space) = self.slots.get_mut(slot).filter(|space| !space.separate) else { return };
        space.separate = true;
        for (view, tables) in space.views.iter_mut().enumerate() {
            if is_supervisor(view) {
                // What the TLB knows of the global tree goes with the name.
                tables.asid = None;
            }
        }
    }

    /// Makes the CPU walk `new`. No ASID is ever walked together with the high half of another one.
    fn load(&mut self, new: Roots) {
        let (old_low, old_high) = (self.loaded.map(|old| old.ttbr0), self.loaded.map(|old| old.ttbr1));
        let mut high = old_high;
        if old_high != Some(new.ttbr1) && old_high != Some(self.empty.ttbr1) {
            self.hardware.set_ttbr1(self.empty.ttbr1);
            high = Some(self.empty.ttbr1);
        }
        if old_low != Some(new.ttbr0) {
            self.hardware.set_ttbr0(new.ttbr0);
        }
        if high != Some(new.ttbr1) {
            self.hardware.set_ttbr1(new.ttbr1);
        }
        self.loaded = Some(new);
    }

    /// Sees to it that as many tables are free: address spaces that have not been used for long lose theirs. If that does not
    /// help for a while, everything is forgotten.
    fn reserve(&mut self, tables: usize) {
        if self.pool.available() >= tables {
            return;
        }
        let enough = tables.max(self.pool.capacity() / 8);
        while self.pool.available() < enough {
            match self.slots.least_recently_used(self.current.map(|(slot, _)| slot)) {
                Some(slot) => self.evict(slot),
                None => return self.forget_all(),
            }
        }
    }

    /// Forgets an address space.
    fn evict(&mut self, slot: usize) {
        // It may be the one that was entered before.
        self.load(self.empty);
        let Some(space) = self.slots.take(slot) else { return };
        // What the TLB knows of it is under names that nobody uses until all are given out anew.
        for view in space.views {
            free(&mut self.pool, view);
        }
    }

    /// Forgets all address spaces; the current one is there again, without pages.
    fn forget_all(&mut self) {
        // The TLB knows nothing from here on.
        self.rename();
        for slot in 0..SLOTS {
            let Some(space) = self.slots.take(slot) else { continue };
            if self.current.is_some_and(|(current, _)| current == slot) {
                self.slots.enter(slot, space.key);
            }
            for view in space.views {
                free(&mut self.pool, view);
            }
        }
        self.global.clear(&mut self.pool);
        self.hardware.synchronise();
    }
}

/// The tree for one half of a view, and the ASID of its entries: `None` if they are of many.
fn tree<'a>(space: &'a Space, view: usize, half: Half, global: &'a Tree) -> Option<(&'a Tree, Option<Asid>)> {
    let tables = space.views.get(view)?;
    match half {
        Half::Low => Some((tables.low.as_ref()?, tables.asid)),
        Half::High if is_supervisor(view) && !space.separate => Some((global, None)),
        Half::High => Some((tables.high.as_ref()?, tables.asid)),
    }
}

/// Frees the tables of a view.
fn free(pool: &mut Pool, view: View) {
    for tree in [view.low, view.high].into_iter().flatten() {
        tree.free(pool);
    }
}
