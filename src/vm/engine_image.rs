//! The engine of cells, which the image carries.

use polyvisor_cell_abi::IMAGE_MAX;

use crate::mm::addr::PAGE_SIZE;

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
