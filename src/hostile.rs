//! What fuzz targets share: a hostile party that acts as a fuzzer's bytes say, in memory of its own.

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::{GuestMemory, GuestSlice, MemoryError};

/// Guest memory that hands out at most a page at a time.
pub struct Arena {
    words: Vec<AtomicU64>,
    ram: [Range<Ipa>; 1],
}

impl Arena {
    /// `size` bytes of zeros at `base`; both are multiples of the page size.
    pub fn new(base: Ipa, size: u64) -> Self {
        let words = (0..size / 8).map(|_| AtomicU64::new(0)).collect();
        Self { words, ram: [base..Ipa(base.0 + size)] }
    }

    /// Every byte.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        self.words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
    }
}

impl GuestMemory for Arena {
    fn ram(&self) -> &[Range<Ipa>] {
        &self.ram
    }

    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        let [ram] = &self.ram;
        if !ram.contains(&ipa) {
            return Err(MemoryError::Unbacked { ipa, len });
        }
        let offset = ipa.0 - ram.start.0;
        let len = len.min(PAGE_SIZE - offset % PAGE_SIZE);
        let start = NonNull::from(self.words.as_slice()).cast::<u8>();
        // SAFETY: inside the vector, whose words are cells, and which lives as long as this.
        Ok(unsafe { GuestSlice::new(start.add(offset as usize), len as usize) })
    }
}

/// What the fuzzer has chosen, as far as it goes; after that zeroes.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((bytes, rest)) => {
                self.0 = rest;
                *bytes
            }
            None => {
                self.0 = &[];
                [0; N]
            }
        }
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
