//! A map by place in a guest's code.

use alloc::{vec, vec::Vec};

use crate::hash;

/// How many lists there are, a power of two.
const LISTS: usize = 1 << 12;
/// No entry.
const NONE: u32 = u32::MAX;

/// An address, and what else tells places apart.
type At = (u64, u32);

/// What is known of places. They are forgotten together only: so finding one is to follow a short list.
#[derive(Debug)]
pub struct Places<T> {
    /// The last entry of each list.
    heads: Vec<u32>,
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    place: At,
    value: T,
    /// The one before on the same list.
    next: u32,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { heads: vec![NONE; LISTS], entries: Vec::new() }
    }
}

/// Which list a place is on.
const fn list((address, context): At) -> usize {
    let hash = hash::spread(address ^ (context as u64).rotate_left(48));
    (hash >> (u64::BITS - LISTS.trailing_zeros())) as usize
}

impl<T> Places<T> {
    /// How many are known.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    fn find(&self, place: At) -> Option<usize> {
        let mut at = self.heads[list(place)];
        while let Some(entry) = self.entries.get(at as usize) {
            if entry.place == place {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    /// What is known of a place.
    pub fn get(&self, place: At) -> Option<&T> {
        self.find(place).map(|at| &self.entries[at].value)
    }

    /// What is known of a place: `value`, if it was none yet.
    pub fn get_or_insert(&mut self, place: At, value: T) -> &mut T {
        let at = self.find(place).unwrap_or_else(|| {
            let at = self.entries.len();
            let next = core::mem::replace(&mut self.heads[list(place)], at as u32);
            self.entries.push(Entry { place, value, next });
            at
        });
        &mut self.entries[at].value
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.heads.fill(NONE);
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_by_both_of_its_parts() {
        let mut places = Places::default();
        let all = || (0..3000).flat_map(|address| [(address << 1, 0), (address << 1, 7)]);
        assert_eq!(places.get((2, 7)), None);
        for round in 0..2 {
            all().for_each(|place| *places.get_or_insert(place, 1) += place.0 + u64::from(place.1));
            assert_eq!(places.len(), 6000);
            assert!(all().all(|place| {
                let sum = place.0 + u64::from(place.1);
                places.get(place) == Some(&(1 + (round + 1) * sum))
            }));
        }
        assert_eq!(places.get((2, 1)), None);
        places.clear();
        assert_eq!((places.get((2, 7)), places.len()), (None, 0));
    }
}
