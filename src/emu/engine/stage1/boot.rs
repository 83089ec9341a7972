//! The tables that start.S begins with. They are constant: with the MMU off no memory is written.
//!
//! They have what is executed while the MMU is switched on, one to one, and the hole, for the jump. The first hart finds
//! there the engine's code and private memory as large blocks; the others find what the first one has built meanwhile.

use polyvisor_cell_abi::{HOLE, IMAGE, PRIVATE};

use super::{Access, ENGINE, ENTRIES, GIB, HOLE_ENTRY, NOT_GLOBAL, TABLE};

/// A table whose entries map 1 GiB each.
#[repr(C, align(4096))]
struct Blocks([u64; ENTRIES]);

/// A root. Its entries are pointers, as it is the linker that knows where tables are.
#[repr(C, align(4096))]
pub struct Root([*const u8; ENTRIES]);

// SAFETY: constants, which only the table walker reads.
unsafe impl Sync for Root {}

/// The root of hart 0, and that of all others.
pub static ROOTS: [Root; 2] =
    [root(descriptor((&raw const BLOCKS).cast())), root(descriptor((&raw const ENGINE).cast()))];

/// Both one to one and in the hole. Not global, unlike the tables that follow.
static BLOCKS: Blocks = {
    let mut entries = [0; ENTRIES];
    entries[(IMAGE / GIB) as usize] = Access::Execute.block(IMAGE / GIB * GIB) | NOT_GLOBAL;
    entries[(PRIVATE / GIB) as usize] = Access::Write.block(PRIVATE / GIB * GIB) | NOT_GLOBAL;
    Blocks(entries)
};

const fn root(hole: *const u8) -> Root {
    let mut entries = [core::ptr::null(); ENTRIES];
    entries[0] = descriptor((&raw const BLOCKS).cast());
    entries[HOLE_ENTRY] = hole;
    Root(entries)
}

/// The descriptor of a table, which is linked in the hole.
const fn descriptor(table: *const u8) -> *const u8 {
    table.wrapping_byte_sub(HOLE as usize).wrapping_byte_add(TABLE as usize)
}
