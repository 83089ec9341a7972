//! A machine that is made up: it does what it is told and writes down what that was.

use std::cell::{Cell, RefCell};

use polyvisor_cell_abi::{JitStatistics, Question, RecordingHeader};

use crate::mm::addr::PhysAddr;
use crate::net::Mac;
use crate::storage::Counters;
use crate::vm::bundle::{Arch, Colour, Jit};
use crate::vm::cell::Recording;
use crate::vm::lifecycle::State;
use crate::vm::operator::{
    Activity, Address, BalloonStatistics, BalloonStatus, CpuStatus, DeviceOrder, DiskMode, DiskStatus,
    JitStatus, LearnedAddress, Line, NetStatus, Operator, Order, PortStatus, Refusal, SwitchStatus,
    TracedExit, Traffic, VcpuRegisters, VcpuStatus, VmStatus,
};
use crate::vm::vcpu::{ExitCounters, Regs};

/// The VMs have these colours in turn.
pub const COLOURS: &[Colour] = &[Colour::Green, Colour::Cyan, Colour::Magenta];
/// Ports of each VM's virtio console.
pub const PORTS: usize = 2;

fn disk(name: &str, slot: usize) -> DiskStatus {
    let counters = Counters { reads: 30, writes: 10, flushes: 2, sectors_read: 2048, ..Counters::default() };
    DiskStatus {
        name: name.to_owned(),
        slot,
        plugged: slot == 0,
        backend: "disk0/root".to_owned(),
        size: Some(4 << 30),
        mode: DiskMode::ReadWrite,
        counters,
    }
}

const TRAFFIC: Traffic = Traffic {
    frames_sent: 100,
    bytes_sent: 64_000,
    frames_received: 200,
    bytes_received: 128_000,
    dropped: 3,
};

fn net(slot: usize) -> NetStatus {
    NetStatus {
        slot,
        plugged: true,
        link: slot == 2,
        switch: "lan".to_owned(),
        mac: Mac([0x52, 0x54, 0, 0, 0, slot as u8]),
        vlan: (slot == 3).then_some(7),
        traffic: TRAFFIC,
    }
}

fn switch(name: &str) -> SwitchStatus {
    let drops = vec![("rate", 2), ("no room", 1), ("spoofed", 0)];
    let port = PortStatus { owner: "web.0".to_owned(), vlan: None, traffic: TRAFFIC, drops };
    let mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
    let address = LearnedAddress { mac, vlan: 0, owner: "web.0".to_owned(), age: 1_500_000 };
    SwitchStatus {
        name: name.to_owned(),
        uplink: Some("nic0".to_owned()),
        ports: vec![port; 2],
        addresses: vec![address],
    }
}

fn balloon() -> BalloonStatus {
    let statistics = BalloonStatistics { free: Some(300 << 20), ..BalloonStatistics::default() };
    BalloonStatus { target: 256 << 20, actual: 128 << 20, returned: 126 << 20, statistics }
}

/// The machine.
pub struct Machine {
    pub vms: RefCell<Vec<VmStatus>>,
    pub vcpus: RefCell<Vec<Vec<VcpuStatus>>>,
    pub orders: RefCell<Vec<(usize, Order)>>,
    pub device_orders: RefCell<Vec<(usize, DeviceOrder)>>,
    /// The disks that each VM has.
    pub disks: RefCell<Vec<DiskStatus>>,
    /// The network devices that each VM has.
    pub nets: RefCell<Vec<NetStatus>>,
    pub switches: RefCell<Vec<SwitchStatus>>,
    /// The balloon that each VM has.
    pub balloon: RefCell<Option<BalloonStatus>>,
    /// What was typed into each VM.
    pub typed: RefCell<Vec<Vec<u8>>>,
    /// What was typed into console ports.
    pub typed_into_ports: RefCell<Vec<(Line, u8)>>,
    /// How many more bytes each VM takes.
    pub room: RefCell<Vec<usize>>,
    /// The VMs whose guests may go on with their output.
    pub ready: RefCell<Vec<Line>>,
    pub debugged: Cell<Option<Option<usize>>>,
    pub failed: Cell<Option<(usize, usize)>>,
    /// What the engine was asked, of which VM.
    pub asked: Cell<Option<(usize, Question)>>,
    pub power: Cell<Option<bool>>,
    pub tree: RefCell<Vec<u8>>,
    now: Cell<u64>,
}

impl Machine {
    /// A machine on which VMs of these names run: the first with one vCPU, the next with two, and so on.
    pub fn new(names: &[&str]) -> Self {
        let vm = |(index, name): (usize, &&str)| VmStatus {
            name: (*name).to_owned(),
            arch: Arch::Aarch64,
            state: State::Running,
            reason: None,
            vcpus: index as u32 + 1,
            memory: 512 << 20,
            populated: 100 << 20,
            weight: 100,
            dedicated: false,
            colour: COLOURS[index % COLOURS.len()],
            ports: PORTS,
            uptime: 83_000_000,
            restarts: 0,
        };
        let vcpu = |index| VcpuStatus {
            activity: Activity::Running(index),
            run: 1_500_000,
            steal: 200_000,
            idle: 81_300_000,
            exits: ExitCounters { calls: 5, mmio: 100, interrupts: 42, ..ExitCounters::default() },
            injected: 12,
            migrations: 3,
        };
        Self {
            vms: RefCell::new(names.iter().enumerate().map(vm).collect()),
            vcpus: RefCell::new((0..names.len()).map(|index| (0..=index).map(vcpu).collect()).collect()),
            orders: RefCell::default(),
            device_orders: RefCell::default(),
            disks: RefCell::new(vec![disk("root", 0), disk("scratch", 1)]),
            nets: RefCell::new(vec![net(2), net(3)]),
            switches: RefCell::new(vec![switch("lan"), switch("storage")]),
            balloon: RefCell::new(Some(balloon())),
            typed: RefCell::new(vec![Vec::new(); names.len()]),
            room: RefCell::new(vec![usize::MAX; names.len()]),
            typed_into_ports: RefCell::default(),
            ready: RefCell::default(),
            debugged: Cell::new(None),
            failed: Cell::new(None),
            asked: Cell::new(None),
            power: Cell::new(None),
            tree: RefCell::default(),
            now: Cell::new(100_000_000),
        }
    }

    pub fn set_now(&self, now: u64) {
        self.now.set(now);
    }
}

impl Operator for Machine {
    fn machine(&self) -> String {
        "made-up,board".into()
    }

    fn vms(&self) -> Vec<VmStatus> {
        self.vms.borrow().clone()
    }

    fn vcpus(&self, vm: usize) -> Vec<VcpuStatus> {
        self.vcpus.borrow()[vm].clone()
    }

    fn cpus(&self) -> Vec<CpuStatus> {
        let names: Vec<String> = self.vms().into_iter().map(|vm| vm.name).collect();
        (0..2)
            .map(|index| CpuStatus {
                index,
                affinity: index as u64,
                dedicated: false,
                running: names.get(index).map(|name| (name.clone(), 0)),
                waiting: names.iter().map(|name| (name.clone(), 1)).collect(),
                up: 100_000_000,
                idle: 75_000_000,
                switches: 12_345,
            })
            .collect()
    }

    fn memory(&self) -> (u64, u64) {
        (3 << 30, 12 << 20)
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn order(&self, vm: usize, order: Order) -> Result<(), Refusal> {
        let name = &self.vms.borrow()[vm].name;
        if order == Order::Resume {
            return Err(Refusal(format!("{name} is not paused, it is running")));
        }
        self.orders.borrow_mut().push((vm, order));
        Ok(())
    }

    fn disks(&self, _: usize) -> Vec<DiskStatus> {
        self.disks.borrow().clone()
    }

    fn nets(&self, _: usize) -> Vec<NetStatus> {
        self.nets.borrow().clone()
    }

    fn balloon(&self, _: usize) -> Option<BalloonStatus> {
        self.balloon.borrow().clone()
    }

    fn switches(&self) -> Vec<SwitchStatus> {
        self.switches.borrow().clone()
    }

    fn order_device(&self, vm: usize, order: DeviceOrder) -> Result<(), Refusal> {
        self.device_orders.borrow_mut().push((vm, order));
        Ok(())
    }

    fn registers(&self, _: usize, vcpu: usize) -> Result<VcpuRegisters, Refusal> {
        let x = core::array::from_fn(|number| number as u64);
        let general = Regs::Aarch64 { x, sp: 0x100, pc: 0xffff_8000_0000_0000, pstate: vcpu as u64 };
        Ok(VcpuRegisters { general, system: vec![("SCTLR_EL1", 0x30d0_0800), ("TTBR0_EL1", u64::MAX)] })
    }

    fn read_memory(&self, _: usize, address: Address, buffer: &mut [u8]) -> Result<(), Refusal> {
        let base = match address {
            Address::Virtual(_, 0) => return Err(Refusal("0x0 is not mapped".into())),
            Address::Virtual(vcpu, address) => address + vcpu as u64,
            Address::Physical(address) => address,
        };
        buffer.iter_mut().zip(base..).for_each(|(byte, address)| *byte = address as u8);
        Ok(())
    }

    fn devicetree(&self, _: usize) -> Result<Vec<u8>, Refusal> {
        Ok(self.tree.borrow().clone())
    }

    fn trace(&self, _: usize, _: usize) -> Result<Vec<TracedExit>, Refusal> {
        let exit = |time| TracedExit { time, pc: 0x4008_0000, cause: format!("HVC #0, x0 = {time:#x}") };
        Ok((0..100).map(exit).collect())
    }

    fn type_into(&self, line: Line, byte: u8) -> bool {
        let Line { vm, port: None } = line else {
            self.typed_into_ports.borrow_mut().push((line, byte));
            return true;
        };
        let room = &mut self.room.borrow_mut()[vm];
        let taken = *room > 0;
        if taken {
            *room -= 1;
            self.typed.borrow_mut()[vm].push(byte);
        }
        taken
    }

    fn output_ready(&self, line: Line) {
        self.ready.borrow_mut().push(line);
    }

    fn debug(&self, vm: Option<usize>) -> Result<(), Refusal> {
        self.debugged.set(Some(vm));
        Ok(())
    }

    fn fail_engine(&self, vm: usize, vcpu: usize) -> Result<(), Refusal> {
        self.failed.set(Some((vm, vcpu)));
        Ok(())
    }

    fn jit(&self, vm: usize) -> Result<JitStatus, Refusal> {
        let statistics = JitStatistics::new(core::array::from_fn(|number| number as u64 * 1000));
        let statistics = (vm != 0).then_some(statistics);
        let mode = if vm == 0 { Jit::Off } else { Jit::LockStep };
        Ok(JitStatus { mode, retired: 50_000, statistics, translating: 1_234_567 })
    }

    fn recording(&self, vm: usize) -> Result<Recording, Refusal> {
        if vm == 0 {
            return Err(Refusal("VM web does not record its translations".to_owned()));
        }
        let header = RecordingHeader { features: 0, words: 10_000, blocks: 70, full: true };
        let pieces = vec![(PhysAddr(0x4000_1000), 30_000), (PhysAddr(0x5000_0000), 10_000)];
        Ok(Recording { header, bytes: 40_000, crc: 0x1234_abcd, pieces })
    }

    fn ask_engine(&self, vm: usize, question: Question) -> Result<String, Refusal> {
        self.asked.set(Some((vm, question)));
        Ok(match question {
            Question::Top(1000) => "nothing is translated".to_owned(),
            Question::Top(_) => "8\n5 ffffffff80001000 80201000 12 240\n2 10a4 8abcd0a4 64 1000\n".to_owned(),
            Question::Block(_) => "0x80000000: addi x1, x1, 1\n    +0004 91000421\n".to_owned(),
        })
    }

    fn power(&self, restart: bool) {
        self.power.set(Some(restart));
    }
}
