//! ISO 9660, with the names of Rock Ridge or Joliet.
//!
//! This reader is our own: of the libraries that need no operating system, none finds files by their Rock Ridge names
//! without making tables as large as the disk tells it to.
//!
//! Layout: ECMA-119 (4th edition); Joliet Specification (1995); SUSP 1.12 and RRIP 1.12 ([`susp`]). Numbers are stored
//! little-endian and then big-endian; the first are read.

mod record;
mod susp;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use self::record::{Directory, Extent, Record};
use self::susp::{Attributes, Continuation};
use super::source::Source;
use super::{FileSystem, FsError, Kind, Node, has};

/// Bytes of a sector, in which volume descriptors are (ECMA-119, 7.1.1).
const SECTOR: u64 = 2048;
/// The first volume descriptor (ECMA-119, 7.2.1).
const DESCRIPTORS: u64 = 16 * SECTOR;
/// Most volume descriptors that are looked at: real volumes have less than ten.
const MAX_DESCRIPTORS: u64 = 64;
/// Largest directory in bytes: some 10000 files.
const MAX_DIRECTORY: u32 = 2 << 20;

/// Whether `source` holds such a file system: the standard identifier (ECMA-119, 9.1.2).
pub fn is_there(source: &Source) -> Result<bool, FsError> {
    has(source, DESCRIPTORS + 1, *b"CD001")
}

/// Where names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// In what the system may use, behind so many bytes of others.
    RockRidge { skip: usize },
    /// In the records, as UTF-16.
    Joliet,
    /// In the records, in capital letters and with versions.
    Plain,
}

/// An ISO 9660 file system.
pub struct Iso {
    source: Source,
    /// Bytes of a logical block.
    block: u64,
    names: Names,
    root: Extent,
}

fn unreadable(reason: &str) -> FsError {
    FsError::unreadable(Kind::Iso, reason)
}

impl Iso {
    /// # Errors
    /// [`FsError::Unreadable`] and [`FsError::Source`].
    pub fn open(source: &Source) -> Result<Self, FsError> {
        let (mut primary, mut joliet) = (None, None);
        for number in 0..MAX_DESCRIPTORS {
            let mut descriptor = [0; SECTOR as usize];
            source.read(DESCRIPTORS + number * SECTOR, &mut descriptor)?;
            // ECMA-119, 9.2 to 9.6.
            match descriptor.first() {
                Some(1) if primary.is_none() => primary = Some(descriptor),
                Some(2) if has_utf16_names(&descriptor) => joliet = Some(descriptor),
                Some(255) => break,
                _ => {}
            }
        }
        let primary = primary.ok_or_else(|| unreadable("it has no primary volume descriptor"))?;
        let root = root(&primary)?;
        let block = match u16::from_le_bytes(field(&primary, 128)) {
            // A block is no larger than a sector (ECMA-119, 7.2.2).
            size @ (512 | 1024 | 2048) => u64::from(size),
            size => {
                return Err(FsError::unreadable(Kind::Iso, alloc::format!("its blocks have {size} bytes")));
            }
        };
        let mut iso = Self { source: source.clone(), block, names: Names::Plain, root };
        if let Some(skip) = iso.rock_ridge()? {
            iso.names = Names::RockRidge { skip };
        } else if let Some(joliet) = joliet {
            (iso.names, iso.root) = (Names::Joliet, self::root(&joliet)?);
        }
        Ok(iso)
    }

    /// Whether names are as of Rock Ridge: the root's first record, its own, says so (SUSP, 5.3).
    fn rock_ridge(&self) -> Result<Option<usize>, FsError> {
        let sectors = self.directory(self.root)?;
        let own = Directory::new(&sectors).next();
        Ok(own.and_then(|own| own.ok()).and_then(|own| susp::indicator(own.system_use)))
    }

    fn position(&self, extent: Extent) -> u64 {
        u64::from(extent.block) * self.block
    }

    /// All records of a directory.
    fn directory(&self, extent: Extent) -> Result<Vec<u8>, FsError> {
        if extent.size > MAX_DIRECTORY {
            let reason =
                alloc::format!("a directory has {} bytes, at most {MAX_DIRECTORY} are read", extent.size);
            return Err(FsError::unreadable(Kind::Iso, reason));
        }
        // Before there is memory for them, it is seen that these bytes are on the disk.
        let mut last = [0];
        if let Some(offset) = extent.size.checked_sub(1) {
            self.source.read(self.position(extent) + u64::from(offset), &mut last)?;
        }
        let mut bytes = vec![0; extent.size as usize];
        self.source.read(self.position(extent), &mut bytes)?;
        Ok(bytes)
    }

    /// What Rock Ridge says of a record.
    fn attributes(&self, record: &Record<'_>, skip: usize) -> Result<Attributes, FsError> {
        let mut attributes = Attributes::default();
        let mut next = attributes.add(record.system_use.get(skip..).unwrap_or_default());
        // Each area may lead to another one.
        for _ in 0..susp::MAX_AREAS {
            let Some(Continuation { block, offset, len }) = next else { return Ok(attributes) };
            let mut area = [0; SECTOR as usize];
            let area = area.get_mut(..len).ok_or_else(|| unreadable("a continuation area is too large"))?;
            self.source.read(u64::from(block) * self.block + u64::from(offset), area)?;
            next = attributes.add(area);
        }
        Err(unreadable("a file has too many continuation areas"))
    }

    /// Looks for a name in a directory.
    fn find(&self, directory: Extent, name: &str) -> Result<Option<(Extent, Option<Node>)>, FsError> {
        let bytes = self.directory(directory)?;
        for record in Directory::new(&bytes) {
            let record = record.map_err(unreadable)?;
            if record.is_self_or_parent() || record.is_associated() {
                continue;
            }
            let attributes = match self.names {
                Names::RockRidge { skip } => self.attributes(&record, skip)?,
                Names::Joliet | Names::Plain => Attributes::default(),
            };
            let is_it = match (self.names, attributes.name()) {
                (Names::RockRidge { .. }, Some(found)) => found == name.as_bytes(),
                (Names::Joliet, _) => record.is_joliet(name),
                (Names::RockRidge { .. } | Names::Plain, _) => record.is_plain(name),
            };
            if is_it {
                return self.node(&record, &attributes, name).map(Some);
            }
        }
        Ok(None)
    }

    fn node(
        &self,
        record: &Record<'_>,
        attributes: &Attributes,
        name: &str,
    ) -> Result<(Extent, Option<Node>), FsError> {
        let node = match attributes.target() {
            Some(target) => match core::str::from_utf8(target) {
                Ok(target) if !target.is_empty() => Some(Node::Link { target: target.to_owned() }),
                _ => None,
            },
            None if record.is_directory() => Some(Node::Directory),
            None if record.is_whole() => Some(Node::File { size: record.extent.size.into() }),
            None => {
                return Err(FsError::unreadable(Kind::Iso, alloc::format!("{name} lies in several parts")));
            }
        };
        Ok((record.extent, node))
    }

    /// Where the file or directory at `path` is, and what it is.
    fn walk(&self, path: &str) -> Result<(Extent, Node), FsError> {
        let not_found = || FsError::NotFound { path: path.to_owned() };
        let mut at = (self.root, Node::Directory);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if at.1 != Node::Directory {
                return Err(not_found());
            }
            let (extent, node) = self.find(at.0, name)?.ok_or_else(not_found)?;
            at = (extent, node.ok_or_else(|| FsError::NotAFile { path: String::from(path) })?);
        }
        Ok(at)
    }
}

impl FileSystem for Iso {
    fn look_up(&mut self, path: &str) -> Result<Node, FsError> {
        self.walk(path).map(|(_, node)| node)
    }

    fn read(&mut self, path: &str, contents: &mut [u8]) -> Result<(), FsError> {
        let (extent, _) = self.walk(path)?;
        Ok(self.source.read(self.position(extent), contents)?)
    }
}

/// Whether a supplementary volume descriptor has one of Joliet's escape sequences (ECMA-119, 9.5.6; Joliet, "Escape
/// Sequences").
fn has_utf16_names(descriptor: &[u8; SECTOR as usize]) -> bool {
    matches!(&field(descriptor, 88), b"%/@" | b"%/C" | b"%/E")
}

/// The root directory that a volume descriptor tells (ECMA-119, 9.4.18).
fn root(descriptor: &[u8; SECTOR as usize]) -> Result<Extent, FsError> {
    let record: [u8; 34] = field(descriptor, 156);
    Record::parse(&record).map(|record| record.extent).ok_or_else(|| unreadable("it has no root directory"))
}

/// `N` bytes of a descriptor.
fn field<const N: usize>(descriptor: &[u8; SECTOR as usize], at: usize) -> [u8; N] {
    descriptor.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}
