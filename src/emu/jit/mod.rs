//! The A64 back end: hot guest code becomes code of the CPU.
//!
//! | module | is about |
//! |---|---|
//! | `trace` | which code is translated as one |
//! | [`compile`] | from the intermediate representation to A64 |
//! | [`cache`] | where code lies, how it is found, linked, invalidated |
//! | [`tables`] | jumps that cannot be linked |
//! | [`shared`] | what the harts of a machine have in common |
//! | `heat` | code that changes too often |
//! | [`runtime`] | the loop around it all: translated code, the interpreter, and what happens between them |
//! | [`lockstep`] | what guest code must do, for comparison |
//! | [`store`] | translations that outlast a run |
//! | [`report`] | what it tells an operator of blocks |
//! | [`words`] | memory that translated code and the runtime share |
//!
//! `docs/jit.md` is the tour.

pub mod cache;
pub mod compile;
mod heat;
pub mod lockstep;
pub mod report;
pub mod runtime;
pub mod shared;
pub mod store;
pub mod tables;
#[cfg(test)]
mod tests;
mod trace;
pub mod words;
