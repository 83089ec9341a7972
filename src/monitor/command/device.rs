//! Commands for devices and switches.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Failure, Outcome, resolve};
use crate::monitor::report::{Column, Report, Table, Value};
use crate::vm::operator::{
    BalloonStatistics, DeviceOrder, DiskMode, DiskStatus, NetStatus, Operator, PortStatus, SwitchStatus,
    Traffic,
};

type Answer = Result<Outcome, Failure>;

/// What `disk` takes.
pub const DISK: &str = "[VM | plug|unplug VM NAME]";
/// What `net` takes.
pub const NET: &str = "[VM | plug|unplug|link VM N]";

fn answer(report: Report) -> Answer {
    Ok(Outcome::Report(report))
}

fn order(operator: &dyn Operator, vm: usize, order: DeviceOrder) -> Answer {
    operator.order_device(vm, order)?;
    answer(Report::Done)
}

/// The numbers of the VMs that `words` name: one, or all if there is no word.
fn some_vms(operator: &dyn Operator, words: &[&str]) -> Result<Vec<usize>, Failure> {
    match words {
        [] => Ok((0..operator.vms().len()).collect()),
        _ => resolve::vms(operator, words),
    }
}

pub fn disk(operator: &dyn Operator, words: &[&str]) -> Answer {
    let make = match *words {
        [] | [_] => return answer(Report::Table(disks(operator, &some_vms(operator, words)?))),
        ["plug", _, _] => DeviceOrder::Plug,
        ["unplug", _, _] => DeviceOrder::Unplug,
        _ => return Err(Failure(format!("expected: disk {DISK}"))),
    };
    let [_, vm, name] = *words else { return Err(Failure(format!("expected: disk {DISK}"))) };
    let vm = resolve::vm(operator, vm)?;
    let slot = resolve::disk(operator, vm, name)?;
    order(operator, vm, make(slot))
}

/// The disks of these VMs.
pub fn disks(operator: &dyn Operator, vms: &[usize]) -> Table {
    const COLUMNS: &[Column; 14] = &[
        Column::new("vm", "VM"),
        Column::new("name", "NAME"),
        Column::json("slot"),
        Column::new("plugged", "IN"),
        Column::new("size", "SIZE"),
        Column::new("mode", "MODE"),
        Column::new("requests", "REQUESTS"),
        Column::new("bytes", "BYTES"),
        Column::new("errors", "ERRORS"),
        Column::json("reads"),
        Column::json("writes"),
        Column::json("flushes"),
        Column::json("discards"),
        Column::new("backend", "BACKEND"),
    ];
    let row = |vm: Value, disk: &DiskStatus| {
        let counters = &disk.counters;
        let requests = [counters.reads, counters.writes, counters.flushes, counters.discards];
        let sectors = counters.sectors_read.saturating_add(counters.sectors_written);
        [
            vm,
            Value::text(disk.name.clone()),
            Value::Count(disk.slot as u64),
            Value::Flag(disk.plugged),
            disk.size.map_or(Value::Absent, Value::Bytes),
            Value::text(mode(disk.mode)),
            Value::Count(requests.into_iter().fold(0, u64::saturating_add)),
            Value::Bytes(sectors.saturating_mul(crate::storage::SECTOR)),
            Value::Count(counters.errors),
            Value::Count(counters.reads),
            Value::Count(counters.writes),
            Value::Count(counters.flushes),
            Value::Count(counters.discards),
            Value::text(disk.backend.clone()),
        ]
    };
    let rows = vms.iter().flat_map(|&vm| {
        let disks = operator.disks(vm);
        disks.into_iter().map(move |disk| (vm, disk))
    });
    Table::new(COLUMNS, rows.map(|(vm, disk)| row(name(operator, vm), &disk)))
}

fn name(operator: &dyn Operator, vm: usize) -> Value {
    let vms = operator.vms();
    vms.get(vm).map_or(Value::Absent, |status| Value::Name(status.name.clone(), status.colour))
}

fn mode(mode: DiskMode) -> &'static str {
    match mode {
        DiskMode::ReadOnly => "read-only",
        DiskMode::CopyOnWrite => "copy-on-write",
        DiskMode::ReadWrite => "read-write",
    }
}

pub fn net(operator: &dyn Operator, words: &[&str]) -> Answer {
    let (vm, number, make): (_, _, fn(usize) -> DeviceOrder) = match *words {
        [] | [_] => return answer(Report::Table(nets(operator, &some_vms(operator, words)?))),
        ["plug", vm, number] => (vm, number, DeviceOrder::Plug),
        ["unplug", vm, number] => (vm, number, DeviceOrder::Unplug),
        ["link", vm, number, "up"] => (vm, number, |slot| DeviceOrder::Link(slot, true)),
        ["link", vm, number, "down"] => (vm, number, |slot| DeviceOrder::Link(slot, false)),
        ["link", ..] => return Err(Failure("expected: net link VM N up|down".into())),
        _ => return Err(Failure(format!("expected: net {NET}"))),
    };
    let vm = resolve::vm(operator, vm)?;
    let slot = resolve::net(operator, vm, number)?;
    order(operator, vm, make(slot))
}

/// The network devices of these VMs.
pub fn nets(operator: &dyn Operator, vms: &[usize]) -> Table {
    const COLUMNS: &[Column; 13] = &[
        Column::new("vm", "VM"),
        Column::new("number", "N"),
        Column::json("slot"),
        Column::json("plugged"),
        Column::new("link", "LINK"),
        Column::new("switch", "SWITCH"),
        Column::new("vlan", "VLAN"),
        Column::new("mac", "MAC"),
        Column::new("frames_sent", "SENT"),
        Column::json("bytes_sent"),
        Column::new("frames_received", "RECEIVED"),
        Column::json("bytes_received"),
        Column::new("dropped", "DROPPED"),
    ];
    let row = |vm: Value, number: usize, net: &NetStatus| {
        let link = match (net.plugged, net.link) {
            (false, _) => "out",
            (true, false) => "down",
            (true, true) => "up",
        };
        let [sent, bytes_sent, received, bytes_received, dropped] = traffic(&net.traffic);
        [
            vm,
            Value::Count(number as u64),
            Value::Count(net.slot as u64),
            Value::Flag(net.plugged),
            Value::text(link),
            Value::text(net.switch.clone()),
            vlan(net.vlan),
            Value::text(net.mac.to_string()),
            sent,
            bytes_sent,
            received,
            bytes_received,
            dropped,
        ]
    };
    let rows = vms.iter().flat_map(|&vm| {
        let nets = operator.nets(vm);
        nets.into_iter().enumerate().map(move |(number, net)| (vm, number, net))
    });
    Table::new(COLUMNS, rows.map(|(vm, number, net)| row(name(operator, vm), number, &net)))
}

fn vlan(vlan: Option<u16>) -> Value {
    vlan.map_or(Value::Absent, |vlan| Value::Count(vlan.into()))
}

fn traffic(traffic: &Traffic) -> [Value; 5] {
    let Traffic { frames_sent, bytes_sent, frames_received, bytes_received, dropped } = *traffic;
    [
        Value::Count(frames_sent),
        Value::Bytes(bytes_sent),
        Value::Count(frames_received),
        Value::Bytes(bytes_received),
        Value::Count(dropped),
    ]
}

pub fn switch(operator: &dyn Operator, words: &[&str]) -> Answer {
    let switches = operator.switches();
    match words.first() {
        None => answer(Report::Table(overview(&switches))),
        Some(word) => resolve::switch(&switches, word).map(|switch| Outcome::Report(details(switch))),
    }
}

fn overview(switches: &[SwitchStatus]) -> Table {
    const COLUMNS: &[Column; 6] = &[
        Column::new("name", "NAME"),
        Column::new("uplink", "UPLINK"),
        Column::new("ports", "PORTS"),
        Column::new("addresses", "ADDRESSES"),
        Column::new("frames", "FRAMES"),
        Column::new("dropped", "DROPPED"),
    ];
    let sum = |switch: &SwitchStatus, of: fn(&Traffic) -> u64| {
        switch.ports.iter().map(|port| of(&port.traffic)).fold(0, u64::saturating_add)
    };
    let row = |switch: &SwitchStatus| {
        [
            Value::text(switch.name.clone()),
            switch.uplink.clone().map_or(Value::Absent, Value::text),
            Value::Count(switch.ports.len() as u64),
            Value::Count(switch.addresses.len() as u64),
            Value::Count(sum(switch, |traffic| traffic.frames_sent)),
            Value::Count(sum(switch, |traffic| traffic.dropped)),
        ]
    };
    Table::new(COLUMNS, switches.iter().map(row))
}

fn details(switch: &SwitchStatus) -> Report {
    const PORTS: &[Column; 7] = &[
        Column::new("owner", "PORT"),
        Column::new("vlan", "VLAN"),
        Column::new("frames_sent", "SENT"),
        Column::new("bytes_sent", "BYTES"),
        Column::new("frames_received", "RECEIVED"),
        Column::new("bytes_received", "BYTES"),
        Column::new("dropped", "DROPPED"),
    ];
    const DROPS: &[Column; 3] =
        &[Column::new("owner", "PORT"), Column::new("cause", "DROPPED FOR"), Column::new("frames", "FRAMES")];
    const ADDRESSES: &[Column; 4] = &[
        Column::new("mac", "ADDRESS"),
        Column::new("vlan", "VLAN"),
        Column::new("owner", "PORT"),
        Column::new("age", "AGE"),
    ];
    let ports = switch.ports.iter().map(|port| {
        let [sent, bytes_sent, received, bytes_received, dropped] = traffic(&port.traffic);
        let owner = Value::text(port.owner.clone());
        [owner, vlan(port.vlan), sent, bytes_sent, received, bytes_received, dropped]
    });
    let causes = |port: &PortStatus| {
        let owner = port.owner.clone();
        let lost = port.drops.clone().into_iter().filter(|(_, frames)| *frames > 0);
        lost.map(move |(cause, frames)| {
            [Value::text(owner.clone()), Value::text(cause), Value::Count(frames)]
        })
    };
    let addresses = switch.addresses.iter().map(|address| {
        let vlan = (address.vlan != 0).then_some(address.vlan);
        let owner = Value::text(address.owner.clone());
        [Value::text(address.mac.to_string()), self::vlan(vlan), owner, Value::Time(address.age)]
    });
    Report::Sections(alloc::vec![
        ("ports", Report::Table(Table::new(PORTS, ports))),
        ("drops", Report::Table(Table::new(DROPS, switch.ports.iter().flat_map(causes)))),
        ("addresses", Report::Table(Table::new(ADDRESSES, addresses))),
    ])
}

pub fn balloon(operator: &dyn Operator, words: &[&str]) -> Answer {
    let vm = resolve::vm(operator, words.first().copied().unwrap_or_default())?;
    let memory = operator.vms().get(vm).map_or(0, |vm| vm.memory);
    if let Some(word) = words.get(1) {
        return match resolve::size(word)? {
            size if size <= memory => order(operator, vm, DeviceOrder::Balloon(size)),
            size => Err(Failure(format!("{size} bytes are more than the VM's memory, which is {memory}"))),
        };
    }
    let Some(status) = operator.balloon(vm) else {
        return Err(Failure("the VM has no balloon, or does not exist now".into()));
    };
    let BalloonStatistics {
        free,
        available,
        total,
        caches,
        swapped_in,
        swapped_out,
        major_faults,
        minor_faults,
    } = status.statistics;
    let bytes = |value: Option<u64>| value.map_or(Value::Absent, Value::Bytes);
    let count = |value: Option<u64>| value.map_or(Value::Absent, Value::Count);
    answer(Report::Fields(alloc::vec![
        ("memory", Value::Bytes(memory)),
        ("target", Value::Bytes(status.target)),
        ("actual", Value::Bytes(status.actual)),
        ("returned", Value::Bytes(status.returned)),
        ("guest_total", bytes(total)),
        ("guest_free", bytes(free)),
        ("guest_available", bytes(available)),
        ("guest_caches", bytes(caches)),
        ("guest_swapped_in", bytes(swapped_in)),
        ("guest_swapped_out", bytes(swapped_out)),
        ("guest_major_faults", count(major_faults)),
        ("guest_minor_faults", count(minor_faults)),
    ]))
}
