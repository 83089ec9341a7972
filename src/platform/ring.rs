//! The last bytes of a stream.

/// Keeps as many of the last bytes of a stream as its storage holds. Positions count from the stream's
/// beginning, so they stay valid, or are known to be gone, however much is written.
pub struct Ring<S> {
    storage: S,
    written: u64,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Ring<S> {
    /// An empty stream.
    pub const fn new(storage: S) -> Self {
        Self { storage, written: 0 }
    }

    /// Appends `byte`.
    pub fn push(&mut self, byte: u8) {
        let storage = self.storage.as_mut();
        let slot = self.written.checked_rem(storage.len() as u64);
        if let Some(slot) = slot.and_then(|slot| storage.get_mut(slot as usize)) {
            *slot = byte;
        }
        self.written += 1;
    }

    /// The position of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.written.saturating_sub(self.storage.as_ref().len() as u64)
    }

    /// The position behind the last byte: how many were ever written.
    pub fn end(&self) -> u64 {
        self.written
    }

    /// The byte at `position`, if it is kept.
    pub fn get(&self, position: u64) -> Option<u8> {
        let storage = self.storage.as_ref();
        (self.start()..self.written)
            .contains(&position)
            .then(|| storage.get((position % storage.len() as u64) as usize).copied())?
    }

    /// Where the last `lines` lines begin, of those that are kept whole. A line that has not ended counts.
    pub fn last_lines(&self, lines: usize) -> u64 {
        let newline = |position: &u64| self.get(*position) == Some(b'\n');
        let ends_line = self.written.checked_sub(1).as_ref().is_some_and(newline);
        let wanted = lines + usize::from(ends_line);
        let found = (self.start()..self.written).rev().filter(newline).take(wanted).enumerate().last();
        match found {
            _ if lines == 0 => self.written,
            Some((index, position)) if index + 1 == wanted => position + 1,
            // Fewer lines than that. The oldest byte may be from the middle of one.
            _ if self.start() == 0 => 0,
            Some((_, position)) => position + 1,
            None => self.start(),
        }
    }

    /// What is kept from `position` on.
    pub fn since(&self, position: u64) -> impl Iterator<Item = u8> {
        (position.max(self.start())..self.written).filter_map(|position| self.get(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Ring<[u8; 8]> {
        let mut ring = Ring::new([0; 8]);
        text.bytes().for_each(|byte| ring.push(byte));
        ring
    }

    fn last(text: &str, lines: usize) -> String {
        let ring = ring(text);
        String::from_utf8(ring.since(ring.last_lines(lines)).collect()).unwrap()
    }

    #[test]
    fn the_last_bytes_are_kept_at_their_positions() {
        let ring = ring("0123456789");
        assert_eq!((ring.start(), ring.end()), (2, 10));
        assert_eq!(
            (ring.get(1), ring.get(2), ring.get(9), ring.get(10)),
            (None, Some(b'2'), Some(b'9'), None)
        );
        assert_eq!(ring.since(0).collect::<Vec<_>>(), b"23456789");
        assert_eq!(ring.since(8).collect::<Vec<_>>(), b"89");
    }

    #[test]
    fn the_last_lines_are_whole_where_they_can_be() {
        for (text, lines, expected) in [
            ("", 3, ""),
            ("ab", 0, ""),
            ("ab", 1, "ab"),
            ("a\nb\n", 1, "b\n"),
            ("a\nb", 1, "b"),
            ("a\nb", 2, "a\nb"),
            ("a\nb\n", 9, "a\nb\n"),
            ("lost\nabc\ndef\n", 9, "def\n"),
            ("lost\nabc\ndef\n", 1, "def\n"),
            ("a line too long", 1, "too long"),
        ] {
            assert_eq!(last(text, lines), expected, "{lines} of {text:?}");
        }
    }

    #[test]
    fn without_storage_nothing_is_kept() {
        let mut ring = Ring::new([]);
        ring.push(1);
        assert_eq!((ring.get(0), ring.start(), ring.end()), (None, 1, 1));
    }
}
