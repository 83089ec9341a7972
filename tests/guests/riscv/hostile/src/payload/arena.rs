//! The memory that is attacked with: pages of code, of page tables and of data, some for each hart, which all of them
//! may write.

use core::{cell::UnsafeCell, mem::offset_of, ops::Range};

use guest_riscv_support::{harts::MAX_HARTS, rng::Rng};

use super::broken;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Pages of each hart.
const PAGES: usize = 16;
/// What is around them.
const MARK: u64 = 0x5245_574f_545f_5249;

#[repr(C, align(4096))]
struct Page([u64; 512]);

#[repr(C)]
struct Arena {
    before: Page,
    pages: [[Page; PAGES]; MAX_HARTS],
    behind: Page,
}

/// Nobody has references to it.
struct Shared(UnsafeCell<Arena>);

// SAFETY: it is accessed by volatile reads and writes only.
unsafe impl Sync for Shared {}

static ARENA: Shared = Shared(UnsafeCell::new(Arena {
    before: Page([MARK; 512]),
    pages: [const { [const { Page([0; 512]) }; PAGES] }; MAX_HARTS],
    behind: Page([MARK; 512]),
}));

/// The address of what is at an offset in the arena.
fn at(offset: usize) -> u64 {
    ARENA.0.get().addr().wrapping_add(offset) as u64
}

/// All pages.
pub fn all() -> Range<u64> {
    let start = at(offset_of!(Arena, pages));
    start..start + (PAGES * MAX_HARTS) as u64 * PAGE
}

/// The page `number` of a hart.
pub fn page(hart: usize, number: u64) -> u64 {
    all().start + (hart * PAGES) as u64 * PAGE + number * PAGE
}

/// Any address in any of them.
pub fn any(rng: &mut Rng) -> u64 {
    let all = all();
    all.start + rng.below(all.end - all.start)
}

/// Writes a word of a page. Other harts may be using it, in every sense.
pub fn put<T>(address: u64, value: T) {
    // SAFETY: the callers give addresses in the arena, to which there are no references.
    unsafe { (address as *mut T).write_volatile(value) };
}

/// Whether nothing has been written in front of the pages and behind them.
pub fn check() {
    for (name, offset) in [("before", offset_of!(Arena, before)), ("behind", offset_of!(Arena, behind))] {
        for word in (0..PAGE).step_by(8) {
            // SAFETY: a word of this page.
            let found = unsafe { ((at(offset) + word) as *const u64).read_volatile() };
            if found != MARK {
                broken(name, MARK, found);
                return;
            }
        }
    }
}
