//! Which CPU runs which vCPU, and when.

#[cfg(target_os = "none")]
mod cpu;
pub mod policy;

#[cfg(target_os = "none")]
pub use cpu::*;
