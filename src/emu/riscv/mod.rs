//! The RISC-V front end: RV64GC with machine, supervisor and user mode.
//!
//! [`Hart`] is what the back end runs. Its registers are words ([`polyvisor_cell_abi::riscv`]), so that
//! others can show and save them; everything else about it follows from them, or is in [`Cluster`], which all
//! harts of a machine share. *Privileged ISA* is "The RISC-V Instruction Set Manual, Volume II", version
//! 20241101; *SBI* is the "RISC-V Supervisor Binary Interface Specification", version 2.0.

mod call;
mod clint;
mod cluster;
mod context;
mod csr;
mod debug;
pub mod decode;
mod exception;
mod fence;
mod hart;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod interrupt;
pub mod layout;
pub mod lift;
mod listing;
mod mmu;
mod mode;
mod platform;
mod pmp;
mod sbi;
mod system;
#[cfg(test)]
mod tests;
mod translate;
mod trap;
mod words;

pub use call::{Call, csr_number};
pub use clint::CLINT;
pub use cluster::{Boot, Cluster};
pub use context::{Context, Enables};
pub use hart::Hart;
pub use layout::LAYOUT;
pub use listing::Riscv;
pub use mode::Mode;
pub use platform::{Platform, Shutdown};
