//! The VMs' virtio devices and the switches in the operator's hands.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::net::switch::{Cause, Counters, StationStatus};
use crate::storage::SECTOR;
use crate::vm::attach::{self, Attached};
use crate::vm::bundle::{Bundle, DeviceSpec, DiskSource, DiskSpec, NetSpec, SwitchSpec, VmSpec};
use crate::vm::instance::Vm;
use crate::vm::operator::{
    BalloonStatistics, BalloonStatus, DeviceOrder, DiskMode, DiskStatus, LearnedAddress, NetStatus,
    PortStatus, Refusal, SwitchStatus, Traffic,
};
use crate::vm::switches;

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// The disks of a VM, which need not exist now.
pub fn disks(spec: &VmSpec, vm: Option<&Vm>) -> Vec<DiskStatus> {
    let status = |slot: usize, disk: &DiskSpec| {
        let block = vm.and_then(|vm| match vm.devices().attached(slot)? {
            Attached::Disk(block, _) => Some(block.disk()),
            _ => None,
        });
        let geometry = block.map(|disk| disk.geometry());
        DiskStatus {
            name: disk.name.clone(),
            slot,
            plugged: vm.is_some_and(|vm| vm.devices().is_plugged(slot)),
            backend: attach::backend(disk),
            size: match (&disk.source, geometry) {
                (_, Some(geometry)) => Some(geometry.sectors.saturating_mul(SECTOR)),
                (DiskSource::File { size, .. }, None) => Some(*size),
                (DiskSource::Physical { .. }, None) => None,
            },
            mode: match &disk.source {
                _ if disk.read_only || geometry.is_some_and(|geometry| geometry.read_only) => {
                    DiskMode::ReadOnly
                }
                DiskSource::File { .. } => DiskMode::CopyOnWrite,
                DiskSource::Physical { .. } => DiskMode::ReadWrite,
            },
            counters: block.map(|disk| disk.counters()).unwrap_or_default(),
        }
    };
    let disks = spec.devices.iter().enumerate().filter_map(|(slot, device)| match device {
        DeviceSpec::Disk(disk) => Some(status(slot, disk)),
        _ => None,
    });
    disks.collect()
}

/// The network devices of a VM, which need not exist now.
pub fn nets(spec: &VmSpec, vm: Option<&Vm>, bundle: &Bundle<'_>) -> Vec<NetStatus> {
    let status = |slot: usize, number: usize, net: &NetSpec| {
        let device = vm.and_then(|vm| match vm.devices().attached(slot)? {
            Attached::Net(net) => Some(net),
            _ => None,
        });
        let index = net.switch as usize;
        let name = attach::port_name(spec, number);
        let ports = switches::get(index).map(|switch| switch.ports()).unwrap_or_default();
        let port = ports.iter().find(|port| port.config.name == name);
        NetStatus {
            slot,
            plugged: vm.is_some_and(|vm| vm.devices().is_plugged(slot)),
            link: device.is_some_and(|device| device.link()),
            switch: bundle.switches().get(index).map_or_else(String::new, |switch| switch.name.clone()),
            mac: device.map_or(net.mac, |device| device.mac()),
            vlan: net.vlan,
            traffic: port.map(|port| traffic(&port.counters)).unwrap_or_default(),
        }
    };
    let nets = spec.devices.iter().enumerate().filter_map(|(slot, device)| match device {
        DeviceSpec::Net(net) => Some((slot, net)),
        _ => None,
    });
    nets.enumerate().map(|(number, (slot, net))| status(slot, number, net)).collect()
}

fn traffic(counters: &Counters) -> Traffic {
    Traffic {
        frames_sent: counters.sent,
        bytes_sent: counters.sent_bytes,
        frames_received: counters.delivered,
        bytes_received: counters.delivered_bytes,
        dropped: counters.drops.iter().copied().fold(0, u64::saturating_add),
    }
}

/// The balloon of a VM. Its guest is asked for new statistics, which are there the next time.
pub fn balloon(vm: &Vm) -> Option<BalloonStatus> {
    let balloon = vm.devices().balloon()?;
    let report = balloon.report();
    balloon.ask_for_statistics();
    let [swapped_in, swapped_out, major_faults, minor_faults, free, total, available, caches, ..] =
        report.statistics.0;
    Some(BalloonStatus {
        target: report.target,
        actual: report.inside,
        returned: vm.memory().returned(),
        statistics: BalloonStatistics {
            free,
            available,
            total,
            caches,
            swapped_in,
            swapped_out,
            major_faults,
            minor_faults,
        },
    })
}

/// The switches of a bundle.
pub fn switches(bundle: &Bundle<'_>) -> Vec<SwitchStatus> {
    let status = |(index, spec): (usize, &SwitchSpec)| {
        let switch = switches::get(index);
        let ports = switch.map(|switch| switch.ports()).unwrap_or_default();
        let stations = switch.map(|switch| switch.stations()).unwrap_or_default();
        SwitchStatus {
            name: spec.name.clone(),
            uplink: spec.uplink.clone(),
            ports: ports
                .into_iter()
                .map(|port| PortStatus {
                    traffic: traffic(&port.counters),
                    drops: Cause::ALL.iter().map(|(_, name)| *name).zip(port.counters.drops).collect(),
                    owner: port.config.name,
                    vlan: port.config.vlan,
                })
                .collect(),
            addresses: stations
                .into_iter()
                .map(|StationStatus { mac, vlan, port, age }| LearnedAddress {
                    mac,
                    vlan,
                    owner: port,
                    age: u64::from(age) * SECOND,
                })
                .collect(),
        }
    };
    bundle.switches().iter().enumerate().map(status).collect()
}

/// Changes a device of a VM.
///
/// # Errors
/// [`Refusal`].
pub fn carry_out(vm: &Vm, order: DeviceOrder) -> Result<(), Refusal> {
    let devices = vm.devices();
    let refuse = |why: &str| Err(Refusal(format!("VM {} {why}", vm.name())));
    match order {
        DeviceOrder::Plug(slot) | DeviceOrder::Unplug(slot) if devices.attached(slot).is_none() => {
            refuse(&format!("has no device for slot {slot}"))
        }
        DeviceOrder::Plug(slot) if devices.is_plugged(slot) => {
            refuse(&format!("has the device in slot {slot} already"))
        }
        DeviceOrder::Plug(slot) => devices.plug(slot).map_err(|error| Refusal(error.to_string())),
        DeviceOrder::Unplug(slot) if !devices.is_plugged(slot) => {
            refuse(&format!("has nothing in slot {slot}"))
        }
        DeviceOrder::Unplug(slot) => {
            devices.unplug(slot);
            Ok(())
        }
        DeviceOrder::Link(slot, up) => match devices.attached(slot) {
            Some(Attached::Net(net)) => {
                net.set_link(up);
                Ok(())
            }
            _ => refuse(&format!("has no network device for slot {slot}")),
        },
        DeviceOrder::Balloon(bytes) => match devices.balloon() {
            Some(balloon) => {
                balloon.set_target(bytes);
                Ok(())
            }
            None => refuse("has no balloon"),
        },
    }
}
