//! Floating-point work: what LINPACK and Whetstone measure, from their public descriptions.
//!
//! All results are exact to the bit: IEEE 754 leaves nothing open about the operations that are used, and the compiler
//! may not reorder them.

mod arithmetic;
mod elementary;
pub mod linpack;
pub mod whetstone;
