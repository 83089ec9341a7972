//! The RISC-V front end: RV64GC with machine, supervisor and user mode.

mod call;
mod context;
pub mod decode;
mod platform;

pub use call::{Call, csr_number};
pub use context::{Context, Enables};
pub use platform::{Platform, Shutdown};
