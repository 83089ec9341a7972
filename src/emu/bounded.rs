//! Lists that do not grow.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// A list that takes as many elements as it was given room for. What adds to it calls nothing, and so need not save registers: where
/// little else is done, that is half of it.
#[derive(Debug)]
pub struct Bounded<T> {
    items: Vec<T>,
    is_complete: bool,
}

impl<T> Bounded<T> {
    /// An empty list with room for `room` elements.
    pub fn new(room: usize) -> Self {
        Self { items: Vec::with_capacity(room), is_complete: true }
    }

    /// Adds an element, or loses it if there is no room.
    #[inline]
    pub fn push(&mut self, item: T) {
        if self.items.len() < self.items.capacity() {
            self.items.push(item);
        } else {
            self.is_complete = false;
        }
    }

    /// Whether no element was lost since the list was empty.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Empties the list.
    pub fn clear(&mut self) {
        self.items.clear();
        self.is_complete = true;
    }
}

impl<T> Deref for Bounded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> DerefMut for Bounded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_lost_until_the_list_is_cleared() {
        let mut list = Bounded::new(8);
        (0..8).for_each(|item| list.push(item));
        assert!(list.is_complete());
        (8..1000).for_each(|item| list.push(item));
        assert!(!list.is_complete() && list.iter().copied().eq(0..list.len()) && list.len() < 1000);
        list.clear();
        assert!(list.is_complete() && list.is_empty());
    }
}
