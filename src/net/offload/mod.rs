//! What a sender leaves to the network card: a checksum to finish, a long TCP segment to cut up (VIRTIO 1.2, 5.1.6).
//!
//! Between two VMs nobody does either: the receiver is told what was left to do. For a receiver that does not
//! understand this, [`lower`] does it in software.

mod segment;

use bitflags::bitflags;

use super::checksum::Sum;
use super::ethernet::{HEADER, HeadBuffer, Header, TAG, be16, ethertype};
use super::{Delivery, Frame, MAX_HEAD};

/// Most segments that a frame may be cut into, because this is done at once: 64 KiB with a segment size of 256.
pub const MAX_SEGMENTS: usize = 256;

/// What is left to do with a frame.
///
/// Aligned, so that it is copied word by word: EL2 is compiled for strict alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(align(8))]
pub struct Offload {
    /// A checksum.
    pub checksum: Option<Partial>,
    /// Cutting it up. There is a checksum then, too.
    pub segmentation: Option<Segmentation>,
}

/// A checksum that holds only the sum of the pseudo header so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// Where in the frame the bytes start over which it goes, up to the end.
    pub start: u16,
    /// Where it is to be put, from there.
    pub offset: u16,
}

/// A TCP segment that is longer than the network's packets may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Over which protocol.
    pub protocol: Protocol,
    /// Its first part has CWR set, and the others may not (RFC 3168, 6.1.2).
    pub ecn: bool,
    /// Bytes of all headers.
    pub header: u16,
    /// Most bytes of payload in each part: not 0.
    pub size: u16,
}

/// What TCP is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Ipv4,
    Ipv6,
}

bitflags! {
    /// What a receiver does itself.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
    pub struct Accepts: u8 {
        /// It does not mind a checksum that is only of the pseudo header.
        const CHECKSUM = 1 << 0;
        /// It takes long segments of TCP over IPv4.
        const TCP4 = 1 << 1;
        /// It takes long segments of TCP over IPv6.
        const TCP6 = 1 << 2;
        /// It takes them also with CWR set.
        const ECN = 1 << 3;
    }
}

impl Accepts {
    /// Whether it takes a frame with this left to do as it is.
    #[inline]
    pub fn takes(self, offload: &Offload) -> bool {
        offload.is_none()
            || match offload.segmentation {
                Some(segmentation) => self.covers(segmentation),
                None => self.contains(Self::CHECKSUM),
            }
    }

    /// Whether it takes this as it is.
    fn covers(self, segmentation: Segmentation) -> bool {
        let protocol = match segmentation.protocol {
            Protocol::Ipv4 => Self::TCP4,
            Protocol::Ipv6 => Self::TCP6,
        };
        self.contains(protocol | Self::CHECKSUM) && (!segmentation.ecn || self.contains(Self::ECN))
    }
}

impl Offload {
    /// Nothing.
    pub const NONE: Self = Self { checksum: None, segmentation: None };

    /// Whether there is nothing to do.
    #[inline]
    pub fn is_none(&self) -> bool {
        self.checksum.is_none()
    }

    /// What a hostile sender says of a frame of `len` bytes that starts with `head`, with the length of the headers as
    /// it is; `None`: it is not so. The place of the checksum must be in the head, as must all headers of what is to be cut
    /// up.
    #[inline]
    pub fn validated(self, head: &[u8], len: usize) -> Option<Self> {
        let Some(checksum) = self.checksum else {
            return self.segmentation.is_none().then_some(self);
        };
        if usize::from(checksum.start) < HEADER || checksum.field()? + 2 > head.len() {
            return None;
        }
        let Some(segmentation) = self.segmentation else { return Some(self) };
        let header = segment::headers(segmentation.protocol, checksum, head)?;
        let segments = len.saturating_sub(header).div_ceil(usize::from(segmentation.size).max(1));
        let sound = segmentation.size > 0 && (1..=MAX_SEGMENTS).contains(&segments);
        let segmentation = Some(Segmentation { header: header as u16, ..segmentation });
        sound.then_some(Self { segmentation, ..self })
    }

    /// The same when the head has grown by `bytes` in front.
    pub(super) fn moved(self, bytes: isize) -> Option<Self> {
        let shift = |at: u16| u16::try_from(isize::try_from(at).ok()? + bytes).ok();
        let mut moved = self;
        if let Some(checksum) = &mut moved.checksum {
            checksum.start = shift(checksum.start)?;
        }
        if let Some(segmentation) = &mut moved.segmentation {
            segmentation.header = shift(segmentation.header)?;
        }
        Some(moved)
    }
}

impl Partial {
    /// Where in the frame the checksum is to be put.
    fn field(self) -> Option<usize> {
        usize::from(self.start).checked_add(self.offset.into())
    }
}

/// Delivers a frame in a form in which the receiver takes it: as it is, with its checksum finished, or cut up.
#[inline]
pub fn lower(
    frame: &Frame<'_>,
    accepts: Accepts,
    deliver: &mut dyn FnMut(&Frame<'_>) -> Delivery,
) -> Delivery {
    match (frame.offload.checksum, frame.offload.segmentation) {
        _ if accepts.takes(&frame.offload) => deliver(frame),
        (Some(checksum), Some(segmentation)) => segment::cut(frame, checksum, segmentation, accepts, deliver),
        (Some(checksum), None) => finish(frame, checksum, deliver),
        (None, _) => deliver(frame),
    }
}

/// Delivers a frame with its checksum finished.
#[cold]
fn finish(frame: &Frame<'_>, checksum: Partial, deliver: &mut dyn FnMut(&Frame<'_>) -> Delivery) -> Delivery {
    let mut buffer: HeadBuffer = [0; MAX_HEAD + TAG];
    match finished(frame, checksum, &mut buffer) {
        Some(head) => deliver(&Frame { offload: Offload::NONE, head, rest: frame.rest, len: frame.len }),
        None => Delivery::Dropped,
    }
}

/// The head of a frame with its checksum finished.
fn finished<'a>(frame: &Frame<'_>, checksum: Partial, buffer: &'a mut HeadBuffer) -> Option<&'a [u8]> {
    /// Where it is in a UDP header.
    const UDP: u16 = 6;
    let head = buffer.get_mut(..frame.head.len())?;
    head.copy_from_slice(frame.head);
    let mut sum = Sum::default();
    sum.add(head.get(checksum.start.into()..)?);
    sum.add_slices(frame.rest);
    let field = head.get_mut(checksum.field()?..)?.first_chunk_mut()?;
    *field = match sum.checksum() {
        // Zero would say that there is none (RFC 768).
        [0, 0] if checksum.offset == UDP => [0xff; 2],
        value => value,
    };
    Some(head)
}

#[cfg(test)]
mod tests;
