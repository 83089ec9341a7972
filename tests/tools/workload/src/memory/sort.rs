//! Quicksort of numbers, merge sort of strings.

use guest_support::rng::Rng;

use super::{hash, text::Text};

/// How many numbers are sorted.
const NUMBERS: usize = 4 * 1024;
/// The text whose words are sorted, in bytes, and the most that it has.
const TEXT: usize = 12 * 1024;
const WORDS: usize = 4 * 1024;
/// So few numbers are sorted by insertion.
const FEW: usize = 12;

/// A round of it: a sum over numbers and words in their order, or 0 where they are in none.
pub fn round() -> u64 {
    let mut rng = Rng::new(11);
    let mut numbers = [0; NUMBERS];
    numbers.fill_with(|| rng.next_u64());
    quicksort(&mut numbers);

    let mut text = [0; TEXT];
    Text::new(12).fill(&mut text);
    let mut words = [&[][..]; WORDS];
    let mut count = 0;
    for (slot, word) in words.iter_mut().zip(text.split(u8::is_ascii_whitespace)) {
        *slot = word;
        count += 1;
    }
    let words = &mut words[..count];
    let mut space = [&[][..]; WORDS];
    merge_sort(words, &mut space[..count]);

    if !numbers.is_sorted() || !words.is_sorted() {
        return 0;
    }
    let sum = numbers.iter().fold(0u64, |sum, number| sum.rotate_left(1) ^ number);
    words.iter().fold(sum, |sum, word| sum.rotate_left(7) ^ hash(word))
}

#[inline(never)]
fn quicksort(numbers: &mut [u64]) {
    if numbers.len() <= FEW {
        insertion_sort(numbers);
        return;
    }
    let middle = partition(numbers);
    let (low, high) = numbers.split_at_mut(middle);
    quicksort(low);
    quicksort(high);
}

/// Hoare's: nothing in front of the place that it returns is greater than anything behind it.
fn partition(numbers: &mut [u64]) -> usize {
    let (mut low, mut high) = (0, numbers.len() - 1);
    let mut ends = [numbers[0], numbers[numbers.len() / 2], numbers[high]];
    insertion_sort(&mut ends);
    let pivot = ends[1];
    loop {
        while numbers[low] < pivot {
            low += 1;
        }
        while numbers[high] > pivot {
            high -= 1;
        }
        if low >= high {
            return low.max(1);
        }
        numbers.swap(low, high);
        low += 1;
        high -= 1;
    }
}

fn insertion_sort(numbers: &mut [u64]) {
    for end in 1..numbers.len() {
        let number = numbers[end];
        let mut at = end;
        while at > 0 && numbers[at - 1] > number {
            numbers[at] = numbers[at - 1];
            at -= 1;
        }
        numbers[at] = number;
    }
}

#[inline(never)]
fn merge_sort<'a>(words: &mut [&'a [u8]], space: &mut [&'a [u8]]) {
    if words.len() < 2 {
        return;
    }
    let middle = words.len() / 2;
    let (low_space, high_space) = space.split_at_mut(middle);
    let (low, high) = words.split_at_mut(middle);
    merge_sort(low, low_space);
    merge_sort(high, high_space);
    space.copy_from_slice(words);
    let (mut low, mut high) = space.split_at(middle);
    for slot in words {
        let from = match (low.first(), high.first()) {
            (Some(left), Some(right)) if right < left => &mut high,
            (Some(_), _) => &mut low,
            (None, _) => &mut high,
        };
        if let Some((first, rest)) = from.split_first() {
            *slot = first;
            *from = rest;
        }
    }
}
