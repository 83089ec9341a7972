//! What a guarded port may send: nothing in the name of others.

use alloc::vec::Vec;

use crate::net::Mac;
use crate::net::ethernet::{Header, ethertype};

/// An IPv4 address.
pub type Ipv4 = [u8; 4];

const NOBODY: Ipv4 = [0; 4];
const EVERYBODY: Ipv4 = [0xff; 4];

/// The addresses of a guarded port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The only source address of its frames.
    pub mac: Mac,
    /// The only IPv4 addresses of its packets; then it may send nothing but IPv4 and ARP. If there are none, any.
    pub addresses: Vec<Ipv4>,
}

impl Guard {
    /// Whether a frame with this header and head says the truth about who sent it.
    pub fn permits(&self, header: &Header, head: &[u8]) -> bool {
        let packet = head.get(header.payload..).unwrap_or(&[]);
        header.source == self.mac
            && match header.ethertype {
                ethertype::ARP => self.permits_arp(packet).unwrap_or(false),
                _ if self.addresses.is_empty() => true,
                ethertype::IPV4 => self.permits_ipv4(packet).unwrap_or(false),
                _ => false,
            }
    }

    /// RFC 826. Nobody asks whether an address is free (RFC 5227, 2.1.1), and so may we.
    fn permits_arp(&self, packet: &[u8]) -> Option<bool> {
        /// Addresses of Ethernet and IPv4, with their lengths.
        const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
        let hardware = packet.get(8..14)?;
        let protocol = packet.get(14..18)?.first_chunk()?;
        let is_own = packet.first_chunk() == Some(&ETHERNET_IPV4)
            && hardware == self.mac.0
            && (self.is_own(protocol) || *protocol == NOBODY);
        Some(is_own)
    }

    /// RFC 791. Who has no address yet may ask everybody for one (RFC 2131, 4.1).
    fn permits_ipv4(&self, packet: &[u8]) -> Option<bool> {
        let source = packet.get(12..16)?.first_chunk()?;
        let destination = packet.get(16..20)?.first_chunk()?;
        let is_asking = (*source, *destination) == (NOBODY, EVERYBODY);
        Some(packet.first()? >> 4 == 4 && (is_asking || self.is_own(source)))
    }

    fn is_own(&self, address: &Ipv4) -> bool {
        self.addresses.is_empty() || self.addresses.contains(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::{ethernet, mac, tcp4, tcp6};

    const OWN: Ipv4 = [10, 0, 0, 1];

    fn permits(addresses: &[Ipv4], frame: &[u8]) -> bool {
        let guard = Guard { mac: mac(1), addresses: addresses.to_vec() };
        guard.permits(&Header::parse(frame).unwrap(), frame)
    }

    fn arp(source: Mac, hardware: Mac, protocol: Ipv4) -> Vec<u8> {
        let packet = [&[0, 1, 8, 0, 6, 4, 0, 1], &hardware.0[..], &protocol, &[0; 10]].concat();
        ethernet(Mac::BROADCAST, source, None, ethertype::ARP, &packet)
    }

    #[test]
    fn own_addresses_pass() {
        assert!(permits(&[OWN], &tcp4(1, b"")));
        assert!(permits(&[[9; 4], OWN], &arp(mac(1), mac(1), OWN)));
        assert!(permits(&[OWN], &arp(mac(1), mac(1), NOBODY)));
        assert!(permits(&[], &tcp6(1, b"")));
        let mut asking = tcp4(1, b"");
        asking[26..30].fill(0);
        assert!(!permits(&[OWN], &asking));
        asking[30..34].fill(0xff);
        assert!(permits(&[OWN], &asking));
    }

    #[test]
    fn foreign_addresses_do_not() {
        assert!(!permits(&[[10, 0, 0, 3]], &tcp4(1, b"")));
        assert!(!permits(&[OWN], &tcp6(1, b"")), "IPv6 may speak for anybody");
        assert!(!permits(&[], &arp(mac(2), mac(1), OWN)));
        assert!(!permits(&[], &arp(mac(1), mac(2), OWN)));
        assert!(!permits(&[OWN], &arp(mac(1), mac(1), [10, 0, 0, 9])));
        // A tag in front hides nothing, and two of them are no IPv4.
        let tagged = |inner: u16| ethernet(mac(2), mac(1), Some(7), inner, &tcp4(1, b"")[14..]);
        assert!(permits(&[OWN], &tagged(ethertype::IPV4)));
        assert!(!permits(&[[1; 4]], &tagged(ethertype::IPV4)));
        assert!(!permits(&[OWN], &tagged(ethertype::VLAN)));
        // What is cut off says nothing.
        let frame = arp(mac(1), mac(1), OWN);
        assert!((14..32).all(|len| !permits(&[OWN], &frame[..len])));
    }
}
