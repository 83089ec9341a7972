//! One virtual machine: its memory, devices and vCPUs, wired up as QEMU's `virt` is.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use spin::Mutex;

use super::bundle::{BootSource, Bundle, VmSpec};
use super::fdt::MachineSpec;
use super::loader::{self, LoadError, Source};
use super::machine;
use super::psci::{self, Outcome, Power, Start};
use super::scheduler;
use super::vcpu::{Attention, Crash, Exit, VcpuId, VcpuOps};
use crate::arch::aarch64::vcpu::{CallExit, FaultIn, Machine, Vcpu, interrupts};
use crate::arch::aarch64::{cache, gic, irq, percpu, stage2, timer};
use crate::devices::bus::{Access, Bus, BusError, MmioDevice, Width};
use crate::devices::flash::EmptyFlash;
use crate::devices::gic::device::{Distributor, Host, Redistributors, VgicDevice};
use crate::devices::gic::{ConfigError, GicVersion, VcpuSet, Vgic, VgicConfig};
use crate::devices::irq::IrqLine;
use crate::devices::pl011::{Pl011, SerialBackend};
use crate::devices::pl031::Pl031;
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::GuestMemory;
use crate::mm::guest_ram::{Found, GuestRam, Kind, ReserveError, Stage2Regime};
use crate::mm::tables::{Attributes, TableError};
use crate::platform::clock::WallClock;
use crate::platform::{console, entropy};

/// A VM that cannot be made, or cannot boot.
#[derive(Debug)]
pub enum VmError {
    /// More vCPUs than its machine can have.
    TooManyVcpus {
        /// As asked for.
        found: u32,
        /// As possible.
        limit: usize,
    },
    /// More vCPUs than the machine has running CPUs without one.
    NotEnoughCpus {
        /// vCPUs.
        vcpus: u32,
        /// CPUs.
        cpus: usize,
    },
    /// A firmware image of no bytes.
    EmptyFirmware,
    /// No Stage-2.
    Stage2(stage2::Stage2Error),
    /// No memory.
    Memory(ReserveError),
    /// The memory map does not fit the machine's IPA space, or there is no memory for tables.
    Map(TableError),
    /// The interrupt controller.
    Gic(ConfigError),
    /// Two devices overlap.
    Bus(BusError),
    /// The bundle's blobs.
    Bundle(super::bundle::VmError),
    /// The kernel, initrd or devicetree.
    Load(LoadError),
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyVcpus { found, limit } => {
                write!(f, "{found} vCPUs are asked for, at most {limit} are possible with this GIC")
            }
            Self::NotEnoughCpus { vcpus, cpus } => {
                write!(
                    f,
                    "{vcpus} vCPUs are asked for, each needs a CPU of its own, and {cpus} CPUs are free"
                )
            }
            Self::EmptyFirmware => f.write_str("the firmware is empty"),
            Self::Stage2(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Map(error) => error.fmt(f),
            Self::Gic(error) => error.fmt(f),
            Self::Bus(error) => error.fmt(f),
            Self::Bundle(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for VmError {}

/// What other CPUs know of a vCPU.
struct Remote {
    attention: Attention,
    /// Index of the CPU that runs it; `usize::MAX` before it has one.
    cpu: AtomicUsize,
}

/// The vCPUs of a VM, as its interrupt controller reaches them.
pub struct GicHost(Arc<[Remote]>);

impl GicHost {
    fn raise(&self, vcpu: usize, flags: u32) {
        let Some(remote) = self.0.get(vcpu) else { return };
        remote.attention.raise(flags);
        let cpu = remote.cpu.load(Ordering::Acquire);
        if cpu != percpu::this_cpu().index
            && let Some(cpu) = percpu::cpu(cpu)
        {
            gic::kick(cpu);
        }
    }
}

impl Host for GicHost {
    fn fold(&self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        interrupts::fold(vgic, vcpu)
    }

    fn kick(&self, vcpus: VcpuSet) {
        for vcpu in vcpus.iter() {
            self.raise(vcpu, Attention::INTERRUPTS);
        }
    }
}

impl Stage2Regime for stage2::Stage2Tlb {
    fn ram(&self) -> Attributes {
        stage2::ram_attributes()
    }

    fn rom(&self) -> Attributes {
        stage2::rom_attributes()
    }

    fn flush(&self, start: *const u8, len: usize) {
        if !stage2::has_forced_write_back() {
            cache::clean_and_invalidate(start, len);
        }
    }
}

/// The physical console as the other end of a VM's UART.
struct ConsolePort;

impl SerialBackend for ConsolePort {
    fn transmit(&self, byte: u8) -> bool {
        console::transmit(byte)
    }

    fn input_wanted(&self) {
        console::offer_input();
    }
}

/// The page with `GICC_DIR`, which stays out of the GICv2's hardware interface (see
/// [`Vm::map_cpu_interface`]).
struct DeactivateRegister(Arc<VgicDevice<GicHost>>);

impl MmioDevice for DeactivateRegister {
    fn read(&self, _: Access) -> u64 {
        0
    }

    fn write(&self, access: Access, value: u64) {
        if (access.offset, access.width) == (0, Width::Word) {
            self.0.deactivate(access.vcpu, value as u32 & 0x3ff);
        }
    }
}

/// Why a VM is being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Its guest switched it off.
    Off,
    /// Its guest wants a reset.
    Reset,
    /// A vCPU cannot go on.
    Crashed,
}

/// Where a VM is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Running,
    /// vCPUs leave their guest; which have.
    Stopping(Stop, VcpuSet),
    /// All vCPUs have stopped, and the last one to do so is about the rest.
    Busy,
    Off,
}

/// What a vCPU is to do next.
pub enum Next {
    /// Start.
    Start(Start),
    /// Nothing yet: wait for a kick.
    Wait,
    /// Nothing any more: the VM is off.
    Quit,
}

/// A virtual machine.
pub struct Vm {
    id: usize,
    spec: VmSpec,
    bundle: &'static Bundle<'static>,
    memory: GuestRam<stage2::Stage2Tlb>,
    stage2: (u64, u64),
    bus: Bus,
    gic: Arc<VgicDevice<GicHost>>,
    uart: Arc<Pl011>,
    rtc: Arc<Pl031>,
    remotes: Arc<[Remote]>,
    affinities: Vec<u64>,
    power: Mutex<Power>,
    phase: Mutex<Phase>,
    /// `CNTVOFF_EL2`: the physical counter when the VM last booted.
    time_offset: AtomicU64,
}

impl Vm {
    /// Makes the VM `spec` of `bundle`, with nothing loaded yet.
    ///
    /// # Errors
    /// [`VmError`].
    pub fn new(id: usize, spec: &VmSpec, bundle: &'static Bundle<'static>) -> Result<Arc<Self>, VmError> {
        let version = gic::version();
        let limit = version.max_vcpus();
        if spec.vcpus as usize > limit {
            return Err(VmError::TooManyVcpus { found: spec.vcpus, limit });
        }
        let cpus = scheduler::free_cpus();
        if spec.vcpus as usize > cpus {
            return Err(VmError::NotEnoughCpus { vcpus: spec.vcpus, cpus });
        }
        let affinities: Vec<u64> = (0..u64::from(spec.vcpus)).map(|vcpu| version.affinity(vcpu)).collect();
        let remotes: Arc<[Remote]> = affinities
            .iter()
            .map(|_| Remote { attention: Attention::new(), cpu: AtomicUsize::new(usize::MAX) })
            .collect();

        let tables = stage2::create().map_err(VmError::Stage2)?;
        let stage2 = stage2::registers(&tables);
        let mut areas = alloc::vec![(machine::MEM.base, spec.memory, Kind::Ram)];
        let firmware_size = match &spec.boot {
            BootSource::Firmware { image } => match bundle.blob(*image).map_err(VmError::Bundle)?.len() {
                0 => return Err(VmError::EmptyFirmware),
                size => size as u64,
            },
            BootSource::Kernel { .. } => 0,
        };
        let flash = firmware_size.next_multiple_of(crate::mm::guest_ram::CHUNK);
        if flash > 0 {
            areas.push((machine::FLASH0.base, flash.min(machine::FLASH0.size), Kind::Rom));
        }
        let memory = GuestRam::reserve(tables, &areas).map_err(VmError::Memory)?;

        let config = VgicConfig {
            version,
            vcpus: affinities.clone(),
            spis: machine::SPI_COUNT,
            list_registers: gic::list_registers(),
            priority_bits: gic::virtual_priority_bits().min(5),
        };
        let vgic = VgicDevice::new(&config, GicHost(remotes.clone())).map_err(VmError::Gic)?;
        let line = |spi| IrqLine::new(vgic.clone(), machine::spi_intid(spi));
        let uart = Arc::new(Pl011::new(line(machine::UART_SPI), Arc::new(ConsolePort)));
        let rtc = Arc::new(Pl031::new(line(machine::RTC_SPI), Arc::new(WallClock)));

        let mut bus = Bus::new();
        let mut claim = |region: machine::Region, name, device: Arc<dyn MmioDevice>| {
            bus.claim(region.base, region.size, name, device).map_err(VmError::Bus)
        };
        claim(machine::UART, "uart", uart.clone())?;
        claim(machine::RTC, "rtc", rtc.clone())?;
        claim(machine::GIC_DIST, "gic-distributor", Arc::new(Distributor(vgic.clone())))?;
        match version {
            GicVersion::V2 => {
                let page = machine::Region {
                    base: Ipa(machine::GIC_CPU.base.0 + PAGE_SIZE),
                    size: machine::GIC_CPU.size - PAGE_SIZE,
                };
                claim(page, "gic-deactivate", Arc::new(DeactivateRegister(vgic.clone())))?;
            }
            GicVersion::V3 => {
                let size = machine::GIC_REDIST_STRIDE * u64::from(spec.vcpus);
                let region = machine::Region { base: machine::GIC_REDIST.base, size };
                claim(region, "gic-redistributors", Arc::new(Redistributors(vgic.clone())))?;
            }
        }
        if flash > 0 {
            let rest = machine::FLASH1.base.0 + machine::FLASH1.size - flash;
            claim(machine::Region { base: Ipa(flash), size: rest }, "flash", Arc::new(EmptyFlash))?;
        }

        let vm = Self {
            id,
            spec: spec.clone(),
            bundle,
            memory,
            stage2,
            bus,
            gic: vgic,
            uart,
            rtc,
            remotes,
            power: Mutex::new(Power::new(affinities.clone())),
            affinities,
            phase: Mutex::new(Phase::Running),
            time_offset: AtomicU64::new(0),
        };
        vm.map_cpu_interface().map_err(VmError::Map)?;
        Ok(Arc::new(vm))
    }

    /// The vCPU `index` of `vm`, in its reset state.
    pub fn vcpu(vm: &Arc<Self>, index: usize) -> Box<dyn VcpuOps> {
        Box::new(Vcpu::new(VcpuId { vm: vm.id, index }, vm.clone()))
    }

    /// What the operator calls it.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How many vCPUs it has.
    pub fn vcpus(&self) -> usize {
        self.affinities.len()
    }

    /// Gives a GICv2 guest the hardware's virtual CPU interface as its CPU interface. Only the first page of
    /// it: the second holds `GICC_DIR`, and a deactivation of an interrupt that is in no list register must
    /// not be lost in the hardware.
    fn map_cpu_interface(&self) -> Result<(), TableError> {
        let Some(interface) = gic::virtual_cpu_interface() else { return Ok(()) };
        self.memory.with_tables(|tables| {
            tables.map(machine::GIC_CPU.base.0, interface.start, PAGE_SIZE, stage2::device_attributes())
        })
    }

    /// Puts everything into the state of a machine that has just been switched on, with its kernel or
    /// firmware loaded and the first vCPU about to start. No vCPU may be running.
    ///
    /// # Errors
    /// [`VmError::Bundle`] and [`VmError::Load`]: what the VM boots from cannot be loaded.
    pub fn boot(&self) -> Result<(), VmError> {
        self.memory.clear().map_err(VmError::Map)?;
        self.uart.reset();
        self.rtc.reset();
        {
            let mut vgic = self.gic.lock();
            vgic.reset();
            for vcpu in (0..self.vcpus()).filter(|_| interrupts::is_timer_linked()) {
                vgic.link_hardware(vcpu, interrupts::VIRTUAL_TIMER, irq::virtual_timer() as u16);
            }
        }
        let blob = |id| self.bundle.blob(id).map_err(VmError::Bundle);
        let (source, bootargs) = match &self.spec.boot {
            BootSource::Kernel { image, initrd, append } => {
                let initrd = initrd.map(blob).transpose()?;
                (Source::Kernel { image: blob(*image)?, initrd }, append.as_str())
            }
            BootSource::Firmware { image } => (Source::Firmware { image: blob(*image)? }, ""),
        };
        let spec = MachineSpec {
            gic: gic::version(),
            vcpus: &self.affinities,
            cpu_compatible: None,
            bootargs,
            virtio_slots: 0,
            seed: entropy::seed(),
        };
        let boot = loader::load(&self.memory, &source, &spec).map_err(VmError::Load)?;
        cache::invalidate_instructions();
        self.time_offset.store(timer::now(), Ordering::Release);
        self.power.lock().reset(Start { entry: boot.entry.0, context: boot.x0 });
        *self.phase.lock() = Phase::Running;
        Ok(())
    }

    /// Says that this CPU will run `vcpu`.
    pub fn settle(&self, vcpu: usize) {
        if let Some(remote) = self.remotes.get(vcpu) {
            remote.cpu.store(percpu::this_cpu().index, Ordering::Release);
        }
    }

    /// Tells the vCPU `vcpu`, which is not running, what to do next.
    pub fn next(&self, vcpu: usize) -> Next {
        let mut phase = self.phase.lock();
        match &mut *phase {
            Phase::Running => match self.power.lock().take_start(vcpu) {
                Some(start) => Next::Start(start),
                None => Next::Wait,
            },
            Phase::Stopping(stop, stopped) if !stopped.contains(vcpu) => {
                *stopped |= VcpuSet::of(vcpu);
                if *stopped != VcpuSet::first(self.vcpus()) {
                    return Next::Wait;
                }
                let stop = stop.clone();
                *phase = Phase::Busy;
                drop(phase);
                self.finish(&stop);
                // Nobody kicks this CPU, which knows already.
                self.next(vcpu)
            }
            Phase::Stopping(..) | Phase::Busy => Next::Wait,
            Phase::Off => Next::Quit,
        }
    }

    /// All vCPUs have stopped: reset or switch off.
    fn finish(&self, stop: &Stop) {
        // Whoever asked for the stop has arrived, too, so nobody is raising flags any more.
        for remote in self.remotes.iter() {
            remote.attention.take();
        }
        let off = match stop {
            Stop::Reset => {
                log::info!("VM {} resets", self.name());
                self.boot()
                    .map_err(|error| log::error!("VM {} cannot boot again: {error}", self.name()))
                    .is_err()
            }
            Stop::Off => {
                log::info!("VM {} is off", self.name());
                true
            }
            Stop::Crashed => true,
        };
        if off {
            *self.phase.lock() = Phase::Off;
            scheduler::vm_is_off();
        }
        self.call_all(0);
    }

    /// Takes note of why the vCPU `vcpu` has left its guest.
    pub fn left(&self, vcpu: usize, exit: &Exit) {
        let stop = match exit {
            Exit::Stopped | Exit::Off => return,
            Exit::SystemOff => Stop::Off,
            Exit::SystemReset => Stop::Reset,
            Exit::Crashed(Crash { reason }) => {
                log::error!("VM {} crashed on vCPU {vcpu}: {reason}", self.name());
                Stop::Crashed
            }
        };
        let mut phase = self.phase.lock();
        if *phase == Phase::Running {
            *phase = Phase::Stopping(stop, VcpuSet::EMPTY);
        }
        drop(phase);
        self.call_all(Attention::STOP);
    }

    /// Raises `flags` for every vCPU and wakes the CPUs that run them.
    fn call_all(&self, flags: u32) {
        for vcpu in 0..self.vcpus() {
            self.gic.host().raise(vcpu, flags);
        }
    }
}

impl Machine for Vm {
    type GicHost = GicHost;

    fn gic(&self) -> &VgicDevice<GicHost> {
        &self.gic
    }

    fn bus(&self) -> &Bus {
        &self.bus
    }

    #[inline]
    fn attention(&self, vcpu: usize) -> &Attention {
        static NONE: Attention = Attention::new();
        self.remotes.get(vcpu).map_or(&NONE, |remote| &remote.attention)
    }

    fn stage2(&self) -> (u64, u64) {
        self.stage2
    }

    fn time_offset(&self) -> u64 {
        self.time_offset.load(Ordering::Acquire)
    }

    fn fault_in(&self, ipa: Ipa) -> FaultIn {
        match self.memory.fault_in(ipa) {
            Ok(Found::Memory(Kind::Ram)) => FaultIn::Mapped,
            Ok(Found::Memory(Kind::Rom)) => FaultIn::ReadOnly,
            Ok(Found::Nothing) => FaultIn::Absent,
            Err(error) => FaultIn::Failed(error.to_string()),
        }
    }

    fn read_memory(&self, ipa: Ipa, buffer: &mut [u8]) -> Option<()> {
        self.memory.read_coherent(ipa, buffer).ok()
    }

    #[inline]
    fn call(&self, vcpu: usize, registers: &mut [u64; 4]) -> ControlFlow<CallExit> {
        let [function, arguments @ ..] = *registers;
        if let Some(result) = psci::answer(function as u32, arguments[0]) {
            registers[0] = result as u64;
            return ControlFlow::Continue(());
        }
        self.power_call(vcpu, registers)
    }

    fn affinity(&self, vcpu: usize) -> u64 {
        self.affinities.get(vcpu).copied().unwrap_or(0)
    }
}

impl Vm {
    /// A call that changes or tells the power state of a vCPU or of the VM.
    #[cold]
    fn power_call(&self, vcpu: usize, registers: &mut [u64; 4]) -> ControlFlow<CallExit> {
        let [function, arguments @ ..] = *registers;
        let is_memory = |entry| self.memory.ram().iter().any(|ram| ram.contains(&Ipa(entry)));
        let outcome = self.power.lock().call(vcpu, function as u32, arguments, is_memory);
        let result = match outcome {
            Outcome::Return(result) => result,
            Outcome::Started(target) => {
                self.gic.host().raise(target, 0);
                0
            }
            Outcome::Suspend => return ControlFlow::Break(CallExit::Wait),
            Outcome::Off => return ControlFlow::Break(CallExit::Exit(Exit::Off)),
            Outcome::SystemOff => return ControlFlow::Break(CallExit::Exit(Exit::SystemOff)),
            Outcome::SystemReset => return ControlFlow::Break(CallExit::Exit(Exit::SystemReset)),
        };
        registers[0] = result as u64;
        ControlFlow::Continue(())
    }
}

/// A console's listener for one VM.
pub struct Attached(pub Arc<Vm>);

impl console::Listener for Attached {
    fn typed(&self, byte: u8) -> bool {
        self.0.uart.receive(&[byte]) == 1
    }

    fn room(&self) {
        self.0.uart.backend_ready();
    }
}
