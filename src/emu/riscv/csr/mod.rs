//! Control and status registers (Privileged ISA, chapters 2, 3.1 and 12.1).
//!
//! - [`number`]: how they are numbered; [`access`]: who may access them.
//! - [`status`], [`environment`], [`counters`]: registers with a structure; [`registers`]: all of them.

mod access;
mod counters;
mod environment;
pub mod number;
mod registers;
mod status;

pub use access::Change;
pub use counters::Counter;
pub use environment::Environment;
pub use registers::{DELEGABLE, inert};
pub use status::Status;
