//! Where the guest's state is while translated code runs.

use core::ops::Range;

use crate::a64::{V, X};
use crate::ir::{Var, Vars};

/// Where a global is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In a general register: one of x0 to x15, x19 to x27 and x29.
    X(X),
    /// In the low half of a SIMD&FP register: one of v0 to v28.
    V(V),
    /// In its word of the hart: at `[sp, #8 * number]`.
    Memory,
}

/// How many globals there are.
pub const GLOBALS: usize = Var::FIRST_TEMPORARY as usize;

/// Where a front end's globals are, and which of them the back end has to know of.
#[derive(Debug, Clone)]
pub struct Layout {
    /// By the number of the global.
    pub homes: [Home; GLOBALS],
    /// The count of retired instructions, which is in [`RETIRED`].
    pub instret: Var,
    /// What a load has reserved, both in memory: the guest-virtual address, with the access's size as a number in its low
    /// two bits, or all ones if there is no reservation; and the value read.
    pub reservation: [Var; 2],
    /// The globals that are floating-point registers: only these have homes in SIMD&FP registers.
    pub floats: Range<u8>,
    /// The guest's floating-point exception flags, in memory.
    pub float_flags: Var,
    /// Which of the hart's words says whether floating-point code may run: bit 0 if the SIMD&FP registers hold the guest's
    /// and FPCR is set, bit 1 if, what is more, the guest rounds to nearest.
    pub float_ready: u8,
    /// The first of the hart's words that [`Float::new`](super::float::Float::new) wants.
    pub float_scratch: u8,
}

impl Layout {
    /// The globals whose home is memory.
    pub fn in_memory(&self) -> Vars {
        let mut vars = Vars::NONE;
        for (global, home) in (0..).zip(&self.homes) {
            if *home == Home::Memory {
                vars.insert(Var(global));
            }
        }
        vars
    }

    /// The home of a global. What is none has no register.
    #[inline]
    pub fn home(&self, global: Var) -> Home {
        self.homes.get(usize::from(global.0)).copied().unwrap_or(Home::Memory)
    }
}

/// The count of retired instructions; bit 63 is set when the hart is wanted (*due*).
pub const RETIRED: X = X::new(18);
/// The base of the tables by which code finds code on other pages: slots above, the cache of indirect branches below.
pub const TABLES: X = X::new(28);
/// The address of the hart's words.
pub const WORDS: X = X::SP;
/// What the code generator has for itself.
pub const TEMPORARIES: [X; 3] = [X::new(16), X::new(17), X::new(30)];
