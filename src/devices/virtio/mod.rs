//! Virtio devices, as in the VIRTIO specification 1.2.
//!
//! A device model ([`Device`]) knows what its requests mean. Its [`Channel`] has everything that devices have in
//! common: the queues, the guest's memory, the interrupt. A transport ([`mmio`]) is how the driver finds
//! both.
//!
//! ```text
//!   guest's driver ── registers ──> transport ──> Device   (what a request means)
//!        │                             │             │
//!        └──────── rings, buffers ─────┴─> Channel ──┘     (queues, memory, interrupt)
//! ```

pub mod balloon;
pub mod block;
pub mod channel;
pub mod console;
pub mod mmio;
pub mod net;
pub mod queue;
pub mod rng;
pub mod slots;
#[cfg(test)]
pub mod testing;
pub mod vsock;

use alloc::vec::Vec;

use bitflags::bitflags;

pub use channel::Channel;

use crate::persist::RestoreError;

/// What a device is (VIRTIO 1.2, chapter 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum DeviceId {
    Net = 1,
    Block = 2,
    Console = 3,
    Entropy = 4,
    Balloon = 5,
    Socket = 19,
}

bitflags! {
    /// Feature bits that do not depend on the kind of device (VIRTIO 1.2, 6).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Features: u64 {
        /// `VIRTIO_F_INDIRECT_DESC`: a descriptor may refer to a table of descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// `VIRTIO_F_EVENT_IDX`: each side says at which index it wants to be notified.
        const EVENT_IDX = 1 << 29;
        /// `VIRTIO_F_VERSION_1`: not a legacy device. Without it, nothing works.
        const VERSION_1 = 1 << 32;
        /// `VIRTIO_F_ACCESS_PLATFORM`: addresses are as the platform translates them, which is not at all.
        const ACCESS_PLATFORM = 1 << 33;
        /// `VIRTIO_F_RING_PACKED`: the queues are packed rings.
        const RING_PACKED = 1 << 34;
        /// All others: the device's own.
        const _ = !0;
    }
}

impl Features {
    /// What every device offers.
    pub const COMMON: Self = Self::INDIRECT_DESC
        .union(Self::EVENT_IDX)
        .union(Self::VERSION_1)
        .union(Self::ACCESS_PLATFORM)
        .union(Self::RING_PACKED);
}

/// A device model behind a transport.
///
/// Calls may come from all vCPUs at once; the transport keeps those that change its own state in order.
pub trait Device: Send + Sync {
    /// What it is.
    fn id(&self) -> DeviceId;

    /// The feature bits that are its own, besides [`Features::COMMON`].
    fn features(&self) -> Features;

    /// What it shares with its transport.
    fn channel(&self) -> &Channel;

    /// Reads its configuration space from `offset` on. What lies outside reads as zero.
    fn read_config(&self, offset: u64, bytes: &mut [u8]);

    /// Writes its configuration space at `offset`. What cannot be written is ignored.
    fn write_config(&self, offset: u64, bytes: &[u8]) {
        let _ = (offset, bytes);
    }

    /// The driver is ready (`DRIVER_OK`), with the features of [`Channel::features`].
    fn start(&self) {}

    /// Everything is as at first; the channel's queues are off already, and nothing of before may reach the guest any more.
    fn reset(&self) {}

    /// The driver has put something into the queue of this index. A device does no more at a time than its budget allows,
    /// and leaves the rest to [`Channel::defer`], after which it is called again, with whatever else it is that runs on the
    /// CPU in between.
    fn notified(&self, queue: usize);

    /// Its own state, without the channel's and the transport's, as `postcard` has it. No request may be under way.
    fn save(&self) -> Vec<u8>;

    /// Replaces the state by one that was saved, and is untrusted.
    ///
    /// # Errors
    /// The first value that is out of its bound; the device is then unchanged.
    fn restore(&self, state: &[u8]) -> Result<(), RestoreError>;
}
