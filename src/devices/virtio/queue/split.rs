//! Split rings (VIRTIO 1.2, 2.7).

use serde::{Deserialize, Serialize};

use super::area::{Area, Areas, Flags};
use super::chain::{self, Chain, Token};
use super::{QueueError, Setup};
use crate::mm::guest_memory::{Segment, fence};

/// `virtq_avail.flags`: the driver wants no interrupts.
const NO_INTERRUPT: u16 = 1 << 0;
/// `virtq_used.flags`: the device wants no notifications.
const NO_NOTIFY: u16 = 1 << 0;
/// Offset of `flags` in both rings.
const FLAGS: usize = 0;
/// Offset of `idx` in both rings.
const IDX: usize = 2;
/// Offset of `ring` in both rings.
const RING: usize = 4;
/// Bytes of `struct virtq_used_elem`.
const USED_ELEMENT: usize = 8;

/// Where the device is in a split ring. All indices run freely and wrap at 2^16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Split {
    /// The next request to be taken.
    pub next: u16,
    /// The next entry of the used ring.
    pub used: u16,
    /// How many requests are in the device's hands.
    pub outstanding: u16,
    /// The driver was told not to notify.
    quiet: bool,
    /// How far requests are known to be available.
    #[serde(skip)]
    available: u16,
    /// How many entries of the used ring the driver does not see yet.
    #[serde(skip)]
    unpublished: u16,
}

impl Split {
    /// What was saved, with nothing known of what is available.
    pub fn restored(self) -> Self {
        Self { available: self.next, ..self }
    }

    #[inline]
    pub fn next(&mut self, setup: &Setup, areas: &Areas<'_>, chain: &mut Chain) -> Result<bool, QueueError> {
        if self.next == self.available && !self.look(setup, areas)? {
            return Ok(false);
        }
        // A driver never has more under way than there are entries, of which every request takes one (2.7.13). This bounds
        // what a device must remember.
        if self.outstanding >= setup.size {
            return Err(QueueError::Outstanding { limit: setup.size });
        }
        let head = areas.driver.load::<u16>(RING + 2 * setup.slot(self.next))?;
        collect(setup, areas, head, chain)?;
        chain.finish(head, 1);
        self.next = self.next.wrapping_add(1);
        self.outstanding += 1;
        Ok(true)
    }

    pub fn put_back(&mut self, token: Token) {
        self.next = self.next.wrapping_sub(token.entries);
        self.outstanding = self.outstanding.saturating_sub(token.entries);
    }

    #[inline]
    pub fn complete(
        &mut self,
        setup: &Setup,
        areas: &Areas<'_>,
        token: Token,
        written: u32,
    ) -> Result<(), QueueError> {
        let at = RING + USED_ELEMENT * setup.slot(self.used);
        areas.device.store(at, u32::from(token.id))?;
        areas.device.store(at + 4, written)?;
        self.used = self.used.wrapping_add(1);
        self.unpublished = self.unpublished.saturating_add(1);
        self.outstanding = self.outstanding.saturating_sub(1);
        Ok(())
    }

    #[inline]
    pub fn publish(&mut self, setup: &Setup, areas: &Areas<'_>) -> Result<bool, QueueError> {
        if self.unpublished == 0 {
            return Ok(false);
        }
        let count = core::mem::take(&mut self.unpublished);
        // The driver sees the index after the elements, and whether it wants an interrupt is read after it can have seen
        // the index (2.7.14).
        fence();
        areas.device.store(IDX, self.used)?;
        fence();
        if setup.event_idx {
            let event = areas.driver.load::<u16>(RING + 2 * usize::from(setup.size))?;
            Ok(super::is_passed(event, self.used, count))
        } else {
            Ok(areas.driver.load::<u16>(FLAGS)? & NO_INTERRUPT == 0)
        }
    }

    /// Looks whether more is available. If not, asks for a notification, and looks again: the driver may not have seen that
    /// it is wanted (2.7.10).
    fn look(&mut self, setup: &Setup, areas: &Areas<'_>) -> Result<bool, QueueError> {
        if self.poll(setup, areas)? {
            return Ok(true);
        }
        if setup.event_idx {
            areas.device.store(RING + USED_ELEMENT * usize::from(setup.size), self.next)?;
        } else if self.quiet {
            areas.device.store(FLAGS, 0u16)?;
            self.quiet = false;
        }
        fence();
        self.poll(setup, areas)
    }

    /// Whether more is available; then, no notification is wanted until there is nothing more. (With event indices that
    /// comes of itself, since the driver's index has passed the one that was asked for.)
    fn poll(&mut self, setup: &Setup, areas: &Areas<'_>) -> Result<bool, QueueError> {
        let available = areas.driver.load::<u16>(IDX)?;
        let found = available.wrapping_sub(self.next);
        if found > setup.size {
            return Err(QueueError::Offered { found, limit: setup.size });
        }
        if found == 0 {
            return Ok(false);
        }
        self.available = available;
        // What the index covers is read after it (2.7.13.3).
        fence();
        if !setup.event_idx && !self.quiet {
            areas.device.store(FLAGS, NO_NOTIFY)?;
            self.quiet = true;
        }
        Ok(true)
    }
}

/// Collects the descriptors of the request that starts at `head`.
#[inline]
fn collect(setup: &Setup, areas: &Areas<'_>, head: u16, chain: &mut Chain) -> Result<(), QueueError> {
    let entries = u32::from(setup.size);
    let Some(refers) = follow(setup, &areas.descriptors, entries, head, chain)? else { return Ok(()) };
    if !setup.indirect {
        return Err(QueueError::Indirect { flags: Flags::INDIRECT.bits() });
    }
    let (table, entries) = chain::table(areas.memory, refers)?;
    match follow(setup, &table, entries, 0, chain)? {
        None => Ok(()),
        Some(_) => Err(QueueError::Indirect { flags: Flags::INDIRECT.bits() }),
    }
}

/// Follows the descriptors from `index` on, in a table of so many entries. If they end in one that refers to a table, that is
/// returned.
#[inline]
fn follow(
    setup: &Setup,
    table: &Area<'_>,
    entries: u32,
    mut index: u16,
    chain: &mut Chain,
) -> Result<Option<Segment>, QueueError> {
    loop {
        if u32::from(index) >= entries {
            return Err(QueueError::Index { found: index, limit: entries });
        }
        let descriptor = table.descriptor(index.into())?;
        let flags = Flags::from_bits_retain(descriptor.lower);
        if flags.contains(Flags::INDIRECT) {
            // A table ends the request; direct descriptors may precede it (2.7.5.3).
            return match flags.contains(Flags::NEXT) {
                false => Ok(Some(descriptor.segment)),
                true => Err(QueueError::Indirect { flags: flags.bits() }),
            };
        }
        chain.add(descriptor.segment, flags, setup.size)?;
        if !flags.contains(Flags::NEXT) {
            return Ok(None);
        }
        index = descriptor.upper;
    }
}
