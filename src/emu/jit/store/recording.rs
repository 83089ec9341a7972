//! What a run translates, appended to memory that somebody else fetches.
//!
//! Entries follow the header, each with a word in front of it that says how many words it has with that one, and in bit 31
//! whether it is a slot (its target and its context, in the order in which the slots were numbered) or a block.

use alloc::vec::Vec;

use polyvisor_cell_abi::RecordingHeader;

use super::{Capture, block};
use crate::interp::Key;
use crate::jit::compile::{Compiled, Features};

/// The entry is a slot.
pub const SLOT: u32 = 1 << 31;
/// It is a block.
const BLOCK: u32 = 0;

/// A recording, as long as there is room.
#[derive(Debug)]
pub struct Recording {
    memory: &'static mut [u32],
    header: RecordingHeader,
    /// What was read of the block that is being translated.
    capture: Capture,
    /// The entry that is being made.
    entry: Vec<u32>,
}

impl Recording {
    /// An empty one in `memory`, of translations for CPUs with `features`. `None`: there is no room at all.
    pub fn new(memory: &'static mut [u32], features: Features) -> Option<Self> {
        let header = RecordingHeader {
            features: super::feature_bits(features),
            words: RecordingHeader::WORDS as u32,
            blocks: 0,
            full: false,
        };
        *memory.first_chunk_mut()? = header.encode();
        Some(Self { memory, header, capture: Capture::default(), entry: Vec::new() })
    }

    /// What there is.
    pub const fn header(&self) -> &RecordingHeader {
        &self.header
    }

    /// All of it.
    #[cfg(test)]
    pub fn words(&self) -> &[u32] {
        &self.memory[..self.header.words as usize]
    }

    /// For what is going to be read.
    pub fn capture(&mut self) -> &mut Capture {
        self.capture.clear();
        &mut self.capture
    }

    /// The next number is that of the slot for `target` in `context`.
    pub fn add_slot(&mut self, target: u64, context: u32) {
        self.entry.clear();
        self.entry.extend([target as u32, (target >> 32) as u32, context]);
        self.append(SLOT);
    }

    /// The block of `key` was made of what was captured; `None` if that is not translatable.
    pub fn add_block(&mut self, key: Key, compiled: Option<&Compiled<'_>>) {
        self.entry.clear();
        if block::encode(&mut self.entry, key, &self.capture, compiled) {
            self.append(BLOCK);
        }
    }

    /// Appends the entry, if there is room. Once there was none, nothing follows: what does might depend on it.
    fn append(&mut self, kind: u32) {
        let (start, len) = (self.header.words as usize, self.entry.len() + 1);
        let room = self.memory.get_mut(start..start + len).filter(|_| !self.header.full);
        match room.and_then(|room| room.split_first_mut()) {
            Some((head, rest)) => {
                *head = kind | len as u32;
                rest.copy_from_slice(&self.entry);
                self.header.words += len as u32;
                self.header.blocks += u32::from(kind == BLOCK);
            }
            None => self.header.full = true,
        }
        if let Some(place) = self.memory.first_chunk_mut() {
            *place = self.header.encode();
        }
    }
}
