//! Where jumps between pages lead: a small cache by guest-virtual address.

use alloc::boxed::Box;

use crate::boxed;

/// How many jumps are remembered.
const JUMPS: usize = 4096;
/// How many bits the filter of pages has.
const PAGES: u64 = 4096;
/// A tag of no context: counts of flushes start above.
const NEVER: u64 = 0;

/// One remembered jump. Its alignment makes it cheaper to index.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Jump {
    pc: u64,
    tag: u64,
    code: usize,
    block: u32,
}

/// No jump.
const NOWHERE: Jump = Jump { pc: 0, tag: NEVER, code: 0, block: 0 };

/// Blocks by the guest-virtual addresses at which they start, until translations change.
///
/// Flushing does not touch the entries: their tags contain a count of flushes. Guests flush single pages of data much more often
/// than pages of code; a filter of the pages that entries lie on tells which flushes can be ignored.
#[derive(Debug)]
pub struct Jumps {
    entries: Box<[Jump; JUMPS]>,
    /// The count of flushes, and the current context.
    tag: u64,
    filter: [u64; PAGES as usize / 64],
}

impl Jumps {
    pub fn new() -> Self {
        Self { entries: boxed::filled(NOWHERE), tag: 1 << 32, filter: [0; PAGES as usize / 64] }
    }

    /// The guest executes in `context` from here on.
    pub fn enter(&mut self, context: u32) {
        self.tag = self.tag >> 32 << 32 | u64::from(context);
    }

    fn slot(pc: u64) -> usize {
        // Instructions start at even addresses.
        (pc >> 1) as usize % JUMPS
    }

    /// The index of the first word of the block at `pc`.
    #[inline(always)]
    pub fn find(&self, pc: u64) -> Option<usize> {
        self.entry(pc).map(|entry| entry.code)
    }

    /// The number of the block at `pc`.
    pub fn block(&self, pc: u64) -> Option<u32> {
        self.entry(pc).map(|entry| entry.block)
    }

    #[inline(always)]
    fn entry(&self, pc: u64) -> Option<&Jump> {
        let entry = &self.entries[Self::slot(pc)];
        (entry.pc == pc && entry.tag == self.tag).then_some(entry)
    }

    /// Remembers block number `block`, whose first word is at the index `code`, and whose own code lies on the pages of
    /// `pc` and `last`.
    pub fn insert(&mut self, pc: u64, last: u64, block: u32, code: usize) {
        self.entries[Self::slot(pc)] = Jump { pc, tag: self.tag, code, block };
        for address in [pc, last] {
            let (word, bit) = Self::page(address);
            self.filter[word] |= bit;
        }
    }

    fn page(address: u64) -> (usize, u64) {
        let page = address / 4096 % PAGES;
        (page as usize / 64, 1 << (page % 64))
    }

    /// Forgets what lies on the page of `address`.
    pub fn flush_page(&mut self, address: u64) {
        let (word, bit) = Self::page(address);
        if self.filter[word] & bit != 0 {
            self.flush();
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.filter.fill(0);
        match self.tag.checked_add(1 << 32) {
            Some(tag) => self.tag = tag,
            None => {
                self.entries.fill(NOWHERE);
                self.tag = 1 << 32 | self.tag & u64::from(u32::MAX);
            }
        }
    }
}
