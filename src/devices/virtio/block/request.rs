//! What a request asks for (VIRTIO 1.2, 5.2.6).

use crate::devices::virtio::queue::Chain;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, Segment};
use crate::storage::DiskError;

/// How a request ended: the last byte of what the device writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Status {
    Ok = 0,
    IoErr = 1,
    Unsupp = 2,
}

impl From<DiskError> for Status {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Unsupported => Self::Unsupp,
            DiskError::Range { .. }
            | DiskError::ReadOnly
            | DiskError::Memory
            | DiskError::NoSpace
            | DiskError::Medium => Self::IoErr,
        }
    }
}

/// Types of requests.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// Where a request starts: `struct virtio_blk_req` up to the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// See [`kind`].
    pub kind: u32,
    /// The first sector.
    pub sector: u64,
}

/// `struct virtio_blk_discard_write_zeroes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first sector.
    pub sector: u64,
    /// How many.
    pub count: u32,
    /// `unmap`, and bits that are reserved.
    pub flags: u32,
}

impl Range {
    /// `unmap`: the sectors may be forgotten.
    pub const UNMAP: u32 = 1;
    /// Bytes of one.
    pub const LEN: u32 = 16;
}

impl Header {
    /// Takes the header off the front of what the device reads. `None`: there is less than that, or no memory.
    #[inline]
    pub fn take(memory: &dyn GuestMemory, from: &mut Cursor<'_>) -> Option<Self> {
        let [low, high] = from.take_words(memory)?;
        Some(Self { kind: low as u32, sector: high })
    }
}

impl Range {
    /// Takes a range off the front of what the device reads. `None`: there is less than that, or no memory.
    pub fn take(memory: &dyn GuestMemory, from: &mut Cursor<'_>) -> Option<Self> {
        let [sector, rest] = from.take_words(memory)?;
        Some(Self { sector, count: rest as u32, flags: (rest >> 32) as u32 })
    }
}

/// Segments of which the first are used up. The first that is not may be used up in part: it has become shorter.
pub struct Cursor<'a> {
    /// All of them.
    pub segments: &'a mut [Segment],
    /// How many are used up.
    pub used: &'a mut usize,
}

impl Cursor<'_> {
    /// Takes sixteen bytes off the front, as two little-endian words. The driver may frame them as it likes (2.7.4).
    #[inline]
    fn take_words(&mut self, memory: &dyn GuestMemory) -> Option<[u64; 2]> {
        // As nearly every driver does it: they are all of a buffer.
        let whole = self.segments.get(*self.used).filter(|segment| segment.len == 16);
        if let Some(words) = whole.and_then(|segment| memory.slice(segment.ipa, 16).ok()?.load_pair(0)) {
            *self.used += 1;
            return Some(words);
        }
        self.collect_words(memory)
    }

    #[cold]
    fn collect_words(&mut self, memory: &dyn GuestMemory) -> Option<[u64; 2]> {
        let mut bytes = [0; 16];
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            let segment = self.segments.get_mut(*self.used)?;
            let len = rest.len().min(segment.len as usize);
            let into = rest.split_off_mut(..len)?;
            memory.read(segment.ipa, into).ok()?;
            advance(segment, len as u32);
            if segment.len == 0 {
                *self.used += 1;
            }
        }
        let word = |at: usize| bytes[at..].first_chunk().map(|word| u64::from_le_bytes(*word));
        Some([word(0)?, word(8)?])
    }
}

/// Makes a segment start `len` bytes, which it has, later.
#[inline]
pub fn advance(segment: &mut Segment, len: u32) {
    // Where that wraps, there was no memory before, and is none now.
    segment.ipa = Ipa(segment.ipa.0.wrapping_add(len.into()));
    segment.len = segment.len.saturating_sub(len);
}

/// Takes the status byte off the end of what the device writes, and tells where it is. `None`: the device cannot write
/// anything.
#[inline]
pub fn take_status(chain: &mut Chain) -> Option<Ipa> {
    let last = chain.writable.last_mut()?;
    last.len = last.len.checked_sub(1)?;
    let status = Ipa(last.ipa.0.wrapping_add(last.len.into()));
    if last.len == 0 {
        chain.writable.pop();
    }
    Some(status)
}

/// Bytes in all segments.
#[inline]
pub fn bytes(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.len)).sum()
}
