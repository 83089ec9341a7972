//! Cheap improvements of a block, each in one pass over it.

mod dead;
mod propagate;
#[cfg(test)]
mod tests;

use core::ops::Range;

use super::Block;

/// A block that does the same with fewer steps.
pub fn optimise(block: Block) -> Block {
    optimise_apart(block, &(0..0))
}

/// [`optimise`] for a back end that keeps the globals in `apart` in registers of another kind: a copy between these and other
/// variables is not what it was copied from. And it may have to ask whether the guest may use them at all: so what does is not
/// removed.
pub fn optimise_apart(mut block: Block, apart: &Range<u8>) -> Block {
    propagate::propagate(&mut block, apart);
    dead::remove(&mut block, apart);
    block
}
