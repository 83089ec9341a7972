//! The translator: guests of instruction sets that the machine does not speak.
//!
//! A front end (`riscv`) lifts a guest's code, block by block, into one intermediate representation ([`ir`]); two back ends
//! execute that: [`interp`], and [`jit`] what is hot. Everything here is portable and runs in tests on the host; the engine
//! (`engine/`, the EL1 payload of a cell) is the same code with a machine underneath. `docs/engine.md` is the tour.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod a64;
mod bounded;
mod boxed;
pub mod float;
mod hash;
pub mod interp;
pub mod ir;
pub mod jit;
pub mod memory;
mod places;
pub mod riscv;
pub mod shadow;
