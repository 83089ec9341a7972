//! Disks: where the sectors of a virtual disk are kept.
//!
//! A [`Disk`] is memory, a physical disk, or a part of another disk. Device models and whoever boots from a file system
//! need no more of it than this trait.

pub mod claim;
mod counters;
pub mod fs;
pub mod memory;
pub mod partition;
#[cfg(any(target_os = "none", test))]
pub mod physical;
#[cfg(test)]
pub mod testing;
pub mod window;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

pub use self::counters::{Counters, Tally};
use crate::mm::guest_memory::{GuestMemory, Segment, SharedMemory};

/// Bytes of a sector, in which positions and capacities are counted.
pub const SECTOR: u64 = 512;

/// What a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// How many sectors.
    pub sectors: u64,
    /// It cannot be written.
    pub read_only: bool,
    /// Bytes that are best read and written at once: a power of two, at least [`SECTOR`].
    pub block_size: u32,
    /// It forgets sectors that are discarded.
    pub discards: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// From the disk into the segments.
    Read,
    /// From the segments to the disk.
    Write,
    /// What was written before is to survive a loss of power.
    Flush,
    /// So many sectors are not needed any more: they read as anything until they are written again.
    Discard(u64),
    /// So many sectors are to read as zero.
    WriteZeroes(u64),
}

/// A request to a disk.
pub struct Request<'a> {
    /// What is to be done.
    pub operation: Operation,
    /// The first sector.
    pub sector: u64,
    /// Where the data are; their lengths add up to whole sectors. None for what moves no data.
    pub segments: &'a [Segment],
    /// The memory in which the segments are, as it is now.
    pub memory: &'a dyn GuestMemory,
    /// The same memory, for a disk that answers later.
    pub shared: &'a Arc<dyn SharedMemory>,
    /// Whom to tell, if that is not at once.
    pub completion: &'a Completion,
}

impl Request<'_> {
    /// How many sectors it concerns.
    pub fn sectors(&self) -> u64 {
        match self.operation {
            Operation::Read | Operation::Write => {
                self.segments.iter().map(|segment| u64::from(segment.len)).sum::<u64>() / SECTOR
            }
            Operation::Flush => 0,
            Operation::Discard(count) | Operation::WriteZeroes(count) => count,
        }
    }
}

/// Checks that a disk of `limit` sectors has `count` of them from `sector` on.
///
/// # Errors
/// [`DiskError::Range`].
pub fn check_range(sector: u64, count: u64, limit: u64) -> Result<(), DiskError> {
    match sector <= limit && count <= limit - sector {
        true => Ok(()),
        false => Err(DiskError::Range { sector, count, limit }),
    }
}

/// Who waits for a request.
#[derive(Clone)]
pub struct Completion {
    /// Who is told.
    pub waiter: Arc<dyn Waiter>,
    /// By which number the waiter knows the request.
    pub token: u64,
}

/// Somebody who waits for requests. Called with no lock of the disk's held, on any CPU, outside any guest.
pub trait Waiter: Send + Sync {
    /// The disk has answered [`Progress::Busy`] before and may have room now: what was refused is to be submitted
    /// again. Whoever calls may hold locks of others, so this must only take note.
    fn ready(&self);

    /// The request of this number has ended.
    fn completed(&self, token: u64, result: Result<(), DiskError>);

    /// Whether what the disk has read for this request may still be put into the guest's memory: not after the
    /// device that asked was reset. The answer holds until `deliver` returns.
    fn deliver(&self, token: u64, deliver: &mut dyn FnMut());
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has been carried out, and nobody will be told.
    Done,
    /// It goes on; the completion will be told.
    Pending,
    /// Nothing was done, for the disk has as much to do as it can take: [`Waiter::ready`] will be called.
    Busy,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// It passes the end of the disk.
    Range {
        /// The first sector.
        sector: u64,
        /// How many sectors.
        count: u64,
        /// How many the disk has.
        limit: u64,
    },
    /// The disk cannot be written.
    ReadOnly,
    /// The disk does not do this.
    Unsupported,
    /// A segment is not in memory.
    Memory,
    /// There is no memory for what is to be written (copy-on-write).
    NoSpace,
    /// The medium failed.
    Medium,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { sector, count, limit } => {
                write!(f, "sectors {sector}+{count} pass the end of a disk of {limit}")
            }
            Self::ReadOnly => f.write_str("the disk is read-only"),
            Self::Unsupported => f.write_str("the disk cannot do this"),
            Self::Memory => f.write_str("the data are not in memory"),
            Self::NoSpace => f.write_str("no memory left for what is written"),
            Self::Medium => f.write_str("the medium failed"),
        }
    }
}

impl core::error::Error for DiskError {}

/// A disk. All methods may be called by all CPUs at once.
pub trait Disk: Send + Sync {
    /// What it is. Does not change.
    fn geometry(&self) -> Geometry;

    /// Carries out a request, or begins to. The bytes of `request.segments` are at most [`MAX_TRANSFER`], and the sectors
    /// that it discards or zeroes at most [`MAX_CLEAR`], which bounds the time that this takes.
    ///
    /// # Errors
    /// [`DiskError`], at once; the completion is not told then.
    fn submit(&self, request: &Request<'_>) -> Result<Progress, DiskError>;

    /// Reads whole sectors from `sector` on into `buffer`, and waits for them. For EL2's own use, while a VM is loaded.
    ///
    /// # Errors
    /// [`DiskError`].
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// What it has done.
    fn counters(&self) -> Counters;
}

/// Most bytes that one request may move; who has more asks several times.
pub const MAX_TRANSFER: u32 = 64 << 10;

/// Most sectors that one request may discard or zero; who has more asks several times.
pub const MAX_CLEAR: u64 = (4 << 20) / SECTOR;

/// A disk that can be named in a manifest.
pub struct Named {
    /// `disk0`, `disk1`, ... in the order in which they were found, or a serial number.
    pub names: Vec<alloc::string::String>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}
