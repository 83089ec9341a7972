//! FAT12, FAT16 and FAT32, read by `hadris-fat`.

use alloc::borrow::ToOwned;

use hadris_fat::sync::dir::FileEntry;
use hadris_fat::sync::fs::FatVolume;
use hadris_fat::sync::{Error, ErrorKind, IoResult, Read, Seek, SeekFrom};

use super::source::Source;
use super::{FileSystem, FsError, Kind, Node, has};

/// Whether `source` may hold a FAT file system: it has a boot sector (`fatgen103`, "Boot Sector and BPB"). So has a disk
/// with partitions.
pub fn is_there(source: &Source) -> Result<bool, FsError> {
    has(source, 510, [0x55, 0xaa])
}

/// A source as a stream.
struct Stream {
    source: Source,
    position: u64,
}

impl Read for Stream {
    type Error = ErrorKind;

    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        self.source.read(self.position, buffer).map_err(|_| Error::from_kind(ErrorKind::Other))?;
        self.position = self.position.saturating_add(buffer.len() as u64);
        Ok(buffer.len())
    }
}

impl Seek for Stream {
    type Error = ErrorKind;

    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.source.size().checked_add_signed(offset),
        };
        self.position = position.ok_or(Error::from_kind(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// A FAT file system.
pub struct Fat(FatVolume<Stream>);

impl Fat {
    /// # Errors
    /// [`FsError::Unknown`]: it is not one; [`FsError::Source`].
    pub fn open(source: &Source) -> Result<Self, FsError> {
        let stream = Stream { source: source.clone(), position: 0 };
        // A boot sector that starts no FAT may be that of a disk with partitions.
        FatVolume::open(stream).map(Self).map_err(|_| FsError::Unknown)
    }

    fn find(&self, path: &str) -> Result<FileEntry, FsError> {
        self.0.open_path(path).map_err(|error| match error {
            hadris_fat::Error::EntryNotFound => FsError::NotFound { path: path.to_owned() },
            error => unreadable(error),
        })
    }
}

fn unreadable(error: hadris_fat::Error) -> FsError {
    FsError::unreadable(Kind::Fat, error)
}

impl FileSystem for Fat {
    fn look_up(&mut self, path: &str) -> Result<Node, FsError> {
        let entry = self.find(path)?;
        Ok(match entry.is_directory() {
            true => Node::Directory,
            false => Node::File { size: entry.len() },
        })
    }

    fn read(&mut self, path: &str, contents: &mut [u8]) -> Result<(), FsError> {
        let mut file = self.0.open_file_path(path).map_err(unreadable)?;
        match file.read(contents).map_err(unreadable)? == contents.len() {
            true => Ok(()),
            false => Err(FsError::unreadable(Kind::Fat, "the file has fewer clusters than its size says")),
        }
    }
}
