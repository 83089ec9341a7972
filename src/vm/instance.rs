//! One virtual machine: its memory, devices and vCPUs, wired up as QEMU's `virt` is.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use polyvisor_cell_abi as abi;
use spin::Mutex;

use super::attach::{AttachError, Site};
use super::boot_file::{BootFile, BootFileError};
use super::bundle::{Arch, Bios, BootSource, Bundle, FileSource, Jit, VmSpec};
use super::cell;
use super::control::{self, Happening};
use super::debug::Stop;
use super::devices::{ConsolePort, Devices, GicHost, SOCKETS};
use super::engine_image;
use super::fdt;
use super::lifecycle::Event;
use super::loader::{self, Boot, LoadError, Riscv64, Source};
use super::machine::{GicVersion, arm64, riscv64};
use super::psci::{self, Outcome, Power, Start};
use super::ratelimit::{LeftOut, RateLimit};
use super::saved;
use super::scheduler::policy::CpuSet;
use super::scheduler::{self, Hold, Share, Task};
use super::translated::Translated;
use super::vcpu::{Crash, Exit, Shared, VcpuId, VcpuOps};
use crate::arch::aarch64::vcpu::{CallExit, FaultIn, Machine, Vcpu};
use crate::arch::aarch64::{cache, gic, percpu, stage2, timer};
use crate::devices::bus::{Bus, BusError};
use crate::devices::gic::ConfigError;
use crate::devices::gic::device::VgicDevice;
use crate::devices::serial::SerialPort;
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::{GuestMemory, Reclaim};
use crate::mm::guest_ram::{CHUNK, Found, GuestRam, Kind, ReserveError, Stage2Regime};
use crate::mm::tables::{Attributes, TableError};
use crate::platform::{self, entropy};

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
    /// None of the CPUs that the VM may use runs and is shared.
    NoCpu {
        /// The CPUs that it may use.
        wanted: u64,
        /// The CPUs that run and that no vCPU owns.
        shared: u64,
    },
    /// Each vCPU is to own a CPU, and there are not enough that can be given away.
    NotEnoughCpus {
        /// vCPUs.
        vcpus: u32,
        /// CPUs that it may use and that could be given away.
        cpus: u32,
    },
    /// A firmware image of no bytes.
    EmptyFirmware,
    /// This image has no engine to run it.
    NoEngine,
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
    /// One of its virtio devices.
    Device {
        /// Its slot.
        slot: usize,
        /// What is wrong with it.
        error: AttachError,
    },
    /// The bundle's blobs.
    Bundle(super::bundle::VmError),
    /// A file that it boots from.
    File(BootFileError),
    /// The kernel, initrd or devicetree.
    Load(LoadError),
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyVcpus { found, limit } => {
                write!(f, "{found} vCPUs are asked for, at most {limit} are possible with this GIC")
            }
            Self::NoCpu { wanted, shared } => {
                write!(
                    f,
                    "it may use the CPUs {wanted:#x}, and those that run and are shared are {shared:#x}"
                )
            }
            Self::NotEnoughCpus { vcpus, cpus } => {
                write!(f, "{vcpus} vCPUs are each to own a CPU, and {cpus} can be given to them")
            }
            Self::EmptyFirmware => f.write_str("the firmware is empty"),
            Self::NoEngine => {
                f.write_str("this image was built without the engine that runs other instruction sets")
            }
            Self::Device { slot, error } => write!(f, "virtio device {slot}: {error}"),
            Self::Stage2(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Map(error) => error.fmt(f),
            Self::Gic(error) => error.fmt(f),
            Self::Bus(error) => error.fmt(f),
            Self::Bundle(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for VmError {}

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

/// The memory of a VM.
pub type Memory = GuestRam<stage2::Stage2Tlb>;

/// A virtual machine.
pub struct Vm {
    id: usize,
    spec: VmSpec,
    bundle: &'static Bundle<'static>,
    memory: Arc<Memory>,
    stage2: (u64, u64),
    devices: Devices,
    tasks: Arc<[Arc<Task>]>,
    /// The CPUs that its vCPUs own.
    owned: CpuSet,
    /// For each CPU, one more than the index of the vCPU that ran there last; 0 for none.
    residents: Vec<AtomicU32>,
    affinities: Vec<u64>,
    power: Mutex<Power>,
    /// The first vCPU's next turn is to load what the VM boots from.
    loads: AtomicBool,
    /// Bytes of saved translations that are mapped into it.
    store_size: u64,
    /// The devicetree that it was last started with.
    devicetree: Mutex<Vec<u8>>,
    /// `CNTVOFF_EL2`: the physical counter when the VM last booted.
    time_offset: AtomicU64,
    log_limit: RateLimit,
}

/// The CPUs for a VM: those that its vCPUs may use, and those that they own.
fn choose_cpus(spec: &VmSpec) -> Result<(CpuSet, CpuSet), VmError> {
    let none = CpuSet::from_bits(0);
    let running = percpu::all().fold(0, |cpus, cpu| cpus | CpuSet::of(cpu.index).bits());
    let shared = scheduler::shared_cpus().bits() & running;
    let wanted = spec.scheduling.cpus & running;
    if wanted & shared == 0 {
        return Err(VmError::NoCpu { wanted: spec.scheduling.cpus, shared });
    }
    if !spec.scheduling.dedicated {
        return Ok((CpuSet::from_bits(wanted), none));
    }
    let candidates = CpuSet::from_bits(wanted & shared & control::expendable_cpus(shared));
    let possible = candidates.iter().count() as u32;
    if possible < spec.vcpus {
        return Err(VmError::NotEnoughCpus { vcpus: spec.vcpus, cpus: possible });
    }
    // The first CPUs are the last to go: one of them keeps house.
    let skipped = (possible - spec.vcpus) as usize;
    let owned = candidates.iter().skip(skipped).fold(0, |cpus, cpu| cpus | CpuSet::of(cpu).bits());
    Ok((CpuSet::from_bits(owned), CpuSet::from_bits(owned)))
}

/// The tasks of a VM's vCPUs.
fn tasks(id: usize, spec: &VmSpec, allowed: CpuSet) -> Arc<[Arc<Task>]> {
    let share = Arc::new(Share::new(spec.scheduling.weight, spec.scheduling.dedicated));
    let mut owned = allowed.iter();
    (0..spec.vcpus as usize)
        .map(|index| {
            let allowed = match spec.scheduling.dedicated {
                true => owned.next().map_or(allowed, CpuSet::of),
                false => allowed,
            };
            Arc::new(Task::new(VcpuId { vm: id, index }, share.clone(), allowed))
        })
        .collect()
}

/// Bytes of flash for the firmware of an arm64 VM that starts from firmware alone; 0 for others.
fn flash_size(spec: &VmSpec, bundle: &Bundle<'_>) -> Result<u64, VmError> {
    match &spec.boot {
        BootSource::Firmware { image } => match bundle.blob(*image).map_err(VmError::Bundle)?.len() {
            0 => Err(VmError::EmptyFirmware),
            _ if spec.arch != Arch::Aarch64 => Ok(0),
            size => Ok((size as u64).next_multiple_of(CHUNK)),
        },
        BootSource::Kernel { .. } => Ok(0),
    }
}

impl Vm {
    /// Makes the VM `spec` of `bundle`, with nothing loaded yet.
    ///
    /// # Errors
    /// [`VmError`].
    pub fn new(id: usize, spec: &VmSpec, bundle: &'static Bundle<'static>) -> Result<Arc<Self>, VmError> {
        let version = gic::version();
        let limit = version.max_vcpus().min(spec.arch.limits().vcpus as usize);
        if spec.vcpus as usize > limit {
            return Err(VmError::TooManyVcpus { found: spec.vcpus, limit });
        }
        let (allowed, owned) = choose_cpus(spec)?;
        let affinities: Vec<u64> = (0..u64::from(spec.vcpus)).map(|vcpu| version.affinity(vcpu)).collect();
        let tasks = tasks(id, spec, allowed);

        let tables = stage2::create().map_err(VmError::Stage2)?;
        let stage2 = stage2::registers(&tables);
        let flash = flash_size(spec, bundle)?;
        let recording = saved::recording_size(spec);
        let areas = match spec.arch {
            Arch::Aarch64 if flash > 0 => alloc::vec![
                (arm64::MEM.base, spec.memory, Kind::Ram),
                (arm64::FLASH0.base, flash.min(arm64::FLASH0.size), Kind::Rom)
            ],
            Arch::Aarch64 => alloc::vec![(arm64::MEM.base, spec.memory, Kind::Ram)],
            Arch::Riscv64 => alloc::vec![
                (riscv64::DRAM.base, spec.memory, Kind::Ram),
                (Ipa(abi::PRIVATE), cell::private_size(affinities.len(), recording), Kind::Private)
            ],
        };
        let memory = GuestRam::reserve(tables, &areas).map_err(VmError::Memory)?;
        let memory = Arc::new(match spec.arch {
            Arch::Aarch64 => memory,
            Arch::Riscv64 => memory.watched(Box::new(cell::Writes::new(riscv64::DRAM.base))),
        });
        let mut store = &[][..];
        if spec.arch != Arch::Aarch64 {
            let engine = engine_image::pages().ok_or(VmError::NoEngine)?;
            memory.with_tables(|tables| engine_image::map(tables, engine)).map_err(VmError::Map)?;
            store = saved::store(spec, bundle, engine).map_err(VmError::Bundle)?;
            memory.with_tables(|tables| saved::map(tables, store)).map_err(VmError::Map)?;
        }

        let mut devices = Devices::new(id, spec.arch, &affinities, flash, &memory, &tasks)?;
        let shared: Arc<dyn Reclaim> = memory.clone();
        let seed = entropy::generator_seed;
        let site = Site {
            vm: spec,
            bundle,
            memory: shared,
            seed,
            disk: platform::devices::disk,
            sockets: &SOCKETS,
            operator: Arc::new(ConsolePort(id)),
        };
        devices.attach(&site, &tasks)?;
        let vm = Self {
            id,
            spec: spec.clone(),
            bundle,
            memory,
            stage2,
            devices,
            tasks,
            owned,
            residents: percpu::all().map(|_| AtomicU32::new(0)).collect(),
            power: Mutex::new(Power::new(affinities.clone())),
            affinities,
            loads: AtomicBool::new(false),
            store_size: store.len() as u64,
            devicetree: Mutex::new(Vec::new()),
            time_offset: AtomicU64::new(0),
            log_limit: RateLimit::default(),
        };
        vm.map_cpu_interface().map_err(VmError::Map)?;
        let vm = Arc::new(vm);
        for task in vm.tasks.iter() {
            let native = Vcpu::new(task.id(), vm.clone());
            let vcpu: Box<dyn VcpuOps> = match vm.spec.arch {
                Arch::Aarch64 => Box::new(native),
                Arch::Riscv64 => Box::new(Translated::new(native, vm.devices.gic.clone(), vm.memory.clone())),
            };
            task.join(&vm, vcpu);
        }
        scheduler::dedicate(vm.owned);
        Ok(vm)
    }

    /// Its devices.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Its vCPU of the given index.
    pub fn task(&self, vcpu: usize) -> Option<&Arc<Task>> {
        self.tasks.get(vcpu)
    }

    /// All its vCPUs.
    pub fn tasks(&self) -> &[Arc<Task>] {
        &self.tasks
    }

    /// How many interrupts the guest has acknowledged on `vcpu`.
    pub fn interrupts_taken(&self, vcpu: usize) -> u64 {
        self.devices.gic.lock().taken(vcpu)
    }

    /// Its memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The other end of its serial line.
    pub fn uart(&self) -> &dyn SerialPort {
        self.devices.uart()
    }

    /// The devicetree blob that it was last started with; empty before.
    pub fn devicetree(&self) -> Vec<u8> {
        self.devicetree.lock().clone()
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
        let at = match self.spec.arch {
            Arch::Aarch64 => arm64::GIC_CPU.base.0,
            Arch::Riscv64 => abi::GIC_CPU,
        };
        self.memory
            .with_tables(|tables| tables.map(at, interface.start, PAGE_SIZE, stage2::device_attributes()))
    }

    /// Has the VM loaded, by its first vCPU and in its own time. No vCPU runs. Ends in [`Event::Booted`] or
    /// [`Event::BootFailed`].
    pub fn load(self: &Arc<Self>) {
        for task in self.tasks.iter() {
            task.switch_off();
        }
        self.loads.store(true, Ordering::SeqCst);
        if let Some(first) = self.tasks.first() {
            first.start();
            first.release(Hold::VM);
        }
    }

    /// Lets the vCPUs run that are switched on. One that has reported what concerns its VM is not let go on.
    pub fn release(self: &Arc<Self>) {
        for task in self.tasks.iter() {
            task.release(Hold::VM);
        }
    }

    /// Makes the vCPUs leave their guest and stay outside; [`Vm::is_halted`] tells when they have.
    pub fn halt(self: &Arc<Self>) {
        for task in self.tasks.iter() {
            task.halt(Hold::VM);
        }
    }

    /// Whether no vCPU is in its guest, after [`Vm::halt`].
    pub fn is_halted(&self) -> bool {
        self.tasks.iter().all(|task| task.is_parked())
    }

    /// Presses the power button, or lets go of it.
    pub fn power_button(&self, pressed: bool) {
        self.devices.power_button(pressed);
    }

    /// Whether its vCPUs run the engine, in front of the guest.
    pub fn has_engine(&self) -> bool {
        self.spec.arch != Arch::Aarch64
    }

    /// How its guest's code is executed, where the engine does so.
    pub fn jit(&self) -> Jit {
        self.spec.jit
    }

    /// Takes apart what holds the VM together, so that it goes away with the last reference. No vCPU runs.
    pub fn dismantle(&self) {
        for task in self.tasks.iter() {
            task.leave();
        }
        scheduler::forget(&self.tasks);
        scheduler::undedicate(self.owned);
        self.devices.detach();
    }

    /// What the vCPU `vcpu` is to start with: the turn of the first one may be to load the VM first.
    pub fn take_start(&self, vcpu: usize) -> Option<Start> {
        if vcpu == 0 && self.loads.swap(false, Ordering::SeqCst) {
            let (event, detail) = match scheduler::while_away(|| self.boot()) {
                Ok(()) => (Event::Booted, None),
                Err(error) => (Event::BootFailed, Some((vcpu, error.to_string()))),
            };
            // Held until the control plane lets it run.
            if let Some(first) = self.tasks.first() {
                first.hold(Hold::VM);
                first.start();
            }
            control::post(Happening { vm: self.id, event, detail });
            return None;
        }
        self.power.lock().take_start(vcpu)
    }

    /// Takes note of why the vCPU `vcpu` has left its guest, which halts it.
    pub fn left(&self, vcpu: usize, exit: Exit) {
        let (event, detail) = match exit {
            Exit::SystemOff => (Event::GuestOff, None),
            Exit::SystemReset => (Event::GuestReset, None),
            Exit::OutOfMemory(error) => (Event::OutOfMemory, Some((vcpu, error.to_string()))),
            Exit::Crashed(Crash { reason }) => (Event::VcpuCrashed, Some((vcpu, reason))),
            _ => return,
        };
        control::post(Happening { vm: self.id, event, detail });
    }

    /// Puts everything into the state of a machine that has just been switched on, with its kernel or
    /// firmware loaded and the first vCPU about to start. No vCPU may be running.
    ///
    /// # Errors
    /// [`VmError::Bundle`], [`VmError::File`] and [`VmError::Load`]: what the VM boots from cannot be loaded.
    fn boot(&self) -> Result<(), VmError> {
        self.devices.reset();
        self.memory.clear().map_err(VmError::Map)?;
        let file = |file: &FileSource| {
            BootFile::open(file, self.bundle, &self.spec, |slot| self.devices.attached(slot))
                .map_err(VmError::File)
        };
        // What is read from disks is kept until it has been loaded.
        let (image, initrd);
        let (source, bootargs) = match &self.spec.boot {
            BootSource::Kernel { image: kernel, initrd: ramdisk, append } => {
                image = file(kernel)?;
                initrd = ramdisk.as_ref().map(file).transpose()?;
                let (image, initrd) = (image.bytes(), initrd.as_ref().map(BootFile::bytes));
                let source = match self.spec.bios {
                    Bios::BuiltIn | Bios::None => Source::Kernel { image, initrd },
                    Bios::Image(firmware) => {
                        let firmware = self.bundle.blob(firmware).map_err(VmError::Bundle)?;
                        Source::Supervised { firmware, image, initrd }
                    }
                };
                (source, append.as_str())
            }
            BootSource::Firmware { image } => {
                let image = self.bundle.blob(*image).map_err(VmError::Bundle)?;
                (Source::Firmware { image }, "")
            }
        };
        let boot = match self.spec.arch {
            Arch::Aarch64 => self.load_arm64(&source, bootargs)?,
            Arch::Riscv64 => self.load_riscv64(source, bootargs)?,
        };
        cache::invalidate_instructions();
        self.time_offset.store(timer::now(), Ordering::Release);
        let mut devicetree = alloc::vec![0; (boot.dtb.end.0 - boot.dtb.start.0) as usize];
        if self.memory.pin().read(boot.dtb.start, &mut devicetree).is_ok() {
            *self.devicetree.lock() = devicetree;
        }
        Ok(())
    }

    fn load_arm64(&self, source: &Source<'_>, bootargs: &str) -> Result<Boot, VmError> {
        let spec = fdt::arm64::MachineSpec {
            gic: gic::version(),
            vcpus: &self.affinities,
            cpu_compatible: None,
            bootargs,
            virtio_slots: arm64::MMIO_TRANSPORTS,
            seed: entropy::seed(),
        };
        let boot = loader::load(&self.memory.loading(), source, &spec).map_err(VmError::Load)?;
        self.power.lock().reset(Start { entry: boot.entry.0, context: boot.told_dtb });
        Ok(boot)
    }

    fn load_riscv64(&self, source: Source<'_>, bootargs: &str) -> Result<Boot, VmError> {
        let (source, is_bare) = match source {
            Source::Firmware { image } => (Source::Kernel { image, initrd: None }, true),
            source => (source, self.spec.bios == Bios::None),
        };
        let target = Riscv64 {
            spec: fdt::riscv64::MachineSpec {
                harts: self.affinities.len(),
                extensions: &abi::riscv::EXTENSIONS,
                timebase: timer::frequency() as u32,
                bootargs,
                virtio_slots: riscv64::MMIO_TRANSPORTS,
                seed: entropy::seed().map(|seed| saved::seed(&self.spec, seed)),
            },
            is_bare,
        };
        let boot = loader::load(&self.memory.loading(), &source, &target).map_err(VmError::Load)?;
        let mode = match (&source, is_bare) {
            (Source::Kernel { .. }, false) => abi::riscv::SUPERVISOR,
            _ => abi::riscv::MACHINE,
        };
        let start = cell::Start {
            harts: self.affinities.len(),
            ram: (riscv64::DRAM.base, self.spec.memory),
            gic: match gic::version() {
                GicVersion::V2 => 2,
                GicVersion::V3 => 3,
            },
            mode,
            entry: boot.entry,
            arguments: [boot.told_dtb, boot.next_stage],
            translation: match self.spec.jit {
                Jit::On => abi::Translation::On,
                Jit::Off => abi::Translation::Off,
                Jit::LockStep => abi::Translation::LockStep,
                Jit::Record => abi::Translation::Record,
            },
            store: self.store_size,
            recording: saved::recording_size(&self.spec),
        };
        cell::prepare(&self.memory.loading_private(), &start).map_err(|error| VmError::Load(error.into()))?;
        self.power.lock().reset(Start { entry: abi::IMAGE, context: 0 });
        Ok(boot)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        log::debug!("VM {} is gone", self.spec.name);
    }
}

impl Machine for Vm {
    type GicHost = GicHost;

    fn gic(&self) -> &VgicDevice<GicHost> {
        &self.devices.gic
    }

    fn bus(&self) -> &Bus {
        self.devices.bus()
    }

    fn shared(&self, vcpu: usize) -> Arc<Shared> {
        self.tasks.get(vcpu).map(|task| task.shared.clone()).unwrap_or_default()
    }

    fn is_dedicated(&self) -> bool {
        self.spec.scheduling.dedicated
    }

    fn takes_turn(&self, vcpu: usize) -> bool {
        let name = vcpu as u32 + 1;
        let resident = self.residents.get(percpu::this_cpu().index);
        let last = resident.map_or(0, |resident| resident.swap(name, Ordering::Relaxed));
        last != 0 && last != name
    }

    fn must_leave(&self, vcpu: usize) -> bool {
        self.tasks.get(vcpu).is_some_and(|task| scheduler::must_leave(task))
    }

    fn is_contended(&self) -> bool {
        scheduler::is_contended()
    }

    fn nap(&self, vcpu: usize) -> bool {
        self.tasks.get(vcpu).is_some_and(|task| scheduler::nap(task))
    }

    fn stage2(&self) -> (u64, u64) {
        self.stage2
    }

    fn time_offset(&self) -> u64 {
        self.time_offset.load(Ordering::Acquire)
    }

    fn fault_in(&self, ipa: Ipa) -> FaultIn {
        match self.memory.fault_in(ipa) {
            Ok(Found::Memory(Kind::Ram | Kind::Private)) => FaultIn::Mapped,
            Ok(Found::Memory(Kind::Rom)) => FaultIn::ReadOnly,
            Ok(Found::Nothing) => FaultIn::Absent,
            Err(TableError::OutOfFrames(error)) => FaultIn::OutOfMemory(error),
            Err(error) => FaultIn::Failed(error.to_string()),
        }
    }

    fn run_devices(&self) -> bool {
        self.devices.work()
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
        if self.has_engine()
            && let Some(outcome) = self.engine_call(function as u32, arguments)
        {
            return ControlFlow::Break(CallExit::Exit(outcome));
        }
        self.power_call(vcpu, registers)
    }

    fn affinity(&self, vcpu: usize) -> u64 {
        self.affinities.get(vcpu).copied().unwrap_or(0)
    }

    fn admit_log_line(&self) -> Option<LeftOut> {
        self.log_limit.admit(timer::microseconds_since_boot())
    }
}

impl Vm {
    /// A call that changes or tells the power state of a vCPU or of the VM.
    #[cold]
    fn power_call(&self, vcpu: usize, registers: &mut [u64; 4]) -> ControlFlow<CallExit> {
        let [function, arguments @ ..] = *registers;
        let is_memory = |entry| match self.spec.arch {
            Arch::Aarch64 => self.memory.ram().iter().any(|ram| ram.contains(&Ipa(entry))),
            Arch::Riscv64 => entry == abi::IMAGE,
        };
        let outcome = self.power.lock().call(vcpu, function as u32, arguments, is_memory);
        let result = match outcome {
            Outcome::Return(result) => result,
            Outcome::Started(target) => {
                if let Some(task) = self.tasks.get(target) {
                    task.start();
                }
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

    /// A call of the engine's, if it is one.
    #[cold]
    fn engine_call(&self, function: u32, [first, second, _]: [u64; 3]) -> Option<Exit> {
        match function {
            abi::CALL_FATAL => Some(Exit::Crashed(Crash {
                reason: cell::message(&self.memory.pin_private(), first, second),
            })),
            abi::CALL_STOPPED => Some(Exit::Debug(match first {
                reason if reason == abi::StopReason::Stepped as u64 => Stop::Stepped,
                reason if reason == abi::StopReason::Breakpoint as u64 => Stop::Execution,
                _ => Stop::Paused,
            })),
            _ => None,
        }
    }
}
