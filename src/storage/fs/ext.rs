//! ext2, ext3 and ext4, read by `ext4-view`.
//!
//! The library goes by what the disk says more than it should where a guest has written it, so what it reads is looked
//! at first ([`superblock`], [`Guard`]), and it never follows a link by itself, as it trusts in the names there. Its
//! later versions keep blocks to themselves, where [`Source`] could not bound how often they are visited.

mod guard;
mod superblock;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use core::error::Error;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType};

use self::guard::Guard;
use super::source::Source;
use super::{FileSystem, FsError, Kind, Node, has};

/// Longest target of a link, which Linux keeps in one block.
const MAX_TARGET: u64 = 4095;

/// Whether `source` holds such a file system.
pub fn is_there(source: &Source) -> Result<bool, FsError> {
    has(source, superblock::START + superblock::MAGIC_OFFSET, superblock::MAGIC)
}

/// What is to become of changes that a journal holds, as a machine that was not shut down leaves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journal {
    Replay,
    Ignore,
}

/// A source, as the library reads it.
struct Reader {
    source: Source,
    journal: Journal,
    guard: Guard,
}

impl Ext4Read for Reader {
    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        self.source.read(start, buffer)?;
        // Whatever is there: a superblock that describes a file system may be a journal's, too.
        self.guard.check(buffer)?;
        if let (superblock::START, Ok(block)) = (start, <&mut [u8; superblock::SIZE]>::try_from(buffer)) {
            superblock::prepare(block, self.source.size(), self.journal == Journal::Replay)?;
        }
        Ok(())
    }
}

/// An ext file system.
pub struct Ext(Ext4);

impl Ext {
    /// # Errors
    /// [`FsError::Unreadable`] and [`FsError::Source`].
    pub fn open(source: &Source) -> Result<Self, FsError> {
        let load = |journal| {
            Ext4::load(Box::new(Reader { source: source.clone(), journal, guard: Guard::default() }))
                .map(Self)
        };
        load(Journal::Replay)
            .or_else(|error| {
                // As boot loaders have it, which know no journals: what was written long ago is found all the same.
                let opened = load(Journal::Ignore)?;
                source.take_fault();
                log::warn!("a file system's journal is ignored: {error}");
                Ok(opened)
            })
            .map_err(unreadable)
    }
}

fn unreadable(error: Ext4Error) -> FsError {
    FsError::unreadable(Kind::Ext, error)
}

impl FileSystem for Ext {
    fn look_up(&mut self, path: &str) -> Result<Node, FsError> {
        let metadata = self.0.symlink_metadata(path).map_err(|error| match error {
            Ext4Error::NotFound => FsError::NotFound { path: path.to_owned() },
            error => unreadable(error),
        })?;
        match metadata.file_type() {
            FileType::Directory => Ok(Node::Directory),
            FileType::Regular => Ok(Node::File { size: metadata.len() }),
            // The library takes the target's length for granted.
            FileType::Symlink if metadata.len() <= MAX_TARGET => {
                let target = self.0.read_link(path).map_err(unreadable)?;
                let target = target.to_str().map_err(|_| FsError::NotAFile { path: path.to_owned() })?;
                Ok(Node::Link { target: target.to_owned() })
            }
            _ => Err(FsError::NotAFile { path: path.to_owned() }),
        }
    }

    fn read(&mut self, path: &str, contents: &mut [u8]) -> Result<(), FsError> {
        let mut file = self.0.open(path).map_err(unreadable)?;
        let mut rest = contents;
        while !rest.is_empty() {
            let len = file.read_bytes(rest).map_err(unreadable)?;
            if len == 0 {
                return Err(FsError::unreadable(Kind::Ext, "the file ends before its size says"));
            }
            rest = rest.get_mut(len..).unwrap_or_default();
        }
        Ok(())
    }
}
