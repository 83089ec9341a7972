//! Cutting up a long TCP segment (RFC 9293; for the IPv4 identification, RFC 6864).

use arrayvec::ArrayVec;

use super::*;
use crate::mm::guest_memory::GuestSlice;

/// Bytes of the shortest headers.
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
/// What IP calls TCP.
const PROTOCOL: u8 = 6;
/// Where in a TCP header things are.
const SEQUENCE: usize = 4;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
/// Flags that only the last part has: FIN and PSH.
const LAST: u8 = 0x09;
/// The flag that only the first part has: CWR.
const FIRST: u8 = 0x80;

/// Most pieces of memory that a part of a frame lies in.
const MAX_PIECES: usize = 64;

/// Bytes of all headers of a TCP segment, whose TCP header starts at `checksum.start`; `None`: it is none, or its headers are
/// not wholly in `head`.
pub(super) fn headers(protocol: Protocol, checksum: Partial, head: &[u8]) -> Option<usize> {
    let (network, transport) = (network(head)?, usize::from(checksum.start));
    let ip = head.get(network.at..)?;
    let sound = match protocol {
        Protocol::Ipv4 => {
            let length = usize::from(ip.first()? & 0xf) * 4;
            network.ethertype == ethertype::IPV4
                && ip.first()? >> 4 == 4
                && length >= IPV4
                && transport == network.at + length
                && *ip.get(9)? == PROTOCOL
        }
        // There may be extension headers in between.
        Protocol::Ipv6 => {
            network.ethertype == ethertype::IPV6 && ip.first()? >> 4 == 6 && transport >= network.at + IPV6
        }
    };
    let length = usize::from(head.get(transport + DATA_OFFSET)? >> 4) * 4;
    let end = transport + length;
    (sound && usize::from(checksum.offset) == CHECKSUM && length >= TCP && end <= head.len()).then_some(end)
}

/// The network layer's header.
struct Network {
    at: usize,
    ethertype: u16,
}

/// Where the network layer's header is. The sender may have put a tag inside the one that the switch knows of.
fn network(head: &[u8]) -> Option<Network> {
    let Header { ethertype, payload, .. } = Header::parse(head)?;
    match ethertype {
        ethertype::VLAN => Some(Network { at: payload + TAG, ethertype: be16(head, payload + 2)? }),
        _ => Some(Network { at: payload, ethertype }),
    }
}

/// Delivers the parts of a long segment, until one is lost.
#[cold]
pub(super) fn cut(
    frame: &Frame<'_>,
    checksum: Partial,
    segmentation: Segmentation,
    accepts: Accepts,
    deliver: &mut dyn FnMut(&Frame<'_>) -> Delivery,
) -> Delivery {
    let header = usize::from(segmentation.header);
    let size = usize::from(segmentation.size).max(1);
    let payload = frame.len.saturating_sub(header);
    let mut buffer: HeadBuffer = [0; MAX_HEAD + TAG];
    let mut pieces = Pieces::new(frame);
    for number in 0..payload.div_ceil(size).min(MAX_SEGMENTS) {
        let from = number * size;
        let part = Part {
            number: number as u16,
            from,
            len: size.min(payload - from),
            is_last: from + size >= payload,
        };
        let Some(head) = part.head(frame, checksum, segmentation, &mut buffer) else {
            return Delivery::Dropped;
        };
        let in_head = head - header;
        let Some(rest) = pieces.take(part.len - in_head) else { return Delivery::Dropped };
        if !accepts.contains(Accepts::CHECKSUM) && part.finish(&mut buffer[..head], checksum, &rest).is_none()
        {
            return Delivery::Dropped;
        }
        let checksum = accepts.contains(Accepts::CHECKSUM).then_some(checksum);
        let delivery = deliver(&Frame {
            offload: Offload { checksum, segmentation: None },
            head: &buffer[..head],
            rest: &rest,
            len: header + part.len,
        });
        if delivery != Delivery::Taken {
            return delivery;
        }
    }
    Delivery::Taken
}

/// A part of a long segment.
struct Part {
    number: u16,
    /// Where in the payload it starts.
    from: usize,
    len: usize,
    is_last: bool,
}

impl Part {
    /// Writes its headers, with the sum of the pseudo header for a checksum, and what there is of its payload in the head of the
    /// whole. Returns how many bytes these are.
    fn head(
        &self,
        frame: &Frame<'_>,
        checksum: Partial,
        segmentation: Segmentation,
        buffer: &mut HeadBuffer,
    ) -> Option<usize> {
        let (headers, payload) = frame.head.split_at_checked(segmentation.header.into())?;
        let payload = payload.get(self.from..).unwrap_or(&[]);
        let payload = payload.get(..self.len).unwrap_or(payload);
        let end = headers.len() + payload.len();
        let (to_headers, to_payload) = buffer.get_mut(..end)?.split_at_mut(headers.len());
        to_headers.copy_from_slice(headers);
        to_payload.copy_from_slice(payload);

        let transport = usize::from(checksum.start);
        let ip = to_headers.get_mut(network(headers)?.at..transport)?;
        let tcp_len = headers.len() - transport + self.len;
        let mut pseudo = Sum::default();
        match segmentation.protocol {
            Protocol::Ipv4 => {
                set16(ip, 2, u16::try_from(ip.len() + tcp_len).ok()?)?;
                set16(ip, 4, be16(ip, 4)?.wrapping_add(self.number))?;
                set16(ip, 10, 0)?;
                let mut sum = Sum::default();
                sum.add(ip);
                ip.get_mut(10..)?.first_chunk_mut().map(|field| *field = sum.checksum())?;
                pseudo.add(ip.get(12..IPV4)?);
            }
            Protocol::Ipv6 => {
                set16(ip, 4, u16::try_from(ip.len() - IPV6 + tcp_len).ok()?)?;
                pseudo.add(ip.get(8..IPV6)?);
            }
        }
        pseudo.add(&[0, PROTOCOL]);
        pseudo.add(&u16::try_from(tcp_len).ok()?.to_be_bytes());

        let tcp = to_headers.get_mut(transport..)?;
        let sequence = tcp.get_mut(SEQUENCE..)?.first_chunk_mut::<4>()?;
        *sequence = u32::from_be_bytes(*sequence).wrapping_add(self.from as u32).to_be_bytes();
        let flags = tcp.get_mut(FLAGS)?;
        if self.number > 0 {
            *flags &= !FIRST;
        }
        if !self.is_last {
            *flags &= !LAST;
        }
        *tcp.get_mut(CHECKSUM..)?.first_chunk_mut()? = pseudo.bytes();
        Some(end)
    }

    /// Finishes the checksum of what [`Part::head`] has written.
    fn finish(&self, head: &mut [u8], checksum: Partial, rest: &[GuestSlice<'_>]) -> Option<()> {
        let mut sum = Sum::default();
        sum.add(head.get(checksum.start.into()..)?);
        sum.add_slices(rest);
        *head.get_mut(checksum.field()?..)?.first_chunk_mut()? = sum.checksum();
        Some(())
    }
}

/// Writes two bytes at `offset`, most significant first.
fn set16(bytes: &mut [u8], offset: usize, value: u16) -> Option<()> {
    *bytes.get_mut(offset..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

/// What is behind the head of a frame, taken from front to back.
struct Pieces<'a> {
    rest: core::slice::Iter<'a, GuestSlice<'a>>,
    current: Option<GuestSlice<'a>>,
}

impl<'a> Pieces<'a> {
    fn new(frame: &Frame<'a>) -> Self {
        Self { rest: frame.rest.iter(), current: None }
    }

    /// The next `len` bytes; `None`: they are not there, or in too many pieces.
    fn take(&mut self, mut len: usize) -> Option<ArrayVec<GuestSlice<'a>, MAX_PIECES>> {
        let mut taken = ArrayVec::new();
        while len > 0 {
            let piece = match self.current.take() {
                Some(piece) => piece,
                None => *self.rest.next()?,
            };
            let part = piece.part(0, len.min(piece.len()))?;
            self.current = piece.part(part.len(), piece.len() - part.len()).filter(|rest| !rest.is_empty());
            len -= part.len();
            taken.try_push(part).ok()?;
        }
        Some(taken)
    }
}
