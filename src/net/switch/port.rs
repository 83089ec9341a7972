//! A port, its configuration and what it counts.

use alloc::string::String;
use alloc::sync::Weak;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::bucket::Bucket;
use super::guard::{Guard, Ipv4};
use super::table::PortId;
use crate::net::{Delivery, Endpoint, Frame, Mac};

/// How a port is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortConfig {
    /// What the operator calls it.
    pub name: String,
    /// The address of the device there, which nobody else can then send from.
    pub mac: Option<Mac>,
    /// An access port of this VLAN, 1 to 4094: frames have no tag there. Without one it is a trunk: it carries all
    /// VLANs, with tags, and what has no tag.
    pub vlan: Option<u16>,
    /// Most bytes a second that may be sent there; what is more is dropped.
    pub rate: Option<u64>,
    /// Only what comes from `mac` may be sent there, and, if there are any here, from these IPv4 addresses.
    pub guard: Option<Vec<Ipv4>>,
    /// It leads outside: addresses that come from there are believed, and there may be many.
    pub trusted: bool,
}

/// Why a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is no Ethernet frame, too long, or from a group address.
    Malformed,
    /// It has a tag where it may have none, or of a VLAN that does not exist.
    Tag,
    /// It is sent in the name of somebody else.
    Spoofed,
    /// More was sent than the port's rate allows.
    Rate,
    /// It is for bridges only, and may not be forwarded (IEEE 802.1Q, 8.6.3).
    Reserved,
    /// The receiver had no room for it, or cannot take such frames.
    NoRoom,
}

impl Cause {
    /// All of them, with what the operator calls them.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Malformed, "malformed"),
        (Self::Tag, "tag"),
        (Self::Spoofed, "spoofed"),
        (Self::Rate, "rate"),
        (Self::Reserved, "reserved"),
        (Self::NoRoom, "no-room"),
    ];
}

/// What a port has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames that its endpoint has sent, without those that were dropped.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that its endpoint has taken.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Frames dropped for each [`Cause`], in the order of [`Cause::ALL`]. [`Cause::NoRoom`] counts what could not be delivered to
    /// this port, the others what was sent from it.
    pub drops: [u64; Cause::ALL.len()],
}

/// A plugged port.
pub struct Member {
    pub(super) id: PortId,
    pub(super) config: PortConfig,
    pub(super) guard: Option<Guard>,
    pub(super) bucket: Option<Bucket>,
    /// The endpoint has the port, so the port may not have it.
    endpoint: Weak<dyn Endpoint>,
    counts: Counts,
}

/// [`Counters`] that all CPUs count at once.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    delivered: AtomicU64,
    delivered_bytes: AtomicU64,
    drops: [AtomicU64; Cause::ALL.len()],
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

impl Member {
    /// The port of this number.
    pub(super) fn new(id: PortId, config: PortConfig, endpoint: Weak<dyn Endpoint>, now: u64) -> Self {
        let guard = config.guard.as_ref().zip(config.mac);
        let guard = guard.map(|(addresses, mac)| Guard { mac, addresses: addresses.clone() });
        let bucket = config.rate.map(|rate| Bucket::new(rate, now));
        Self { id, config, guard, bucket, endpoint, counts: Counts::default() }
    }

    /// Whether frames of this VLAN come here.
    #[inline]
    pub(super) fn carries(&self, vlan: u16) -> bool {
        self.config.vlan.is_none_or(|own| own == vlan)
    }

    /// Hands a frame to the endpoint.
    #[inline]
    pub(super) fn deliver(&self, frame: &Frame<'_>) {
        let Some(endpoint) = self.endpoint.upgrade() else { return };
        self.delivered(frame, endpoint.deliver(frame));
    }

    /// Hands several frames to the endpoint.
    pub(super) fn deliver_all(&self, frames: &[Frame<'_>]) {
        let Some(endpoint) = self.endpoint.upgrade() else { return };
        endpoint.deliver_all(frames, &mut |frame, delivery| self.delivered(frame, delivery));
    }

    /// Counts what became of a frame.
    #[inline]
    fn delivered(&self, frame: &Frame<'_>, delivery: Delivery) {
        match delivery {
            Delivery::Taken => {
                count(&self.counts.delivered, 1);
                count(&self.counts.delivered_bytes, frame.len);
            }
            Delivery::Dropped => self.dropped(Cause::NoRoom),
            Delivery::Filtered => {}
        }
    }

    /// The endpoint has sent a frame.
    #[inline]
    pub(super) fn sent(&self, frame: &Frame<'_>) {
        count(&self.counts.sent, 1);
        count(&self.counts.sent_bytes, frame.len);
    }

    /// A frame was dropped.
    #[cold]
    pub(super) fn dropped(&self, cause: Cause) {
        if let Some(counter) = self.counts.drops.get(cause as usize) {
            count(counter, 1);
        }
    }

    /// What was counted since the port was plugged.
    pub(super) fn counters(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            sent: load(&self.counts.sent),
            sent_bytes: load(&self.counts.sent_bytes),
            delivered: load(&self.counts.delivered),
            delivered_bytes: load(&self.counts.delivered_bytes),
            drops: self.counts.drops.each_ref().map(load),
        }
    }
}
