//! Why a device's description is refused.

use core::fmt;

use super::{
    MAX_CID, MAX_DISK, MAX_GUARD, MAX_HARDWARE_NAME, MAX_PORTS, MAX_QUEUES, MAX_SERIAL, MAX_VLAN, MIN_CID,
    MIN_MTU,
};
use crate::net::Mac;
use crate::storage::SECTOR;
use crate::storage::partition::NameError;

/// Why a device's description is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceError {
    /// A disk's name is empty, too long or has a character that it may not have.
    DiskName,
    /// A disk that is smaller than its image or larger than [`MAX_DISK`], or has a part of a sector.
    DiskSize {
        /// The size in bytes.
        found: u64,
        /// The image's.
        least: u64,
    },
    /// A blob that the bundle does not have.
    NoSuchBlob {
        /// The index.
        found: u32,
        /// How many blobs there are.
        count: usize,
    },
    /// What names the physical disk is empty, too long or has a character that it may not have.
    PhysicalDisk,
    /// What names the partition cannot be such a name.
    Partition(NameError),
    /// No queue, or more than [`MAX_QUEUES`].
    Queues {
        /// How many.
        found: u16,
    },
    /// A switch that the bundle does not have.
    NoSuchSwitch {
        /// The index.
        found: u32,
        /// How many switches there are.
        count: usize,
    },
    /// An address that no single device may have.
    Mac {
        /// The address.
        found: Mac,
    },
    /// Another device has the address.
    DuplicateMac {
        /// The address.
        found: Mac,
    },
    /// No VLAN's number.
    Vlan {
        /// The number.
        found: u16,
    },
    /// A rate of nothing.
    Rate,
    /// More than [`MAX_GUARD`] addresses.
    Guard {
        /// How many.
        found: usize,
    },
    /// An MTU below [`MIN_MTU`].
    Mtu {
        /// In bytes.
        found: u16,
    },
    /// No VM's context id.
    Cid {
        /// The id.
        found: u32,
    },
    /// Another VM has the context id.
    DuplicateCid {
        /// The id.
        found: u32,
    },
    /// No port, or more than [`MAX_PORTS`].
    Ports {
        /// How many.
        found: u32,
    },
    /// A disk with the name of another one of the VM, or a second device where there can be one.
    Clash {
        /// The other one's slot.
        other: usize,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskName => write!(
                f,
                "the disk's name is not 1 to {MAX_SERIAL} printable ASCII characters without a space"
            ),
            Self::DiskSize { found, least } => write!(
                f,
                "a disk of {found:#x} bytes, multiples of {SECTOR} from {least:#x} to {MAX_DISK:#x} are possible"
            ),
            Self::NoSuchBlob { found, count } => write!(f, "blob {found} of {count} does not exist"),
            Self::PhysicalDisk => write!(
                f,
                "the physical disk's name is not 1 to {MAX_HARDWARE_NAME} printable ASCII characters without a space"
            ),
            Self::Partition(error) => error.fmt(f),
            Self::Queues { found } => write!(f, "{found} queues, 1 to {MAX_QUEUES} are possible"),
            Self::NoSuchSwitch { found, count } => write!(f, "switch {found} of {count} does not exist"),
            Self::Mac { found } => write!(f, "the MAC address {found} is zero or a group's"),
            Self::DuplicateMac { found } => write!(f, "the MAC address {found} is another device's too"),
            Self::Vlan { found } => write!(f, "VLAN {found}, 1 to {MAX_VLAN} are possible"),
            Self::Rate => f.write_str("a rate of 0 bytes a second, at least 1 is possible"),
            Self::Guard { found } => {
                write!(f, "a guard with {found} addresses, at most {MAX_GUARD} are possible")
            }
            Self::Mtu { found } => {
                write!(f, "an MTU of {found} bytes, {MIN_MTU} to {} are possible", u16::MAX)
            }
            Self::Cid { found } => write!(f, "context id {found}, {MIN_CID} to {MAX_CID} are possible"),
            Self::DuplicateCid { found } => write!(f, "context id {found} is another VM's too"),
            Self::Ports { found } => write!(f, "{found} ports, 1 to {MAX_PORTS} are possible"),
            Self::Clash { other } => {
                write!(
                    f,
                    "a disk of the same name, or the only device of its kind, is device {other} already"
                )
            }
        }
    }
}

impl core::error::Error for DeviceError {}
