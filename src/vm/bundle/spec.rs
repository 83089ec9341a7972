//! What a bundle says of its VMs, and the bounds that this keeps to.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::error::VmError;
use crate::mm::addr::MIB;
use crate::net::Mac;
use crate::vm::machine;

/// Most vCPUs that a VM may have: one bit each in a `u64`. Its interrupt controller may allow fewer.
pub const MAX_VCPUS: u32 = 64;
/// A VM's memory is a multiple of this: the Stage-2 block size, so that all of it can be mapped by blocks.
pub const MEMORY_GRANULE: u64 = 2 * MIB;
/// Most memory that a VM may have: what its machine has room for.
pub const MAX_MEMORY: u64 = machine::MEM.size;
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

/// Longest name of a disk in bytes: what VIRTIO has room for in a serial number.
pub const MAX_SERIAL: usize = 20;
/// Most queues, or pairs of queues, that a device may have.
pub const MAX_QUEUES: u16 = 8;
/// Most ports that a console device may have.
pub const MAX_PORTS: u32 = 8;
/// A blob's index in its bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobId(pub(super) u32);

/// The instruction set that a VM's kernel is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arch {
    /// 64-bit Arm, run natively.
    Aarch64,
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
    /// Firmware that is mapped at the reset address, as by QEMU's `-bios`.
    Firmware {
        /// The flash image.
        image: BlobId,
    },
}

impl BootSource {
    /// Every blob that the VM boots from.
    pub(super) fn blobs(&self) -> impl Iterator<Item = BlobId> {
        let blob = |file: &FileSource| match file {
            FileSource::Blob(blob) => Some(*blob),
            FileSource::OnDisk { .. } => None,
        };
        let (image, initrd) = match self {
            Self::Kernel { image, initrd, .. } => (blob(image), initrd.as_ref().and_then(blob)),
            Self::Firmware { image } => (Some(*image), None),
        };
        [image, initrd].into_iter().flatten()
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

/// A virtio device. The position in [`VmSpec::devices`] is its slot: number n is at the n-th transport of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceSpec {
    /// A block device.
    Disk(DiskSpec),
    /// A network device.
    Net(NetSpec),
    /// A source of randomness.
    Rng,
    /// A memory balloon.
    Balloon,
    /// A socket device, by which VMs reach each other.
    Vsock {
        /// The VM's context id: 3 to `u32::MAX` - 1; unique in the bundle.
        cid: u32,
    },
    /// A console device.
    Console {
        /// How many ports: 1 to [`MAX_PORTS`]. Port 0 is the console.
        ports: u32,
    },
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// What the operator calls it, and the guest finds as its serial number: 1 to [`MAX_SERIAL`] printable ASCII
    /// characters; unique in the VM.
    pub name: String,
    /// Where its sectors are.
    pub source: DiskSource,
    /// The guest cannot write it.
    pub read_only: bool,
    /// Request queues: 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// Plugged in when the VM starts; else the operator does it.
    pub plugged: bool,
}

/// Where a disk's sectors are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskSource {
    /// A file of the bundle. What the guest writes is kept in memory until the VM is destroyed.
    File {
        /// The image.
        image: BlobId,
        /// Bytes of the disk: at least the image's; more read as zero.
        size: u64,
    },
    /// A physical disk, or a part of one.
    Physical {
        /// `disk0`, `disk1`, ... or the disk's serial number.
        disk: String,
        /// The part.
        partition: Option<PartitionName>,
    },
}

/// Which partition of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionName {
    /// The n-th of its table, from 1 on.
    Number(u32),
    /// A GPT partition by its name.
    Label(String),
    /// A GPT partition by its unique GUID in the usual text form, or an MBR partition as `ssssssss-nn`: the disk's signature
    /// and the number, both in hexadecimal.
    Uuid(String),
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetSpec {
    /// The switch that it is plugged into: an index into the bundle's.
    pub switch: u32,
    /// Its address: no group address.
    pub mac: Mac,
    /// The VLAN that it is a member of, untagged: 1 to 4094. Without one, frames pass as they are, tags included.
    pub vlan: Option<u16>,
    /// Most bytes a second that it may send.
    pub rate: Option<u64>,
    /// It can only send from its own MAC address, and, if there are any here, from these IPv4 addresses.
    pub guard: Option<Vec<[u8; 4]>>,
    /// Pairs of queues: 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// Largest packet: 68 to 65535 bytes.
    pub mtu: u16,
    /// Plugged in when the VM starts; else the operator does it.
    pub plugged: bool,
}

/// A switch that connects VMs, and maybe the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchSpec {
    /// What the operator calls it; unique among switches. A name as of a VM.
    pub name: String,
    /// The physical network card that is plugged into it: `nic0`, `nic1`, ..., or its MAC address.
    pub uplink: Option<String>,
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
    /// Its virtio devices: at most [`machine::MMIO_TRANSPORTS`].
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
            scheduling: Scheduling::default(),
            autostart: true,
            on_stop: Reaction::default(),
            on_crash: Reaction::default(),
            colour: Colour::default(),
            devices: Vec::new(),
        }
    }

    /// Checks everything but the name, in a bundle of so many blobs.
    pub(super) fn validate(&self, blobs: usize) -> Result<(), VmError> {
        if !(1..=MAX_VCPUS).contains(&self.vcpus) {
            return Err(VmError::Vcpus { found: self.vcpus });
        }
        if !(MEMORY_GRANULE..=MAX_MEMORY).contains(&self.memory)
            || !self.memory.is_multiple_of(MEMORY_GRANULE)
        {
            return Err(VmError::Memory { found: self.memory });
        }
        if let BootSource::Kernel { append, .. } = &self.boot {
            if append.len() > MAX_APPEND {
                return Err(VmError::AppendLength { found: append.len() });
            }
            if let Some(offset) = append.bytes().position(|byte| byte == 0) {
                return Err(VmError::AppendNul { offset });
            }
        }
        if let Some(blob) = self.boot.blobs().find(|blob| blob.0 as usize >= blobs) {
            return Err(VmError::NoSuchBlob { found: blob.0, count: blobs });
        }
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
