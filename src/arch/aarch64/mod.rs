//! AArch64: the CPU that Polyvisor runs on.

pub mod insn;
pub mod syndrome;
