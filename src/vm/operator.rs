//! What an operator can see of the VMs and do to them: the interface by which the monitor, and whatever else
//! steers the machine, reaches them. It is plain data and one trait, so that the monitor is tested on the host
//! against a machine that is made up.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use polyvisor_cell_abi::{JitStatistics, Question};

use super::bundle::{Arch, Colour, Jit};
use super::cell::Recording;
use super::lifecycle::State;
use super::vcpu::{ExitCounters, Regs};

mod devices;

pub use devices::*;

/// A line on which the operator talks to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The VM.
    pub vm: usize,
    /// The port of its virtio console; its UART if none.
    pub port: Option<usize>,
}

impl Line {
    /// The UART of a VM.
    pub fn uart(vm: usize) -> Self {
        Self { vm, port: None }
    }
}

/// A VM, as `list` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct VmStatus {
    /// What the operator calls it.
    pub name: String,
    /// Its instruction set.
    pub arch: Arch,
    /// Where it is in its life.
    pub state: State,
    /// Why it is in that state, where that is not the operator's doing: a crash's cause, a boot that failed.
    pub reason: Option<String>,
    /// How many vCPUs it has.
    pub vcpus: u32,
    /// Bytes of RAM that it was promised.
    pub memory: u64,
    /// Bytes of it that it has touched, and that are backed therefore.
    pub populated: u64,
    /// Its scheduling weight.
    pub weight: u32,
    /// Whether its vCPUs own their CPUs.
    pub dedicated: bool,
    /// The colour of its lines where several VMs' output is mixed.
    pub colour: Colour,
    /// How many ports its virtio console has.
    pub ports: usize,
    /// Microseconds since it last started, or 0.
    pub uptime: u64,
    /// How often it has started by itself again, after a crash or because it switched itself off.
    pub restarts: u32,
}

/// What a vCPU is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It runs on the CPU of this index.
    Running(usize),
    /// It waits for the CPU of this index.
    Waiting(usize),
    /// It waits for an interrupt.
    Blocked,
    /// Its guest has not switched it on, or has switched it off.
    Off,
    /// Its VM does not run.
    Halted,
}

/// A vCPU, as `stats` and `top` show it.
#[derive(Debug, Clone, PartialEq)]
pub struct VcpuStatus {
    /// What it is doing.
    pub activity: Activity,
    /// Microseconds for which it ran.
    pub run: u64,
    /// Microseconds for which it could have run, but had to wait for a CPU.
    pub steal: u64,
    /// Microseconds for which it waited for an interrupt.
    pub idle: u64,
    /// How often it left its guest, by cause.
    pub exits: ExitCounters,
    /// How many interrupts its guest was given and has acknowledged.
    pub injected: u64,
    /// How often it was moved to another CPU.
    pub migrations: u64,
}

/// A physical CPU, as `sched` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct CpuStatus {
    /// Position in the board's list of CPUs.
    pub index: usize,
    /// The affinity fields of its `MPIDR_EL1`.
    pub affinity: u64,
    /// Whether one vCPU owns it.
    pub dedicated: bool,
    /// The vCPU that it runs: its VM's name and its index there.
    pub running: Option<(String, usize)>,
    /// The vCPUs that wait for it, the next one first.
    pub waiting: Vec<(String, usize)>,
    /// Microseconds since it was started.
    pub up: u64,
    /// Microseconds of these for which it slept.
    pub idle: u64,
    /// How often it changed from one vCPU to another.
    pub switches: u64,
}

/// One exit of a vCPU from its guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedExit {
    /// Microseconds since the machine started.
    pub time: u64,
    /// The guest's program counter.
    pub pc: u64,
    /// The cause in words, with values.
    pub cause: String,
}

/// The registers of a vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VcpuRegisters {
    /// General registers.
    pub general: Regs,
    /// System registers by name, in the order in which they are to be shown.
    pub system: Vec<(&'static str, u64)>,
}

/// How the code of a guest of another instruction set is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JitStatus {
    /// As the VM's description has it.
    pub mode: Jit,
    /// How many instructions the guest has executed.
    pub retired: u64,
    /// What the engine has counted; `None` where it has not told.
    pub statistics: Option<JitStatistics<u64>>,
    /// For how long it has translated, in microseconds.
    pub translating: u64,
}

/// An order for one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Give it its memory and devices.
    Create,
    /// Switch it on; create it first where that is not done.
    Start,
    /// Ask its guest to shut down, and switch it off when it has not done so in time.
    Stop,
    /// Switch it off at once.
    Kill,
    /// Hold it.
    Pause,
    /// Let it go on.
    Resume,
    /// Switch it off and on again.
    Reset,
    /// Take its memory and devices back.
    Destroy,
}

/// Where in a VM's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// A virtual address, as the vCPU of this index sees it now.
    Virtual(usize, u64),
    /// An intermediate physical address.
    Physical(u64),
}

/// Why an operator's wish cannot be fulfilled. It names the value and what would have been possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Refusal {}

/// The machine in an operator's hands. VMs go by their position in the bundle.
pub trait Operator {
    /// What the machine is, as its devicetree calls it.
    fn machine(&self) -> String;

    /// All VMs.
    fn vms(&self) -> Vec<VmStatus>;

    /// The vCPUs of a VM; none where it does not exist now.
    fn vcpus(&self, vm: usize) -> Vec<VcpuStatus>;

    /// The physical CPUs.
    fn cpus(&self) -> Vec<CpuStatus>;

    /// Bytes of RAM: free, and used by EL2 itself.
    fn memory(&self) -> (u64, u64);

    /// Microseconds since the machine started.
    fn now(&self) -> u64;

    /// Carries out `order`, or begins to: what takes time is reported in the log when it is done.
    ///
    /// # Errors
    /// [`Refusal`] where the VM's state does not allow it, or something is missing.
    fn order(&self, vm: usize, order: Order) -> Result<(), Refusal>;

    /// The disks of a VM, those that are not plugged in too.
    fn disks(&self, vm: usize) -> Vec<DiskStatus>;

    /// The network devices of a VM, those that are not plugged in too.
    fn nets(&self, vm: usize) -> Vec<NetStatus>;

    /// The balloon of a VM, where it has one and exists now.
    fn balloon(&self, vm: usize) -> Option<BalloonStatus>;

    /// The switches.
    fn switches(&self) -> Vec<SwitchStatus>;

    /// Changes a device of a VM.
    ///
    /// # Errors
    /// [`Refusal`] where the VM has no such device, or it cannot be changed so.
    fn order_device(&self, vm: usize, order: DeviceOrder) -> Result<(), Refusal>;

    /// The registers of a vCPU, which is stopped for the moment.
    ///
    /// # Errors
    /// [`Refusal`] where there is no such vCPU.
    fn registers(&self, vm: usize, vcpu: usize) -> Result<VcpuRegisters, Refusal>;

    /// Fills `buffer` from the VM's memory.
    ///
    /// # Errors
    /// [`Refusal`] where there is no memory, or no translation.
    fn read_memory(&self, vm: usize, address: Address, buffer: &mut [u8]) -> Result<(), Refusal>;

    /// The devicetree blob that the VM was started with.
    ///
    /// # Errors
    /// [`Refusal`] where the VM has none.
    fn devicetree(&self, vm: usize) -> Result<Vec<u8>, Refusal>;

    /// The last exits of a vCPU, the oldest first.
    ///
    /// # Errors
    /// [`Refusal`] where there is no such vCPU.
    fn trace(&self, vm: usize, vcpu: usize) -> Result<Vec<TracedExit>, Refusal>;

    /// Gives the guest a byte that was typed on this line. `false`: it has no room now and the byte is to be
    /// offered again later.
    fn type_into(&self, line: Line, byte: u8) -> bool;

    /// The console has room again for the output of a guest that was held back: this line may go on.
    fn output_ready(&self, line: Line);

    /// Chooses the VM that the remote debugger gets, or none.
    ///
    /// # Errors
    /// [`Refusal`] where there is no second serial line.
    fn debug(&self, vm: Option<usize>) -> Result<(), Refusal>;

    /// Has the engine in front of a guest of another instruction set fail on this vCPU.
    ///
    /// # Errors
    /// [`Refusal`] where there is no such vCPU, or no engine in front of it.
    fn fail_engine(&self, vm: usize, vcpu: usize) -> Result<(), Refusal>;

    /// How the guest's code is executed.
    ///
    /// # Errors
    /// [`Refusal`] where the VM does not exist now, or has no engine.
    fn jit(&self, vm: usize) -> Result<JitStatus, Refusal>;

    /// What was recorded of the translations of the guest's code, and where it is. The VM is paused.
    ///
    /// # Errors
    /// [`Refusal`] where the VM does not exist now, runs, or records nothing.
    fn recording(&self, vm: usize) -> Result<Recording, Refusal>;

    /// Asks the engine, and waits for its answer for half a second at most.
    ///
    /// # Errors
    /// [`Refusal`] where the VM does not run, has no engine, or gets no answer from it.
    fn ask_engine(&self, vm: usize, question: Question) -> Result<String, Refusal>;

    /// Switches the machine off, or restarts it.
    fn power(&self, restart: bool);
}
