//! The bytes of a request, one after the other.

use crate::mm::guest_memory::{GuestMemory, GuestSlice, Segment};

/// Reads the buffers of a request as if they were one. Where the guest has no memory, it reads zeros: that is the guest's own
/// loss.
pub struct Reader<'a> {
    memory: &'a dyn GuestMemory,
    segments: &'a [Segment],
    /// How much of the first segment is done.
    offset: u32,
}

impl<'a> Reader<'a> {
    /// The bytes of all `segments`.
    #[inline]
    pub fn new(memory: &'a dyn GuestMemory, segments: &'a [Segment]) -> Self {
        Self { memory, segments, offset: 0 }
    }

    /// The piece that comes next, of at most `len` bytes (not 0); `None` for one of zeros.
    #[inline]
    pub fn next(&mut self, len: usize) -> Option<GuestSlice<'a>> {
        loop {
            let (segment, rest) = self.segments.split_first()?;
            let left = segment.len.saturating_sub(self.offset);
            if left > 0 {
                let at = segment.ipa.checked_add(self.offset.into())?;
                let piece = self.memory.slice(at, u64::from(left).min(len as u64)).ok()?;
                self.offset += piece.len() as u32;
                return Some(piece);
            }
            (self.segments, self.offset) = (rest, 0);
        }
    }

    /// Reads on into all of `bytes`.
    #[inline]
    pub fn read(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let piece = self.next(bytes.len());
            let len = piece.map_or(bytes.len(), |piece| piece.len());
            let Some(place) = bytes.split_off_mut(..len) else { return };
            match piece {
                Some(piece) => _ = piece.read(0, place),
                None => place.fill(0),
            }
        }
    }

    /// Reads on into all of `bytes`. `false`: there are not so many, or there is no memory for some.
    pub fn read_exact(&mut self, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            let Some(piece) = self.next(bytes.len()) else { return false };
            let Some(place) = bytes.split_off_mut(..piece.len()) else { return false };
            piece.read(0, place);
        }
        true
    }

    /// Passes over `len` bytes.
    pub fn skip(&mut self, mut len: u32) {
        while let Some((segment, rest)) = self.segments.split_first() {
            let left = segment.len.saturating_sub(self.offset);
            if len < left {
                self.offset += len;
                return;
            }
            len -= left;
            (self.segments, self.offset) = (rest, 0);
        }
    }
}
