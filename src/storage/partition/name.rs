//! By what a partition is known.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// Longest name of a GPT partition in UTF-16 code units (UEFI 2.10, 5.3.3: 72 bytes).
pub const MAX_LABEL: usize = 36;

/// Which partition of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionName {
    /// The n-th of its table, from 1 on. Logical partitions of an MBR begin with 5.
    Number(u32),
    /// A GPT partition by its name: 1 to [`MAX_LABEL`] UTF-16 code units.
    Label(String),
    /// A GPT partition by its unique GUID in the usual text form, or an MBR partition as `ssssssss-nn`: the disk's signature
    /// and the number, both in hexadecimal.
    Uuid(String),
}

impl PartitionName {
    /// Checks its form.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn validate(&self) -> Result<(), NameError> {
        match self {
            Self::Number(0) => Err(NameError::Number),
            Self::Number(_) => Ok(()),
            Self::Label(label) => match label.encode_utf16().count() {
                1..=MAX_LABEL => Ok(()),
                found => Err(NameError::Label { found }),
            },
            Self::Uuid(uuid) if is_hex(uuid, &[8, 4, 4, 4, 12]) || is_hex(uuid, &[8, 2]) => Ok(()),
            Self::Uuid(_) => Err(NameError::Uuid),
        }
    }
}

/// Without a word for what it is: `1`, `root`, `01234567-01`.
impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Label(text) | Self::Uuid(text) => f.write_str(text),
        }
    }
}

/// Whether `text` is hexadecimal digits in groups of these lengths, with `-` between them.
fn is_hex(text: &str, lengths: &[usize]) -> bool {
    let is_group = |group: &str, length: usize| {
        group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    text.split('-').count() == lengths.len()
        && text.split('-').zip(lengths).all(|(group, length)| is_group(group, *length))
}

/// Why something cannot be the name of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Partitions are counted from 1.
    Number,
    /// An empty label, or one longer than [`MAX_LABEL`].
    Label {
        /// Its length in UTF-16 code units.
        found: usize,
    },
    /// Neither a GUID nor an MBR partition's id.
    Uuid,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => f.write_str("partition 0, they are counted from 1"),
            Self::Label { found } => write!(
                f,
                "the partition's label has {found} UTF-16 code units, 1 to {MAX_LABEL} are possible"
            ),
            Self::Uuid => f.write_str(
                "the partition's id has neither the form 01234567-89ab-cdef-0123-456789abcdef nor 01234567-89",
            ),
        }
    }
}

impl core::error::Error for NameError {}
