//! Saved translations: the store that EL2 has put into the address space, and the memory of a recording.

use core::slice;

use polyvisor_cell_abi::{CellInfo, PRIVATE, STORE, STORE_MAX};
use polyvisor_emu::jit::compile::Features;
use polyvisor_emu::jit::store::{Recording, Store};

use crate::address::virtual_address;

const WORD: u64 = size_of::<u32>() as u64;

/// The store, if there is one that this CPU can use.
pub fn store(cell: &CellInfo, features: Features) -> Option<Store<'static>> {
    let size = cell.store_size.min(STORE_MAX);
    let start = virtual_address(STORE) as *const u32;
    // SAFETY: EL2 has mapped so many bytes there, Stage-1 has, too, and nobody writes them.
    let words = unsafe { slice::from_raw_parts(start, (size / WORD) as usize) };
    Store::open(words, features)
}

/// A recording, if one is to be made.
pub fn recording(cell: &CellInfo, features: Features) -> Option<Recording> {
    let size = cell.recording_size.min(cell.private_size);
    let start = virtual_address(PRIVATE + (cell.private_size - size)) as *mut u32;
    // SAFETY: this part of private memory is mapped, it is not the heap's, and this is asked once. EL2 reads it as memory
    // that is written meanwhile.
    let memory = unsafe { slice::from_raw_parts_mut(start, (size / WORD) as usize) };
    Recording::new(memory, features)
}
