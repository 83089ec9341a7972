//! The virtual GIC against simulated hardware and against an ideal GIC.
#![allow(clippy::indexing_slicing)]

mod directed;
mod hardware;
mod ideal;
mod random;
mod registers;

use alloc::vec::Vec;

use super::{GicVersion, VgicConfig};

/// A GIC for `vcpus` vCPUs with affinities as QEMU gives them.
fn config(version: GicVersion, vcpus: u64, list_registers: usize) -> VgicConfig {
    VgicConfig {
        version,
        vcpus: (0..vcpus).map(|n| ((n / 16) << 8) | (n % 16)).collect::<Vec<_>>(),
        spis: 64,
        list_registers,
        priority_bits: 5,
    }
}
