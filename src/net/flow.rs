//! Flows: the packets of one conversation keep their order, so they stay in one queue.

use super::ethernet::{Header, be16, ethertype};

/// A number that is the same for all packets of a TCP or UDP flow of the frame with this head; for other packets, of
/// all between the same addresses.
pub fn hash(head: &[u8]) -> u32 {
    key(head).map_or(0, |[a, b, c]| {
        // The multiplier is 2^64 divided by the golden ratio; the upper bits of the product depend on all.
        let mixed = (a ^ b.rotate_left(23) ^ c.rotate_left(46)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    })
}

/// What tells flows from each other.
fn key(head: &[u8]) -> Option<[u64; 3]> {
    let header = Header::parse(head)?;
    let packet = head.get(header.payload..)?;
    let (addresses, protocol, transport) = match header.ethertype {
        ethertype::IPV4 => {
            let fragment = be16(packet, 6)? & 0x3fff != 0;
            let length = usize::from(*packet.first()? & 0xf) * 4;
            let ports = if fragment { None } else { packet.get(length..) };
            ([word(packet, 12)?, 0], *packet.get(9)?, ports)
        }
        ethertype::IPV6 => {
            let fold = |at| Some(word(packet, at)? ^ word(packet, at + 8)?.rotate_left(7));
            ([fold(8)?, fold(24)?], *packet.get(6)?, packet.get(40..))
        }
        _ => return None,
    };
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let ports = match protocol {
        TCP | UDP => {
            transport.and_then(|packet| packet.first_chunk()).map_or(0, |ports| u32::from_be_bytes(*ports))
        }
        _ => 0,
    };
    let [a, b] = addresses;
    Some([a, b, u64::from(ports)])
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::tcp4;

    #[test]
    fn a_flow_keeps_its_hash_and_flows_spread() {
        let hashes: std::collections::BTreeSet<u32> =
            (0..64).map(|port| hash(&tcp4(1000 + port, b"one")) % 8).collect();
        assert_eq!(hashes.len(), 8);
        assert_eq!(hash(&tcp4(7, b"one")), hash(&tcp4(7, b"quite another")));
        let frame = tcp4(7, b"");
        (0..frame.len()).for_each(|len| _ = hash(&frame[..len]));
    }
}
