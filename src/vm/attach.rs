//! From what a bundle says of a VM's virtio devices to the devices.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use super::bundle::{self, Bundle, DeviceSpec, DiskSource, DiskSpec, NetSpec, PartitionName, VmSpec};
use super::switches;
use crate::devices::virtio::balloon::{self, Balloon};
use crate::devices::virtio::block::Block;
use crate::devices::virtio::console::{self, Console};
use crate::devices::virtio::net::{NetConfig, NetDevice};
use crate::devices::virtio::rng::{self, Rng};
use crate::devices::virtio::vsock::{self, Hub, Vsock};
use crate::devices::virtio::{Channel, Device};
use crate::mm::guest_memory::Reclaim;
use crate::net::Endpoint;
use crate::net::switch::{PlugError, PortConfig};
use crate::storage::claim::{Claim, Conflict, Extent};
use crate::storage::memory::MemoryDisk;
use crate::storage::partition::{self, PartitionError};
use crate::storage::window::Window;
use crate::storage::{Disk, DiskError};

/// A VM's device, by what it is.
pub enum Attached {
    /// A disk, and what it needs of one of the machine's.
    Disk(Arc<Block>, Option<Extent>),
    /// A network device.
    Net(Arc<NetDevice>),
    /// A source of randomness.
    Rng(Arc<Rng>),
    /// A memory balloon.
    Balloon(Arc<Balloon>),
    /// A way to other VMs.
    Vsock(Arc<Vsock>),
    /// A console.
    Console(Arc<Console>),
}

impl Attached {
    /// The device, as a transport wants it.
    pub fn device(&self) -> Arc<dyn Device> {
        match self {
            Self::Disk(block, _) => block.clone(),
            Self::Net(net) => net.clone(),
            Self::Rng(rng) => rng.clone(),
            Self::Balloon(balloon) => balloon.clone(),
            Self::Vsock(vsock) => vsock.clone(),
            Self::Console(console) => console.clone(),
        }
    }

    /// Claims what the device needs for itself alone while it is plugged in.
    ///
    /// # Errors
    /// [`Conflict`]: another device has it.
    pub fn claim(&self) -> Result<Option<Claim>, Conflict> {
        match self {
            Self::Disk(_, Some(extent)) => extent.claim().map(Some),
            _ => Ok(None),
        }
    }

    /// Lets go of what others know of the device, which is not plugged in any more.
    pub fn detach(&self) {
        if let Self::Net(net) = self {
            net.connect(None);
        }
    }
}

/// A device that cannot be made.
#[derive(Debug)]
pub enum AttachError {
    /// The file behind a disk.
    Bundle(bundle::VmError),
    /// The disk.
    Disk(DiskError),
    /// There is no such physical disk.
    NoSuchDisk(String),
    /// There is no such partition.
    Partition {
        /// The physical disk.
        disk: String,
        /// The partition.
        name: PartitionName,
        /// Why not.
        error: PartitionError,
    },
    /// Another device has what this one needs.
    InUse {
        /// What it needs.
        what: String,
        /// Who has it.
        error: Conflict,
    },
    /// There is no such switch.
    NoSuchSwitch(u32),
    /// The port of a network device.
    Plug(PlugError),
    /// The machine has no source of randomness.
    NoEntropy,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
            Self::NoSuchDisk(name) => write!(f, "the machine has no disk {name}"),
            Self::Partition { disk, name, error } => write!(f, "partition {name} of {disk}: {error}"),
            Self::InUse { what, error } => write!(f, "{what} is in use: {error}"),
            Self::NoSuchSwitch(index) => write!(f, "there is no switch {index}"),
            Self::Plug(error) => error.fmt(f),
            Self::NoEntropy => f.write_str("the machine has no source of randomness"),
        }
    }
}

impl core::error::Error for AttachError {}

/// Whether a device is plugged in when its VM starts.
pub fn is_plugged(spec: &DeviceSpec) -> bool {
    match spec {
        DeviceSpec::Disk(disk) => disk.plugged,
        DeviceSpec::Net(net) => net.plugged,
        DeviceSpec::Rng | DeviceSpec::Balloon | DeviceSpec::Vsock { .. } | DeviceSpec::Console { .. } => true,
    }
}

/// Where the sectors of a disk are, in few columns.
pub fn backend(spec: &DiskSpec) -> String {
    match &spec.source {
        DiskSource::File { .. } => String::from("memory"),
        DiskSource::Physical { disk, partition: None } => disk.clone(),
        DiskSource::Physical { disk, partition: Some(name) } => format!("{disk}/{name}"),
    }
}

/// What a network device's port of its switch is called: `number` counts those of the VM.
pub fn port_name(vm: &VmSpec, number: usize) -> String {
    format!("{}.{number}", vm.name)
}

/// A VM whose devices are made.
pub struct Site<'a> {
    /// The VM.
    pub vm: &'a VmSpec,
    /// What it is part of.
    pub bundle: &'static Bundle<'static>,
    /// Its memory.
    pub memory: Arc<dyn Reclaim>,
    /// Something random that nobody else gets.
    pub seed: fn() -> Option<rng::Seed>,
    /// The machine's disk of this name.
    pub disk: fn(&str) -> Option<Arc<dyn Disk>>,
    /// The other VMs' sockets.
    pub sockets: &'static Hub,
    /// Who uses the ports of the VM's console.
    pub operator: Arc<dyn console::Backend>,
}

impl Site<'_> {
    /// Makes the device in this slot. `channel` makes its channel, with queues of the sizes that it is given.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(
        &self,
        slot: usize,
        spec: &DeviceSpec,
        channel: impl FnOnce(&[u16]) -> Channel,
    ) -> Result<Attached, AttachError> {
        match spec {
            DeviceSpec::Disk(spec) => {
                let (disk, extent) = self.disk(spec)?;
                Ok(Attached::Disk(Block::new(channel(&Block::queues(spec.queues)), disk, &spec.name), extent))
            }
            DeviceSpec::Rng => {
                let seed = (self.seed)().ok_or(AttachError::NoEntropy)?;
                Ok(Attached::Rng(Rng::new(channel(&rng::QUEUES), seed)))
            }
            DeviceSpec::Balloon => {
                Ok(Attached::Balloon(Balloon::new(channel(&balloon::QUEUES), self.memory.clone())))
            }
            DeviceSpec::Net(spec) => {
                let earlier = self.vm.devices.iter().take(slot);
                let number = earlier.filter(|device| matches!(device, DeviceSpec::Net(_))).count();
                self.net(spec, number, channel).map(Attached::Net)
            }
            DeviceSpec::Vsock { cid } => {
                Ok(Attached::Vsock(Vsock::new(channel(&vsock::QUEUES), *cid, self.sockets)))
            }
            DeviceSpec::Console { ports } => {
                let ports = *ports as usize;
                let channel = channel(&Console::queues(ports));
                Ok(Attached::Console(Console::new(channel, ports, self.operator.clone())))
            }
        }
    }

    /// A network device at a port of its switch.
    fn net(
        &self,
        spec: &NetSpec,
        number: usize,
        channel: impl FnOnce(&[u16]) -> Channel,
    ) -> Result<Arc<NetDevice>, AttachError> {
        let no_switch = AttachError::NoSuchSwitch(spec.switch);
        let switch = switches::get(spec.switch as usize).ok_or(no_switch)?;
        let config = NetConfig { mac: spec.mac, mtu: spec.mtu, pairs: spec.queues };
        let device = Arc::new(NetDevice::new(config, channel(&config.queues())));
        let port = PortConfig {
            name: port_name(self.vm, number),
            mac: Some(spec.mac),
            vlan: spec.vlan,
            rate: spec.rate,
            guard: spec.guard.clone(),
            trusted: false,
        };
        let endpoint: Arc<dyn Endpoint> = device.clone();
        device.connect(Some(switch.plug(port, Arc::downgrade(&endpoint)).map_err(AttachError::Plug)?));
        Ok(device)
    }

    /// What is behind a block device, and what that needs of one of the machine's disks.
    fn disk(&self, spec: &DiskSpec) -> Result<(Arc<dyn Disk>, Option<Extent>), AttachError> {
        match &spec.source {
            DiskSource::File { image, size } => {
                let image = self.bundle.blob(*image).map_err(AttachError::Bundle)?;
                let disk = MemoryDisk::new(image, *size, spec.read_only).map_err(AttachError::Disk)?;
                Ok((Arc::new(disk), None))
            }
            DiskSource::Physical { disk: name, partition } => {
                let disk = (self.disk)(name).ok_or_else(|| AttachError::NoSuchDisk(name.clone()))?;
                let sectors = match partition {
                    None => 0..disk.geometry().sectors,
                    Some(partition) => partition::locate(&*disk, partition).map_err(|error| {
                        AttachError::Partition { disk: name.clone(), name: partition.clone(), error }
                    })?,
                };
                let window = Window::new(disk.clone(), sectors.clone(), spec.read_only);
                let window = window.map_err(AttachError::Disk)?;
                let writes = !window.geometry().read_only;
                let owner = format!("disk {} of VM {}", spec.name, self.vm.name);
                Ok((Arc::new(window), Some(Extent { disk, sectors, writes, owner })))
            }
        }
    }
}
