//! Virtual machines.

pub mod bundle;
pub mod fdt;
pub mod loader;
pub mod machine;
