//! Cheap improvements of a block, each in one pass over it.

mod dead;
mod propagate;
#[cfg(test)]
mod tests;

use super::Block;

/// A block that does the same with fewer steps.
pub fn optimise(mut block: Block) -> Block {
    propagate::propagate(&mut block);
    dead::remove(&mut block);
    block
}
