//! What a journal may make its reader do.
//!
//! The reader counts up to wherever the log is said to start, and keeps all blocks that are revoked, both without reading
//! anything meanwhile. So the blocks that say so are looked at on their way.
//! Layout: Linux, `Documentation/filesystems/ext4/journal.rst`. All fields are big-endian.

use core::fmt;

/// The start of each block that describes others.
const MAGIC: u32 = 0xc03b_3998;
/// `h_blocktype` of the journal's superblock.
const SUPERBLOCK: u32 = 4;
/// `h_blocktype` of a block with the numbers of blocks that are not to be replayed.
const REVOKE: u32 = 5;
/// The last block where a log may start: 16 GiB with 4 KiB blocks.
const MAX_START: u32 = 1 << 22;
/// Most bytes of numbers of revoked blocks.
const MAX_REVOKED: u32 = 1 << 20;

/// A journal that is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalError {
    /// It starts too late.
    Start {
        /// At this block.
        found: u32,
    },
    /// It revokes too much.
    Revoked,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { found } => {
                write!(f, "the journal starts at block {found}, the last that it can is {MAX_START}")
            }
            Self::Revoked => write!(f, "the journal revokes more than {} blocks", MAX_REVOKED / 8),
        }
    }
}

impl core::error::Error for JournalError {}

/// Looks at blocks on their way to the library.
#[derive(Debug, Default)]
pub struct Guard {
    revoked: u32,
}

impl Guard {
    /// Checks a block. A block of something else that looks like a journal's is held to the same.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn check(&mut self, block: &[u8]) -> Result<(), JournalError> {
        if word(block, 0) != Some(MAGIC) {
            return Ok(());
        }
        match (word(block, 4), word(block, 12), word(block, 28)) {
            (Some(SUPERBLOCK), _, Some(found)) if found > MAX_START => Err(JournalError::Start { found }),
            (Some(REVOKE), Some(bytes), _) => {
                self.revoked = self.revoked.saturating_add(bytes);
                if self.revoked > MAX_REVOKED { Err(JournalError::Revoked) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

fn word(block: &[u8], at: usize) -> Option<u32> {
    block.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
