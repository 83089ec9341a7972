//! An assembler for A64, the instruction set of the machine that the translator runs on.
//!
//! ```
//! use polyvisor_emu::a64::{Alu, Assembler, Bits, X};
//!
//! let mut assembler = Assembler::new();
//! let top = assembler.label();
//! assembler.bind(top);
//! assembler.alu_imm(Alu::Subs, Bits::W64, X::new(0), X::new(0), 1);
//! assembler.b_cond(polyvisor_emu::a64::Cond::Ne, top);
//! assembler.finish().unwrap();
//! assert_eq!(assembler.words(), [0xf100_0400, 0x54ff_ffe1]);
//! ```
//!
//! A method emits one instruction and has its name, in small letters. What may not be encodable returns whether it was;
//! nothing is emitted if not. Fields that are too wide for their instruction lose their high bits. Register 31 is the
//! stack pointer in some operands and zero in all others, as in the manual; the methods say which where it matters.
//!
//! Encodings are those of the *Arm Architecture Reference Manual for A-profile* (DDI 0487), whose sections are cited.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod atomic;
mod bitfield;
mod branch;
mod float;
mod immediate;
mod label;
mod literal;
mod logical;
mod memory;
mod operand;
mod processing;
mod system;
#[cfg(test)]
mod tests;
mod vector;

pub use branch::branch;
pub use float::{F, Frint, IntRound};
pub use label::{Label, OutOfRange};
pub use memory::{Ext, Index, Mode};
pub use operand::{Alu, Bits, Cond, Extend, Order, Rmw, Shift, V, X};
pub use system::{Barrier, System};

use crate::bounded::Bounded;
use label::Labels;
use literal::Literals;

/// A piece of code that is written. It may be used for the next piece after [`Assembler::clear`], and keeps its buffers.
#[derive(Debug)]
pub struct Assembler {
    words: Bounded<u32>,
    labels: Labels,
    literals: Literals,
}

/// How many words a piece of code may have, if nothing else is said: as far as TBZ reaches to both sides.
const ROOM: usize = 1 << 14;

impl Default for Assembler {
    fn default() -> Self {
        Self::new()
    }
}

impl Assembler {
    /// An empty piece.
    pub fn new() -> Self {
        Self::with_room(ROOM)
    }

    /// An empty piece that may have at most so many words.
    pub fn with_room(words: usize) -> Self {
        Self { words: Bounded::new(words), labels: Labels::new(), literals: Literals::new() }
    }

    /// Forgets all code, labels and literals.
    pub fn clear(&mut self) {
        self.words.clear();
        self.labels.clear();
        self.literals.clear();
    }

    /// The index of the next word.
    pub fn here(&self) -> usize {
        self.words.len()
    }

    /// What was written. Branches to labels and loads of literals are complete after [`Assembler::finish`] only.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Emits any word.
    pub fn word(&mut self, word: u32) {
        self.words.push(word);
    }

    /// Replaces the word at the index `at`, if there is one.
    pub fn patch(&mut self, at: usize, word: u32) {
        if let Some(place) = self.words.get_mut(at) {
            *place = word;
        }
    }

    /// Places the literals behind the code, at a multiple of 8 bytes from the first word, and resolves all references.
    ///
    /// # Errors
    /// When an instruction does not reach its label or literal, the label was never bound, or there was no room for all.
    pub fn finish(&mut self) -> Result<(), OutOfRange> {
        self.literals.place(&mut self.words, &mut self.labels);
        self.labels.resolve(&mut self.words)?;
        if self.words.is_complete() { Ok(()) } else { Err(OutOfRange) }
    }
}
