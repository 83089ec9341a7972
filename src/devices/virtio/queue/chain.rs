//! A request, as its descriptors describe it.

use alloc::vec::Vec;

use super::QueueError;
use super::area::{Area, DESCRIPTOR, Flags};
use crate::mm::guest_memory::{GuestMemory, Segment};

/// Which request is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Token {
    /// The head's index (split), or the buffer's id (packed).
    pub(super) id: u16,
    /// How many entries of the ring it takes.
    pub(super) entries: u16,
    /// When the queue was switched on.
    pub(super) epoch: u32,
}

/// A request's buffers: first those that the device reads, then those that it writes. None of them is empty. Reused from
/// one request to the next, it does not allocate.
#[derive(Debug, Default)]
pub struct Chain {
    token: Token,
    /// What the driver has put there for the device.
    pub readable: Vec<Segment>,
    /// Where the device may write.
    pub writable: Vec<Segment>,
    /// How many descriptors, with those of empty buffers.
    descriptors: u16,
    /// Bytes in all buffers.
    bytes: u32,
}

impl Chain {
    /// By which name the request is given back.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Bytes in all buffers.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Bytes in the buffers that the device reads.
    #[inline]
    pub fn readable_len(&self) -> u32 {
        // No more than all of them have.
        self.readable.iter().fold(0, |sum, segment| sum.wrapping_add(segment.len))
    }

    /// Forgets the request before; the next one is from a queue of this epoch.
    #[inline]
    pub(super) fn clear(&mut self, epoch: u32) {
        self.token = Token { epoch, ..Token::default() };
        self.readable.clear();
        self.writable.clear();
        self.descriptors = 0;
        self.bytes = 0;
    }

    /// All of the request is there.
    #[inline]
    pub(super) fn finish(&mut self, id: u16, entries: u16) {
        self.token = Token { id, entries, ..self.token };
    }

    /// Adds a buffer to a request of at most `limit` descriptors. An empty one counts, and has nothing to offer.
    #[inline]
    pub(super) fn add(&mut self, segment: Segment, flags: Flags, limit: u16) -> Result<(), QueueError> {
        if self.descriptors >= limit {
            return Err(QueueError::Descriptors { limit });
        }
        self.descriptors += 1;
        self.bytes = self.bytes.checked_add(segment.len).ok_or(QueueError::Bytes)?;
        if segment.len == 0 {
            return Ok(());
        }
        if flags.contains(Flags::WRITE) {
            self.writable.push(segment);
        } else if self.writable.is_empty() {
            self.readable.push(segment);
        } else {
            // 2.7.4.2
            return Err(QueueError::Order(segment.ipa));
        }
        Ok(())
    }
}

/// A table of descriptors to which one of the ring refers, and how many it has.
///
/// # Errors
/// It is not in memory, or its length is not that of a table.
pub(super) fn table(memory: &dyn GuestMemory, table: Segment) -> Result<(Area<'_>, u32), QueueError> {
    if table.len == 0 || !table.len.is_multiple_of(DESCRIPTOR) {
        return Err(QueueError::Table { len: table.len });
    }
    Ok((Area::new(memory, table.ipa, table.len)?, table.len / DESCRIPTOR))
}
