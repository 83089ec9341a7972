//! The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words.

use crate::mm::guest_memory::GuestSlice;

/// A sum under way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// Of 16-bit little-endian words: the sum does not depend on the order of bytes but for its own (RFC 1071, 2 (B)).
    total: u64,
    /// An odd number of bytes was added.
    odd: bool,
}

/// Bytes of guest memory that are summed at a time.
const CHUNK: usize = 256;

impl Sum {
    /// Adds bytes, which follow those of before at once: also after an odd number of them.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut total = 0_u64;
        let (words, rest) = bytes.as_chunks::<4>();
        // At most 2^32 each: no sum of a frame comes near to overflow.
        for word in words {
            total += u64::from(u32::from_le_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let folded = fold(total + u64::from(u32::from_le_bytes(last)));
        self.total += u64::from(if self.odd { folded.swap_bytes() } else { folded });
        self.odd ^= !bytes.len().is_multiple_of(2);
    }

    /// Adds `len` bytes of guest memory, as they are now; what is not there counts for nothing.
    pub fn add_slices(&mut self, slices: &[GuestSlice<'_>]) {
        let mut buffer = [0; CHUNK];
        for slice in slices {
            let mut at = 0;
            while at < slice.len() {
                let len = (slice.len() - at).min(CHUNK);
                let chunk = &mut buffer[..len];
                slice.read(at, chunk);
                self.add(chunk);
                at += len;
            }
        }
    }

    /// The sum as it is in a packet.
    pub fn bytes(self) -> [u8; 2] {
        fold(self.total).to_le_bytes()
    }

    /// The checksum as it is in a packet: the complement of the sum.
    pub fn checksum(self) -> [u8; 2] {
        (!fold(self.total)).to_le_bytes()
    }
}

/// The 16-bit ones' complement sum.
fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 as it says: big-endian words, one after the other.
    fn plain(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    proptest! {
        #[test]
        fn any_split_has_the_same_checksum(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut sum = Sum::default();
            sum.add(first);
            sum.add(second);
            prop_assert_eq!(sum.checksum(), plain(&bytes));
        }
    }
}
