//! The virtio devices of a VM and the switches between them, as a bundle describes them.

mod error;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use self::error::DeviceError;
use super::error::{BundleError, VmError};
use super::spec::{BlobId, is_name};
use crate::net::Mac;
use crate::storage::SECTOR;
pub use crate::storage::partition::PartitionName;

/// Longest name of a disk in bytes: what VIRTIO has room for in a serial number (VIRTIO 1.2, 5.2.6).
pub const MAX_SERIAL: usize = 20;
/// Most bytes of a disk in memory: what bounds the index of its parts.
pub const MAX_DISK: u64 = 1 << 40;
/// Most queues, or pairs of queues, that a device may have.
pub const MAX_QUEUES: u16 = 8;
/// Most ports that a console device may have.
pub const MAX_PORTS: u32 = 8;
/// Longest name of a physical disk or network card in bytes.
pub const MAX_HARDWARE_NAME: usize = 64;
/// Most switches that a bundle may describe.
pub const MAX_SWITCHES: usize = 64;
/// Most addresses that a network device's guard may allow.
pub const MAX_GUARD: usize = 16;
/// The last VLAN: 0 means none, and 4095 is reserved (IEEE 802.1Q, 9.6).
pub const MAX_VLAN: u16 = 4094;
/// Smallest MTU of a network device: the least that IPv4 allows (RFC 791, 3.2).
pub const MIN_MTU: u16 = 68;
/// The first context id that a VM may have: those below have meanings (VIRTIO 1.2, 5.10.4).
pub const MIN_CID: u32 = 3;
/// The last context id: the one behind means "any".
pub const MAX_CID: u32 = u32::MAX - 1;

/// A virtio device. The position in [`super::VmSpec::devices`] is its slot: number n is at the n-th transport of the
/// machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceSpec {
    /// A block device.
    Disk(DiskSpec),
    /// A network device.
    Net(NetSpec),
    /// A source of randomness.
    Rng,
    /// A memory balloon.
    Balloon,
    /// A socket device, by which VMs reach each other.
    Vsock {
        /// The VM's context id: [`MIN_CID`] to [`MAX_CID`]; unique in the bundle.
        cid: u32,
    },
    /// A console device.
    Console {
        /// How many ports: 1 to [`MAX_PORTS`]. Port 0 is the console.
        ports: u32,
    },
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// What the operator calls it, and the guest finds as its serial number: 1 to [`MAX_SERIAL`] printable ASCII
    /// characters, no space; unique in the VM.
    pub name: String,
    /// Where its sectors are.
    pub source: DiskSource,
    /// The guest cannot write it.
    pub read_only: bool,
    /// Request queues: 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// Plugged in when the VM starts; else the operator does it.
    pub plugged: bool,
}

/// Where a disk's sectors are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskSource {
    /// A file of the bundle. What the guest writes is kept in memory until the VM is destroyed.
    File {
        /// The image.
        image: BlobId,
        /// Bytes of the disk: whole sectors up to [`MAX_DISK`], at least the image's; more read as zero.
        size: u64,
    },
    /// A physical disk, or a part of one.
    Physical {
        /// `disk0`, `disk1`, ... or the disk's serial number: 1 to [`MAX_HARDWARE_NAME`] printable ASCII characters.
        disk: String,
        /// The part.
        partition: Option<PartitionName>,
    },
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetSpec {
    /// The switch that it is plugged into: an index into the bundle's.
    pub switch: u32,
    /// Its address: neither a group address nor zero; unique in the bundle.
    pub mac: Mac,
    /// The VLAN that it is a member of, untagged: 1 to [`MAX_VLAN`]. Without one, frames pass as they are, tags included.
    pub vlan: Option<u16>,
    /// Most bytes a second that it may send: not 0.
    pub rate: Option<u64>,
    /// It can only send from its own MAC address, and, if there are any here, from these IPv4 addresses: at
    /// most [`MAX_GUARD`].
    pub guard: Option<Vec<[u8; 4]>>,
    /// Pairs of queues: 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// Largest packet in bytes: at least [`MIN_MTU`].
    pub mtu: u16,
    /// Plugged in when the VM starts; else the operator does it.
    pub plugged: bool,
}

/// A switch that connects VMs, and maybe the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchSpec {
    /// What the operator calls it; unique among switches. A name as of a VM's.
    pub name: String,
    /// The physical network card that is plugged into it: `nic0`, `nic1`, ..., or its MAC address. No
    /// other switch has it.
    pub uplink: Option<String>,
}

impl DeviceSpec {
    /// Checks what concerns only this device, in a bundle with blobs of these lengths and so many switches.
    fn validate(&self, blobs: &[u64], switches: usize) -> Result<(), DeviceError> {
        match self {
            Self::Disk(disk) => disk.validate(blobs),
            Self::Net(net) => net.validate(switches),
            Self::Rng | Self::Balloon => Ok(()),
            Self::Vsock { cid } if !(MIN_CID..=MAX_CID).contains(cid) => {
                Err(DeviceError::Cid { found: *cid })
            }
            Self::Vsock { .. } => Ok(()),
            Self::Console { ports } if !(1..=MAX_PORTS).contains(ports) => {
                Err(DeviceError::Ports { found: *ports })
            }
            Self::Console { .. } => Ok(()),
        }
    }

    /// Whether a VM cannot have both.
    fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Disk(one), Self::Disk(other)) => one.name == other.name,
            (Self::Net(_), Self::Net(_)) => false,
            _ => core::mem::discriminant(self) == core::mem::discriminant(other),
        }
    }

    /// What no other device of the bundle may have too.
    pub(super) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Net(net) => Some(Identity::Mac(net.mac)),
            Self::Vsock { cid } => Some(Identity::Cid(*cid)),
            Self::Disk(_) | Self::Rng | Self::Balloon | Self::Console { .. } => None,
        }
    }
}

/// By what other VMs know a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// A network device.
    Mac(Mac),
    /// A socket device.
    Cid(u32),
}

impl DiskSpec {
    fn validate(&self, blobs: &[u64]) -> Result<(), DeviceError> {
        if !is_word(&self.name, MAX_SERIAL) {
            return Err(DeviceError::DiskName);
        }
        match &self.source {
            DiskSource::File { image, size } => {
                let least = *blobs
                    .get(image.0 as usize)
                    .ok_or(DeviceError::NoSuchBlob { found: image.0, count: blobs.len() })?;
                if !(least.max(SECTOR)..=MAX_DISK).contains(size) || !size.is_multiple_of(SECTOR) {
                    return Err(DeviceError::DiskSize { found: *size, least });
                }
            }
            DiskSource::Physical { disk, partition } => {
                if !is_word(disk, MAX_HARDWARE_NAME) {
                    return Err(DeviceError::PhysicalDisk);
                }
                partition.as_ref().map_or(Ok(()), PartitionName::validate).map_err(DeviceError::Partition)?;
            }
        }
        validate_queues(self.queues)
    }
}

impl NetSpec {
    fn validate(&self, switches: usize) -> Result<(), DeviceError> {
        if self.switch as usize >= switches {
            return Err(DeviceError::NoSuchSwitch { found: self.switch, count: switches });
        }
        if !is_station(self.mac) {
            return Err(DeviceError::Mac { found: self.mac });
        }
        if let Some(found) = self.vlan.filter(|vlan| !(1..=MAX_VLAN).contains(vlan)) {
            return Err(DeviceError::Vlan { found });
        }
        if self.rate == Some(0) {
            return Err(DeviceError::Rate);
        }
        if let Some(found) = self.guard.as_ref().map(Vec::len).filter(|len| *len > MAX_GUARD) {
            return Err(DeviceError::Guard { found });
        }
        if self.mtu < MIN_MTU {
            return Err(DeviceError::Mtu { found: self.mtu });
        }
        validate_queues(self.queues)
    }
}

fn validate_queues(found: u16) -> Result<(), DeviceError> {
    if (1..=MAX_QUEUES).contains(&found) { Ok(()) } else { Err(DeviceError::Queues { found }) }
}

/// Checks the devices of a VM, in a bundle with blobs of these lengths and so many switches.
pub(super) fn validate_devices(
    devices: &[DeviceSpec],
    blobs: &[u64],
    switches: usize,
) -> Result<(), VmError> {
    for (slot, device) in devices.iter().enumerate() {
        let clash = || devices.iter().take(slot).position(|earlier| earlier.clashes(device));
        device
            .validate(blobs, switches)
            .and_then(|()| clash().map_or(Ok(()), |other| Err(DeviceError::Clash { other })))
            .map_err(|error| VmError::Device { slot, error })?;
    }
    Ok(())
}

/// Checks the switches of a bundle.
pub(super) fn validate_switches(switches: &[SwitchSpec]) -> Result<(), BundleError> {
    if switches.len() > MAX_SWITCHES {
        return Err(BundleError::SwitchCount { found: switches.len() });
    }
    for (index, switch) in switches.iter().enumerate() {
        let earlier = || switches.iter().take(index);
        if !is_name(&switch.name) {
            return Err(BundleError::SwitchName { switch: index });
        }
        if earlier().any(|earlier| earlier.name == switch.name) {
            return Err(BundleError::DuplicateSwitch { name: switch.name.clone() });
        }
        let Some(uplink) = &switch.uplink else { continue };
        if !is_word(uplink, MAX_HARDWARE_NAME) {
            return Err(BundleError::Uplink { switch: switch.name.clone() });
        }
        if earlier().any(|earlier| earlier.uplink.as_ref() == Some(uplink)) {
            return Err(BundleError::DuplicateUplink { uplink: uplink.clone() });
        }
    }
    Ok(())
}

/// Whether `text` is 1 to `limit` printable ASCII characters, none of which is a space: a word, which an operator can
/// type.
pub fn is_word(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a single device may have this address (IEEE 802, 8.2): it is not a group's, and not zero.
pub fn is_station(mac: Mac) -> bool {
    let Mac([first, ..]) = mac;
    first & 1 == 0 && mac != Mac([0; 6])
}
