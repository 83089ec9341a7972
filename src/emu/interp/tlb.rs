//! The software TLB: where pages that were accessed lie in the translator's address space.

use alloc::{vec, vec::Vec};

use super::flush::Flush;
use super::guest::Translation;
use super::mapping::Mapping;
use super::superpages::Superpages;
use crate::memory::{Access, Ram, Size};

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// How many entries each view has.
const ENTRIES: usize = 512;
/// A tag that no access has: the bits between the page number and the largest size are not zero.
const INVALID: u64 = u64::MAX;

/// A page. Direct-mapped by the number of the guest-virtual page.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
struct Entry {
    /// The page's guest-virtual address, if it may be read.
    load: u64,
    /// Add a guest-virtual address of the page to get where its byte lies.
    addend: *mut u8,
    /// The page's guest-virtual address, if it may be written.
    store: u64,
}

const EMPTY: Entry = Entry { load: INVALID, addend: core::ptr::null_mut(), store: INVALID };

/// The pages of one view.
type Entries = [Entry; ENTRIES];

/// Where the entries of a view lie.
#[derive(Debug, Clone, Copy)]
pub struct View(*const Entries);

/// Where an access of `size` bytes at `address` goes, if the page is known, allows it, and the address is aligned.
#[inline(always)]
fn find(entries: &Entries, address: u64, size: Size, access: Access) -> Option<*mut u8> {
    let entry = &entries[index(address)];
    let tag = match access {
        Access::Store => entry.store,
        Access::Load | Access::Fetch => entry.load,
    };
    // One comparison for both: an address that is not aligned has low bits that no tag has.
    (address & (!(PAGE - 1) | (size.bytes() - 1)) == tag).then(|| entry.addend.wrapping_add(address as usize))
}

/// The pages of all views.
#[derive(Debug)]
pub struct Tlb {
    /// View after view. They stay where they are.
    entries: Vec<Entry>,
    /// What else there is to know of each view.
    states: Vec<State>,
}

/// What a view's entries are.
#[derive(Debug, Clone, Copy)]
struct State {
    /// In which address space they are right.
    space: u64,
    /// There may be some.
    used: bool,
    /// Those that they are parts of.
    superpages: Superpages,
}

impl State {
    /// Forgets the entries, which are these.
    fn clear(&mut self, entries: &mut Entries) {
        if core::mem::take(&mut self.used) {
            entries.fill(EMPTY);
            self.superpages.clear();
        }
    }
}

impl Tlb {
    /// One that knows no pages, for so many views.
    pub fn new(views: usize) -> Self {
        let views = views.max(1);
        let state = State { space: 0, used: false, superpages: Superpages::default() };
        Self { entries: vec![EMPTY; views * ENTRIES], states: vec![state; views] }
    }

    /// The entries and the state of each view.
    fn views(&mut self) -> impl Iterator<Item = (&mut Entries, &mut State)> {
        let (views, _) = self.entries.as_chunks_mut();
        views.iter_mut().zip(&mut self.states)
    }
}

impl Mapping for Tlb {
    type View = View;

    #[inline]
    fn view(&mut self, view: usize) -> View {
        // A front end's views are below their number: the minimum only makes sure.
        let view = view.min(self.states.len() - 1);
        View(self.entries.as_mut_ptr().wrapping_add(view * ENTRIES).cast())
    }

    #[inline(always)]
    unsafe fn load(&self, view: View, address: u64, size: Size) -> Option<u64> {
        // SAFETY: views stay where they are.
        let host = find(unsafe { &*view.0 }, address, size, Access::Load)?;
        // SAFETY: the entry's page is RAM, the address is aligned.
        Some(unsafe { size.load(host) })
    }

    #[inline(always)]
    unsafe fn store(&self, view: View, address: u64, size: Size, value: u64) -> Option<()> {
        // SAFETY: as for loads.
        let host = find(unsafe { &*view.0 }, address, size, Access::Store)?;
        // SAFETY: as for loads.
        unsafe { size.store(host, value) };
        Some(())
    }

    fn host(&self, view: usize, address: u64, access: Access) -> Option<*mut u8> {
        let (views, _) = self.entries.as_chunks();
        find(views.get(view)?, address, Size::Byte, access)
    }

    fn insert(&mut self, view: usize, address: u64, translation: &Translation, ram: Ram) -> bool {
        let page = address & !(PAGE - 1);
        let Some(host) = ram.host(translation.address & !(PAGE - 1), PAGE) else { return false };
        let Some((entries, state)) = self.views().nth(view) else { return false };
        let tag = |allowed| if allowed { page } else { INVALID };
        entries[index(page)] = Entry {
            load: tag(translation.load),
            addend: host.wrapping_sub(page as usize),
            store: tag(translation.store),
        };
        state.used = true;
        state.superpages.add(address, translation.level);
        true
    }

    fn enter(&mut self, space: u64, view: usize) {
        if let Some((entries, state)) = self.views().nth(view)
            && core::mem::replace(&mut state.space, space) != space
        {
            state.clear(entries);
        }
    }

    /// It knows no numbers of address spaces: what is to be forgotten in some is forgotten in all.
    fn flush(&mut self, flush: Flush) {
        for (entries, state) in self.views() {
            match state.superpages.widen(flush) {
                Flush::Nothing => {}
                Flush::Page { address, .. } => entries[index(address)] = EMPTY,
                Flush::Space(_) | Flush::All => state.clear(entries),
            }
        }
    }
}

#[inline(always)]
fn index(address: u64) -> usize {
    (address / PAGE) as usize % ENTRIES
}
