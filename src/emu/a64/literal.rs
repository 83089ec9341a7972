//! Constants that are kept behind the code.

use alloc::vec::Vec;

use super::{
    Assembler, Label, X,
    label::{Field, Labels},
    operand::Register,
};
use crate::bounded::Bounded;

/// The constants of a piece of code, each with the label of its place.
#[derive(Debug, Default)]
pub(super) struct Literals(Vec<(u64, Label)>);

impl Literals {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends them to the code, at a multiple of 8 bytes.
    pub(super) fn place(&mut self, words: &mut Bounded<u32>, labels: &mut Labels) {
        if !self.0.is_empty() && !words.len().is_multiple_of(2) {
            words.push(0);
        }
        for (value, label) in self.0.drain(..) {
            labels.bind(label, words.len());
            words.push(value as u32);
            words.push((value >> 32) as u32);
        }
    }
}

impl Assembler {
    /// Loads `value`, which is kept behind the code (C6.2, LDR (literal)).
    pub fn ldr_literal(&mut self, t: X, value: u64) {
        let known = self.literals.0.iter().find(|literal| literal.0 == value);
        let label = match known {
            Some(&(_, label)) => label,
            None => {
                let label = self.label();
                self.literals.0.push((value, label));
                label
            }
        };
        self.refer(0x5800_0000 | t.d(), label, Field::Imm19);
    }
}
