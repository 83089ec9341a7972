//! The memory in which a queue lies, found once for each visit.

use bitflags::bitflags;

use super::QueueError;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, GuestSlice, Segment, Word};

bitflags! {
    /// Flags of a descriptor (VIRTIO 1.2, 2.7.5 and 2.8).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u16 {
        /// Another one belongs to the same request.
        const NEXT = 1 << 0;
        /// The device writes the buffer.
        const WRITE = 1 << 1;
        /// The buffer is a table of descriptors.
        const INDIRECT = 1 << 2;
        /// Made available in a round of the ring in which the driver's wrap counter is this (packed).
        const AVAIL = 1 << 7;
        /// Used in a round of the ring in which the device's wrap counter is this (packed).
        const USED = 1 << 15;
    }
}

/// Bytes of a descriptor.
pub const DESCRIPTOR: u32 = 16;

/// `struct virtq_desc` or `struct pvirtq_desc`, which differ in the order of the last two fields.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// The buffer.
    pub segment: Segment,
    /// The upper half of the last word: `next` (split), or `flags` (packed).
    pub upper: u16,
    /// The lower half of the last word: `flags` (split), or `id` (packed).
    pub lower: u16,
}

impl Descriptor {
    fn new(address: u64, rest: u64) -> Self {
        Self {
            segment: Segment { ipa: Ipa(address), len: rest as u32 },
            lower: (rest >> 32) as u16,
            upper: (rest >> 48) as u16,
        }
    }
}

/// A range of guest memory that is contiguous for the guest, and mostly for us.
#[derive(Clone, Copy)]
pub struct Area<'a> {
    memory: &'a dyn GuestMemory,
    start: Ipa,
    /// As much of it as lies in one piece.
    piece: GuestSlice<'a>,
}

impl<'a> Area<'a> {
    /// The area of `len` bytes from `start` on. Only its beginning need be in memory.
    ///
    /// # Errors
    /// [`QueueError::Unbacked`].
    #[inline]
    pub fn new(memory: &'a dyn GuestMemory, start: Ipa, len: u32) -> Result<Self, QueueError> {
        match (start.checked_add(len.into()), memory.slice(start, len.into())) {
            (Some(_), Ok(piece)) => Ok(Self { memory, start, piece }),
            _ => Err(QueueError::Unbacked(start)),
        }
    }

    /// The word at `offset`, which is aligned and in the area.
    #[inline]
    pub fn load<T: Word>(&self, offset: usize) -> Result<T, QueueError> {
        match self.piece.load(offset) {
            Some(word) => Ok(word),
            None => self.elsewhere(offset, |piece| piece.load(0)),
        }
    }

    /// Writes the word at `offset`, which is aligned and in the area.
    #[inline]
    pub fn store<T: Word>(&self, offset: usize, value: T) -> Result<(), QueueError> {
        match self.piece.store(offset, value) {
            true => Ok(()),
            false => self.elsewhere(offset, |piece| piece.store(0, value).then_some(())),
        }
    }

    /// The descriptor of this index. That of a table may be misaligned (2.7.5.3 asks for no alignment).
    #[inline]
    pub fn descriptor(&self, index: u32) -> Result<Descriptor, QueueError> {
        let offset = index as usize * DESCRIPTOR as usize;
        match self.piece.load_pair(offset) {
            Some([address, rest]) => Ok(Descriptor::new(address, rest)),
            None => self.misaligned_descriptor(offset),
        }
    }

    #[cold]
    fn misaligned_descriptor(&self, offset: usize) -> Result<Descriptor, QueueError> {
        let at = Ipa(self.start.0.wrapping_add(offset as u64));
        let mut words = [[0; 8]; 2];
        self.memory.read(at, words.as_flattened_mut()).map_err(|_| QueueError::Unbacked(at))?;
        let [address, rest] = words.map(u64::from_le_bytes);
        Ok(Descriptor::new(address, rest))
    }

    /// Lets `access` see a word at `offset` that is not in the first piece.
    #[cold]
    fn elsewhere<R>(
        &self,
        offset: usize,
        access: impl FnOnce(GuestSlice<'_>) -> Option<R>,
    ) -> Result<R, QueueError> {
        let at = Ipa(self.start.0.wrapping_add(offset as u64));
        let piece = self.memory.slice(at, size_of::<u64>() as u64);
        piece.ok().and_then(access).ok_or(QueueError::Unbacked(at))
    }
}

/// The areas of a queue, for as long as its memory stays where it is.
pub struct Areas<'a> {
    /// The memory that descriptors mean.
    pub memory: &'a dyn GuestMemory,
    /// The descriptor table, or ring.
    pub descriptors: Area<'a>,
    /// The available ring, or the driver's event suppression.
    pub driver: Area<'a>,
    /// The used ring, or the device's event suppression.
    pub device: Area<'a>,
}
