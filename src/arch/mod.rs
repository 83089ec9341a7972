//! Per-architecture code.

pub mod aarch64;
