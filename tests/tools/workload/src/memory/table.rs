//! A hash table with open addressing, from words to numbers.

use super::hash;

/// How many places it has, a power of two.
const PLACES: usize = 2048;

/// The table. It is never full.
#[derive(Debug)]
pub struct Table<'a> {
    places: [(&'a [u8], u64); PLACES],
}

impl<'a> Table<'a> {
    /// Nothing is in it.
    pub fn new() -> Self {
        Self { places: [(&[], 0); PLACES] }
    }

    /// The number of a word, which is not empty; 0 at first.
    #[inline(never)]
    pub fn number(&mut self, word: &'a [u8]) -> &mut u64 {
        let mut place = hash(word) as usize % PLACES;
        while !self.places[place].0.is_empty() && self.places[place].0 != word {
            place = (place + 1) % PLACES;
        }
        let entry = &mut self.places[place];
        entry.0 = word;
        &mut entry.1
    }

    /// What is in it, in no order that matters.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], u64)> + '_ {
        self.places.iter().copied().filter(|(word, _)| !word.is_empty())
    }
}
