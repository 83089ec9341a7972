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

mod device;
mod error;
mod spec;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use self::device::*;
use self::device::{Identity, validate_switches};
pub use self::error::{BundleError, Part, VmError};
pub use self::spec::*;
use crate::mm::addr::{MIB, PAGE_SIZE};

/// What every bundle starts with.
pub const MAGIC: [u8; 8] = *b"POLYVISR";
/// The format that this module reads and writes. A manifest's encoding is not self-describing, so any change
/// of [`Manifest`] is a new version.
pub const FORMAT_VERSION: u32 = 6;

/// Most bytes that a manifest may have.
pub const MAX_MANIFEST: usize = MIB as usize;
/// Most VMs that a bundle may describe.
pub const MAX_VMS: usize = 64;
/// Most blobs that a bundle may carry.
pub const MAX_BLOBS: usize = 4 * MAX_VMS;

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
    switches: Vec<SwitchSpec>,
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
        validate_switches(&self.switches)?;
        let blobs: Vec<u64> = self.blobs.iter().map(|blob| blob.len).collect();
        let mut identities = BTreeSet::new();
        for (index, vm) in self.vms.iter().enumerate() {
            if !is_name(&vm.name) {
                return Err(BundleError::Name { vm: index });
            }
            if self.vms.iter().take(index).any(|earlier| earlier.name == vm.name) {
                return Err(BundleError::DuplicateName { name: vm.name.clone() });
            }
            vm.validate(&blobs, self.switches.len())
                .and_then(|()| Self::take_identities(vm, &mut identities))
                .map_err(|error| BundleError::Vm { name: vm.name.clone(), error })?;
        }
        Ok(())
    }

    /// Adds to `taken` by what other VMs know the devices of `vm`, all of which must be new.
    fn take_identities(vm: &VmSpec, taken: &mut BTreeSet<Identity>) -> Result<(), VmError> {
        for (slot, device) in vm.devices.iter().enumerate() {
            let Some(identity) = device.identity() else { continue };
            if !taken.insert(identity) {
                let error = match identity {
                    Identity::Mac(found) => DeviceError::DuplicateMac { found },
                    Identity::Cid(found) => DeviceError::DuplicateCid { found },
                };
                return Err(VmError::Device { slot, error });
            }
        }
        Ok(())
    }
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
    switches: Vec<SwitchSpec>,
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
        Ok(Self {
            vms: manifest.vms,
            switches: manifest.switches,
            when_all_off: manifest.when_all_off,
            blobs,
        })
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

    /// The switches; [`NetSpec::switch`] is an index into these.
    pub fn switches(&self) -> &[SwitchSpec] {
        &self.switches
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
    switches: Vec<SwitchSpec>,
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

    /// Adds a switch, and tells its index.
    pub fn switch(&mut self, switch: SwitchSpec) -> u32 {
        self.switches.push(switch);
        u32::try_from(self.switches.len().saturating_sub(1)).unwrap_or(u32::MAX)
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
        let manifest = Manifest {
            blobs,
            vms: self.vms.clone(),
            switches: self.switches.clone(),
            when_all_off: self.when_all_off,
        };
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
