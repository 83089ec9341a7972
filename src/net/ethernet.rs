//! Ethernet headers (IEEE 802.3), with VLAN tags (IEEE 802.1Q).

use super::{Frame, MAX_HEAD, Mac};

/// Bytes of a header without a tag.
pub const HEADER: usize = 14;
/// Bytes of a tag, which lies behind the two addresses.
pub const TAG: usize = 4;
/// Where a tag is.
const ADDRESSES: usize = 12;
/// The VLAN of frames without a tag, and of those whose tag only says a priority.
pub const UNTAGGED: u16 = 0;
/// The largest VLAN; 4095 is reserved.
pub const MAX_VLAN: u16 = 4094;

/// What follows a header.
pub mod ethertype {
    #![allow(missing_docs, reason = "the names say it")]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
}

/// The two bytes at `offset`, most significant first.
#[inline]
pub fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// A header as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// The VLAN of its tag: 0 to 4095.
    pub tag: Option<u16>,
    /// What it carries, behind the tag.
    pub ethertype: u16,
    /// Where that starts.
    pub payload: usize,
}

impl Header {
    /// The header at the start of `head`; `None`: it is not wholly there.
    #[inline]
    pub fn parse(head: &[u8]) -> Option<Self> {
        let (addresses, rest) = head.split_first_chunk::<ADDRESSES>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *addresses;
        let header = Self {
            destination: Mac([d0, d1, d2, d3, d4, d5]),
            source: Mac([s0, s1, s2, s3, s4, s5]),
            tag: None,
            ethertype: be16(rest, 0)?,
            payload: HEADER,
        };
        if header.ethertype != ethertype::VLAN {
            return Some(header);
        }
        let tag = Some(be16(rest, 2)? & 0xfff);
        Some(Self { tag, ethertype: be16(rest, TAG)?, payload: HEADER + TAG, ..header })
    }
}

/// Room for the head of a frame whose tag is changed.
pub type HeadBuffer = [u8; MAX_HEAD + TAG];

/// `frame` with a tag of this VLAN in front of all that it has. `None`: its head is longer than [`MAX_HEAD`].
pub fn with_tag<'a>(frame: &Frame<'a>, vlan: u16, buffer: &'a mut HeadBuffer) -> Option<Frame<'a>> {
    let (addresses, rest) = frame.head.split_at_checked(ADDRESSES)?;
    let [high, low] = ethertype::VLAN.to_be_bytes();
    let [vlan_high, vlan_low] = vlan.to_be_bytes();
    join(frame, [addresses, &[high, low, vlan_high, vlan_low], rest], buffer)
}

/// `frame` without its first tag. `None`: it has none, or its head is longer than fits.
pub fn without_tag<'a>(frame: &Frame<'a>, buffer: &'a mut HeadBuffer) -> Option<Frame<'a>> {
    let (addresses, rest) = frame.head.split_at_checked(ADDRESSES)?;
    join(frame, [addresses, rest.get(TAG..)?, &[]], buffer)
}

/// `frame` with a head of these parts.
fn join<'a>(frame: &Frame<'a>, parts: [&[u8]; 3], buffer: &'a mut HeadBuffer) -> Option<Frame<'a>> {
    let mut end = 0;
    for part in parts {
        buffer.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    let moved = end as isize - frame.head.len() as isize;
    let len = frame.len.checked_add_signed(moved)?;
    let head = buffer.get(..end)?;
    Some(Frame { offload: frame.offload.moved(moved)?, head, rest: frame.rest, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::offload::{Offload, Partial};

    #[test]
    fn tags_come_and_go() {
        let bytes: Vec<u8> = (0..40).collect();
        let offload = Offload { checksum: Some(Partial { start: 20, offset: 6 }), segmentation: None };
        let frame = Frame { offload, head: &bytes, rest: &[], len: 40 };
        let (mut one, mut other) = ([0; MAX_HEAD + TAG], [0; MAX_HEAD + TAG]);
        let tagged = with_tag(&frame, 0x123, &mut one).unwrap();
        assert_eq!(tagged.head[12..18], [0x81, 0x00, 0x01, 0x23, 12, 13]);
        assert_eq!((tagged.len, tagged.offload.checksum.unwrap().start), (44, 24));
        assert_eq!(Header::parse(tagged.head).unwrap().tag, Some(0x123));
        let plain = without_tag(&tagged, &mut other).unwrap();
        assert_eq!((plain.head, plain.len, plain.offload), (&bytes[..], 40, offload));
    }

    #[test]
    fn a_header_that_is_cut_off_is_none() {
        let tagged = [&[2; 12][..], &[0x81, 0, 0, 7, 8, 0]].concat();
        assert_eq!(
            Header::parse(&tagged).map(|header| (header.ethertype, header.payload)),
            Some((0x0800, 18))
        );
        assert!((0..tagged.len()).all(|len| Header::parse(&tagged[..len]).is_none()));
    }
}
