//! Virtqueues, from the device's side (VIRTIO 1.2, 2.6 to 2.8).
//!
//! Everything in them is the driver's, and hostile: it is read once and checked before it is used.

mod area;
mod chain;
mod error;
mod packed;
mod reader;
mod split;
mod state;

use serde::{Deserialize, Serialize};

use super::Features;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::GuestMemory;
pub use area::Areas;
use area::{Area, DESCRIPTOR};
pub use chain::{Chain, Token};
pub use error::QueueError;
use packed::Packed;
pub use reader::Reader;
use split::Split;
pub use state::{Checked, QueueState};

/// Most entries of a queue (2.7: 32768).
const LARGEST: u16 = 1 << 15;

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

impl Setup {
    /// A queue of `size` entries, whose areas (that of descriptors, the driver's and the device's) are there, as the features
    /// have it.
    pub fn new(size: u16, [descriptors, driver, device]: [Ipa; 3], features: Features) -> Self {
        Self {
            size,
            descriptors,
            driver,
            device,
            packed: features.contains(Features::RING_PACKED),
            event_idx: features.contains(Features::EVENT_IDX),
            indirect: features.contains(Features::INDIRECT_DESC),
        }
    }

    /// Where in a split ring an index that runs freely is.
    #[inline]
    fn slot(&self, index: u16) -> usize {
        usize::from(index & self.size.wrapping_sub(1))
    }

    /// The three areas, with their lengths and alignments (the tables of 2.7 and 2.8.10.1).
    fn areas(&self) -> [(Ipa, u32, u64); 3] {
        let size = u32::from(self.size);
        let descriptors = (self.descriptors, size * DESCRIPTOR, 16);
        match self.packed {
            true => [descriptors, (self.driver, 4, 4), (self.device, 4, 4)],
            false => [descriptors, (self.driver, 6 + 2 * size, 2), (self.device, 6 + 8 * size, 4)],
        }
    }

    /// Checks it for a queue of at most `limit` entries.
    fn check(&self, memory: &dyn GuestMemory, limit: u16) -> Result<(), QueueError> {
        let is_possible = self.packed || self.size.is_power_of_two();
        if self.size == 0 || self.size > limit || !is_possible {
            return Err(QueueError::Size { found: self.size, limit });
        }
        for (ipa, len, alignment) in self.areas() {
            if !ipa.is_aligned(alignment) {
                return Err(QueueError::Misaligned { ipa, alignment });
            }
            memory.for_each_piece(ipa, len.into(), &mut |_| ()).map_err(|_| QueueError::Unbacked(ipa))?;
        }
        Ok(())
    }

    /// Finds the areas.
    #[inline]
    fn find<'a>(&self, memory: &'a dyn GuestMemory) -> Result<Areas<'a>, QueueError> {
        let [descriptors, driver, device] = self.areas();
        let find = |(start, len, _)| Area::new(memory, start, len);
        Ok(Areas { memory, descriptors: find(descriptors)?, driver: find(driver)?, device: find(device)? })
    }
}

/// Where the device is in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Ring {
    Split(Split),
    Packed(Packed),
}

/// A virtqueue.
#[derive(Debug)]
pub struct Queue {
    max_size: u16,
    /// How often it was switched on, modulo 2^32: tokens of before are worth nothing.
    epoch: u32,
    on: Option<(Setup, Ring)>,
}

impl Queue {
    /// A queue that is off, of at most `max_size` entries (but not more than 32768).
    pub fn new(max_size: u16) -> Self {
        Self { max_size: max_size.min(LARGEST), epoch: 0, on: None }
    }

    /// Most entries.
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// Whether it is on.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.on.is_some()
    }

    /// Switches it on.
    ///
    /// # Errors
    /// [`QueueError`]: it cannot be as the driver wants it, and stays as it is.
    pub fn enable(&mut self, setup: Setup, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        setup.check(memory, self.max_size)?;
        let ring = match setup.packed {
            true => Ring::Packed(Packed::default()),
            false => Ring::Split(Split::default()),
        };
        self.epoch = self.epoch.wrapping_add(1);
        self.on = Some((setup, ring));
        Ok(())
    }

    /// Switches it off.
    pub fn disable(&mut self) {
        self.on = None;
    }

    /// Begins to use the queue, which is in `memory`. `None`: it is off.
    ///
    /// # Errors
    /// [`QueueError::Unbacked`].
    #[inline]
    pub fn open<'a>(&'a mut self, memory: &'a dyn GuestMemory) -> Result<Option<Visit<'a>>, QueueError> {
        let Some((setup, ring)) = &mut self.on else { return Ok(None) };
        Ok(Some(Visit { areas: setup.find(memory)?, setup, ring, epoch: self.epoch }))
    }
}

/// A queue in use, with the memory in which it lies.
pub struct Visit<'a> {
    setup: &'a Setup,
    ring: &'a mut Ring,
    areas: Areas<'a>,
    epoch: u32,
}

impl<'a> Visit<'a> {
    /// The memory that descriptors mean.
    pub fn memory(&self) -> &'a dyn GuestMemory {
        self.areas.memory
    }

    /// Takes the next request into `chain`. `false`: there is none, and the driver will notify when there is. Until then it
    /// need not notify: who stops before must come back unasked.
    ///
    /// # Errors
    /// [`QueueError`]: the driver has broken the queue.
    #[inline]
    pub fn next(&mut self, chain: &mut Chain) -> Result<bool, QueueError> {
        chain.clear(self.epoch);
        match self.ring {
            Ring::Split(ring) => ring.next(self.setup, &self.areas, chain),
            Ring::Packed(ring) => ring.next(self.setup, &self.areas, chain),
        }
    }

    /// Gives a request back, the first `written` bytes of whose writable part were written. The driver sees all that is
    /// given back in a visit at once, when the visit ends. A request that was taken before the queue was last switched on
    /// is not known any more, and nothing happens.
    ///
    /// # Errors
    /// [`QueueError`]: the driver has broken the queue.
    #[inline]
    pub fn complete(&mut self, token: Token, written: u32) -> Result<(), QueueError> {
        if token.epoch != self.epoch {
            return Ok(());
        }
        match self.ring {
            Ring::Split(ring) => ring.complete(self.setup, &self.areas, token, written),
            Ring::Packed(ring) => ring.complete(self.setup, &self.areas, token, written),
        }
    }

    /// Takes back the last `next`: the same request comes again. Several can be taken back, the last one first.
    pub fn put_back(&mut self, token: Token) {
        if token.epoch != self.epoch {
            return;
        }
        match self.ring {
            Ring::Split(ring) => ring.put_back(token),
            Ring::Packed(ring) => ring.put_back(self.setup, token),
        }
    }

    /// Ends the visit: shows the driver what was completed, and tells whether it wants to be interrupted for that.
    ///
    /// # Errors
    /// [`QueueError`]: the driver has broken the queue.
    #[inline]
    pub fn publish(self) -> Result<bool, QueueError> {
        match self.ring {
            Ring::Split(ring) => ring.publish(self.setup, &self.areas),
            Ring::Packed(ring) => ring.publish(self.setup, &self.areas),
        }
    }
}

/// Whether an index has passed `event` on its last `count` steps to `now`: the event happens when what is at `event` is
/// used (2.7.10.1).
#[inline]
fn is_passed(event: u16, now: u16, count: u16) -> bool {
    now.wrapping_sub(event).wrapping_sub(1) < count
}

#[cfg(any(test, fuzzing))]
pub mod hostile;
#[cfg(test)]
mod tests;
