//! Frames for tests.

use super::Mac;
use super::checksum::Sum;

/// The address of the station of this number.
pub fn mac(station: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, station])
}

/// A frame with this payload.
pub fn ethernet(destination: Mac, source: Mac, tag: Option<u16>, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let tag = tag.map_or(vec![], |vlan| [0x8100_u16.to_be_bytes(), vlan.to_be_bytes()].concat());
    [&destination.0[..], &source.0, &tag, &ethertype.to_be_bytes(), payload].concat()
}

/// The sum of the pseudo header of TCP, and the checksum's place filled with it.
fn pseudo(segment: &mut [u8], addresses: &[u8]) {
    let mut sum = Sum::default();
    sum.add(addresses);
    sum.add(&[0, 6]);
    sum.add(&(segment.len() as u16).to_be_bytes());
    segment[16..18].copy_from_slice(&sum.bytes());
}

/// A TCP header with 12 bytes of options, then `payload`.
fn tcp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 32];
    header[..2].copy_from_slice(&port.to_be_bytes());
    header[4..8].copy_from_slice(&0xffff_ff00_u32.to_be_bytes());
    // ACK, PSH, FIN, CWR
    (header[12], header[13]) = (0x80, 0x99);
    [&header, payload].concat()
}

/// A TCP segment over IPv4 from station 1 to station 2, its checksum only of the pseudo header.
pub fn tcp4(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = tcp(port, payload);
    let mut ip = [0; 20];
    (ip[0], ip[8], ip[9]) = (0x45, 64, 6);
    ip[2..4].copy_from_slice(&(20 + segment.len() as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&[0xff, 0xff]);
    ip[12..].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let mut sum = Sum::default();
    sum.add(&ip);
    ip[10..12].copy_from_slice(&sum.checksum());
    pseudo(&mut segment, &ip[12..]);
    ethernet(mac(2), mac(1), None, 0x0800, &[&ip, &segment[..]].concat())
}

/// The same over IPv6.
pub fn tcp6(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = tcp(port, payload);
    let mut ip = [0xfd; 40];
    ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 6, 64]);
    ip[4..6].copy_from_slice(&(segment.len() as u16).to_be_bytes());
    (ip[23], ip[39]) = (1, 2);
    pseudo(&mut segment, &ip[8..]);
    ethernet(mac(2), mac(1), None, 0x86dd, &[&ip, &segment[..]].concat())
}
