//! Large arrays in the heap.

use alloc::{boxed::Box, vec};

/// `N` times `value`. Never more than a slice on the way: `Box::new([..])` may build the array on the stack, which it may be
/// too large for.
pub fn filled<T: Clone, const N: usize>(value: T) -> Box<[T; N]> {
    let Ok(array) = vec![value; N].into_boxed_slice().try_into() else { unreachable!("a slice of N") };
    array
}
