//! Cheap improvements, each in one pass.

mod dead;
mod propagate;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use core::ops::Range;

use super::{Block, Effects, Inst, Terminator, Vars};
use propagate::Knowledge;

/// Makes blocks do the same with fewer steps. One is kept, as it is large.
#[derive(Debug)]
pub struct Optimiser(Box<Knowledge>);

impl Optimiser {
    /// For a back end that keeps the globals in `apart` in registers of another kind: a copy between these and other variables
    /// is not what it was copied from. A variable that is `in_memory` is not used instead of a copy that is not.
    pub fn new(apart: Range<u8>, in_memory: Vars) -> Self {
        Self(Box::new(Knowledge::new(apart, in_memory)))
    }

    /// Makes operands what they are known to be, and removes what nobody sees.
    pub fn optimise(&mut self, block: &mut Block) {
        self.begin();
        for inst in &mut block.insts {
            self.improve(inst);
        }
        block.end = self.improve_end(block.end);
        dead::remove(block);
    }

    /// Forgets what is known of variables: what is improved next may be come to from elsewhere.
    pub const fn begin(&mut self) {
        self.0.begin();
    }

    /// Makes an instruction the simplest one that does the same, behind those that were improved since [`Optimiser::begin`]. What it
    /// has to do with variables then. For a back end that knows itself what nobody sees.
    #[inline]
    pub fn improve(&mut self, inst: &mut Inst) -> Effects {
        self.0.improve(inst)
    }

    /// The same of a block's end.
    pub fn improve_end(&self, end: Terminator) -> Terminator {
        self.0.improve_end(end)
    }
}
