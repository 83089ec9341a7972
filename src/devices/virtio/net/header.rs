//! Feature bits and the header in front of each frame (VIRTIO 1.2, 5.1.3 and 5.1.6).

use bitflags::bitflags;

use super::super::Features;
use crate::net::offload::{Accepts, Offload, Partial, Protocol, Segmentation};

bitflags! {
    /// The feature bits of a network device (5.1.3), without their prefix `VIRTIO_NET_F_`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "the names are the specification's")]
    pub struct NetFeatures: u64 {
        const CSUM = 1 << 0;
        const GUEST_CSUM = 1 << 1;
        const CTRL_GUEST_OFFLOADS = 1 << 2;
        const MTU = 1 << 3;
        const MAC = 1 << 5;
        const GUEST_TSO4 = 1 << 7;
        const GUEST_TSO6 = 1 << 8;
        const GUEST_ECN = 1 << 9;
        const HOST_TSO4 = 1 << 11;
        const HOST_TSO6 = 1 << 12;
        const HOST_ECN = 1 << 13;
        const MRG_RXBUF = 1 << 15;
        const STATUS = 1 << 16;
        const CTRL_VQ = 1 << 17;
        const CTRL_RX = 1 << 18;
        const CTRL_VLAN = 1 << 19;
        const CTRL_RX_EXTRA = 1 << 20;
        const GUEST_ANNOUNCE = 1 << 21;
        const MQ = 1 << 22;
        const CTRL_MAC_ADDR = 1 << 23;
    }
}

impl NetFeatures {
    /// What the driver and the device have agreed on.
    pub fn negotiated(features: Features) -> Self {
        Self::from_bits_truncate(features.bits())
    }

    /// What the driver takes of offloads.
    pub fn accepts(self) -> Accepts {
        let pairs = [
            (Self::GUEST_CSUM, Accepts::CHECKSUM),
            (Self::GUEST_TSO4, Accepts::TCP4),
            (Self::GUEST_TSO6, Accepts::TCP6),
            (Self::GUEST_ECN, Accepts::ECN),
        ];
        pairs.into_iter().filter(|(feature, _)| self.contains(*feature)).map(|(_, accepts)| accepts).collect()
    }
}

/// Bytes of `struct virtio_net_hdr`.
pub const HEADER: usize = 12;
/// Where `num_buffers` is in it.
pub const NUM_BUFFERS: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_*`.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// What a driver asks for; `None`: something that does not exist, or was not negotiated.
#[inline]
pub fn decode(header: &[u8; HEADER], features: NetFeatures) -> Option<Offload> {
    let [flags, gso, header @ ..] = *header;
    if flags & NEEDS_CSUM == 0 {
        return (gso == GSO_NONE).then_some(Offload::NONE);
    }
    let [h0, h1, g0, g1, s0, s1, o0, o1, ..] = header;
    let word = |low, high| u16::from_le_bytes([low, high]);
    let checksum = Some(Partial { start: word(s0, s1), offset: word(o0, o1) });
    let ecn = gso & GSO_ECN != 0;
    let (protocol, needed) = match gso & !GSO_ECN {
        GSO_NONE if !ecn => {
            let offload = Offload { checksum, segmentation: None };
            return features.contains(NetFeatures::CSUM).then_some(offload);
        }
        GSO_TCPV4 => (Protocol::Ipv4, NetFeatures::HOST_TSO4),
        GSO_TCPV6 => (Protocol::Ipv6, NetFeatures::HOST_TSO6),
        _ => return None,
    };
    let needed = needed | NetFeatures::CSUM | if ecn { NetFeatures::HOST_ECN } else { NetFeatures::empty() };
    let segmentation = Some(Segmentation { protocol, ecn, header: word(h0, h1), size: word(g0, g1) });
    features.contains(needed).then_some(Offload { checksum, segmentation })
}

/// The header of a frame in one buffer.
#[inline]
pub fn encode(offload: &Offload) -> [u8; HEADER] {
    const ONE_BUFFER: [u8; 2] = 1_u16.to_le_bytes();
    let [n0, n1] = ONE_BUFFER;
    let Some(checksum) = offload.checksum else { return [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n0, n1] };
    let (gso, header, size) = offload.segmentation.map_or((GSO_NONE, 0, 0), |segmentation| {
        let protocol = match segmentation.protocol {
            Protocol::Ipv4 => GSO_TCPV4,
            Protocol::Ipv6 => GSO_TCPV6,
        };
        let ecn = if segmentation.ecn { GSO_ECN } else { 0 };
        (protocol | ecn, segmentation.header, segmentation.size)
    });
    let ([h0, h1], [g0, g1]) = (header.to_le_bytes(), size.to_le_bytes());
    let ([s0, s1], [o0, o1]) = (checksum.start.to_le_bytes(), checksum.offset.to_le_bytes());
    [NEEDS_CSUM, gso, h0, h1, g0, g1, s0, s1, o0, o1, n0, n1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_the_same_both_ways() {
        let checksum = Some(Partial { start: 0x1234, offset: 0x567 });
        let segmentation =
            Some(Segmentation { protocol: Protocol::Ipv6, ecn: true, header: 0x89a, size: 0xbcd });
        for offload in
            [Offload::NONE, Offload { checksum, segmentation: None }, Offload { checksum, segmentation }]
        {
            assert_eq!(decode(&encode(&offload), NetFeatures::all()), Some(offload));
        }
        let header = encode(&Offload { checksum, segmentation });
        assert_eq!(header, [1, 0x84, 0x9a, 8, 0xcd, 0xb, 0x34, 0x12, 0x67, 5, 1, 0]);
        for missing in [NetFeatures::CSUM, NetFeatures::HOST_TSO6, NetFeatures::HOST_ECN] {
            assert_eq!(decode(&header, NetFeatures::all() - missing), None);
        }
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for (flags, gso) in [(0, 1), (0, 0x80), (1, 0x80), (1, 2), (1, 3), (1, 5)] {
            let mut header = [0; HEADER];
            (header[0], header[1]) = (flags, gso);
            assert_eq!(decode(&header, NetFeatures::all()), None, "{flags} {gso}");
        }
    }
}
