//! The engine of cells, which the image carries.

use polyvisor_cell_abi::{IMAGE, IMAGE_MAX};

use crate::arch::aarch64::{cache, stage2};
use crate::mm::addr::{PAGE_SIZE, PhysAddr};
use crate::mm::tables::{TableError, Tables, Tlb};

/// The image as `cargo xtask build` puts it here, in pages that it shares with nothing else: guests get them mapped.
#[repr(C, align(4096))]
struct Pages<T: ?Sized>(T);

#[cfg(polyvisor_engine)]
static ENGINE: &Pages<[u8]> = &Pages(*include_bytes!(env!("POLYVISOR_ENGINE")));
#[cfg(not(polyvisor_engine))]
static ENGINE: &Pages<[u8]> = &Pages([]);

const _: () =
    assert!(ENGINE.0.len() as u64 <= IMAGE_MAX && ENGINE.0.len().is_multiple_of(PAGE_SIZE as usize));

/// The engine's image: whole pages, at the start of one; `None` where the firmware was built without it.
pub fn pages() -> Option<&'static [u8]> {
    (!ENGINE.0.is_empty()).then_some(&ENGINE.0)
}

/// Puts the engine into a cell's address space.
///
/// # Errors
/// [`TableError`].
pub fn map<T: Tlb>(tables: &mut Tables<T>, image: &'static [u8]) -> Result<(), TableError> {
    let size = image.len() as u64;
    // The engine starts with its caches off.
    cache::clean_and_invalidate(image.as_ptr(), image.len());
    tables.map(IMAGE, PhysAddr(image.as_ptr() as u64), size, stage2::rom_attributes())
}
