//! The heap: private memory behind what is mapped by pages.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use buddy_system_allocator::Heap;
use polyvisor_cell_abi::{CellInfo, PRIVATE};
use spin::mutex::SpinMutex;

use crate::{address::virtual_address, cpu::Relax, stage1::PAGED};

/// Classes of block sizes: up to 1 GiB, which is more than private memory has.
const ORDERS: usize = 31;

struct PrivateHeap(SpinMutex<Heap<ORDERS>, Relax>);

#[global_allocator]
static HEAP: PrivateHeap = PrivateHeap(SpinMutex::new(Heap::empty()));

/// Gives it its memory. Before this, and when there is no more, allocations fail: the engine stops, and says so.
pub fn init(cell: &CellInfo) {
    let start = virtual_address(PRIVATE + PAGED);
    let size = cell.private_size.saturating_sub(PAGED).saturating_sub(cell.recording_size);
    // SAFETY: this part of private memory is mapped, and nothing else uses it.
    unsafe { HEAP.0.lock().init(start as usize, size as usize) };
}

// SAFETY: the buddy heap hands out disjoint blocks that honour the layout. Exception handlers do not allocate, so nobody
// waits for a lock that it holds itself.
unsafe impl GlobalAlloc for PrivateHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller promises that the block came from `alloc` with this layout.
            unsafe { self.0.lock().dealloc(block, layout) };
        }
    }
}
