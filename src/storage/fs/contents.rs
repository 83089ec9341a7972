//! A file in memory, while a VM is loaded from it.

use alloc::vec::Vec;
use core::ptr::NonNull;

use super::FsError;
use crate::mm::addr::{MIB, PAGE_SIZE};
use crate::mm::frames::{self, Frames, Owner};

/// Largest file: no kernel or initial RAM disk is larger, and what readers compute from a size does not overflow.
const MAX_SIZE: u64 = 1024 * MIB;
/// What memory is given back in that was not needed.
const PART: u64 = 2 * MIB;

/// The contents of a file. Dropping them gives the memory back.
pub struct Contents {
    start: NonNull<u8>,
    len: usize,
    /// What the bytes lie in, adjacent and in order.
    _frames: Vec<Frames>,
}

impl Contents {
    /// So many zeros: at most half of the memory that is free, as others need some too.
    ///
    /// # Errors
    /// [`FsError::TooLarge`] and [`FsError::Memory`].
    pub fn new(size: u64) -> Result<Self, FsError> {
        let limit = MAX_SIZE.min(frames::free() / 2);
        if size > limit {
            return Err(FsError::TooLarge { size, limit });
        }
        let whole = size.max(PAGE_SIZE).next_power_of_two();
        let block = Frames::allocate(whole, Owner::Hypervisor).map_err(FsError::Memory)?;
        let start = block.start();
        let part = PART.min(whole);
        let needed = size.div_ceil(part) as usize;
        // Those that are not kept go back at once.
        let frames: Vec<Frames> = block
            .split(part)
            .enumerate()
            .filter(|(number, _)| *number < needed)
            .map(|(_, part)| part)
            .collect();
        for frames in &frames {
            frames.zero(0, part as usize);
        }
        Ok(Self { start, len: size as usize, _frames: frames })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the frames are adjacent, cover `len` bytes from `start` on, hold zeros or what `bytes_mut` was used
        // for, and are owned as long as `self`.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `self` is borrowed for as long as the slice lives.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl core::fmt::Debug for Contents {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Contents({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_memory_that_is_needed_is_kept() {
        let mut contents = Contents::new(5 * MIB + 1).unwrap();
        assert_eq!(contents._frames.len(), 3);
        contents.bytes_mut().fill(7);
        assert!(
            contents.bytes().len() == (5 * MIB + 1) as usize
                && contents.bytes().iter().all(|byte| *byte == 7)
        );
        assert!(Contents::new(0).unwrap().bytes().is_empty());
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        for size in [u64::MAX, MAX_SIZE + 1, 40 * MIB] {
            assert!(
                matches!(Contents::new(size), Err(FsError::TooLarge { size: found, .. }) if found == size)
            );
        }
        assert!(frames::starving(|| matches!(Contents::new(1), Err(FsError::Memory(_)))));
    }
}
