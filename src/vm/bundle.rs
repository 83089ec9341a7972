//! The bundle: the guests that the boot loader hands over as its initrd.
//!
//! One file carries every VM's description and the files that it boots from. `docs/bundle.md` is the format's
//! reference; this module is its only reader and its only writer (`xtask` builds bundles with
//! [`BundleBuilder`]).
//!
//! ```text
//! 0         header      32 bytes, little-endian, own CRC-32
//! 32        manifest    postcard, CRC-32 in the header
//! 4 KiB·n   blobs       each 4 KiB-aligned, CRC-32 in the manifest
//! ```
//!
//! A bundle is untrusted until [`Bundle::parse`] has accepted it: whatever the bytes are, parsing ends in a
//! value or an error, and allocates in proportion to the manifest, which is at most [`MAX_MANIFEST`] bytes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use alloc::{string::String, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::machine;
use crate::mm::addr::{MIB, PAGE_SIZE};

/// What every bundle starts with.
pub const MAGIC: [u8; 8] = *b"POLYVISR";
/// The format that this module reads and writes. A manifest's encoding is not self-describing, so any change
/// of [`Manifest`] is a new version.
pub const FORMAT_VERSION: u32 = 2;

/// Most bytes that a manifest may have.
pub const MAX_MANIFEST: usize = MIB as usize;
/// Most VMs that a bundle may describe.
pub const MAX_VMS: usize = 64;
/// Most blobs that a bundle may carry.
pub const MAX_BLOBS: usize = 4 * MAX_VMS;
/// Most vCPUs that a VM may have: one bit each in a `u64`. Its interrupt controller may allow fewer.
pub const MAX_VCPUS: u32 = 64;
/// A VM's memory is a multiple of this: the Stage-2 block size, so that all of it can be mapped by blocks.
pub const MEMORY_GRANULE: u64 = 2 * MIB;
/// Most memory that a VM may have: what its machine has room for.
pub const MAX_MEMORY: u64 = machine::MEM.size;
/// The weight of a VM that is given none.
pub const DEFAULT_WEIGHT: u32 = 100;
/// The largest weight.
pub const MAX_WEIGHT: u32 = 10_000;
/// The longest delay before a VM is started again, in milliseconds.
pub const MAX_BACKOFF: u32 = 60_000;
/// Longest name of a VM in bytes.
pub const MAX_NAME: usize = 63;
/// Longest command line in bytes: arm64 Linux's `COMMAND_LINE_SIZE` (2048) has to hold the terminating NUL
/// too.
pub const MAX_APPEND: usize = 2047;

/// A blob's index in its bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobId(u32);

/// The instruction set that a VM's kernel is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arch {
    /// 64-bit Arm, run natively.
    Aarch64,
}

/// What a VM starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootSource {
    /// A kernel that is loaded into RAM, as by QEMU's `-kernel`, `-initrd` and `-append`.
    Kernel {
        /// The kernel, in any format that [`crate::vm::loader`] knows.
        image: BlobId,
        /// The initial RAM disk.
        initrd: Option<BlobId>,
        /// The command line: at most [`MAX_APPEND`] bytes, no NUL.
        append: String,
    },
    /// Firmware that is mapped at the reset address, as by QEMU's `-bios`.
    Firmware {
        /// The flash image.
        image: BlobId,
    },
}

impl BootSource {
    /// Every blob that the VM boots from.
    fn blobs(&self) -> impl Iterator<Item = BlobId> {
        let (image, initrd) = match self {
            Self::Kernel { image, initrd, .. } => (*image, *initrd),
            Self::Firmware { image } => (*image, None),
        };
        [Some(image), initrd].into_iter().flatten()
    }
}

/// How the vCPUs of a VM get physical CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// The VM's share of the CPUs in proportion to the other VMs': 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// The CPUs that it may use: bit n is the n-th of the board's list. Bits of CPUs that the board does not
    /// have count for nothing, but one that it has must remain.
    pub cpus: u64,
    /// Each vCPU owns a CPU, which no other vCPU uses.
    pub dedicated: bool,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self { weight: DEFAULT_WEIGHT, cpus: u64::MAX, dedicated: false }
    }
}

/// What to do when a VM has switched itself off, or has crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reaction {
    /// Leave it so.
    #[default]
    Stop,
    /// Start it again after a delay, which doubles from one time to the next up to [`MAX_BACKOFF`], and is
    /// the first one again once the VM has run for that long.
    Restart {
        /// The first delay in milliseconds, at most [`MAX_BACKOFF`].
        delay: u32,
    },
    /// Switch the machine off.
    PowerOff,
}

/// The colour in which the operator's terminal shows a VM's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    #[default]
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
    White,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// What the operator calls it: 1 to [`MAX_NAME`] ASCII letters, digits, `-`, `_` or `.`; unique in the
    /// bundle.
    pub name: String,
    /// Its instruction set.
    pub arch: Arch,
    /// How many vCPUs: 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Bytes of RAM: a multiple of [`MEMORY_GRANULE`], up to [`MAX_MEMORY`].
    pub memory: u64,
    /// What it boots.
    pub boot: BootSource,
    /// How it gets CPUs.
    pub scheduling: Scheduling,
    /// Start it with the machine.
    pub autostart: bool,
    /// What to do when its guest has switched it off.
    pub on_stop: Reaction,
    /// What to do when it has crashed.
    pub on_crash: Reaction,
    /// The colour of its name.
    pub colour: Colour,
}

impl VmSpec {
    /// A VM that starts with the machine and has nothing special about it.
    pub fn new(name: impl Into<String>, vcpus: u32, memory: u64, boot: BootSource) -> Self {
        Self {
            name: name.into(),
            arch: Arch::Aarch64,
            vcpus,
            memory,
            boot,
            scheduling: Scheduling::default(),
            autostart: true,
            on_stop: Reaction::default(),
            on_crash: Reaction::default(),
            colour: Colour::default(),
        }
    }
}

/// What to do when no VM runs any more because the last one has switched itself off or has crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WhenAllOff {
    /// Switch the machine off.
    #[default]
    PowerOff,
    /// Stay, for the operator to start others.
    Stay,
}

/// Where a blob lies and what it must hash to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BlobEntry {
    /// From the start of the payload area, which is the first 4 KiB boundary behind the manifest.
    offset: u64,
    len: u64,
    crc32: u32,
}

/// Everything in a bundle but the blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Manifest {
    blobs: Vec<BlobEntry>,
    vms: Vec<VmSpec>,
    when_all_off: WhenAllOff,
}

impl Manifest {
    /// Checks every bound that does not depend on where the blobs lie.
    fn validate(&self) -> Result<(), BundleError> {
        if self.vms.is_empty() || self.vms.len() > MAX_VMS {
            return Err(BundleError::VmCount { found: self.vms.len() });
        }
        if self.blobs.len() > MAX_BLOBS {
            return Err(BundleError::BlobCount { found: self.blobs.len() });
        }
        for (index, vm) in self.vms.iter().enumerate() {
            if !is_name(&vm.name) {
                return Err(BundleError::Name { vm: index });
            }
            if self.vms.iter().take(index).any(|earlier| earlier.name == vm.name) {
                return Err(BundleError::DuplicateName { name: vm.name.clone() });
            }
            self.validate_vm(vm).map_err(|error| BundleError::Vm { name: vm.name.clone(), error })?;
        }
        Ok(())
    }

    fn validate_vm(&self, vm: &VmSpec) -> Result<(), VmError> {
        if !(1..=MAX_VCPUS).contains(&vm.vcpus) {
            return Err(VmError::Vcpus { found: vm.vcpus });
        }
        if !(MEMORY_GRANULE..=MAX_MEMORY).contains(&vm.memory) || !vm.memory.is_multiple_of(MEMORY_GRANULE) {
            return Err(VmError::Memory { found: vm.memory });
        }
        if let BootSource::Kernel { append, .. } = &vm.boot {
            if append.len() > MAX_APPEND {
                return Err(VmError::AppendLength { found: append.len() });
            }
            if let Some(offset) = append.bytes().position(|byte| byte == 0) {
                return Err(VmError::AppendNul { offset });
            }
        }
        match vm.boot.blobs().find(|blob| blob.0 as usize >= self.blobs.len()) {
            Some(blob) => Err(VmError::NoSuchBlob { found: blob.0, count: self.blobs.len() }),
            None => Ok(()),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The fixed part at the start of the file.
struct Header {
    version: u32,
    manifest_len: u32,
    /// Length of the whole bundle. A boot loader may hand over more (it rounds up to pages); that is ignored.
    total_len: u64,
    manifest_crc32: u32,
}

impl Header {
    const LEN: usize = 32;
    /// The header's own CRC-32 covers what lies before it.
    const CRC_OFFSET: usize = 28;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.manifest_len.to_le_bytes());
        bytes.extend_from_slice(&self.total_len.to_le_bytes());
        bytes.extend_from_slice(&self.manifest_crc32.to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let truncated = || BundleError::Truncated { needed: Self::LEN as u64, found: bytes.len() as u64 };
        let mut fields = Fields(bytes);
        if fields.take().ok_or_else(truncated)? != MAGIC {
            return Err(BundleError::Magic);
        }
        let version = u32::from_le_bytes(fields.take().ok_or_else(truncated)?);
        if version != FORMAT_VERSION {
            return Err(BundleError::Version { found: version });
        }
        let header = Self {
            version,
            manifest_len: u32::from_le_bytes(fields.take().ok_or_else(truncated)?),
            total_len: u64::from_le_bytes(fields.take().ok_or_else(truncated)?),
            manifest_crc32: u32::from_le_bytes(fields.take().ok_or_else(truncated)?),
        };
        let expected = u32::from_le_bytes(fields.take().ok_or_else(truncated)?);
        let covered = bytes.get(..Self::CRC_OFFSET).ok_or_else(truncated)?;
        check_crc(Part::Header, covered, expected)?;
        Ok(header)
    }
}

/// Takes fixed-size fields off the front of a byte string.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

fn check_crc(part: Part, bytes: &[u8], expected: u32) -> Result<(), BundleError> {
    let found = crc32fast::hash(bytes);
    if found == expected { Ok(()) } else { Err(BundleError::Crc { part, expected, found }) }
}

/// `bytes[offset..offset + len]`, or `None` where that is not inside `bytes`.
fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    bytes.get(start..end)
}

/// A bundle that has been checked from end to end. It borrows its blobs from the file.
#[derive(Debug, Clone)]
pub struct Bundle<'a> {
    vms: Vec<VmSpec>,
    when_all_off: WhenAllOff,
    blobs: Vec<&'a [u8]>,
}

impl<'a> Bundle<'a> {
    /// Reads and checks a whole bundle. Bytes behind its end are ignored.
    ///
    /// # Errors
    /// The first thing that is wrong, with the value that was found.
    pub fn parse(file: &'a [u8]) -> Result<Self, BundleError> {
        let header = Header::decode(file)?;
        let bytes = slice(file, 0, header.total_len)
            .ok_or(BundleError::Truncated { needed: header.total_len, found: file.len() as u64 })?;
        if header.manifest_len as usize > MAX_MANIFEST {
            return Err(BundleError::ManifestLength { found: header.manifest_len as usize });
        }
        let manifest_end = (Header::LEN as u64).saturating_add(header.manifest_len.into());
        let manifest = slice(bytes, Header::LEN as u64, header.manifest_len.into())
            .ok_or(BundleError::Truncated { needed: manifest_end, found: header.total_len })?;
        check_crc(Part::Manifest, manifest, header.manifest_crc32)?;
        let (manifest, rest) =
            postcard::take_from_bytes::<Manifest>(manifest).map_err(BundleError::Manifest)?;
        if !rest.is_empty() {
            return Err(BundleError::ManifestTail { found: rest.len() });
        }
        manifest.validate()?;
        // With a manifest but no blob the payload area starts behind the end of the file.
        let payload_start = manifest_end.next_multiple_of(PAGE_SIZE).min(header.total_len);
        let payload =
            slice(bytes, payload_start, header.total_len.saturating_sub(payload_start)).unwrap_or_default();
        let blobs = Self::locate(payload, &manifest.blobs)?;
        Ok(Self { vms: manifest.vms, when_all_off: manifest.when_all_off, blobs })
    }

    /// The blobs that `entries` describe: in order, aligned, apart from each other, and intact.
    fn locate(payload: &'a [u8], entries: &[BlobEntry]) -> Result<Vec<&'a [u8]>, BundleError> {
        let mut free_from = 0;
        let mut blobs = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            if !entry.offset.is_multiple_of(PAGE_SIZE) || entry.offset < free_from {
                return Err(BundleError::BlobOffset { blob: index, found: entry.offset, free_from });
            }
            let blob = slice(payload, entry.offset, entry.len).ok_or(BundleError::BlobRange {
                blob: index,
                offset: entry.offset,
                len: entry.len,
                limit: payload.len() as u64,
            })?;
            check_crc(Part::Blob(index), blob, entry.crc32)?;
            free_from = entry.offset.saturating_add(entry.len);
            blobs.push(blob);
        }
        Ok(blobs)
    }

    /// What to do when no VM runs any more.
    pub fn when_all_off(&self) -> WhenAllOff {
        self.when_all_off
    }

    /// The VMs, in the order in which they were added.
    pub fn vms(&self) -> &[VmSpec] {
        &self.vms
    }

    /// A blob's bytes.
    ///
    /// # Errors
    /// [`VmError::NoSuchBlob`] for the id of another bundle; the ids in [`Self::vms`] always exist.
    pub fn blob(&self, id: BlobId) -> Result<&'a [u8], VmError> {
        self.blobs
            .get(id.0 as usize)
            .copied()
            .ok_or(VmError::NoSuchBlob { found: id.0, count: self.blobs.len() })
    }
}

/// Puts a bundle together.
#[derive(Debug, Clone, Default)]
pub struct BundleBuilder<'a> {
    blobs: Vec<&'a [u8]>,
    vms: Vec<VmSpec>,
    when_all_off: WhenAllOff,
}

impl<'a> BundleBuilder<'a> {
    /// An empty bundle.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. The same contents are stored once, so VMs may share a kernel.
    pub fn blob(&mut self, bytes: &'a [u8]) -> BlobId {
        let index = self.blobs.iter().position(|blob| *blob == bytes).unwrap_or_else(|| {
            self.blobs.push(bytes);
            self.blobs.len().saturating_sub(1)
        });
        BlobId(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Adds a VM.
    pub fn vm(&mut self, vm: VmSpec) -> &mut Self {
        self.vms.push(vm);
        self
    }

    /// Says what to do when no VM runs any more.
    pub fn when_all_off(&mut self, policy: WhenAllOff) -> &mut Self {
        self.when_all_off = policy;
        self
    }

    /// The finished file.
    ///
    /// # Errors
    /// What [`Bundle::parse`] would refuse.
    pub fn build(&self) -> Result<Vec<u8>, BundleError> {
        let mut payload = Vec::new();
        let mut blobs = Vec::with_capacity(self.blobs.len());
        for blob in &self.blobs {
            pad(&mut payload);
            blobs.push(BlobEntry {
                offset: payload.len() as u64,
                len: blob.len() as u64,
                crc32: crc32fast::hash(blob),
            });
            payload.extend_from_slice(blob);
        }
        let manifest = Manifest { blobs, vms: self.vms.clone(), when_all_off: self.when_all_off };
        manifest.validate()?;
        let manifest = postcard::to_allocvec(&manifest).map_err(BundleError::Manifest)?;
        let manifest_len = u32::try_from(manifest.len())
            .ok()
            .filter(|len| *len as usize <= MAX_MANIFEST)
            .ok_or(BundleError::ManifestLength { found: manifest.len() })?;

        let payload_start = Header::LEN.saturating_add(manifest.len()).next_multiple_of(PAGE_SIZE as usize);
        let header = Header {
            version: FORMAT_VERSION,
            manifest_len,
            total_len: (payload_start as u64).saturating_add(payload.len() as u64),
            manifest_crc32: crc32fast::hash(&manifest),
        };
        let mut file = header.encode();
        file.extend_from_slice(&manifest);
        pad(&mut file);
        file.extend_from_slice(&payload);
        Ok(file)
    }
}

/// Fills up to the next page with zeros.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(PAGE_SIZE as usize), 0);
}

/// The part of a bundle that a checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The header.
    Header,
    /// The manifest.
    Manifest,
    /// A blob, by index.
    Blob(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Manifest => f.write_str("manifest"),
            Self::Blob(index) => write!(f, "blob {index}"),
        }
    }
}

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleError {
    /// It does not start with [`MAGIC`].
    Magic,
    /// Another version of the format.
    Version {
        /// The version that the header names.
        found: u32,
    },
    /// It ends too early.
    Truncated {
        /// Bytes that there should be.
        needed: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// A checksum does not match: the file was damaged.
    Crc {
        /// What the checksum covers.
        part: Part,
        /// CRC-32 as recorded.
        expected: u32,
        /// CRC-32 of what is there.
        found: u32,
    },
    /// The manifest is longer than [`MAX_MANIFEST`].
    ManifestLength {
        /// Its length in bytes.
        found: usize,
    },
    /// The manifest cannot be decoded.
    Manifest(postcard::Error),
    /// The manifest has bytes that belong to nothing.
    ManifestTail {
        /// How many.
        found: usize,
    },
    /// No VM, or more than [`MAX_VMS`].
    VmCount {
        /// How many.
        found: usize,
    },
    /// More than [`MAX_BLOBS`] blobs.
    BlobCount {
        /// How many.
        found: usize,
    },
    /// A blob that is not on a page boundary, or inside the one before it.
    BlobOffset {
        /// Its index.
        blob: usize,
        /// Its offset in the payload area.
        found: u64,
        /// The end of the blob before it.
        free_from: u64,
    },
    /// A blob that does not lie within the bundle.
    BlobRange {
        /// Its index.
        blob: usize,
        /// Its offset in the payload area.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The length of the payload area.
        limit: u64,
    },
    /// A VM's name is empty, too long or has a character that a name may not have.
    Name {
        /// The VM's index.
        vm: usize,
    },
    /// Two VMs have the same name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A VM asks for what it cannot have.
    Vm {
        /// The VM's name.
        name: String,
        /// What is wrong.
        error: VmError,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => {
                write!(f, "this is not a bundle: it does not start with \"{}\"", MAGIC.escape_ascii())
            }
            Self::Version { found } => {
                write!(
                    f,
                    "the bundle has format version {found}, only version {FORMAT_VERSION} is understood"
                )
            }
            Self::Truncated { needed, found } => {
                write!(f, "the bundle is truncated: {needed} bytes are needed, {found} are there")
            }
            Self::Crc { part, expected, found } => {
                write!(
                    f,
                    "the bundle's {part} is corrupt: CRC-32 is {found:#010x} instead of {expected:#010x}"
                )
            }
            Self::ManifestLength { found } => {
                write!(f, "the bundle's manifest has {found} bytes, at most {MAX_MANIFEST} are possible")
            }
            Self::Manifest(error) => write!(f, "the bundle's manifest cannot be decoded: {error}"),
            Self::ManifestTail { found } => {
                write!(f, "the bundle's manifest is followed by {found} bytes that belong to nothing")
            }
            Self::VmCount { found } => write!(f, "the bundle has {found} VMs, 1 to {MAX_VMS} are possible"),
            Self::BlobCount { found } => {
                write!(f, "the bundle has {found} blobs, at most {MAX_BLOBS} are possible")
            }
            Self::BlobOffset { blob, found, free_from } => {
                write!(
                    f,
                    "blob {blob} of the bundle is at {found:#x}, not on a page boundary at or behind {free_from:#x}"
                )
            }
            Self::BlobRange { blob, offset, len, limit } => {
                write!(
                    f,
                    "blob {blob} of the bundle is {len:#x} bytes at {offset:#x}, its payload ends at {limit:#x}"
                )
            }
            Self::Name { vm } => {
                write!(
                    f,
                    "the name of VM {vm} is not 1 to {MAX_NAME} ASCII letters, digits, \"-\", \"_\" and \".\""
                )
            }
            Self::DuplicateName { name } => write!(f, "two VMs are named \"{name}\""),
            Self::Vm { name, error } => write!(f, "VM \"{name}\": {error}"),
        }
    }
}

impl core::error::Error for BundleError {}

/// Why a VM's description is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmError {
    /// No vCPU, or more than [`MAX_VCPUS`].
    Vcpus {
        /// How many.
        found: u32,
    },
    /// Too little or too much memory, or not a multiple of [`MEMORY_GRANULE`].
    Memory {
        /// How many bytes.
        found: u64,
    },
    /// The command line is longer than [`MAX_APPEND`].
    AppendLength {
        /// Its length in bytes.
        found: usize,
    },
    /// The command line has a NUL in it.
    AppendNul {
        /// Where.
        offset: usize,
    },
    /// A blob that the bundle does not have.
    NoSuchBlob {
        /// The index.
        found: u32,
        /// How many blobs there are.
        count: usize,
    },
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpus { found } => write!(f, "{found} vCPUs, 1 to {MAX_VCPUS} are possible"),
            Self::Memory { found } => write!(
                f,
                "{found:#x} bytes of memory, multiples of {MEMORY_GRANULE:#x} up to {MAX_MEMORY:#x} are possible"
            ),
            Self::AppendLength { found } => {
                write!(f, "the command line has {found} bytes, at most {MAX_APPEND} are possible")
            }
            Self::AppendNul { offset } => write!(f, "the command line has a NUL at byte {offset}"),
            Self::NoSuchBlob { found, count } => write!(f, "blob {found} of {count} does not exist"),
        }
    }
}

impl core::error::Error for VmError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(name: &str, boot: BootSource) -> VmSpec {
        VmSpec::new(name, 2, 256 * MIB, boot)
    }

    /// Two VMs that share a kernel; blobs of lengths on both sides of a page, and an empty one.
    fn sample() -> Vec<u8> {
        let kernel: Vec<u8> = (0..5000_u32).map(|n| (n * 7) as u8).collect();
        let (copy, firmware) = (kernel.clone(), vec![0x5a; 4096]);
        let mut builder = BundleBuilder::new();
        let image = builder.blob(&kernel);
        let initrd = Some(builder.blob(&[]));
        let append = String::from("console=ttyAMA0");
        let flash = builder.blob(&firmware);
        assert_eq!(builder.blob(&copy), image, "the same contents are stored once");
        builder
            .vm(spec("linux", BootSource::Kernel { image, initrd, append }))
            .vm(spec("u-boot", BootSource::Firmware { image: flash }));
        builder.build().unwrap()
    }

    /// What a bundle means, to compare two of them.
    fn meaning(bytes: &[u8]) -> Result<(Vec<VmSpec>, Vec<Vec<u8>>), BundleError> {
        let bundle = Bundle::parse(bytes)?;
        Ok((bundle.vms.clone(), bundle.blobs.iter().map(|blob| blob.to_vec()).collect()))
    }

    #[test]
    fn what_is_built_is_parsed() {
        let file = sample();
        let bundle = Bundle::parse(&file).unwrap();
        let [linux, uboot] = bundle.vms() else { panic!("{:?}", bundle.vms()) };
        assert_eq!((linux.name.as_str(), linux.vcpus, linux.memory), ("linux", 2, 256 * MIB));
        let BootSource::Kernel { image, initrd: Some(initrd), append } = &linux.boot else { panic!() };
        assert_eq!(bundle.blob(*image).unwrap().len(), 5000);
        assert_eq!(bundle.blob(*initrd).unwrap(), []);
        assert_eq!(append, "console=ttyAMA0");
        let BootSource::Firmware { image } = uboot.boot else { panic!() };
        assert_eq!(bundle.blob(image).unwrap(), [0x5a; 4096]);
        assert_eq!(bundle.blob(BlobId(3)), Err(VmError::NoSuchBlob { found: 3, count: 3 }));
        for blob in &bundle.blobs {
            assert_eq!((blob.as_ptr() as usize - file.as_ptr() as usize) % PAGE_SIZE as usize, 0);
        }
    }

    #[test]
    fn bytes_behind_the_end_are_ignored() {
        let mut file = sample();
        let expected = meaning(&file);
        file.resize(file.len() + 5000, 0xff);
        assert_eq!(meaning(&file), expected);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = sample();
        for len in 0..file.len() {
            let Err(BundleError::Truncated { found, .. }) = Bundle::parse(&file[..len]) else {
                panic!("{len}")
            };
            assert_eq!(found, len as u64);
        }
    }

    #[test]
    fn every_flipped_byte_is_an_error_or_padding() {
        let mut file = sample();
        let expected = meaning(&file).unwrap();
        let mut padding = 0;
        for offset in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                file[offset] ^= flip;
                if let Ok(found) = meaning(&file) {
                    assert_eq!(found, expected, "byte {offset:#x} xor {flip:#x} changes the meaning");
                    padding += 1;
                }
                file[offset] ^= flip;
            }
        }
        assert!((1..3 * 2 * PAGE_SIZE).contains(&padding), "{padding}");
    }

    #[test]
    fn the_builder_refuses_what_the_parser_would() {
        let kernel = BootSource::Kernel { image: BlobId(0), initrd: None, append: String::new() };
        let build = |vms: &[VmSpec]| {
            let mut builder = BundleBuilder::new();
            builder.blob(b"kernel");
            for vm in vms {
                builder.vm(vm.clone());
            }
            builder.build().map(|_| ())
        };
        let refused = |vm: VmSpec| match build(&[vm]) {
            Err(BundleError::Vm { error, .. }) => error,
            other => panic!("{other:?}"),
        };
        let good = spec("vm", kernel);
        assert_eq!(build(std::slice::from_ref(&good)), Ok(()));
        assert_eq!(build(&[]), Err(BundleError::VmCount { found: 0 }));
        assert_eq!(
            build(&[good.clone(), good.clone()]),
            Err(BundleError::DuplicateName { name: "vm".into() })
        );
        for name in ["", "two words", "n\u{fc}rnberg", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(build(&[spec(name, good.boot.clone())]), Err(BundleError::Name { vm: 0 }));
        }
        let many: Vec<_> = (0..=MAX_VMS).map(|n| spec(&n.to_string(), good.boot.clone())).collect();
        assert_eq!(build(&many), Err(BundleError::VmCount { found: MAX_VMS + 1 }));
        assert_eq!(build(&many[1..]), Ok(()));
        for vcpus in [0, MAX_VCPUS + 1, u32::MAX] {
            assert_eq!(refused(VmSpec { vcpus, ..good.clone() }), VmError::Vcpus { found: vcpus });
        }
        for memory in [0, MIB, 3 * MIB, MAX_MEMORY + MEMORY_GRANULE, u64::MAX] {
            assert_eq!(refused(VmSpec { memory, ..good.clone() }), VmError::Memory { found: memory });
        }
        let with_append =
            |append: String| spec("vm", BootSource::Kernel { image: BlobId(0), initrd: None, append });
        assert_eq!(build(&[with_append("x".repeat(MAX_APPEND))]), Ok(()));
        assert_eq!(refused(with_append("x".repeat(2048))), VmError::AppendLength { found: 2048 });
        assert_eq!(refused(with_append("quiet\0".into())), VmError::AppendNul { offset: 5 });
        let initrd = BootSource::Kernel { image: BlobId(0), initrd: Some(BlobId(1)), append: String::new() };
        assert_eq!(refused(spec("vm", initrd)), VmError::NoSuchBlob { found: 1, count: 1 });
    }

    /// A file with correct checksums whatever its manifest says: what an attacker would write.
    fn forge(manifest: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut body = manifest.to_vec();
        body.resize((Header::LEN + manifest.len()).next_multiple_of(4096) - Header::LEN, 0);
        body.extend_from_slice(payload);
        let mut file = Header {
            version: FORMAT_VERSION,
            manifest_len: manifest.len() as u32,
            total_len: (Header::LEN + body.len()) as u64,
            manifest_crc32: crc32fast::hash(manifest),
        }
        .encode();
        file.extend_from_slice(&body);
        file
    }

    #[test]
    fn blobs_lie_apart_and_inside() {
        let vm = spec("vm", BootSource::Firmware { image: BlobId(0) });
        let payload = [0; 0x3000];
        let parse = |ranges: &[(u64, u64)]| {
            let crc = |len: u64| crc32fast::hash(&vec![0; len.min(0x10000) as usize]);
            let blobs =
                ranges.iter().map(|&(offset, len)| BlobEntry { offset, len, crc32: crc(len) }).collect();
            let manifest =
                postcard::to_allocvec(&Manifest { blobs, vms: vec![vm.clone()], ..Manifest::default() })
                    .unwrap();
            Bundle::parse(&forge(&manifest, &payload)).map(|_| ())
        };
        assert_eq!(parse(&[(0, 0x1000), (0x1000, 0x2000)]), Ok(()));
        assert_eq!(
            parse(&[(0, 0x1001), (0x1000, 0x2000)]),
            Err(BundleError::BlobOffset { blob: 1, found: 0x1000, free_from: 0x1001 })
        );
        assert_eq!(
            parse(&[(0x800, 1)]),
            Err(BundleError::BlobOffset { blob: 0, found: 0x800, free_from: 0 })
        );
        for (offset, len) in [(0, 0x3001), (0x4000, 0), (0x3000, 1), (!0xfff, 0x2000), (0, u64::MAX)] {
            assert_eq!(
                parse(&[(offset, len)]),
                Err(BundleError::BlobRange { blob: 0, offset, len, limit: 0x3000 })
            );
        }
    }

    #[test]
    fn absurd_counts_are_refused() {
        let count = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(matches!(Bundle::parse(&forge(&count, &[])), Err(BundleError::Manifest(_))));
        let mut long = forge(&[], &[]);
        long.resize(MAX_MANIFEST + 4096, 0);
        let header = Header {
            version: FORMAT_VERSION,
            manifest_len: MAX_MANIFEST as u32 + 1,
            total_len: long.len() as u64,
            manifest_crc32: 0,
        };
        long[..Header::LEN].copy_from_slice(&header.encode());
        assert_eq!(
            Bundle::parse(&long).map(|_| ()),
            Err(BundleError::ManifestLength { found: MAX_MANIFEST + 1 })
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(Bundle::parse(&bytes).is_err());
        }

        #[test]
        fn no_manifest_makes_it_panic(
            manifest in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..96),
        ) {
            if let Ok(bundle) = Bundle::parse(&forge(&manifest, &[0; 8192])) {
                prop_assert!(bundle.vms().len() <= MAX_VMS);
            }
        }

        #[test]
        fn a_damaged_manifest_keeps_every_bound(offset in 0..120_usize, value in any::<u8>()) {
            let file = sample();
            let len = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
            let mut manifest = file[Header::LEN..Header::LEN + len].to_vec();
            let offset = offset % len;
            manifest[offset] = value;
            if let Ok(bundle) = Bundle::parse(&forge(&manifest, &file[4096..])) {
                for vm in bundle.vms() {
                    prop_assert!(is_name(&vm.name) && (1..=MAX_VCPUS).contains(&vm.vcpus));
                    prop_assert!(vm.boot.blobs().all(|blob| bundle.blob(blob).is_ok()));
                }
            }
        }
    }
}
