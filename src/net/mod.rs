//! Networks: switches, and what is plugged into them.
//!
//! A frame crosses a [`switch`](self) by one copy, from the memory of the one that sends it straight into the memory of
//! each that receives it, in the time of the one that sends.

use alloc::sync::Arc;

use crate::mm::guest_memory::GuestSlice;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Mac(pub [u8; 6]);

/// What the sender has left to do of checksums and segmentation: `struct virtio_net_hdr` without `num_buffers` (VIRTIO
/// 1.2, 5.1.6), already checked against the length of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// `flags`.
    pub flags: u8,
    /// `gso_type`.
    pub gso_type: u8,
    /// `hdr_len`.
    pub hdr_len: u16,
    /// `gso_size`.
    pub gso_size: u16,
    /// `csum_start`.
    pub csum_start: u16,
    /// `csum_offset`.
    pub csum_offset: u16,
}

/// A frame on its way: without preamble and check sequence, with a VLAN tag where it has one.
pub struct Frame<'a> {
    /// What is left to do.
    pub offload: Offload,
    /// The first bytes, copied once: what the switch decides by cannot change under its hands. At least an Ethernet
    /// header; deliver these and not what is in `rest` by now.
    pub head: &'a [u8],
    /// What follows.
    pub rest: &'a [GuestSlice<'a>],
    /// Bytes in all.
    pub len: usize,
}

/// What became of a frame at one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is there.
    Taken,
    /// The receiver had no room, or cannot take such a frame. The frame is lost.
    Dropped,
}

/// What is plugged into a switch's port: a VM's network device, or the physical one.
pub trait Endpoint: Send + Sync {
    /// Takes a frame from the switch. It may not send anything to the switch before this returns.
    fn deliver(&self, frame: &Frame<'_>) -> Delivery;
}

/// One side of a port: what an endpoint sends by.
pub trait Port: Send + Sync {
    /// Sends a frame to whomever it concerns.
    fn send(&self, frame: &Frame<'_>);
}

/// A plugged port, for both sides of it.
pub type Plug = Arc<dyn Port>;
