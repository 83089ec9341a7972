//! The memory of translated code: written here, executed in the code window.

use alloc::alloc::{Layout, alloc_zeroed};
use core::ops::Range;
use core::ptr::NonNull;

use polyvisor_emu::jit::cache::CodeMemory;

use crate::{code_window, fatal};

/// Bytes for code, for all harts.
pub const BYTES: usize = 16 << 20;

/// A part of private memory, mapped twice.
pub struct Code {
    written: NonNull<u32>,
    executed: u64,
}

// SAFETY: it is memory, which any hart may write that has the value.
unsafe impl Send for Code {}

impl Code {
    /// Takes memory from the heap for good.
    pub fn new() -> Self {
        let Ok(layout) = Layout::from_size_align(BYTES, BYTES) else {
            fatal::stop(format_args!("{BYTES} bytes are no size for code"));
        };
        // SAFETY: the size is not zero.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) });
        let Some(memory) = memory else { fatal::stop(format_args!("no memory for translated code")) };
        let executed = code_window::map(memory.as_ptr() as u64, BYTES as u64);
        Self { written: memory.cast(), executed }
    }

    /// Where it is executed.
    pub const fn range(&self) -> Range<u64> {
        self.executed..self.executed + BYTES as u64
    }
}

impl CodeMemory for Code {
    fn capacity(&self) -> usize {
        BYTES / size_of::<u32>()
    }

    fn address(&self, word: usize) -> u64 {
        self.executed + (word * size_of::<u32>()) as u64
    }

    fn read(&self, word: usize) -> u32 {
        if word >= self.capacity() {
            return 0;
        }
        // SAFETY: inside the memory, which is aligned.
        unsafe { self.written.add(word).read_volatile() }
    }

    fn write(&mut self, word: usize, words: &[u32]) {
        if word.saturating_add(words.len()) > self.capacity() {
            return;
        }
        // SAFETY: inside the memory, which is aligned. It is never lent, so `words` are elsewhere.
        unsafe { self.written.add(word).copy_from_nonoverlapping(NonNull::from(words).cast(), words.len()) };
    }

    fn replace(&mut self, word: usize, value: u32) {
        if word >= self.capacity() {
            return;
        }
        // SAFETY: inside the memory, which is aligned. Others may execute the word meanwhile; `Cache` changes only
        // branches then.
        unsafe { self.written.add(word).write_volatile(value) };
    }

    fn publish(&mut self, word: usize, count: usize) {
        let written = self.written.as_ptr() as u64 + (word * size_of::<u32>()) as u64;
        let len = (count * size_of::<u32>()) as u64;
        code_window::publish(written..written + len, self.address(word)..self.address(word) + len);
    }
}
