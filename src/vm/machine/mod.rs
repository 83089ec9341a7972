//! The guest machines: where their memory and devices are, and which interrupts they have.

pub mod arm64;
pub mod riscv64;

use core::ops::Range;

pub use crate::devices::gic::GicVersion;
use crate::mm::addr::Ipa;

/// A part of the guest's physical address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its first address.
    pub base: Ipa,
    /// Its length in bytes.
    pub size: u64,
}

impl Region {
    /// A region of this machine; all lie far below the end of the address space.
    const fn new(base: u64, size: u64) -> Self {
        Self { base: Ipa(base), size }
    }

    /// From the first address to the one behind the last.
    pub const fn range(self) -> Range<Ipa> {
        self.base..Ipa(self.base.0.saturating_add(self.size))
    }
}
