//! What a driver may not do to a queue.

use core::fmt;

use crate::mm::addr::Ipa;

/// What a driver did that it may not. The device needs a reset then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueError {
    /// A part of the queue, or a table of descriptors, is not in memory.
    Unbacked(Ipa),
    /// The queue has no entries or too many, or, as a split ring, their number is not a power of two.
    Size {
        /// How many.
        found: u16,
        /// Most entries.
        limit: u16,
    },
    /// A part of the queue is misaligned.
    Misaligned {
        /// Where it is.
        ipa: Ipa,
        /// What its address must be a multiple of.
        alignment: u64,
    },
    /// More requests are offered than the ring has entries.
    Offered {
        /// How many.
        found: u16,
        /// Entries.
        limit: u16,
    },
    /// More is to be in the device's hands at a time than the ring has entries.
    Outstanding {
        /// Entries.
        limit: u16,
    },
    /// A descriptor's index is not in its table.
    Index {
        /// The index.
        found: u16,
        /// Entries of the table.
        limit: u32,
    },
    /// A request has too many descriptors; maybe they form a loop.
    Descriptors {
        /// Most descriptors.
        limit: u16,
    },
    /// A request's buffers have more than `u32::MAX` bytes.
    Bytes,
    /// A buffer that the device reads comes after one that it writes.
    Order(Ipa),
    /// A descriptor refers to a table where it may not: this was not negotiated, it is in a table itself, or others follow
    /// it.
    Indirect {
        /// The descriptor's flags.
        flags: u16,
    },
    /// A table's length is zero or not that of whole descriptors.
    Table {
        /// Bytes.
        len: u32,
    },
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbacked(ipa) => write!(f, "no memory behind {ipa}"),
            Self::Size { found, limit } => write!(f, "a ring cannot have {found} of at most {limit} entries"),
            Self::Misaligned { ipa, alignment } => {
                write!(f, "{ipa} is not a multiple of {alignment}")
            }
            Self::Offered { found, limit } => write!(f, "{found} requests offered in a ring of {limit}"),
            Self::Outstanding { limit } => write!(f, "more is outstanding than a ring of {limit} can hold"),
            Self::Index { found, limit } => write!(f, "descriptor {found} is not in a table of {limit}"),
            Self::Descriptors { limit } => write!(f, "a request of more than {limit} descriptors"),
            Self::Bytes => write!(f, "a request of more than {} bytes", u32::MAX),
            Self::Order(ipa) => write!(f, "the buffer to be read at {ipa} comes after one to be written"),
            Self::Indirect { flags } => write!(f, "no table is possible here (flags {flags:#x})"),
            Self::Table { len } => write!(f, "{len} bytes are no table of descriptors"),
        }
    }
}

impl core::error::Error for QueueError {}
