//! The guest code that a block is made of.

use alloc::boxed::Box;

use crate::boxed;

/// Code is read in units of two bytes.
const UNIT: u64 = 2;
/// How many of them a page has.
pub const UNITS: usize = (4096 / UNIT) as usize;

/// What has been read of a page while its code was lifted.
#[derive(Debug)]
pub struct Capture {
    code: Box<[u16; UNITS]>,
    read: [u64; UNITS / 64],
    /// It was changed meanwhile.
    torn: bool,
}

impl Default for Capture {
    fn default() -> Self {
        Self { code: boxed::filled(0), read: [0; UNITS / 64], torn: false }
    }
}

impl Capture {
    /// Nothing has been read yet.
    pub fn clear(&mut self) {
        self.read.fill(0);
        self.torn = false;
    }

    /// `code` was read at `address`, an even one.
    pub fn note(&mut self, address: u64, code: u16) {
        let unit = (address / UNIT) as usize % UNITS;
        let (word, bit) = (&mut self.read[unit / 64], 1 << (unit % 64));
        self.torn |= *word & bit != 0 && self.code[unit] != code;
        *word |= bit;
        self.code[unit] = code;
    }

    /// Whether each unit was the same whenever it was read.
    pub const fn is_consistent(&self) -> bool {
        !self.torn
    }

    /// The pieces of code, in order: the index of the first unit of each on the page, and the units.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, &[u16])> {
        let is_read = |unit: usize| self.read.get(unit / 64).is_some_and(|word| word >> (unit % 64) & 1 != 0);
        let mut at = 0;
        core::iter::from_fn(move || {
            let start = (at..UNITS).find(|&unit| is_read(unit))?;
            let end = (start..UNITS).find(|&unit| !is_read(unit)).unwrap_or(UNITS);
            at = end;
            self.code.get(start..end).map(|piece| (start, piece))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn what_was_read_is_in_pieces() {
        let mut capture = Capture::default();
        for address in [0x1ffe, 0x1000, 0x1002, 0x107e, 0x1080, 0x1002] {
            capture.note(address, address as u16);
        }
        let pieces: Vec<_> = capture.pieces().map(|(start, piece)| (start, piece.to_vec())).collect();
        let expected =
            [(0, [0x1000, 0x1002].to_vec()), (63, [0x107e, 0x1080].to_vec()), (2047, [0x1ffe].to_vec())];
        assert_eq!(pieces, expected);
        assert!(capture.is_consistent());
        capture.note(0x1ffe, 0);
        assert!(!capture.is_consistent());
        capture.clear();
        assert!(capture.is_consistent() && capture.pieces().next().is_none());
    }
}
