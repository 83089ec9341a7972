//! Cheap improvements of a block, each in one pass over it.

mod dead;
mod propagate;
#[cfg(test)]
mod tests;
mod vars;

use alloc::boxed::Box;
use core::ops::Range;

use super::Block;
use propagate::Knowledge;

/// Makes blocks do the same with fewer steps. One is kept, as it is large.
#[derive(Debug)]
pub struct Optimiser(Box<Knowledge>);

impl Optimiser {
    /// For a back end that keeps the globals in `apart` in registers of another kind: a copy between these and other variables
    /// is not what it was copied from.
    pub fn new(apart: Range<u8>) -> Self {
        Self(Box::new(Knowledge::new(apart)))
    }

    /// Makes operands what they are known to be, and removes what nobody sees.
    pub fn optimise(&mut self, block: &mut Block) {
        self.propagate(block);
        dead::remove(block);
    }

    /// Makes operands what they are known to be only: for a back end that knows itself what nobody sees.
    pub fn propagate(&mut self, block: &mut Block) {
        self.0.propagate(block);
    }
}
