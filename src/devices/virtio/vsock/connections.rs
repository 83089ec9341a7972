//! Which connections a guest believes to have: what it is to be told when a peer is gone.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::packet::{Header, op};

/// Most connections of a guest.
pub const MOST: usize = 1024;

/// A connection, from the guest's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Connection {
    peer: u64,
    peer_port: u32,
    port: u32,
    kind: u16,
}

/// The connections of a guest. One is there from when the guest asks for it, or accepts it, until one of both ends refuses a
/// packet of it, as the last step of closing it is too (5.10.6.6).
#[derive(Default)]
pub struct Connections(BTreeSet<Connection>);

impl Connections {
    /// The guest sends this. `false`: it would have too many connections then.
    pub fn sent(&mut self, header: &Header) -> bool {
        let connection = Connection {
            peer: header.dst_cid,
            peer_port: header.dst_port,
            port: header.src_port,
            kind: header.kind,
        };
        match header.op {
            op::REQUEST | op::RESPONSE if self.0.len() < MOST => _ = self.0.insert(connection),
            op::REQUEST | op::RESPONSE => return self.0.contains(&connection),
            _ => _ = self.0.remove(&connection),
        }
        true
    }

    /// The guest is sent a refusal.
    pub fn refused(&mut self, header: &Header) {
        self.0.remove(&Connection {
            peer: header.src_cid,
            peer_port: header.src_port,
            port: header.dst_port,
            kind: header.kind,
        });
    }

    /// Takes all connections with a peer out, as the refusals that the guest with this context id is to be sent.
    pub fn take(&mut self, peer: u32, cid: u32) -> Vec<Header> {
        let refusal = |connection: Connection| Header {
            src_cid: connection.peer,
            dst_cid: cid.into(),
            src_port: connection.peer_port,
            dst_port: connection.port,
            kind: connection.kind,
            op: op::RST,
            ..Header::default()
        };
        self.0.extract_if(.., |connection| connection.peer == u64::from(peer)).map(refusal).collect()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
