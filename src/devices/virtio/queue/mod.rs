//! Virtqueues, from the device's side (VIRTIO 1.2, 2.6 to 2.8).
//!
//! Everything in them is the driver's, and hostile: it is read once and checked before it is used.

use alloc::vec::Vec;
use core::fmt;

use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, Segment};

/// Which request is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The head's index (split), or the buffer's id (packed).
    id: u16,
    /// How many descriptors of the ring it takes (packed).
    descriptors: u16,
}

/// A request's buffers: first those that the device reads, then those that it writes. Reused from one request to the
/// next, it does not allocate.
#[derive(Debug, Default)]
pub struct Chain {
    token: Option<Token>,
    /// What the driver has put there for the device.
    pub readable: Vec<Segment>,
    /// Where the device may write.
    pub writable: Vec<Segment>,
}

/// How a driver has set up a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Entries.
    pub size: u16,
    /// The descriptor table, or ring.
    pub descriptors: Ipa,
    /// The available ring, or the driver's event suppression.
    pub driver: Ipa,
    /// The used ring, or the device's event suppression.
    pub device: Ipa,
    /// It is a packed ring.
    pub packed: bool,
    /// Each side says at which index it wants to be notified.
    pub event_idx: bool,
    /// Descriptors may refer to tables.
    pub indirect: bool,
}

/// What a driver did that it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueError {
    /// A part of the queue is not in memory.
    Unbacked(Ipa),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbacked(ipa) => write!(f, "no memory behind {ipa}"),
        }
    }
}

impl core::error::Error for QueueError {}

/// A virtqueue.
#[derive(Debug)]
pub struct Queue {
    max_size: u16,
    setup: Option<Setup>,
}

impl Queue {
    /// A queue that is off, of at most `max_size` entries.
    pub fn new(max_size: u16) -> Self {
        Self { max_size, setup: None }
    }

    /// Most entries.
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// Whether it is on.
    pub fn is_ready(&self) -> bool {
        self.setup.is_some()
    }

    /// Switches it on.
    ///
    /// # Errors
    /// [`QueueError`]: it cannot be as the driver wants it.
    pub fn enable(&mut self, setup: Setup) -> Result<(), QueueError> {
        self.setup = Some(setup);
        Ok(())
    }

    /// Switches it off.
    pub fn disable(&mut self) {
        self.setup = None;
    }

    /// See [`super::channel::Visit::next`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn next(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, QueueError> {
        let _ = (memory, chain);
        Ok(false)
    }

    /// See [`super::channel::Visit::complete`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn complete(
        &mut self,
        memory: &dyn GuestMemory,
        token: Token,
        written: u32,
    ) -> Result<(), QueueError> {
        let _ = (memory, token, written);
        Ok(())
    }

    /// See [`super::channel::Visit::put_back`].
    pub fn put_back(&mut self, token: Token) {
        let _ = token;
    }

    /// Whether the driver is to be interrupted for what was completed since this was last asked.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn take_signal(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        let _ = memory;
        Ok(false)
    }
}
