//! What a guest says of its own memory (VIRTIO 1.2, 5.5.6.3).

/// The statistics, in the order of their tags (5.5.6.4).
pub const NAMES: [&str; 10] = [
    "swapped in",
    "swapped out",
    "major faults",
    "minor faults",
    "free",
    "total",
    "available",
    "caches",
    "huge pages allocated",
    "huge pages refused",
];

/// Bytes of an entry: a 16-bit tag and a 64-bit value.
const ENTRY: usize = 10;
/// Bytes that are looked at: room for entries that are not known here.
pub const MAX_LEN: usize = 64 * ENTRY;

/// What the guest has said: for each of [`NAMES`] a value, in bytes for all but the faults and huge pages, if it has
/// given any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics(pub [Option<u64>; NAMES.len()]);

impl Statistics {
    /// Reads a buffer; entries may come in any order, and those with other tags are ignored.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut statistics = Self::default();
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        for &[t0, t1, ref value @ ..] in entries {
            let tag = usize::from(u16::from_le_bytes([t0, t1]));
            if let Some(slot) = statistics.0.get_mut(tag) {
                *slot = Some(u64::from_le_bytes(*value));
            }
        }
        statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_any_order_and_unknown_ones_are_ignored() {
        let entry = |tag: u16, value: u64| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
        let bytes = [entry(6, 1 << 40), entry(99, 5), entry(0, 7), vec![4, 0, 1]].concat();
        let mut expected = Statistics::default();
        expected.0[6] = Some(1 << 40);
        expected.0[0] = Some(7);
        assert_eq!(Statistics::parse(&bytes), expected);
    }
}
