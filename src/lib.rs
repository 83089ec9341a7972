//! Polyvisor: a bare-metal ARM64 Type-1 hypervisor.
//!
//! This library holds everything but the entry point. What is portable (device models, page tables, the
//! virtual interrupt controller, loaders, decoders) also builds and is tested on the host; what touches the
//! machine is compiled only for the firmware target (`target_os = "none"`).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod arch;
pub mod devices;
pub mod gdb;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod mm;
pub mod monitor;
pub mod net;
pub mod persist;
pub mod platform;
pub mod storage;
pub mod vm;
