//! Partitions: which sectors of a disk a name means.
//!
//! Whoever can write a disk can write its partition table, so a table is hostile: what is used of it is checked, and the
//! time and memory to look through it are bounded.

mod gpt;
mod mbr;
mod name;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use core::fmt;
use core::ops::{Range, RangeInclusive};

use gpt_disk_types::MasterBootRecord;

pub use self::name::{MAX_LABEL, NameError, PartitionName};
use super::window::Window;
use super::{Disk, DiskError, SECTOR};

/// Why there is no such partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionError {
    /// The disk cannot be read there.
    Disk(DiskError),
    /// There is no partition table.
    NoTable,
    /// The table has no such partition.
    NotFound,
    /// So many partitions have the name.
    Ambiguous {
        /// How many.
        found: u32,
    },
    /// An MBR has no labels.
    NoLabels,
    /// What should be at this block is not there, for its signature is wrong.
    Signature {
        /// What should be there.
        what: &'static str,
        /// The block.
        block: u64,
    },
    /// A value of the table is out of its bounds.
    Value {
        /// Which.
        what: &'static str,
        /// What it is.
        found: u64,
        /// The least that it can be.
        least: u64,
        /// The most that it can be.
        most: u64,
    },
    /// A part of the table is damaged.
    Checksum {
        /// Which.
        what: &'static str,
        /// What the table says its CRC is.
        found: u32,
        /// What it is.
        computed: u32,
    },
}

impl fmt::Display for PartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::NoTable => f.write_str("the disk has no partition table"),
            Self::NotFound => f.write_str("the disk has no such partition"),
            Self::Ambiguous { found } => write!(f, "the disk has {found} such partitions"),
            Self::NoLabels => f.write_str("the partitions of an MBR have no labels"),
            Self::Signature { what, block } => write!(f, "there is no {what} at block {block}"),
            Self::Value { what, found, least, most } => {
                write!(f, "partition table: {what} is {found}, {least} to {most} is possible")
            }
            Self::Checksum { what, found, computed } => {
                write!(
                    f,
                    "partition table: the checksum of {what} is {computed:#010x} instead of {found:#010x}"
                )
            }
        }
    }
}

impl core::error::Error for PartitionError {}

impl From<DiskError> for PartitionError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// A partition as a disk of its own.
///
/// # Errors
/// [`PartitionError`].
pub fn find(disk: &Arc<dyn Disk>, name: &PartitionName) -> Result<Arc<dyn Disk>, PartitionError> {
    let sectors = locate(&**disk, name)?;
    Ok(Arc::new(Window::new(disk.clone(), sectors, false)?))
}

/// The sectors of a partition, all of which the disk has.
///
/// # Errors
/// [`PartitionError`].
pub fn locate(disk: &dyn Disk, name: &PartitionName) -> Result<Range<u64>, PartitionError> {
    let blocks = Blocks::of(disk);
    let record = blocks.boot_record(0)?.ok_or(PartitionError::NoTable)?;
    // UEFI 2.10, 5.2.3: the MBR in front of a GPT has a partition of this type.
    const PROTECTIVE: u8 = 0xee;
    match record.partitions.iter().any(|partition| partition.os_indicator == PROTECTIVE) {
        true => gpt::locate(&blocks, name),
        false => mbr::locate(&blocks, &record, name),
    }
}

/// A disk whose table is looked at. Its blocks are sectors: those of every disk that a guest sees are.
struct Blocks<'d> {
    disk: &'d dyn Disk,
    /// The number of the last block.
    last: u64,
}

impl<'d> Blocks<'d> {
    fn of(disk: &'d dyn Disk) -> Self {
        Self { disk, last: disk.geometry().sectors.saturating_sub(1) }
    }

    /// The boot record in this block, if it is one.
    fn boot_record(&self, block: u64) -> Result<Option<MasterBootRecord>, PartitionError> {
        const SIGNATURE: [u8; 2] = [0x55, 0xaa];
        let mut sector = [0; SECTOR as usize];
        self.disk.read(block, &mut sector)?;
        let record: MasterBootRecord = bytemuck::cast(sector);
        Ok((record.signature == SIGNATURE).then_some(record))
    }

    /// The blocks `first` to `last`, which have to lie within `bounds`, and these on the disk.
    fn sectors(
        &self,
        first: u64,
        last: u64,
        bounds: RangeInclusive<u64>,
    ) -> Result<Range<u64>, PartitionError> {
        check("a partition's last block", last, bounds.clone())?;
        check("a partition's first block", first, *bounds.start()..=last)?;
        // No overflow: all of these blocks are on the disk.
        Ok(first..last + 1)
    }
}

/// Checks a value of a table.
fn check(what: &'static str, found: u64, bounds: RangeInclusive<u64>) -> Result<(), PartitionError> {
    match bounds.contains(&found) {
        true => Ok(()),
        false => Err(PartitionError::Value { what, found, least: *bounds.start(), most: *bounds.end() }),
    }
}
