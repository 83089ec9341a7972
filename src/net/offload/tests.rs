use proptest::prelude::*;

use super::*;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::test::TestMemory;
use crate::mm::guest_memory::{GuestMemory, GuestSlice};
use crate::net::testing::{tcp4, tcp6};

const BASE: Ipa = Ipa(0x4000_0000);

/// What a receiver gets of the bytes of a frame whose head is cut at `head`.
fn lowered(bytes: &[u8], head: usize, offload: Offload, accepts: Accepts) -> Vec<(Vec<u8>, Offload)> {
    let memory = TestMemory::new(BASE, 1 << 17);
    let (head, rest) = bytes.split_at(head.min(bytes.len()));
    memory.write(BASE, rest).unwrap();
    let mut slices: Vec<GuestSlice<'_>> = vec![];
    // Fourteen bytes short of a page, for pieces at odd places.
    let mut at = 0;
    while at < rest.len() {
        let slice = memory.slice(Ipa(BASE.0 + at as u64), (rest.len() - at).min(4082) as u64).unwrap();
        at += slice.len();
        slices.push(slice);
    }
    let mut received = vec![];
    let frame = Frame { offload, head, rest: &slices, len: bytes.len() };
    let delivery = lower(&frame, accepts, &mut |frame| {
        let mut bytes = frame.head.to_vec();
        for slice in frame.rest {
            let start = bytes.len();
            bytes.resize(start + slice.len(), 0);
            assert!(slice.read(0, &mut bytes[start..]));
        }
        assert_eq!(bytes.len(), frame.len);
        received.push((bytes, frame.offload));
        Delivery::Taken
    });
    assert_eq!(delivery, Delivery::Taken);
    received
}

/// The Internet checksum, as RFC 1071 says it: 0 over what has a right one.
fn internet(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let sum: u64 =
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    !((0..4).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16)) as u16)
}

/// The TCP segment of a frame, whose checksums are right.
fn verified(frame: &[u8]) -> &[u8] {
    let (addresses, segment) = match frame[12] {
        0x08 => {
            assert_eq!(internet(&[&frame[14..34]]), 0, "the header's checksum");
            assert_eq!(be16(frame, 16).unwrap() as usize, frame.len() - 14);
            (&frame[26..34], &frame[34..])
        }
        _ => {
            assert_eq!(be16(frame, 18).unwrap() as usize, frame.len() - 54);
            (&frame[22..54], &frame[54..])
        }
    };
    assert_eq!(internet(&[addresses, &(segment.len() as u32).to_be_bytes(), &[0, 0, 0, 6], segment]), 0);
    segment
}

fn offload(v6: bool, size: Option<u16>) -> Offload {
    let protocol = if v6 { Protocol::Ipv6 } else { Protocol::Ipv4 };
    Offload {
        checksum: Some(Partial { start: if v6 { 54 } else { 34 }, offset: 16 }),
        segmentation: size.map(|size| Segmentation { protocol, ecn: true, header: 0, size }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every part is a right packet, and together they are what was sent.
    #[test]
    fn what_is_cut_up_adds_up(
        payload in prop::collection::vec(any::<u8>(), 1..20_000), size in 80_u16..3000, v6: bool, cut in 0..MAX_HEAD,
    ) {
        let bytes = if v6 { tcp6(9, &payload) } else { tcp4(9, &payload) };
        let header = bytes.len() - payload.len();
        let head = header + cut.min(MAX_HEAD - header);
        let offload = offload(v6, Some(size)).validated(&bytes[..head.min(bytes.len())], bytes.len()).unwrap();
        prop_assert_eq!(usize::from(offload.segmentation.unwrap().header), header);

        let parts = lowered(&bytes, head, offload, Accepts::empty());
        prop_assert_eq!(parts.len(), payload.len().div_ceil(size.into()));
        let mut together = vec![];
        for (number, (part, offload)) in parts.iter().enumerate() {
            prop_assert!(offload.is_none());
            let segment = verified(part);
            let sequence = u32::from_be_bytes(segment[4..8].try_into().unwrap());
            prop_assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(together.len() as u32));
            let last = if number + 1 == parts.len() { 0x09 } else { 0 };
            let first = if number == 0 { 0x80 } else { 0 };
            prop_assert_eq!(segment[13], 0x10 | first | last);
            if !v6 {
                prop_assert_eq!(be16(part, 18).unwrap(), 0xffff_u16.wrapping_add(number as u16));
            }
            together.extend_from_slice(&segment[32..]);
        }
        prop_assert_eq!(together, payload);
    }

    #[test]
    fn what_is_finished_is_right(payload in prop::collection::vec(any::<u8>(), 0..3000), v6: bool) {
        let bytes = if v6 { tcp6(9, &payload) } else { tcp4(9, &payload) };
        let offload = offload(v6, None).validated(&bytes[..bytes.len().min(MAX_HEAD)], bytes.len()).unwrap();
        let finished = lowered(&bytes, MAX_HEAD, offload, Accepts::empty());
        prop_assert_eq!(&verified(&finished[0].0)[32..], &payload);
    }

    /// Nothing that a sender says makes trouble.
    #[test]
    fn lies_are_refused_or_harmless(
        bytes in prop::collection::vec(any::<u8>(), 14..400), real: bool, v6: bool, ecn: bool,
        start: u16, offset: u16, near: bool, size in prop_oneof![0..4_u16, any::<u16>()], header: u16, gso: bool,
        accepts: u8,
    ) {
        let bytes = match real { true => tcp4(1, &bytes), false => bytes };
        let (start, offset) = if near { (start % 128, offset % 32) } else { (start, offset) };
        let protocol = if v6 { Protocol::Ipv6 } else { Protocol::Ipv4 };
        let segmentation = gso.then_some(Segmentation { protocol, ecn, header, size });
        let said = Offload { checksum: Some(Partial { start, offset }), segmentation };
        if let Some(offload) = said.validated(&bytes[..bytes.len().min(MAX_HEAD)], bytes.len()) {
            lowered(&bytes, MAX_HEAD, offload, Accepts::from_bits_truncate(accepts));
        }
    }
}

#[test]
fn who_accepts_it_gets_it_as_it_is() {
    let bytes = tcp4(9, &[7; 4000]);
    let offload = offload(false, Some(1000)).validated(&bytes[..MAX_HEAD], bytes.len()).unwrap();
    let all = lowered(&bytes, MAX_HEAD, offload, Accepts::all());
    assert_eq!(all, [(bytes.clone(), offload)]);
    // Without ECN it is cut up, but the checksums are left.
    let parts = lowered(&bytes, MAX_HEAD, offload, Accepts::all() - Accepts::ECN);
    assert_eq!(parts.len(), 4);
    let finished = lowered(&parts[3].0, MAX_HEAD, parts[3].1, Accepts::empty());
    verified(&finished[0].0);
}

#[test]
fn too_many_segments_are_refused() {
    let bytes = tcp4(9, &[7; 1000]);
    let validated = |size| offload(false, Some(size)).validated(&bytes[..MAX_HEAD], bytes.len());
    assert!(validated(0).is_none());
    assert!(validated(3).is_none(), "{} segments", 1000_u32.div_ceil(3));
    assert!(validated(4).is_some());
    let unsummed = Offload { checksum: None, ..offload(false, Some(4)) };
    assert!(unsummed.validated(&bytes[..MAX_HEAD], bytes.len()).is_none());
}
