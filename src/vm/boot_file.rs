//! The files that a VM boots from.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;

use super::attach::Attached;
use super::bundle::{self, Bundle, DeviceSpec, FileSource, PartitionName, VmSpec};
use crate::storage::Disk;
use crate::storage::fs::{self, Contents, FsError};

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

    /// Gets `file`, for the VM `spec` of `bundle`, whose devices are `attached` in the order of its slots.
    ///
    /// # Errors
    /// [`BootFileError`].
    pub fn open(
        file: &FileSource,
        bundle: &'static Bundle<'static>,
        spec: &VmSpec,
        attached: &[Attached],
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
fn find<'a>(name: &str, spec: &VmSpec, attached: &'a [Attached]) -> Option<&'a Arc<dyn Disk>> {
    spec.devices.iter().zip(attached).find_map(|(device, attached)| match (device, attached) {
        (DeviceSpec::Disk(disk), Attached::Disk(block)) if disk.name == name => Some(block.disk()),
        _ => None,
    })
}
