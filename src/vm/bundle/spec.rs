//! What a bundle says of its VMs, and the bounds that this keeps to.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::device::{DeviceSpec, DiskSpec, PartitionName, validate_devices};
use super::error::VmError;
use crate::mm::addr::MIB;
use crate::vm::machine::{arm64, riscv64};

/// Most vCPUs that a VM may have: one bit each in a `u64`. Its interrupt controller may allow fewer.
pub const MAX_VCPUS: u32 = 64;
/// A VM's memory is a multiple of this: the Stage-2 block size, so that all of it can be mapped by blocks.
pub const MEMORY_GRANULE: u64 = 2 * MIB;
/// Most memory that a VM of any architecture may have; its machine may have less room ([`Arch::limits`]).
pub const MAX_MEMORY: u64 = arm64::MEM.size;
/// The weight of a VM that is given none.
pub const DEFAULT_WEIGHT: u32 = 100;
/// The largest weight.
pub const MAX_WEIGHT: u32 = 10_000;
/// The longest delay before a VM is started again, in milliseconds.
pub const MAX_BACKOFF: u32 = 60_000;
/// Longest name of a VM in bytes.
pub const MAX_NAME: usize = 63;
/// Longest command line in bytes: arm64 Linux's `COMMAND_LINE_SIZE` (2048) has to hold the terminating NUL
/// too.
pub const MAX_APPEND: usize = 2047;
/// Longest path of a file on a disk in bytes.
pub const MAX_PATH: usize = 1024;

/// A blob's index in its bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobId(pub(super) u32);

/// The instruction set that a VM's kernel is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arch {
    /// 64-bit Arm, run natively.
    Aarch64,
    /// 64-bit RISC-V, run by the engine.
    Riscv64,
}

/// How large a machine may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most vCPUs.
    pub vcpus: u32,
    /// Most bytes of RAM.
    pub memory: u64,
    /// Most virtio devices.
    pub devices: usize,
}

impl Arch {
    /// What the machine of this architecture has room for.
    pub const fn limits(self) -> Limits {
        match self {
            Self::Aarch64 => {
                Limits { vcpus: MAX_VCPUS, memory: arm64::MEM.size, devices: arm64::MMIO_TRANSPORTS as usize }
            }
            Self::Riscv64 => Limits {
                vcpus: riscv64::MAX_HARTS as u32,
                memory: riscv64::DRAM.size,
                devices: riscv64::MMIO_TRANSPORTS as usize,
            },
        }
    }
}

/// What a RISC-V kernel finds below it, as QEMU's `-bios` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Bios {
    /// The engine itself is its SBI; an arm64 kernel finds PSCI.
    #[default]
    BuiltIn,
    /// Nothing: the kernel starts in machine mode.
    None,
    /// Firmware that starts in machine mode, and is told where the kernel is.
    Image(BlobId),
}

/// How a RISC-V guest's code is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Jit {
    /// What is executed often is compiled.
    #[default]
    On,
    /// All of it is interpreted.
    Off,
    /// It is compiled, executed both ways, and compared, so that mistakes of the compiler are found.
    LockStep,
    /// All of it that can be is compiled at once, and what comes of it is recorded.
    Record,
}

/// What a VM starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootSource {
    /// A kernel that is loaded into RAM, as by QEMU's `-kernel`, `-initrd` and `-append`.
    Kernel {
        /// The kernel, in any format that [`crate::vm::loader`] knows.
        image: FileSource,
        /// The initial RAM disk.
        initrd: Option<FileSource>,
        /// The command line: at most [`MAX_APPEND`] bytes, no NUL.
        append: String,
    },
    /// Firmware without a kernel, as by QEMU's `-bios`: arm64 finds it at the reset address, RISC-V starts it in machine mode.
    Firmware {
        /// The image.
        image: BlobId,
    },
}

impl BootSource {
    /// Every file that a kernel is loaded from.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileSource> {
        let (image, initrd) = match self {
            Self::Kernel { image, initrd, .. } => (Some(image), initrd.as_ref()),
            Self::Firmware { .. } => (None, None),
        };
        [image, initrd].into_iter().flatten()
    }

    /// Every blob that the VM boots from.
    pub(super) fn blobs(&self) -> impl Iterator<Item = BlobId> {
        let flash = match self {
            Self::Kernel { .. } => None,
            Self::Firmware { image } => Some(*image),
        };
        let files = self.files().filter_map(|file| match file {
            FileSource::Blob(blob) => Some(*blob),
            FileSource::OnDisk { .. } => None,
        });
        files.chain(flash)
    }
}

/// How the vCPUs of a VM get physical CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// The VM's share of the CPUs in proportion to the other VMs': 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// The CPUs that it may use: bit n is the n-th of the board's list. Bits of CPUs that the board does not
    /// have count for nothing, but one that it has must remain.
    pub cpus: u64,
    /// Each vCPU owns a CPU, which no other vCPU uses.
    pub dedicated: bool,
}

impl Scheduling {
    /// Checks it for a VM with so many vCPUs.
    fn validate(&self, vcpus: u32) -> Result<(), VmError> {
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            return Err(VmError::Weight { found: self.weight });
        }
        if self.cpus == 0 {
            return Err(VmError::NoCpus);
        }
        if self.dedicated && vcpus > self.cpus.count_ones() {
            return Err(VmError::Dedicated { vcpus, cpus: self.cpus.count_ones() });
        }
        Ok(())
    }
}

impl Default for Scheduling {
    fn default() -> Self {
        Self { weight: DEFAULT_WEIGHT, cpus: u64::MAX, dedicated: false }
    }
}

/// What to do when a VM has switched itself off, or has crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reaction {
    /// Leave it so.
    #[default]
    Stop,
    /// Start it again after a delay, which doubles from one time to the next up to [`MAX_BACKOFF`], and is
    /// the first one again once the VM has run for that long.
    Restart {
        /// The first delay in milliseconds: 1 to [`MAX_BACKOFF`]. No delay would never grow.
        delay: u32,
    },
    /// Switch the machine off.
    PowerOff,
}

impl Reaction {
    fn validate(self) -> Result<(), VmError> {
        match self {
            Self::Restart { delay } if !(1..=MAX_BACKOFF).contains(&delay) => {
                Err(VmError::RestartDelay { found: delay })
            }
            Self::Stop | Self::Restart { .. } | Self::PowerOff => Ok(()),
        }
    }
}

/// A file that a VM boots from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileSource {
    /// A blob of the bundle.
    Blob(BlobId),
    /// A file on one of the VM's own disks, read when the VM starts: on the only file system there, or in the partition that is
    /// named.
    OnDisk {
        /// [`DiskSpec::name`].
        disk: String,
        /// Where on the disk; the whole disk if none.
        partition: Option<PartitionName>,
        /// From the root of the file system, with `/` between names.
        path: String,
    },
}

impl FileSource {
    /// Checks it for a VM with these disks.
    fn validate<'d>(&self, mut disks: impl Iterator<Item = &'d DiskSpec>) -> Result<(), VmError> {
        let Self::OnDisk { disk, partition, path } = self else { return Ok(()) };
        if !disks.any(|own| own.name == *disk) {
            return Err(VmError::NoSuchDisk { name: disk.clone() });
        }
        if !(1..=MAX_PATH).contains(&path.len()) || path.contains('\0') {
            return Err(VmError::Path { found: path.len() });
        }
        partition.as_ref().map_or(Ok(()), PartitionName::validate).map_err(VmError::BootPartition)
    }
}

impl From<BlobId> for FileSource {
    fn from(blob: BlobId) -> Self {
        Self::Blob(blob)
    }
}

/// The colour in which the operator's terminal shows a VM's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    #[default]
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
    White,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// What the operator calls it: 1 to [`MAX_NAME`] ASCII letters, digits, `-`, `_` or `.`; unique in the
    /// bundle.
    pub name: String,
    /// Its instruction set.
    pub arch: Arch,
    /// How many vCPUs: 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Bytes of RAM: a multiple of [`MEMORY_GRANULE`], up to [`MAX_MEMORY`].
    pub memory: u64,
    /// What it boots.
    pub boot: BootSource,
    /// What a kernel finds below it.
    pub bios: Bios,
    /// How its code is executed, where the machine does not do so itself.
    pub jit: Jit,
    /// Translations of its code that were saved.
    pub translations: Option<BlobId>,
    /// How it gets CPUs.
    pub scheduling: Scheduling,
    /// Start it with the machine.
    pub autostart: bool,
    /// What to do when its guest has switched it off.
    pub on_stop: Reaction,
    /// What to do when it has crashed.
    pub on_crash: Reaction,
    /// The colour of its name.
    pub colour: Colour,
    /// Its virtio devices: at most [`Limits::devices`].
    pub devices: Vec<DeviceSpec>,
}

impl VmSpec {
    /// A VM that starts with the machine and has nothing special about it.
    pub fn new(name: impl Into<String>, vcpus: u32, memory: u64, boot: BootSource) -> Self {
        Self {
            name: name.into(),
            arch: Arch::Aarch64,
            vcpus,
            memory,
            boot,
            bios: Bios::default(),
            jit: Jit::default(),
            translations: None,
            scheduling: Scheduling::default(),
            autostart: true,
            on_stop: Reaction::default(),
            on_crash: Reaction::default(),
            colour: Colour::default(),
            devices: Vec::new(),
        }
    }

    /// Its block devices.
    pub fn disks(&self) -> impl Iterator<Item = &DiskSpec> {
        self.devices.iter().filter_map(|device| match device {
            DeviceSpec::Disk(disk) => Some(disk),
            _ => None,
        })
    }

    /// How many ports its console device has; 0 where it has none.
    pub fn console_ports(&self) -> usize {
        let ports = self.devices.iter().find_map(|device| match device {
            DeviceSpec::Console { ports } => Some(*ports as usize),
            _ => None,
        });
        ports.unwrap_or(0)
    }

    /// Checks everything but the name, in a bundle with blobs of these lengths and so many switches.
    pub(super) fn validate(&self, blobs: &[u64], switches: usize) -> Result<(), VmError> {
        let limits = self.arch.limits();
        if !(1..=limits.vcpus).contains(&self.vcpus) {
            return Err(VmError::Vcpus { found: self.vcpus, limit: limits.vcpus });
        }
        if !(MEMORY_GRANULE..=limits.memory).contains(&self.memory)
            || !self.memory.is_multiple_of(MEMORY_GRANULE)
        {
            return Err(VmError::Memory { found: self.memory, limit: limits.memory });
        }
        if self.devices.len() > limits.devices {
            return Err(VmError::DeviceCount { found: self.devices.len(), limit: limits.devices });
        }
        let takes_bios = self.arch == Arch::Riscv64 && matches!(self.boot, BootSource::Kernel { .. });
        if self.bios != Bios::BuiltIn && !takes_bios {
            return Err(VmError::Bios);
        }
        if self.jit != Jit::default() && self.arch != Arch::Riscv64 {
            return Err(VmError::Jit);
        }
        let can_use_translations = self.arch == Arch::Riscv64 && matches!(self.jit, Jit::On | Jit::LockStep);
        if self.translations.is_some() && !can_use_translations {
            return Err(VmError::Translations);
        }
        if let BootSource::Kernel { append, .. } = &self.boot {
            if append.len() > MAX_APPEND {
                return Err(VmError::AppendLength { found: append.len() });
            }
            if let Some(offset) = append.bytes().position(|byte| byte == 0) {
                return Err(VmError::AppendNul { offset });
            }
        }
        let bios = match self.bios {
            Bios::Image(image) => Some(image),
            Bios::BuiltIn | Bios::None => None,
        };
        let mut named = self.boot.blobs().chain(bios).chain(self.translations);
        if let Some(blob) = named.find(|blob| blob.0 as usize >= blobs.len()) {
            return Err(VmError::NoSuchBlob { found: blob.0, count: blobs.len() });
        }
        validate_devices(&self.devices, blobs, switches)?;
        self.boot.files().try_for_each(|file| file.validate(self.disks()))?;
        self.scheduling.validate(self.vcpus)?;
        self.on_stop.validate()?;
        self.on_crash.validate()
    }
}

/// What to do when no VM runs any more because the last one has switched itself off or has crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WhenAllOff {
    /// Switch the machine off.
    #[default]
    PowerOff,
    /// Stay, for the operator to start others.
    Stay,
}

/// Whether a VM may be called this.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
