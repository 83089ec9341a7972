//! The software TLB: where pages that were accessed lie in the translator's address space.

use alloc::{vec, vec::Vec};

use super::guest::Translation;
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
pub struct Entry {
    /// The page's guest-virtual address, if it may be read.
    load: u64,
    /// Add a guest-virtual address of the page to get where its byte lies.
    addend: *mut u8,
    /// The page's guest-virtual address, if it may be written.
    store: u64,
}

const EMPTY: Entry = Entry { load: INVALID, addend: core::ptr::null_mut(), store: INVALID };

/// The pages of one view.
pub type View = [Entry; ENTRIES];

/// Where an access of `size` bytes at `address` goes, if the page is known, allows it, and the address is aligned.
#[inline(always)]
pub fn find(view: &View, address: u64, size: Size, access: Access) -> Option<*mut u8> {
    let entry = &view[index(address)];
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
    /// View after view.
    entries: Vec<Entry>,
    /// Whether a view may have entries.
    used: Vec<bool>,
}

impl Tlb {
    pub fn new(views: usize) -> Self {
        let views = views.max(1);
        Self { entries: vec![EMPTY; views * ENTRIES], used: vec![false; views] }
    }

    /// Where the view's entries lie. They stay there.
    pub fn view(&mut self, view: usize) -> *const View {
        // A front end's views are below their number: the minimum only makes sure.
        let view = view.min(self.used.len() - 1);
        self.entries.as_mut_ptr().wrapping_add(view * ENTRIES).cast()
    }

    /// Where the byte at `address` lies, if its page is known and allows the access.
    pub fn find_byte(&self, view: usize, address: u64, access: Access) -> Option<*mut u8> {
        let (views, _) = self.entries.as_chunks();
        find(views.get(view)?, address, Size::Byte, access)
    }

    /// Remembers the page of `address`, if all of it is RAM that `translation` is good for.
    pub fn insert(&mut self, view: usize, address: u64, translation: &Translation, ram: Ram) {
        let page = address & !(PAGE - 1);
        let host = ram.host(translation.address & !(PAGE - 1), PAGE);
        let (Some(host), true) = (host, translation.whole_page) else { return };
        let (views, _) = self.entries.as_chunks_mut::<ENTRIES>();
        let (Some(entries), Some(used)) = (views.get_mut(view), self.used.get_mut(view)) else { return };
        let tag = |allowed| if allowed { page } else { INVALID };
        entries[index(page)] = Entry {
            load: tag(translation.load),
            addend: host.wrapping_sub(page as usize),
            store: tag(translation.store),
        };
        *used = true;
    }

    /// Forgets the page of `address`.
    pub fn flush_page(&mut self, address: u64) {
        let (views, _) = self.entries.as_chunks_mut::<ENTRIES>();
        for entries in views {
            entries[index(address)] = EMPTY;
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        for (entries, used) in self.entries.chunks_mut(ENTRIES).zip(&mut self.used) {
            if core::mem::take(used) {
                entries.fill(EMPTY);
            }
        }
    }
}

#[inline(always)]
fn index(address: u64) -> usize {
    (address / PAGE) as usize % ENTRIES
}
