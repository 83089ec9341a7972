//! Write protection of pages with translated code: from harts by their shadow tables, from EL2 by a log of what it has written.

use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering::Release};

use polyvisor_cell_abi::{CellInfo, CodePages as Logged, PAGE};
use polyvisor_emu::jit::shared::Protection;
use polyvisor_emu::shadow::CodePages;

use crate::{address::physical_address, shadow::Cpu};

/// The pages that are protected.
pub struct Protected {
    pages: Arc<CodePages>,
    logged: Logged<'static>,
    ram_base: u64,
}

impl Protected {
    /// None yet. From here on EL2 logs what it writes to those that there are.
    pub fn new(cell: &CellInfo, pages: Arc<CodePages>) -> Self {
        let words = (0..Logged::words(cell.ram_size)).map(|_| AtomicU64::new(0));
        let words: &'static [AtomicU64] = Box::leak(words.collect());
        cell.written.code_pages.store(physical_address(words.as_ptr() as u64), Release);
        Self { pages, logged: Logged::new(words), ram_base: cell.ram_base }
    }

    /// The number of the page from the start of RAM; `None` below that, and far above.
    fn number(&self, address: u64) -> Option<u32> {
        u32::try_from(address.checked_sub(self.ram_base)? / PAGE).ok()
    }
}

impl Protection for Protected {
    fn protect(&self, address: u64) {
        if let Some(page) = self.number(address) {
            self.logged.set(page);
        }
        self.pages.protect(&Cpu, address);
    }

    fn unprotect(&self, address: u64) {
        self.pages.unprotect(address);
        if let Some(page) = self.number(address) {
            self.logged.clear(page);
        }
    }

    fn is_protected(&self, address: u64) -> bool {
        self.pages.is_code(address)
    }
}
