//! The RISC-V front end: RV64GC with machine, supervisor and user mode.

mod platform;

pub use platform::{Platform, Shutdown};
