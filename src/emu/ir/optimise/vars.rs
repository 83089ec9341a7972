//! Sets of variables.

use super::super::Var;

/// A set of variables: a bit for each.
#[derive(Debug, Clone, Copy)]
pub struct Vars([u64; 4]);

impl Vars {
    /// All globals: what is seen by whoever looks at the guest's state.
    pub const GLOBALS: Self = Self([u64::MAX, u64::MAX, 0, 0]);

    pub fn insert(&mut self, var: Var) {
        self.0[word(var)] |= bit(var);
    }

    pub fn remove(&mut self, var: Var) {
        self.0[word(var)] &= !bit(var);
    }

    pub fn contains(&self, var: Var) -> bool {
        self.0[word(var)] & bit(var) != 0
    }

    pub fn insert_globals(&mut self) {
        self.0[..2].fill(u64::MAX);
    }
}

fn word(var: Var) -> usize {
    usize::from(var.0 / 64)
}

fn bit(var: Var) -> u64 {
    1 << (var.0 % 64)
}
