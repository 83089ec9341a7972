//! What each hart has for itself: its stacks, and a few variables that exception handlers need.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use aarch64_cpu::registers::{Readable, TPIDR_EL1};
use polyvisor_cell_abi::MAX_HARTS;

use crate::fatal::Report;

/// A page, the unit of guards.
pub const PAGE: usize = 4096;
const STACK: usize = 64 << 10;
const EXCEPTION_STACK: usize = 16 << 10;

/// Memory that the stack pointer alone refers to.
#[repr(C, align(4096))]
pub struct Raw<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

// SAFETY: nobody makes references to the content.
unsafe impl<const BYTES: usize> Sync for Raw<BYTES> {}

impl<const BYTES: usize> Raw<BYTES> {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; BYTES]))
    }
}

/// What start.S finds by a hart's index. The guards are not mapped.
#[repr(C, align(4096))]
pub struct Area {
    guard: Raw<PAGE>,
    stack: Raw<STACK>,
    exception_guard: Raw<PAGE>,
    exception_stack: Raw<EXCEPTION_STACK>,
    local: Local,
}

/// Each hart's area.
pub static AREAS: [Area; MAX_HARTS] = [const {
    Area {
        guard: Raw::new(),
        stack: Raw::new(),
        exception_guard: Raw::new(),
        exception_stack: Raw::new(),
        local: Local { index: AtomicUsize::new(0), due: AtomicBool::new(false), report: Report::new() },
    }
}; MAX_HARTS];

/// For start.S: how far apart the areas are.
pub const AREA_BYTES: usize = size_of::<Area>();
/// For start.S: where in its area a hart's [`Local`] is, which is where its exception stack begins.
pub const BLOCK_OFFSET: usize = offset_of!(Area, local);
/// For start.S: where in its area a hart's stack begins.
pub const STACK_TOP: usize = offset_of!(Area, exception_guard);

const _: () = {
    assert!(offset_of!(Area, exception_guard) == offset_of!(Area, stack) + STACK);
    assert!(offset_of!(Area, local) == offset_of!(Area, exception_stack) + EXCEPTION_STACK);
    assert!(AREA_BYTES.is_multiple_of(PAGE));
};

/// The addresses of the guard pages.
pub fn guards() -> impl Iterator<Item = u64> {
    AREAS.iter().flat_map(|area| [area.guard.0.get() as u64, area.exception_guard.0.get() as u64])
}

/// Whether `address` is in one.
pub fn is_guard(address: u64) -> bool {
    guards().any(|guard| (guard..guard + PAGE as u64).contains(&address))
}

/// The addresses of this hart's stack, for a walk through its frames.
pub fn stack() -> Range<u64> {
    let top = TPIDR_EL1.get() - (BLOCK_OFFSET - STACK_TOP) as u64;
    top - STACK as u64..top
}

/// The variables of one hart. What is asked for most often comes first, within reach of a load's own offset.
#[repr(C)]
pub struct Local {
    /// Its number.
    pub index: AtomicUsize,
    /// The hart has something to look at: since this was last cleared, an interrupt has been taken or the hart has done
    /// something itself.
    pub due: AtomicBool,
    /// What it says when it cannot go on.
    pub report: Report,
}

/// Those of this hart.
pub fn local() -> &'static Local {
    // SAFETY: start.S points TPIDR_EL1 at the `Local` of this hart's element of AREAS, and nothing changes it.
    unsafe { &*(TPIDR_EL1.get() as *const Local) }
}

/// Sets up this hart's.
pub fn init(index: usize) {
    local().index.store(index, Relaxed);
}
