//! The MMIO bus of a VM: typed, non-overlapping regions, each claimed by one device model.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use crate::mm::addr::Ipa;

/// How many bytes an access moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Half = 2,
    /// 32 bits.
    Word = 4,
    /// 64 bits.
    Double = 8,
}

impl Width {
    /// The width in bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// The width of an access whose size is `1 << log2` bytes, as AArch64 syndromes and opcodes encode it (0 to 3).
    pub const fn from_log2(log2: u8) -> Option<Self> {
        match log2 {
            0 => Some(Self::Byte),
            1 => Some(Self::Half),
            2 => Some(Self::Word),
            3 => Some(Self::Double),
            _ => None,
        }
    }

    /// `value` with all bits above the width cleared.
    pub const fn truncate(self, value: u64) -> u64 {
        match self {
            Self::Double => value,
            narrow => value & ((1 << (narrow as u32 * 8)) - 1),
        }
    }
}

/// Where in its region, how wide and by whom a device is accessed. The bus guarantees that
/// `offset + width` does not pass the end of the region; `offset` may be misaligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Bytes from the start of the device's region.
    pub offset: u64,
    /// How many bytes.
    pub width: Width,
    /// Index of the accessing vCPU in its VM (banked registers need it).
    pub vcpu: usize,
}

/// A device model behind a region of the bus. Unknown offsets read as zero and ignore writes.
pub trait MmioDevice: Send + Sync {
    /// A read; bits above the access's width are ignored by the caller.
    fn read(&self, access: Access) -> u64;

    /// A write; `value` has no bits above the access's width.
    fn write(&self, access: Access, value: u64);
}
