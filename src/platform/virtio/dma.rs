//! Memory that virtio devices access, for the `virtio-drivers` crate. EL2 is mapped one to one and the devices are
//! coherent, so a buffer's address is the device's, and nothing need be copied or cleaned.

use core::ptr::NonNull;

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::mm::frames::{Frames, Owner};

/// Frames of EL2's own.
#[derive(Debug)]
pub struct Dma;

/// The size of the block of frames for so many pages.
fn block(pages: usize) -> u64 {
    pages.next_power_of_two() as u64 * PAGE_SIZE as u64
}

// SAFETY: blocks are zeroed, aligned and nobody else's until they are given back; what lies in MMIO space is mapped by who
// gives a device its addresses.
unsafe impl Hal for Dma {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match Frames::allocate_zeroed(block(pages), Owner::Hypervisor) {
            Ok(frames) => (frames.address().0, frames.leak()),
            // The crate takes address 0 for an error.
            Err(_) => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller's promise: this is a block of `dma_alloc`.
        drop(unsafe { Frames::from_raw(start, block(pages), Owner::Hypervisor) });
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
