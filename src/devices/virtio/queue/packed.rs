//! Packed rings (VIRTIO 1.2, 2.8).

use serde::{Deserialize, Serialize};

use super::area::{Areas, DESCRIPTOR, Flags};
use super::chain::{self, Chain, Token};
use super::{QueueError, Setup};
use crate::mm::guest_memory::fence;

/// Offset of `len` in a descriptor.
const LEN: usize = 8;
/// Offset of `id` in a descriptor.
const ID: usize = 12;
/// Offset of `flags` in a descriptor.
const FLAGS: usize = 14;

/// `RING_EVENT_FLAGS_ENABLE`: the other side wants every event.
const ENABLE: u32 = 0;
/// `RING_EVENT_FLAGS_DISABLE`: it wants none.
const DISABLE: u32 = 1;
/// `RING_EVENT_FLAGS_DESC`: it wants that of a descriptor.
const DESC: u32 = 2;

/// A place in a packed ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index of the descriptor.
    pub index: u16,
    /// The wrap counter.
    pub wrap: bool,
}

impl Position {
    const START: Self = Self { index: 0, wrap: true };

    /// So many descriptors further on in a ring of `size`, which is not less.
    #[inline]
    fn forward(self, count: u16, size: u16) -> Self {
        match size - self.index {
            rest if count < rest => Self { index: self.index + count, ..self },
            rest => Self { index: count - rest, wrap: !self.wrap },
        }
    }

    /// So many descriptors back in a ring of `size`, which is not less.
    fn back(self, count: u16, size: u16) -> Self {
        match self.index.checked_sub(count) {
            Some(index) => Self { index, ..self },
            None => Self { index: size - (count - self.index), wrap: !self.wrap },
        }
    }

    /// As `struct pvirtq_event_suppress` has it.
    fn event(self) -> u16 {
        self.index | u16::from(self.wrap) << 15
    }

    /// The flags that make a descriptor available here.
    #[inline]
    fn available(self) -> Flags {
        if self.wrap { Flags::AVAIL } else { Flags::USED }
    }

    /// The flags that make a descriptor used here.
    #[inline]
    fn used(self) -> Flags {
        if self.wrap { Flags::AVAIL.union(Flags::USED) } else { Flags::empty() }
    }
}

/// Where the device is in a packed ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// The next descriptor to be taken.
    pub next: Position,
    /// The next descriptor to be used.
    pub used: Position,
    /// How many descriptors are in the device's hands.
    pub outstanding: u16,
    /// The driver was told not to notify.
    quiet: bool,
    /// How many descriptors were used that the driver does not see yet.
    #[serde(skip)]
    unpublished: u16,
    /// The first of them: its index, and the flags that show it to the driver.
    #[serde(skip)]
    first: Option<(u16, Flags)>,
}

impl Default for Packed {
    fn default() -> Self {
        Self {
            next: Position::START,
            used: Position::START,
            outstanding: 0,
            quiet: false,
            unpublished: 0,
            first: None,
        }
    }
}

impl Packed {
    #[inline]
    pub fn next(&mut self, setup: &Setup, areas: &Areas<'_>, chain: &mut Chain) -> Result<bool, QueueError> {
        if !self.poll(areas)? && !self.look(setup, areas)? {
            return Ok(false);
        }
        // The rest of the descriptor is read after the flags that make it available (2.8.21.1).
        fence();
        if !setup.event_idx && !self.quiet {
            areas.device.store(0, DISABLE << 16)?;
            self.quiet = true;
        }
        let (id, entries) = self.collect(setup, areas, chain)?;
        // A driver never uses a descriptor again before it gets it back. This bounds what a device must remember.
        self.outstanding = match self.outstanding.checked_add(entries) {
            Some(outstanding) if outstanding <= setup.size => outstanding,
            _ => return Err(QueueError::Outstanding { limit: setup.size }),
        };
        chain.finish(id, entries);
        self.next = self.next.forward(entries, setup.size);
        Ok(true)
    }

    pub fn put_back(&mut self, setup: &Setup, token: Token) {
        self.next = self.next.back(token.entries, setup.size);
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
        let index = self.used.index;
        let at = usize::from(index) * DESCRIPTOR as usize;
        areas.descriptors.store(at + LEN, written)?;
        areas.descriptors.store(at + ID, token.id)?;
        let mut flags = self.used.used();
        flags.set(Flags::WRITE, written != 0);
        if self.first.is_none() {
            // The driver polls this one: once it is used, so must be the others (2.8.9).
            self.first = Some((index, flags));
        } else {
            fence();
            areas.descriptors.store(at + FLAGS, flags.bits())?;
        }
        self.used = self.used.forward(token.entries, setup.size);
        self.unpublished = self.unpublished.saturating_add(token.entries);
        self.outstanding = self.outstanding.saturating_sub(token.entries);
        Ok(())
    }

    #[inline]
    pub fn publish(&mut self, setup: &Setup, areas: &Areas<'_>) -> Result<bool, QueueError> {
        let Some((index, flags)) = self.first.take() else { return Ok(false) };
        let count = core::mem::take(&mut self.unpublished);
        // The driver sees the flags after the rest, and whether it wants an interrupt is read after it can have seen the
        // flags (2.8.22).
        fence();
        areas.descriptors.store(usize::from(index) * DESCRIPTOR as usize + FLAGS, flags.bits())?;
        fence();
        let wanted = areas.driver.load::<u32>(0)?;
        Ok(match wanted >> 16 & 3 {
            DISABLE => false,
            DESC if setup.event_idx => {
                let event = wanted as u16 & 0x7fff;
                let wrap = wanted & 1 << 15 != 0;
                // In the round before, it is that far behind the beginning of this one.
                let event = if wrap == self.used.wrap { event } else { event.wrapping_sub(setup.size) };
                super::is_passed(event, self.used.index, count)
            }
            _ => true,
        })
    }

    /// Whether the next descriptor is available.
    #[inline]
    fn poll(&self, areas: &Areas<'_>) -> Result<bool, QueueError> {
        let at = usize::from(self.next.index) * DESCRIPTOR as usize + FLAGS;
        let flags = Flags::from_bits_retain(areas.descriptors.load(at)?);
        Ok(flags.intersection(Flags::AVAIL.union(Flags::USED)) == self.next.available())
    }

    /// Asks for a notification, and looks again whether more is available: the driver may not have seen that it is wanted
    /// (2.8.21.3).
    fn look(&mut self, setup: &Setup, areas: &Areas<'_>) -> Result<bool, QueueError> {
        if setup.event_idx {
            areas.device.store(0, u32::from(self.next.event()) | DESC << 16)?;
        } else if self.quiet {
            areas.device.store(0, ENABLE << 16)?;
            self.quiet = false;
        }
        fence();
        self.poll(areas)
    }

    /// Collects the descriptors of the next request; tells its buffer id, and how many descriptors of the ring it takes.
    #[inline]
    fn collect(&self, setup: &Setup, areas: &Areas<'_>, chain: &mut Chain) -> Result<(u16, u16), QueueError> {
        let mut at = self.next;
        let mut entries = 0;
        loop {
            if entries == setup.size {
                return Err(QueueError::Descriptors { limit: setup.size });
            }
            let descriptor = areas.descriptors.descriptor(at.index.into())?;
            let flags = Flags::from_bits_retain(descriptor.upper);
            entries += 1;
            if flags.contains(Flags::INDIRECT) {
                // A table is the whole of its request (2.8.19).
                if !setup.indirect || entries > 1 || flags.contains(Flags::NEXT) {
                    return Err(QueueError::Indirect { flags: flags.bits() });
                }
                let (table, count) = chain::table(areas.memory, descriptor.segment)?;
                for index in 0..count {
                    // There, the flag for writing is the only one (2.8.7).
                    let descriptor = table.descriptor(index)?;
                    chain.add(descriptor.segment, Flags::from_bits_retain(descriptor.upper), setup.size)?;
                }
            } else {
                chain.add(descriptor.segment, flags, setup.size)?;
            }
            if !flags.contains(Flags::NEXT) {
                return Ok((descriptor.lower, entries));
            }
            at = at.forward(1, setup.size);
        }
    }
}
