//! Sets of variables.

use super::Var;

/// A set of variables: a bit for each.
#[derive(Debug, Clone, Copy)]
pub struct Vars([u64; 4]);

impl Vars {
    /// None.
    pub const NONE: Self = Self([0; 4]);
    /// All globals: what is seen by whoever looks at the guest's state.
    pub const GLOBALS: Self = Self([u64::MAX, u64::MAX, 0, 0]);

    /// Adds a variable.
    pub const fn insert(&mut self, var: Var) {
        self.0[word(var)] |= bit(var);
    }

    /// Takes a variable out.
    pub const fn remove(&mut self, var: Var) {
        self.0[word(var)] &= !bit(var);
    }

    /// Whether a variable is in it.
    pub const fn contains(&self, var: Var) -> bool {
        self.0[word(var)] & bit(var) != 0
    }

    /// Adds all globals.
    pub const fn insert_globals(&mut self) {
        let Self([low, high, ..]) = self;
        (*low, *high) = (u64::MAX, u64::MAX);
    }
}

const fn word(var: Var) -> usize {
    (var.0 / 64) as usize
}

const fn bit(var: Var) -> u64 {
    1 << (var.0 % 64)
}
