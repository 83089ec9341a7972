//! What the packets of a socket device begin with (VIRTIO 1.2, 5.10.6).

use core::ops::RangeInclusive;

/// Bytes of a header.
pub const LEN: usize = 44;
/// Most bytes behind a header: what Linux sends at most.
pub const MAX_PAYLOAD: u32 = 64 << 10;

/// Kinds of sockets (5.10.6.1).
pub mod kind {
    pub const STREAM: u16 = 1;
    pub const SEQPACKET: u16 = 2;
}

/// What a packet is for (5.10.6).
pub mod op {
    use super::RangeInclusive;

    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RST: u16 = 3;
    pub const RW: u16 = 5;
    pub const CREDIT_REQUEST: u16 = 7;
    /// All that there are.
    pub const ALL: RangeInclusive<u16> = REQUEST..=CREDIT_REQUEST;
}

/// In `flags` of data: a message or a record ends with it (5.10.6.5). Not before the last of its parts.
const ENDS: u32 = 1 << 0 | 1 << 1;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Who sends it.
    pub src_cid: u64,
    /// To whom.
    pub dst_cid: u64,
    /// From which port.
    pub src_port: u32,
    /// To which port.
    pub dst_port: u32,
    /// Bytes that follow.
    pub len: u32,
    /// The kind of socket.
    pub kind: u16,
    /// What it is for.
    pub op: u16,
    /// More of what it is for.
    pub flags: u32,
    /// How much the sender can take in.
    pub buf_alloc: u32,
    /// How much of that it has used so far.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads a header.
    #[inline]
    pub fn parse(bytes: &[u8; LEN]) -> Self {
        let mut rest = &bytes[..];
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// As it is sent.
    #[inline]
    pub fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut rest = &mut bytes[..];
        put(&mut rest, self.src_cid.to_le_bytes());
        put(&mut rest, self.dst_cid.to_le_bytes());
        put(&mut rest, self.src_port.to_le_bytes());
        put(&mut rest, self.dst_port.to_le_bytes());
        put(&mut rest, self.len.to_le_bytes());
        put(&mut rest, self.kind.to_le_bytes());
        put(&mut rest, self.op.to_le_bytes());
        put(&mut rest, self.flags.to_le_bytes());
        put(&mut rest, self.buf_alloc.to_le_bytes());
        put(&mut rest, self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// Whether it makes sense before `payload` bytes.
    #[inline]
    pub fn is_sound(&self, payload: u32) -> bool {
        matches!(self.kind, kind::STREAM | kind::SEQPACKET)
            && op::ALL.contains(&self.op)
            && self.len <= payload.min(if self.op == op::RW { MAX_PAYLOAD } else { 0 })
    }

    /// The answer to a packet that reaches nobody (5.10.6.4.1); none for one that is such an answer itself.
    pub fn refusal(&self) -> Option<Self> {
        (self.op != op::RST).then_some(Self {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: self.kind,
            op: op::RST,
            ..Self::default()
        })
    }

    /// Whether it begins a connection, or ends one.
    #[inline]
    pub fn is_turn(&self) -> bool {
        matches!(self.op, op::REQUEST | op::RESPONSE | op::RST)
    }

    /// Takes `len` bytes off the front, as a packet of their own. What is left of it in `self` is a packet too.
    #[inline]
    pub fn split(&mut self, len: u32) -> Self {
        let left = self.len.saturating_sub(len);
        let mut first = Self { len, ..*self };
        if left > 0 && self.op == op::RW {
            first.flags &= !ENDS;
        }
        self.len = left;
        first
    }
}

/// Takes the next field.
#[inline]
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((field, tail)) => {
            *rest = tail;
            *field
        }
        None => [0; N],
    }
}

/// Writes the next field.
#[inline]
fn put<const N: usize>(rest: &mut &mut [u8], field: [u8; N]) {
    if let Some(place) = rest.split_off_mut(..N) {
        place.copy_from_slice(&field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_specification_has_them() {
        let bytes: [u8; LEN] = core::array::from_fn(|at| at as u8);
        let header = Header::parse(&bytes);
        assert_eq!(header.bytes(), bytes);
        assert_eq!((header.src_cid, header.dst_cid), (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908));
        assert_eq!((header.src_port, header.dst_port, header.len), (0x1312_1110, 0x1716_1514, 0x1b1a_1918));
        assert_eq!((header.kind, header.op, header.flags), (0x1d1c, 0x1f1e, 0x2322_2120));
        assert_eq!((header.buf_alloc, header.fwd_cnt), (0x2726_2524, 0x2b2a_2928));
    }

    #[test]
    fn a_message_ends_with_its_last_part() {
        let mut rest = Header { len: 10, op: op::RW, flags: 3, ..Header::default() };
        let first = rest.split(4);
        assert_eq!((first.len, first.flags), (4, 0));
        let last = rest.split(6);
        assert_eq!((last.len, last.flags, rest.len), (6, 3, 0));
    }
}
