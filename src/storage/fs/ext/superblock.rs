//! The superblock of an ext file system, made fit for a reader that believes it.
//!
//! Layout: Linux, `Documentation/filesystems/ext4/super.rst`. All fields are little-endian.

use core::fmt;

/// Where it is, in bytes.
pub const START: u64 = 1024;
/// Its size in bytes.
pub const SIZE: usize = 1024;
/// `s_magic`.
pub const MAGIC_OFFSET: u64 = 0x38;
/// What is there.
pub const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();

/// Most groups of blocks, of whose descriptors the reader makes a table: 8 TiB with 4 KiB blocks.
const MAX_GROUPS: u64 = 1 << 16;
/// The largest block is 64 KiB: 2^(10 + 6) bytes.
const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// `s_feature_incompat`: the journal has to be replayed.
const RECOVER: u32 = 0x4;
/// `s_feature_incompat`: block numbers have 64 bits, and `s_desc_size` counts.
const IS_64BIT: u32 = 0x80;
/// `s_feature_ro_compat`: metadata have checksums.
const METADATA_CSUM: u32 = 0x400;

/// A superblock that describes no file system that can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuperblockError {
    /// Blocks larger than 64 KiB.
    BlockSize {
        /// `s_log_block_size`: blocks have 2^(10 + this) bytes.
        log: u32,
    },
    /// More blocks than the disk has.
    Blocks {
        /// How many.
        found: u64,
        /// How many have room.
        limit: u64,
    },
    /// More groups than anyone has, or groups of no blocks.
    Groups {
        /// How many blocks.
        blocks: u64,
        /// How many in a group.
        per_group: u32,
    },
    /// Descriptors of groups that do not fit into a block.
    Descriptor {
        /// Their size.
        found: u16,
    },
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize { log } => {
                write!(f, "its blocks have 2^(10 + {log}) bytes, they can have 2^(10 + {MAX_LOG_BLOCK_SIZE})")
            }
            Self::Blocks { found, limit } => {
                write!(f, "it has {found} blocks, the disk has room for {limit}")
            }
            Self::Groups { blocks, per_group } => write!(
                f,
                "its {blocks} blocks are in groups of {per_group}, and there can be {MAX_GROUPS} groups"
            ),
            Self::Descriptor { found } => write!(f, "a group is described in {found} bytes"),
        }
    }
}

impl core::error::Error for SuperblockError {}

/// Checks what the library makes tables by, on a disk of `size` bytes, and takes back promises that it would rely on.
///
/// # Errors
/// [`SuperblockError`].
pub fn prepare(block: &mut [u8; SIZE], size: u64, replay: bool) -> Result<(), SuperblockError> {
    let log = word(block, 0x18);
    if log > MAX_LOG_BLOCK_SIZE {
        return Err(SuperblockError::BlockSize { log });
    }
    let incompatible = word(block, 0x60);
    let is_64bit = incompatible & IS_64BIT != 0;
    let high = if is_64bit { word(block, 0x150) } else { 0 };
    let (blocks, limit) = (u64::from(high) << 32 | u64::from(word(block, 0x4)), size >> (10 + log));
    if blocks > limit {
        return Err(SuperblockError::Blocks { found: blocks, limit });
    }
    let per_group = word(block, 0x20);
    if per_group == 0 || blocks.div_ceil(per_group.into()) > MAX_GROUPS {
        return Err(SuperblockError::Groups { blocks, per_group });
    }
    let descriptor = word(block, 0xfc) >> 16;
    if is_64bit && descriptor > 1024 {
        return Err(SuperblockError::Descriptor { found: descriptor as u16 });
    }
    if !is_64bit {
        // The library reads it in any case.
        set_word(block, 0x150, 0);
    }
    if !replay {
        set_word(block, 0x60, incompatible & !RECOVER);
    }
    // Who can write the disk writes checksums that are right, and with them fields of directories by which the library
    // computes checksums of bytes that are not there.
    let compatible = word(block, 0x64);
    set_word(block, 0x64, compatible & !METADATA_CSUM);
    Ok(())
}

fn word(block: &[u8; SIZE], at: usize) -> u32 {
    block.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn set_word(block: &mut [u8; SIZE], at: usize, value: u32) {
    if let Some(bytes) = block.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut()) {
        *bytes = value.to_le_bytes();
    }
}
