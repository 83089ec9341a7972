//! Networks: switches, and what is plugged into them.
//!
//! A frame crosses a [`switch`] by one copy, from the memory of the one that sends it straight into the memory of
//! each that receives it, in the time of the one that sends.

pub mod checksum;
pub mod ethernet;
pub mod flow;
pub mod offload;
pub mod switch;

#[cfg(test)]
pub mod testing;

use alloc::sync::Arc;
use core::fmt;

use crate::mm::guest_memory::GuestSlice;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it means several stations: broadcast and multicast.
    #[inline]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The address as a number below 2^48.
    #[inline]
    pub fn bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address of this number, of which the upper 16 bits do not count.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

pub use offload::Offload;

/// Most bytes of [`Frame::head`] in what an endpoint sends: room for the longest headers of TCP over IPv4 behind two
/// tags (22 + 60 + 60 bytes). What is delivered may be longer by a tag.
pub const MAX_HEAD: usize = 160;
/// Most bytes of a frame: the longest IP packet behind an Ethernet header with two tags.
pub const MAX_FRAME: usize = 65_535 + 22;

/// A frame on its way: without preamble and check sequence, with a VLAN tag where it has one.
pub struct Frame<'a> {
    /// What is left to do.
    pub offload: Offload,
    /// The first bytes, at most [`MAX_HEAD`], copied once: what the switch decides by cannot change under its hands.
    /// At least an Ethernet header.
    pub head: &'a [u8],
    /// What follows.
    pub rest: &'a [GuestSlice<'a>],
    /// Bytes of both, at most [`MAX_FRAME`].
    pub len: usize,
}

/// What became of a frame at one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is there.
    Taken,
    /// The receiver had no room, or cannot take such a frame. The frame is lost.
    Dropped,
    /// The receiver does not want such frames.
    Filtered,
}

/// What is plugged into a switch's port: a VM's network device, or the physical one.
pub trait Endpoint: Send + Sync {
    /// Takes a frame from the switch. It may not send anything to the switch before this returns.
    fn deliver(&self, frame: &Frame<'_>) -> Delivery;

    /// Takes several, in their order, and tells `each` what became of it. For those who can do that cheaper than one by one.
    fn deliver_all(&self, frames: &[Frame<'_>], each: &mut dyn FnMut(&Frame<'_>, Delivery)) {
        frames.iter().for_each(|frame| each(frame, self.deliver(frame)));
    }
}

/// What sending has cost: the sender pays for the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offered {
    /// How many endpoints were offered frames; one that was offered several counts as often.
    pub receivers: usize,
    /// Bytes of all these frames.
    pub bytes: usize,
}

/// One side of a port: what an endpoint sends by.
pub trait Port: Send + Sync {
    /// Sends a frame to whomever it concerns. Tells how many endpoints were offered it: the sender pays for the copies.
    fn send(&self, frame: &Frame<'_>) -> usize;

    /// Sends several frames, in their order: that is cheaper where they go the same way.
    fn send_all(&self, frames: &[Frame<'_>]) -> Offered;
}

/// A plugged port, for both sides of it.
pub type Plug = Arc<dyn Port>;
