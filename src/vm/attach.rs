//! From what a bundle says of a VM's virtio devices to the devices.

use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;

use super::bundle::{self, Bundle, DeviceSpec, DiskSource, DiskSpec, NetSpec};
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
use crate::storage::memory::MemoryDisk;
use crate::storage::{Disk, DiskError};

/// A VM's device, by what it is.
pub enum Attached {
    /// A disk.
    Disk(Arc<Block>),
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
            Self::Disk(block) => block.clone(),
            Self::Net(net) => net.clone(),
            Self::Rng(rng) => rng.clone(),
            Self::Balloon(balloon) => balloon.clone(),
            Self::Vsock(vsock) => vsock.clone(),
            Self::Console(console) => console.clone(),
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
    NoSuchDisk,
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
            Self::NoSuchDisk => f.write_str("the machine has no such disk"),
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

/// What the devices of a VM may need.
pub struct Surroundings<'v> {
    /// Where the VM comes from.
    pub bundle: &'static Bundle<'static>,
    /// The VM's memory.
    pub memory: &'v Arc<dyn Reclaim>,
    /// Something random that nobody else gets.
    pub seed: fn() -> Option<rng::Seed>,
    /// The other VMs' sockets.
    pub sockets: &'static Hub,
    /// Who uses the ports of the VM's console.
    pub operator: Arc<dyn console::Backend>,
}

/// Makes a device of a VM. `channel` makes its channel, with queues of the sizes that it is given.
///
/// # Errors
/// [`AttachError`].
pub fn attach(
    spec: &DeviceSpec,
    vm: &Surroundings<'_>,
    channel: impl FnOnce(&[u16]) -> Channel,
) -> Result<Attached, AttachError> {
    match spec {
        DeviceSpec::Disk(spec) => {
            let disk = disk(spec, vm.bundle)?;
            Ok(Attached::Disk(Block::new(channel(&Block::queues(spec.queues)), disk, &spec.name)))
        }
        DeviceSpec::Rng => {
            let seed = (vm.seed)().ok_or(AttachError::NoEntropy)?;
            Ok(Attached::Rng(Rng::new(channel(&rng::QUEUES), seed)))
        }
        DeviceSpec::Balloon => {
            Ok(Attached::Balloon(Balloon::new(channel(&balloon::QUEUES), vm.memory.clone())))
        }
        DeviceSpec::Net(spec) => net(spec, channel).map(Attached::Net),
        DeviceSpec::Vsock { cid } => {
            Ok(Attached::Vsock(Vsock::new(channel(&vsock::QUEUES), *cid, vm.sockets)))
        }
        DeviceSpec::Console { ports } => {
            let ports = *ports as usize;
            let channel = channel(&Console::queues(ports));
            Ok(Attached::Console(Console::new(channel, ports, vm.operator.clone())))
        }
    }
}

/// A network device at a port of its switch.
fn net(spec: &NetSpec, channel: impl FnOnce(&[u16]) -> Channel) -> Result<Arc<NetDevice>, AttachError> {
    let no_switch = AttachError::NoSuchSwitch(spec.switch);
    let switch = switches::get(spec.switch as usize).ok_or(no_switch)?;
    let config = NetConfig { mac: spec.mac, mtu: spec.mtu, pairs: spec.queues };
    let device = Arc::new(NetDevice::new(config, channel(&config.queues())));
    let port = PortConfig {
        name: spec.mac.to_string(),
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

/// What is behind a block device.
fn disk(spec: &DiskSpec, bundle: &'static Bundle<'static>) -> Result<Arc<dyn Disk>, AttachError> {
    match &spec.source {
        DiskSource::File { image, size } => {
            let image = bundle.blob(*image).map_err(AttachError::Bundle)?;
            let disk = MemoryDisk::new(image, *size, spec.read_only).map_err(AttachError::Disk)?;
            Ok(Arc::new(disk))
        }
        DiskSource::Physical { .. } => Err(AttachError::NoSuchDisk),
    }
}
