//! Files on disks: the kernel of an installed system, or of an installer's image.
//!
//! What is on a disk was written by a guest, and is hostile. The readers of ext2/3/4 and FAT are libraries, which have
//! been looked at with that in mind; what they would not survive is kept from them (see [`ext`]). All read through
//! a [`Source`], which bounds how much; memory for a file is bounded by [`Contents`].
//!
//! Nobody else writes the disk meanwhile: a disk belongs to one VM, and that is off while it is loaded.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod contents;
mod ext;
mod fat;
mod iso;
mod path;
mod source;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;

pub use self::contents::Contents;
pub use self::source::Fault;
use self::source::Source;
use super::Disk;
use crate::mm::frames::OutOfFrames;

/// What a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4.
    Ext,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// ISO 9660.
    Iso,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext => "ext4",
            Self::Fat => "FAT",
            Self::Iso => "ISO 9660",
        })
    }
}

/// Why a file could not be read from a disk.
#[derive(Debug)]
pub enum FsError {
    /// The disk's bytes could not be read.
    Source(Fault),
    /// The disk holds none of the file systems that are known.
    Unknown,
    /// The file system is damaged, or has something that its reader does not know.
    Unreadable {
        /// What it is.
        kind: Kind,
        /// What its reader says.
        reason: String,
    },
    /// There is no such file or directory.
    NotFound {
        /// From the root, with no links.
        path: String,
    },
    /// A path goes on behind something that is not a directory.
    NotADirectory {
        /// From the root, with no links.
        path: String,
    },
    /// Something else is there.
    NotAFile {
        /// From the root, with no links.
        path: String,
    },
    /// A path has a name that no file can have.
    Name {
        /// The name.
        name: String,
    },
    /// A path, with the links that are followed, is too long.
    PathTooLong,
    /// A path leads from link to link.
    TooManyLinks {
        /// Most that are followed.
        limit: usize,
    },
    /// The file is larger than the memory that it may take.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// Most bytes.
        limit: u64,
    },
    /// There is no memory for the file.
    Memory(OutOfFrames),
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(fault) => fault.fmt(f),
            Self::Unknown => f.write_str("there is no ext4, FAT or ISO 9660 file system"),
            Self::Unreadable { kind, reason } => write!(f, "the {kind} file system cannot be read: {reason}"),
            Self::NotFound { path } => write!(f, "there is no {path}"),
            Self::NotADirectory { path } => write!(f, "{path} is not a directory"),
            Self::NotAFile { path } => write!(f, "{path} is not a file"),
            Self::Name { name } => write!(f, "{name:?} is not a name that a file can have"),
            Self::PathTooLong => f.write_str("the path is too long"),
            Self::TooManyLinks { limit } => write!(f, "the path leads over more than {limit} links"),
            Self::TooLarge { size, limit } => {
                write!(f, "the file has {} KiB, at most {} KiB have room", size >> 10, limit >> 10)
            }
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FsError {}

impl From<Fault> for FsError {
    fn from(fault: Fault) -> Self {
        Self::Source(fault)
    }
}

impl FsError {
    fn unreadable(kind: Kind, reason: impl ToString) -> Self {
        Self::Unreadable { kind, reason: reason.to_string() }
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File {
        /// In bytes.
        size: u64,
    },
    Link {
        /// Where it leads, from its own directory or from the root.
        target: String,
    },
}

/// A file system, to be read.
///
/// Paths start with `/`, and have neither `.`, `..` nor links to directories in them.
trait FileSystem {
    /// What is at `path`, which is not the root.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotAFile`] for what is none of [`Node`], and whatever keeps it from being read.
    fn look_up(&mut self, path: &str) -> Result<Node, FsError>;

    /// Fills `contents`, which has the size of the file at `path`.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn read(&mut self, path: &str, contents: &mut [u8]) -> Result<(), FsError>;
}

/// Reads the file at `path` of the file system that is on `disk`. Names are separated by `/`; links are followed.
///
/// # Errors
/// [`FsError`].
pub fn read_file(disk: &Arc<dyn Disk>, path: &str) -> Result<Contents, FsError> {
    let source = Source::new(disk.clone());
    let read = || {
        let mut fs = open(&source)?;
        let (path, size) = path::resolve(&mut *fs, path)?;
        let mut contents = Contents::new(size)?;
        source.allow(size);
        fs.read(&path, contents.bytes_mut())?;
        Ok(contents)
    };
    // What the readers say of a fault is less than what it was.
    read().map_err(|error| source.take_fault().map_or(error, FsError::Source))
}

/// Finds out what is on a disk.
fn open(source: &Source) -> Result<Box<dyn FileSystem>, FsError> {
    if ext::is_there(source)? {
        return Ok(Box::new(ext::Ext::open(source)?));
    }
    if iso::is_there(source)? {
        return Ok(Box::new(iso::Iso::open(source)?));
    }
    if fat::is_there(source)? {
        return Ok(Box::new(fat::Fat::open(source)?));
    }
    Err(FsError::Unknown)
}

/// Whether `disk` has `magic` at byte `at`.
fn has<const N: usize>(source: &Source, at: u64, magic: [u8; N]) -> Result<bool, FsError> {
    let mut found = [0; N];
    if source.size() < at.saturating_add(N as u64) {
        return Ok(false);
    }
    source.read(at, &mut found)?;
    Ok(found == magic)
}
