//! The frame allocator: owns every page of RAM that the image, the devicetree and reserved regions leave
//! free.
//!
//! A buddy system hands out naturally aligned blocks of any power of two from 4 KiB up, so that a guest's
//! memory can be mapped by the largest Stage-2 blocks.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use buddy_system_allocator::Heap;
use spin::Mutex;

use super::addr::{PAGE_SIZE, PhysAddr};

/// Blocks of up to 2^47 bytes.
static FREE: Mutex<Heap<48>> = Mutex::new(Heap::empty());
static IN_USE: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// On whose account a block of frames is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// EL2's own: heap, tables, stacks.
    Hypervisor = 0,
    /// RAM of a guest.
    Guest = 1,
}

/// No free block is large enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfFrames {
    /// Bytes that were asked for.
    pub requested: u64,
    /// Bytes that are free in all, in whatever pieces.
    pub free: u64,
}

impl fmt::Display for OutOfFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "out of memory: no block of {} KiB is free ({} KiB are, in all)",
            self.requested >> 10,
            self.free >> 10
        )
    }
}

impl core::error::Error for OutOfFrames {}

/// A naturally aligned block of physical memory; dropping it gives it back.
#[derive(Debug)]
pub struct Frames {
    start: NonNull<u8>,
    size: usize,
    owner: Owner,
}

// SAFETY: a block is plain memory that has one owner; it is not tied to a CPU.
unsafe impl Send for Frames {}
// SAFETY: shared access hands out only an address; what is done there is the user's `unsafe`.
unsafe impl Sync for Frames {}

impl Frames {
    /// Takes a block of `size` bytes, a power of two of at least 4 KiB, aligned to its size. Its content is
    /// whatever was there.
    ///
    /// # Errors
    /// [`OutOfFrames`] where no free block is large enough or `size` is not such a number.
    pub fn allocate(size: u64, owner: Owner) -> Result<Self, OutOfFrames> {
        #[cfg(not(target_os = "none"))]
        host::provide();
        #[cfg(test)]
        if STARVING.get() {
            return Err(OutOfFrames { requested: size, free: 0 });
        }
        let mut free = FREE.lock();
        let refused = OutOfFrames { requested: size, free: free_bytes(&free) };
        if !size.is_power_of_two() || size < PAGE_SIZE || size > refused.free {
            return Err(refused);
        }
        let layout = layout(size as usize).ok_or(refused)?;
        let start = free.alloc(layout).map_err(|()| refused)?;
        IN_USE[owner as usize].fetch_add(size as usize, Ordering::Relaxed);
        Ok(Self { start, size: size as usize, owner })
    }

    /// Takes a block as [`Frames::allocate`] does and fills it with zeros.
    ///
    /// # Errors
    /// As [`Frames::allocate`].
    pub fn allocate_zeroed(size: u64, owner: Owner) -> Result<Self, OutOfFrames> {
        let frames = Self::allocate(size, owner)?;
        frames.zero(0, frames.size);
        Ok(frames)
    }

    /// Fills `len` bytes from `offset` with zeros; both are multiples of 4 KiB and lie within the block.
    pub fn zero(&self, offset: usize, len: usize) {
        assert!(offset.is_multiple_of(PAGE_SIZE as usize) && len.is_multiple_of(PAGE_SIZE as usize));
        assert!(offset <= self.size && len <= self.size - offset);
        // SAFETY: the range lies within the block, which is owned.
        unsafe { zero(self.start.add(offset), len) };
    }

    /// Splits the block into blocks of `size` bytes, a power of two from 4 KiB to its own size, in ascending order: each
    /// can be given back by itself. Those that are not taken are lost.
    pub fn split(self, size: u64) -> impl Iterator<Item = Self> {
        let (first, parts, owner) = (self.start, self.size / size as usize, self.owner);
        self.leak();
        (0..parts).map(move |number| {
            // SAFETY: inside the block. A part is a block by itself: in a buddy system a free block is nothing but
            // an aligned power of two, and finds its other halves when it is given back.
            unsafe { Self::from_raw(first.add(number * size as usize), size, owner) }
        })
    }

    /// The first byte of the block.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Where the block starts.
    pub fn address(&self) -> PhysAddr {
        PhysAddr(self.start.as_ptr() as u64)
    }

    /// The first byte of the block.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size as u64
    }

    /// Takes a leaked block back into ownership.
    ///
    /// # Safety
    /// The block was made by [`Frames::allocate`] with this size and owner, then leaked, and nothing uses it
    /// any more.
    pub unsafe fn from_raw(start: NonNull<u8>, size: u64, owner: Owner) -> Self {
        Self { start, size: size as usize, owner }
    }

    /// Lets the block out of the allocator's care for good and returns its first byte.
    pub fn leak(self) -> NonNull<u8> {
        let start = self.start;
        core::mem::forget(self);
        start
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.size) {
            IN_USE[self.owner as usize].fetch_sub(self.size, Ordering::Relaxed);
            // SAFETY: `start` came from `alloc` with this very layout and is given back once.
            unsafe { FREE.lock().dealloc(self.start, layout) };
        }
    }
}

/// Fills `len` bytes from `start` on with zeros; both are multiples of 4 KiB.
///
/// # Safety
/// The bytes are memory that nobody else relies on.
pub unsafe fn zero(start: NonNull<u8>, len: usize) {
    #[cfg(target_os = "none")]
    // SAFETY: the caller's promise.
    unsafe {
        crate::arch::aarch64::cache::zero_blocks(start.as_ptr(), len);
    }
    #[cfg(not(target_os = "none"))]
    // SAFETY: the caller's promise.
    unsafe {
        start.write_bytes(0, len);
    }
}

fn layout(size: usize) -> Option<core::alloc::Layout> {
    core::alloc::Layout::from_size_align(size, size).ok()
}

fn free_bytes<const ORDER: usize>(heap: &Heap<ORDER>) -> u64 {
    (heap.stats_total_bytes() - heap.stats_alloc_actual()) as u64
}

/// Hands `[start, end)` to the allocator; both are rounded inwards to pages.
///
/// # Safety
/// The range is RAM that is mapped read-write at its own address, and nothing else uses it, now or later.
pub unsafe fn add(start: PhysAddr, end: PhysAddr) {
    // Page zero would be a null pointer, which ends the allocator's lists.
    let start = start.0.next_multiple_of(PAGE_SIZE).max(PAGE_SIZE);
    let end = end.align_down(PAGE_SIZE).0;
    if start < end {
        // SAFETY: the caller's promise.
        unsafe { FREE.lock().add_to_heap(start as usize, end as usize) };
    }
}

/// Bytes that are free, in whatever pieces.
pub fn free() -> u64 {
    #[cfg(not(target_os = "none"))]
    host::provide();
    free_bytes(&FREE.lock())
}

/// Bytes handed out to `owner` now.
pub fn in_use(owner: Owner) -> u64 {
    IN_USE[owner as usize].load(Ordering::Relaxed) as u64
}

/// On the host, a pool of ordinary memory stands in for RAM, so that page tables and guest memory are
/// testable.
#[cfg(not(target_os = "none"))]
mod host {
    extern crate std;

    use super::*;

    const POOL: usize = 64 << 20;

    pub fn provide() {
        static ONCE: spin::Once = spin::Once::new();
        ONCE.call_once(|| {
            if let Some(layout) = layout(POOL) {
                // SAFETY: the layout has a size; a null result is turned away below.
                let start = unsafe { std::alloc::alloc_zeroed(layout) } as u64;
                if start != 0 {
                    // SAFETY: the pool is leaked to the allocator.
                    unsafe { add(PhysAddr(start), PhysAddr(start + POOL as u64)) };
                }
            }
        });
    }
}

#[cfg(test)]
std::thread_local! {
    static STARVING: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// What `run` does finds no free frame.
#[cfg(test)]
pub fn starving<T>(run: impl FnOnce() -> T) -> T {
    STARVING.set(true);
    let result = run();
    STARVING.set(false);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_to_their_size_and_zeroed() {
        for size in [4 << 10, 64 << 10, 2 << 20] {
            let frames = Frames::allocate_zeroed(size, Owner::Hypervisor).unwrap();
            assert!(frames.address().is_aligned(size));
            // SAFETY: the block is owned and `size` bytes long.
            let bytes = unsafe { core::slice::from_raw_parts(frames.as_ptr(), size as usize) };
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_block_is_split_into_adjacent_ones() {
        let block = Frames::allocate(16 << 10, Owner::Hypervisor).unwrap();
        let start = block.address().0;
        let parts: Vec<_> = block.split(4 << 10).collect();
        let found: Vec<_> = parts.iter().map(|part| (part.address().0 - start, part.size())).collect();
        assert_eq!(found, [(0, 4096), (4096, 4096), (8192, 4096), (12288, 4096)]);
    }

    #[test]
    fn a_request_beyond_all_memory_names_both_sizes() {
        let error = Frames::allocate(1 << 46, Owner::Hypervisor).unwrap_err();
        assert_eq!(error.requested, 1 << 46);
        assert!(error.free < 1 << 46);
        assert!(Frames::allocate(12 << 10, Owner::Hypervisor).is_err());
    }
}
