//! The virtio devices of a VM.

use std::{ops::Range, path::Path};

use polyvisor::{
    net::Mac,
    vm::bundle::{DeviceSpec, MAX_CID, MAX_PORTS, MAX_QUEUES, MIN_CID, SwitchSpec},
};

use super::{
    disk, net,
    table::{Table, number},
};
use crate::bundle::Device;

/// The devices of a VM, and where it is said what only one of them may have.
#[derive(Debug, Default)]
pub struct Devices {
    /// By slot: disks, then network devices, each in the order of the file, then what a VM has one of.
    pub list: Vec<Device>,
    /// The names of its disks.
    pub disks: Vec<(String, Range<usize>)>,
    /// The addresses of its network devices.
    pub macs: Vec<(Mac, Range<usize>)>,
    /// Its context id.
    pub cid: Option<(u32, Range<usize>)>,
}

/// Reads the devices of the VM `name`, on a machine with `switches`; paths start at `folder`.
pub fn read(table: &mut Table, name: &str, folder: &Path, switches: &[SwitchSpec]) -> Devices {
    let mut devices = Devices::default();
    for (entries, span) in table.tables("disk", "tables [[vm.disk]]") {
        let inner = table.nested(entries, span.clone());
        let span = inner.span("name").unwrap_or(span);
        if let Some((name, device)) = disk::read(inner, folder) {
            devices.disks.push((name, span));
            devices.list.push(device);
        }
    }
    for (position, (entries, span)) in table.tables("net", "tables [[vm.net]]").into_iter().enumerate() {
        let inner = table.nested(entries, span.clone());
        let span = inner.span("mac").unwrap_or(span);
        if let Some(net) = net::read(inner, name, position, switches) {
            devices.macs.push((net.mac, span));
            devices.list.push(Device::Plain(DeviceSpec::Net(net)));
        }
    }
    let mut plain = |device| devices.list.push(Device::Plain(device));
    for (key, device) in [("rng", DeviceSpec::Rng), ("balloon", DeviceSpec::Balloon)] {
        if table.flag(key, false) {
            plain(device);
        }
    }
    let cid = table.read("vsock", format_args!("a context id from {MIN_CID} to {MAX_CID}"), |value| {
        number(value).filter(|cid| (MIN_CID..=MAX_CID).contains(cid))
    });
    if let Some(cid) = cid {
        plain(DeviceSpec::Vsock { cid });
    }
    let ports = table.read("consoles", format_args!("1 to {MAX_PORTS}"), |value| {
        number(value).filter(|ports| (1..=MAX_PORTS).contains(ports))
    });
    if let Some(ports) = ports {
        plain(DeviceSpec::Console { ports });
    }
    devices.cid = cid.zip(table.span("vsock"));
    devices
}

/// How many queues, or pairs of queues, a device has.
pub fn queues(table: &mut Table) -> u16 {
    let queues = table.read("queues", format_args!("1 to {MAX_QUEUES}"), |value| {
        u16::try_from(number(value)?).ok().filter(|queues| (1..=MAX_QUEUES).contains(queues))
    });
    queues.unwrap_or(1)
}

/// Whether a device is there from the start.
pub fn plugged(table: &mut Table) -> bool {
    table.flag("plugged", true)
}
