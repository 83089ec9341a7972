//! Virtual machines: what they are made of, and how they start, reset and stop.

pub mod attach;
pub mod boot_file;
#[cfg(target_os = "none")]
pub mod builtin;
pub mod bundle;
pub mod cell;
#[cfg(target_os = "none")]
pub mod control;
#[cfg(target_os = "none")]
mod crash;
pub mod debug;
#[cfg(target_os = "none")]
pub mod devices;
#[cfg(target_os = "none")]
mod engine;
#[cfg(target_os = "none")]
mod engine_image;
pub mod fdt;
#[cfg(target_os = "none")]
pub mod instance;
pub mod lifecycle;
pub mod loader;
pub mod machine;
pub mod operator;
pub mod psci;
pub mod ratelimit;
pub mod riscv64;
#[cfg(target_os = "none")]
mod saved;
pub mod scheduler;
#[cfg(target_os = "none")]
pub mod start;
pub mod switches;
pub mod trace;
#[cfg(target_os = "none")]
mod translated;
pub mod vcpu;
#[cfg(target_os = "none")]
pub mod watchdog;
