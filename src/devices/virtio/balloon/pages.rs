//! Which pages of a guest are in its balloon.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_ram::CHUNK;
use crate::persist::RestoreError;

/// Words of a chunk's bitmap.
const WORDS: usize = (CHUNK / PAGE_SIZE / u64::BITS as u64) as usize;

/// What became of a page that the guest put into its balloon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It was there already, or is no page of RAM, or there is no memory to take note of it.
    Ignored,
    /// It is in the balloon.
    Added,
    /// It is in the balloon, and was the last one of the chunk that begins here.
    Completed(Ipa),
}

/// The pages in the balloon: a bitmap for each chunk of which there is any, so at most 64 bytes for 2 MiB.
#[derive(Default)]
pub struct Pages {
    areas: Vec<Area>,
    count: u64,
}

struct Area {
    range: Range<Ipa>,
    /// [`WORDS`] words for each chunk, or none.
    chunks: Box<[Vec<u64>]>,
}

/// The pages of a chunk, as they are saved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedChunk {
    start: u64,
    bitmap: [u64; WORDS],
}

impl Pages {
    /// None of the pages of `ram`, which is made of whole chunks.
    pub fn new(ram: &[Range<Ipa>]) -> Self {
        let areas = ram.iter().map(|range| {
            let chunks = (range.end.0 - range.start.0) / CHUNK;
            Area { range: range.clone(), chunks: (0..chunks).map(|_| Vec::new()).collect() }
        });
        Self { areas: areas.collect(), count: 0 }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.areas.iter_mut().flat_map(|area| &mut area.chunks).for_each(|chunk| *chunk = Vec::new());
        self.count = 0;
    }

    /// Puts the page at `page` in.
    pub fn insert(&mut self, page: Ipa) -> Inserted {
        let Some((chunk, word, bit)) = self.find(page) else { return Inserted::Ignored };
        if chunk.is_empty() {
            if chunk.try_reserve_exact(WORDS).is_err() {
                return Inserted::Ignored;
            }
            chunk.resize(WORDS, 0);
        }
        match chunk.get_mut(word) {
            Some(word) if *word & bit == 0 => *word |= bit,
            _ => return Inserted::Ignored,
        }
        let is_full = is_full(chunk);
        self.count += 1;
        match is_full {
            true => Inserted::Completed(page.align_down(CHUNK)),
            false => Inserted::Added,
        }
    }

    /// Takes the page at `page` out; `false`: it was not there.
    pub fn remove(&mut self, page: Ipa) -> bool {
        let Some((chunk, word, bit)) = self.find(page) else { return false };
        match chunk.get_mut(word) {
            Some(word) if *word & bit != 0 => *word &= !bit,
            _ => return false,
        }
        if chunk.iter().all(|word| *word == 0) {
            *chunk = Vec::new();
        }
        self.count -= 1;
        true
    }

    /// Whether all pages of the chunk at `start` are in.
    pub fn is_complete(&mut self, start: Ipa) -> bool {
        self.find(start).is_some_and(|(chunk, ..)| is_full(chunk))
    }

    /// What is in the balloon, as plain data.
    pub fn save(&self) -> Vec<SavedChunk> {
        let chunks = self.areas.iter().flat_map(|area| {
            (0u64..).zip(&area.chunks).map(|(number, chunk)| (area.range.start.0 + number * CHUNK, chunk))
        });
        chunks
            .filter_map(|(start, chunk)| {
                Some(SavedChunk { start, bitmap: chunk.as_slice().try_into().ok()? })
            })
            .collect()
    }

    /// Replaces all by what was saved.
    ///
    /// # Errors
    /// [`RestoreError`]: a chunk that the guest does not have, or has twice; nothing has changed.
    pub fn restore(&mut self, saved: &[SavedChunk]) -> Result<(), RestoreError> {
        let mut restored = Self::new(&self.areas.iter().map(|area| area.range.clone()).collect::<Vec<_>>());
        for SavedChunk { start, bitmap } in saved {
            let limit = self.areas.last().map_or(0, |area| area.range.end.0 - CHUNK);
            let refused = RestoreError { field: "balloon.chunk", found: *start, limit };
            match restored.find(Ipa(*start)) {
                Some((chunk, 0, 1)) if chunk.is_empty() => *chunk = bitmap.to_vec(),
                _ => return Err(refused),
            }
            restored.count += bitmap.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        *self = restored;
        Ok(())
    }

    /// The bitmap of the chunk around `page`, and where in it the page is.
    fn find(&mut self, page: Ipa) -> Option<(&mut Vec<u64>, usize, u64)> {
        let area = self.areas.iter_mut().find(|area| area.range.contains(&page))?;
        let chunk = area.chunks.get_mut(((page.0 - area.range.start.0) / CHUNK) as usize)?;
        let number = page.0 % CHUNK / PAGE_SIZE;
        Some((chunk, (number / 64) as usize, 1 << (number % 64)))
    }
}

fn is_full(chunk: &[u64]) -> bool {
    !chunk.is_empty() && chunk.iter().all(|word| *word == u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const START: u64 = 0x4000_0000;
    const CHUNKS: u64 = 2;

    fn pages() -> Pages {
        Pages::new(&[Ipa(START)..Ipa(START + CHUNKS * CHUNK)])
    }

    #[test]
    fn a_chunk_is_complete_with_its_last_page() {
        let mut pages = pages();
        for number in 0..511 {
            assert_eq!(pages.insert(Ipa(START + CHUNK + number * PAGE_SIZE)), Inserted::Added);
        }
        let last = Ipa(START + CHUNK + 511 * PAGE_SIZE);
        assert_eq!(pages.insert(last), Inserted::Completed(Ipa(START + CHUNK)));
        assert!(pages.is_complete(Ipa(START + CHUNK)) && !pages.is_complete(Ipa(START)));
        assert_eq!(pages.insert(last), Inserted::Ignored);
        assert!(pages.remove(Ipa(START + CHUNK)));
        assert!(!pages.is_complete(Ipa(START + CHUNK)));
    }

    #[test]
    fn what_is_no_page_of_ram_is_ignored() {
        let mut pages = pages();
        for ipa in [0, START - PAGE_SIZE, START + CHUNKS * CHUNK, u64::from(u32::MAX) << 12] {
            assert_eq!(pages.insert(Ipa(ipa)), Inserted::Ignored);
            assert!(!pages.remove(Ipa(ipa)));
        }
        assert_eq!(pages.count(), 0);
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let mut pages = pages();
        pages.insert(Ipa(START));
        let saved = pages.save();
        for damaged in [
            vec![SavedChunk { start: START + PAGE_SIZE, ..saved[0].clone() }],
            vec![SavedChunk { start: START + CHUNKS * CHUNK, ..saved[0].clone() }],
            vec![saved[0].clone(), saved[0].clone()],
        ] {
            assert!(pages.restore(&damaged).is_err());
        }
        assert_eq!(pages.count(), 1);
    }

    proptest! {
        /// Pages come and go as in a set, also by way of a saved state.
        #[test]
        fn pages_are_a_set(steps in prop::collection::vec((any::<bool>(), 0..CHUNKS * 512), 0..400)) {
            let mut pages = pages();
            let mut model = BTreeSet::new();
            for (inserted, number) in steps {
                let page = Ipa(START + number * PAGE_SIZE);
                match inserted {
                    true => prop_assert_eq!(pages.insert(page) != Inserted::Ignored, model.insert(number)),
                    false => prop_assert_eq!(pages.remove(page), model.remove(&number)),
                }
                prop_assert_eq!(pages.count(), model.len() as u64);
            }
            let mut restored = Pages::new(&[Ipa(START)..Ipa(START + CHUNKS * CHUNK)]);
            restored.restore(&pages.save()).unwrap();
            prop_assert_eq!(restored.count(), pages.count());
            for number in 0..CHUNKS * 512 {
                prop_assert_eq!(restored.remove(Ipa(START + number * PAGE_SIZE)), model.contains(&number));
            }
            prop_assert!(restored.save().is_empty());
        }
    }
}
