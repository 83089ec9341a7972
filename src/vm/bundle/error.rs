//! Why a bundle is refused.

use alloc::string::String;
use core::fmt;

use super::device::{DeviceError, MAX_HARDWARE_NAME, MAX_SWITCHES};
use super::{FORMAT_VERSION, MAGIC, MAX_BLOBS, MAX_MANIFEST, MAX_VMS, spec::*};
use crate::storage::partition::NameError;

/// The part of a bundle that a checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The header.
    Header,
    /// The manifest.
    Manifest,
    /// A blob, by index.
    Blob(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Manifest => f.write_str("manifest"),
            Self::Blob(index) => write!(f, "blob {index}"),
        }
    }
}

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleError {
    /// It does not start with [`MAGIC`].
    Magic,
    /// Another version of the format.
    Version {
        /// The version that the header names.
        found: u32,
    },
    /// It ends too early.
    Truncated {
        /// Bytes that there should be.
        needed: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// A checksum does not match: the file was damaged.
    Crc {
        /// What the checksum covers.
        part: Part,
        /// CRC-32 as recorded.
        expected: u32,
        /// CRC-32 of what is there.
        found: u32,
    },
    /// The manifest is longer than [`MAX_MANIFEST`].
    ManifestLength {
        /// Its length in bytes.
        found: usize,
    },
    /// The manifest cannot be decoded.
    Manifest(postcard::Error),
    /// The manifest has bytes that belong to nothing.
    ManifestTail {
        /// How many.
        found: usize,
    },
    /// No VM, or more than [`MAX_VMS`].
    VmCount {
        /// How many.
        found: usize,
    },
    /// More than [`MAX_BLOBS`] blobs.
    BlobCount {
        /// How many.
        found: usize,
    },
    /// A blob that is not on a page boundary, or inside the one before it.
    BlobOffset {
        /// Its index.
        blob: usize,
        /// Its offset in the payload area.
        found: u64,
        /// The end of the blob before it.
        free_from: u64,
    },
    /// A blob that does not lie within the bundle.
    BlobRange {
        /// Its index.
        blob: usize,
        /// Its offset in the payload area.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The length of the payload area.
        limit: u64,
    },
    /// A VM's name is empty, too long or has a character that a name may not have.
    Name {
        /// The VM's index.
        vm: usize,
    },
    /// Two VMs have the same name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// More than [`MAX_SWITCHES`] switches.
    SwitchCount {
        /// How many.
        found: usize,
    },
    /// A switch's name is empty, too long or has a character that a name may not have.
    SwitchName {
        /// The switch's index.
        switch: usize,
    },
    /// Two switches have the same name.
    DuplicateSwitch {
        /// The name.
        name: String,
    },
    /// What names a switch's uplink cannot be a network card's name.
    Uplink {
        /// The switch's name.
        switch: String,
    },
    /// Two switches have the same uplink.
    DuplicateUplink {
        /// The network card.
        uplink: String,
    },
    /// A VM asks for what it cannot have.
    Vm {
        /// The VM's name.
        name: String,
        /// What is wrong.
        error: VmError,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => {
                write!(f, "this is not a bundle: it does not start with \"{}\"", MAGIC.escape_ascii())
            }
            Self::Version { found } => {
                write!(
                    f,
                    "the bundle has format version {found}, only version {FORMAT_VERSION} is understood"
                )
            }
            Self::Truncated { needed, found } => {
                write!(f, "the bundle is truncated: {needed} bytes are needed, {found} are there")
            }
            Self::Crc { part, expected, found } => {
                write!(
                    f,
                    "the bundle's {part} is corrupt: CRC-32 is {found:#010x} instead of {expected:#010x}"
                )
            }
            Self::ManifestLength { found } => {
                write!(f, "the bundle's manifest has {found} bytes, at most {MAX_MANIFEST} are possible")
            }
            Self::Manifest(error) => write!(f, "the bundle's manifest cannot be decoded: {error}"),
            Self::ManifestTail { found } => {
                write!(f, "the bundle's manifest is followed by {found} bytes that belong to nothing")
            }
            Self::VmCount { found } => write!(f, "the bundle has {found} VMs, 1 to {MAX_VMS} are possible"),
            Self::BlobCount { found } => {
                write!(f, "the bundle has {found} blobs, at most {MAX_BLOBS} are possible")
            }
            Self::BlobOffset { blob, found, free_from } => {
                write!(
                    f,
                    "blob {blob} of the bundle is at {found:#x}, not on a page boundary at or behind {free_from:#x}"
                )
            }
            Self::BlobRange { blob, offset, len, limit } => {
                write!(
                    f,
                    "blob {blob} of the bundle is {len:#x} bytes at {offset:#x}, its payload ends at {limit:#x}"
                )
            }
            Self::Name { vm } => {
                write!(
                    f,
                    "the name of VM {vm} is not 1 to {MAX_NAME} ASCII letters, digits, \"-\", \"_\" and \".\""
                )
            }
            Self::DuplicateName { name } => write!(f, "two VMs are named \"{name}\""),
            Self::SwitchCount { found } => {
                write!(f, "the bundle has {found} switches, at most {MAX_SWITCHES} are possible")
            }
            Self::SwitchName { switch } => write!(
                f,
                "the name of switch {switch} is not 1 to {MAX_NAME} ASCII letters, digits, \"-\", \"_\" and \".\""
            ),
            Self::DuplicateSwitch { name } => write!(f, "two switches are named \"{name}\""),
            Self::Uplink { switch } => write!(
                f,
                "the uplink of switch \"{switch}\" is not 1 to {MAX_HARDWARE_NAME} printable ASCII characters \
                 without a space"
            ),
            Self::DuplicateUplink { uplink } => write!(f, "two switches have the uplink \"{uplink}\""),
            Self::Vm { name, error } => write!(f, "VM \"{name}\": {error}"),
        }
    }
}

impl core::error::Error for BundleError {}

/// Why a VM's description is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmError {
    /// No vCPU, or more than its machine has room for.
    Vcpus {
        /// How many.
        found: u32,
        /// At most how many.
        limit: u32,
    },
    /// Too little or too much memory, or not a multiple of [`MEMORY_GRANULE`].
    Memory {
        /// How many bytes.
        found: u64,
        /// At most how many.
        limit: u64,
    },
    /// Something to find below it is given to what is not a RISC-V kernel.
    Bios,
    /// How its code is executed is said of a VM whose code the machine executes.
    Jit,
    /// Saved translations are for guests whose code is compiled, and not recorded.
    Translations,
    /// The command line is longer than [`MAX_APPEND`].
    AppendLength {
        /// Its length in bytes.
        found: usize,
    },
    /// The command line has a NUL in it.
    AppendNul {
        /// Where.
        offset: usize,
    },
    /// A blob that the bundle does not have.
    NoSuchBlob {
        /// The index.
        found: u32,
        /// How many blobs there are.
        count: usize,
    },
    /// It boots from a disk that it does not have.
    NoSuchDisk {
        /// The disk's name.
        name: String,
    },
    /// The path of a file on a disk is empty, longer than [`MAX_PATH`], or has a NUL in it.
    Path {
        /// Its length in bytes.
        found: usize,
    },
    /// It boots from a partition whose name cannot be one.
    BootPartition(NameError),
    /// More devices than there are slots for.
    DeviceCount {
        /// How many.
        found: usize,
        /// At most how many.
        limit: usize,
    },
    /// A device that it cannot have.
    Device {
        /// Its slot.
        slot: usize,
        /// What is wrong.
        error: DeviceError,
    },
    /// No share of the CPUs, or more than [`MAX_WEIGHT`].
    Weight {
        /// The weight.
        found: u32,
    },
    /// A set of CPUs with none in it.
    NoCpus,
    /// Fewer CPUs than vCPUs that are to own one.
    Dedicated {
        /// How many vCPUs.
        vcpus: u32,
        /// How many CPUs they may use.
        cpus: u32,
    },
    /// A VM that would be started again without a delay, or after more than [`MAX_BACKOFF`].
    RestartDelay {
        /// The delay in milliseconds.
        found: u32,
    },
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpus { found, limit } => write!(f, "{found} vCPUs, 1 to {limit} are possible"),
            Self::Memory { found, limit } => write!(
                f,
                "{found:#x} bytes of memory, multiples of {MEMORY_GRANULE:#x} up to {limit:#x} are possible"
            ),
            Self::Bios => f.write_str("a bios is for RISC-V kernels only"),
            Self::Jit => f.write_str("jit is for RISC-V guests only"),
            Self::Translations => {
                f.write_str("saved translations are for RISC-V guests with jit on or in lock-step only")
            }
            Self::AppendLength { found } => {
                write!(f, "the command line has {found} bytes, at most {MAX_APPEND} are possible")
            }
            Self::AppendNul { offset } => write!(f, "the command line has a NUL at byte {offset}"),
            Self::NoSuchBlob { found, count } => write!(f, "blob {found} of {count} does not exist"),
            Self::NoSuchDisk { name } => write!(f, "it boots from the disk {name:?}, which it does not have"),
            Self::Path { found } => {
                write!(f, "the path of a file has {found} bytes, 1 to {MAX_PATH} without NUL are possible")
            }
            Self::BootPartition(error) => error.fmt(f),
            Self::DeviceCount { found, limit } => {
                write!(f, "{found} devices, at most {limit} are possible")
            }
            Self::Device { slot, error } => write!(f, "device {slot}: {error}"),
            Self::Weight { found } => write!(f, "a weight of {found}, 1 to {MAX_WEIGHT} are possible"),
            Self::NoCpus => f.write_str("its set of CPUs is empty"),
            Self::Dedicated { vcpus, cpus } => {
                write!(f, "{vcpus} vCPUs are to own a CPU each, out of a set of {cpus}")
            }
            Self::RestartDelay { found } => {
                write!(f, "a restart after {found} ms, 1 to {MAX_BACKOFF} are possible")
            }
        }
    }
}

impl core::error::Error for VmError {}
