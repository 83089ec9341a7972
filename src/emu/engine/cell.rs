//! What EL2 tells of the cell.

use polyvisor_cell_abi::{CellInfo, HOLE, HartInfo, MAGIC, MAX_HARTS, PRIVATE, VERSION};

use crate::{address::virtual_address, fatal};

/// The page that EL2 has filled.
pub fn info() -> &'static CellInfo {
    // SAFETY: EL2 puts it there before the first vCPU starts. What either side changes from then on is atomic.
    unsafe { &*(virtual_address(PRIVATE) as *const CellInfo) }
}

/// Makes sure that EL2 speaks of what this engine understands.
pub fn check(info: &CellInfo) {
    if info.magic != MAGIC || info.version != VERSION {
        fatal::stop(format_args!("EL2's page is {:#x}, version {}; not {VERSION}", info.magic, info.version));
    }
    if !(1..=MAX_HARTS).contains(&harts(info)) {
        fatal::stop(format_args!("{} harts; a cell has 1 to {MAX_HARTS}", info.harts));
    }
}

/// An address at which nothing is mapped: the last one of the hole.
pub const UNMAPPED: u64 = 2 * HOLE - 8;

/// How many harts there are.
pub fn harts(info: &CellInfo) -> usize {
    info.harts as usize
}

/// What EL2 tells of one hart.
pub fn hart(index: usize) -> Option<&'static HartInfo> {
    info().hart.get(index)
}
