//! The files that a VM boots from.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use super::attach::Attached;
use super::bundle::{self, Bundle, DeviceSpec, FileSource, PartitionName, VmSpec};
use crate::storage::Disk;
use crate::storage::fs::{self, Contents, FsError};
use crate::storage::partition::{self, PartitionError};

/// A file, while a VM is loaded from it.
pub enum BootFile {
    /// In the bundle.
    Blob(&'static [u8]),
    /// Read from a disk.
    Read(Contents),
}

impl BootFile {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Blob(bytes) => bytes,
            Self::Read(contents) => contents.bytes(),
        }
    }

    /// Gets `file`, for the VM `spec` of `bundle`, whose device in each slot `attached` tells.
    ///
    /// # Errors
    /// [`BootFileError`].
    pub fn open<'a>(
        file: &FileSource,
        bundle: &'static Bundle<'static>,
        spec: &VmSpec,
        attached: impl Fn(usize) -> Option<&'a Attached>,
    ) -> Result<Self, BootFileError> {
        match file {
            FileSource::Blob(id) => bundle.blob(*id).map(Self::Blob).map_err(BootFileError::Bundle),
            FileSource::OnDisk { disk, partition, path } => {
                let failed = |error| BootFileError::Disk { disk: disk.clone(), path: path.clone(), error };
                let whole = find(disk, spec, attached).ok_or_else(|| failed(DiskFileError::NoSuchDisk))?;
                let part = part(whole, partition.as_ref()).map_err(failed)?;
                fs::read_file(&part, path).map(Self::Read).map_err(|error| failed(DiskFileError::Read(error)))
            }
        }
    }
}

/// The disk that a VM knows by this name.
fn find<'a>(
    name: &str,
    spec: &VmSpec,
    attached: impl Fn(usize) -> Option<&'a Attached>,
) -> Option<&'a Arc<dyn Disk>> {
    let is_it = |device: &DeviceSpec| matches!(device, DeviceSpec::Disk(disk) if disk.name == name);
    match attached(spec.devices.iter().position(is_it)?)? {
        Attached::Disk(block, _) => Some(block.disk()),
        _ => None,
    }
}

/// A part of a disk.
fn part(whole: &Arc<dyn Disk>, name: Option<&PartitionName>) -> Result<Arc<dyn Disk>, DiskFileError> {
    match name {
        None => Ok(whole.clone()),
        Some(name) => partition::find(whole, name).map_err(DiskFileError::Partition),
    }
}

/// Why a file on a disk cannot be had.
#[derive(Debug)]
pub enum DiskFileError {
    /// The VM has no such disk.
    NoSuchDisk,
    /// The partition.
    Partition(PartitionError),
    /// The file.
    Read(FsError),
}

/// A file that cannot be had.
#[derive(Debug)]
pub enum BootFileError {
    /// From the bundle.
    Bundle(bundle::VmError),
    /// From a disk.
    Disk {
        /// The disk, as the VM knows it.
        disk: String,
        /// The file's path there.
        path: String,
        /// Why.
        error: DiskFileError,
    },
}

impl fmt::Display for BootFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(error) => error.fmt(f),
            Self::Disk { disk, path, error } => {
                write!(f, "{path} cannot be read from the disk {disk}: ")?;
                match error {
                    DiskFileError::NoSuchDisk => f.write_str("the VM has no such disk"),
                    DiskFileError::Partition(error) => error.fmt(f),
                    DiskFileError::Read(error) => error.fmt(f),
                }
            }
        }
    }
}

impl core::error::Error for BootFileError {}
