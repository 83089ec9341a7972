//! Sets of variables.

use super::super::Var;

/// A set of variables.
#[derive(Debug, Clone, Copy)]
pub struct Vars([u128; 2]);

impl Vars {
    /// None.
    pub const NONE: Self = Self([0; 2]);
    /// All globals: what is seen by whoever looks at the guest's state.
    pub const GLOBALS: Self = Self([u128::MAX, 0]);

    pub fn insert(&mut self, var: Var) {
        self.0[usize::from(var.is_temporary())] |= 1 << (var.0 % Var::FIRST_TEMPORARY);
    }

    pub fn remove(&mut self, var: Var) {
        self.0[usize::from(var.is_temporary())] &= !(1 << (var.0 % Var::FIRST_TEMPORARY));
    }

    pub fn contains(&self, var: Var) -> bool {
        self.0[usize::from(var.is_temporary())] >> (var.0 % Var::FIRST_TEMPORARY) & 1 != 0
    }

    pub fn insert_globals(&mut self) {
        self.0[0] = Self::GLOBALS.0[0];
    }

    pub fn remove_globals(&mut self) {
        self.0[0] = 0;
    }
}
