//! EL2's heap: small objects, in chunks taken from the frame allocator as they are needed.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use buddy_system_allocator::Heap;
use spin::Mutex;

use super::frames::{Frames, Owner};

/// How much the heap grows by at least, in bytes.
const CHUNK: usize = 64 << 10;

struct GrowingHeap(Mutex<Heap<40>>);

#[global_allocator]
static HEAP: GrowingHeap = GrowingHeap(Mutex::new(Heap::empty()));

// SAFETY: the buddy heap hands out disjoint blocks that honour the layout; chunks are owned by it for good.
unsafe impl GlobalAlloc for GrowingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heap = self.0.lock();
        if let Ok(block) = heap.alloc(layout) {
            return block.as_ptr();
        }
        let wanted = layout.size().max(layout.align()).max(CHUNK).next_power_of_two();
        let Ok(chunk) = Frames::allocate(wanted as u64, Owner::Hypervisor) else {
            return null_mut();
        };
        let start = chunk.leak().as_ptr() as usize;
        // SAFETY: the chunk has just left the frame allocator for good.
        unsafe { heap.add_to_heap(start, start + wanted) };
        heap.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller promises that the block came from `alloc` with this layout.
            unsafe { self.0.lock().dealloc(block, layout) };
        }
    }
}
