//! Telling the engine which of its guest's pages EL2 has written.
//!
//! What the engine has translated is of no use when the code has changed. Its own harts' stores it sees itself; those of
//! devices and debuggers it reads from the log in its page, in which are the pages that it has named as code.
//! `polyvisor_cell_abi::WriteLog` says why none is missed.

use core::mem::offset_of;

use polyvisor_cell_abi::{self as abi, CellInfo, CodePages, WriteLog};
use spin::Mutex;

use super::at;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, Word, fence};
use crate::mm::guest_ram::Watcher;

/// Appends to the log of a cell.
pub struct Writes {
    /// Where the guest's RAM starts.
    ram: Ipa,
    /// Held by who appends.
    turn: Mutex<()>,
}

impl Writes {
    /// For the cell whose RAM starts at `ram`.
    pub const fn new(ram: Ipa) -> Self {
        Self { ram, turn: Mutex::new(()) }
    }

    /// Appends a page. The engine may have written anything to the page that it shares with EL2: the log is its own loss then.
    fn append(&self, own: &dyn GuestMemory, page: u32) {
        let _turn = self.turn.lock();
        let next_at = field(offset_of!(WriteLog, next));
        let Some(next) = load(own, next_at) else { return };
        let index = next as usize % abi::LOG_ENTRIES;
        let entry = field(offset_of!(WriteLog, pages) + index * size_of::<u32>());
        // A reader that finds this entry finds at least so many, and knows whose place it has taken.
        fence();
        store(own, entry, page);
        // A reader that finds one more finds the entry, and what was written to the page.
        fence();
        store(own, next_at, next.wrapping_add(1));
        // Whoever learns in another way that there is something new finds it in the log.
        fence();
    }
}

impl Watcher for Writes {
    fn written(&self, own: &dyn GuestMemory, ipa: Ipa, len: u64) {
        // The engine tells where the bits are, sets one, and reads the code then.
        fence();
        let bits = load(own, field(offset_of!(WriteLog, code_pages))).filter(|bits| *bits != 0);
        let (Some(bits), Some(first)) = (bits, ipa.0.checked_sub(self.ram.0)) else { return };
        for page in first / abi::PAGE..first.saturating_add(len).div_ceil(abi::PAGE) {
            let (offset, bit) = CodePages::place(page);
            let word = bits.checked_add(offset).and_then(|word| load(own, Ipa(word)));
            if let Some(word) = word
                && word & bit != 0
            {
                self.append(own, page as u32);
            }
        }
    }
}

/// Where in a cell a field of the log is.
const fn field(offset: usize) -> Ipa {
    at(offset_of!(CellInfo, written) + offset)
}

/// A word of private memory.
fn load(own: &dyn GuestMemory, at: Ipa) -> Option<u64> {
    own.slice(at, size_of::<u64>() as u64).ok()?.load(0)
}

fn store<T: Word>(own: &dyn GuestMemory, at: Ipa, value: T) {
    if let Ok(slice) = own.slice(at, size_of::<T>() as u64) {
        slice.store(0, value);
    }
}
