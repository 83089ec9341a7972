//! Why a VM cannot be loaded.

use core::{error::Error, fmt, ops::Range};

use super::{elf::ElfError, gzip::GzipError};
use crate::{
    mm::{addr::Ipa, guest_memory::MemoryError},
    vm::fdt::FdtError,
};

/// What is put into a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The kernel, with what it needs behind its end.
    Kernel,
    /// The firmware.
    Firmware,
    /// The initial RAM disk.
    Initrd,
    /// The devicetree.
    Dtb,
    /// What firmware is told of the kernel above it.
    NextStage,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Firmware => "firmware",
            Self::Initrd => "initrd",
            Self::Dtb => "devicetree",
            Self::NextStage => "information for the firmware",
        })
    }
}

/// Why a VM cannot be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The VM has no RAM.
    NoRam,
    /// The kernel's file, or what it unpacks to, has no bytes.
    EmptyKernel,
    /// A part is larger than the room that there is for it.
    DoesNotFit {
        /// Which part.
        part: Part,
        /// Where it would start.
        start: Ipa,
        /// Its length in bytes.
        len: u64,
        /// The memory that it would have to lie in: first address, and the one behind the last.
        limits: (Ipa, Ipa),
    },
    /// The devicetree is longer than a kernel can map.
    DtbTooLarge {
        /// Its length in bytes.
        found: u64,
        /// The most that is possible.
        limit: u64,
    },
    /// Firmware and the kernel above it want the same memory.
    Overlap {
        /// What the firmware takes.
        firmware: Range<Ipa>,
        /// What the kernel takes.
        kernel: Range<Ipa>,
    },
    /// The kernel is compressed, and what it unpacks to is an ELF: only flat binaries may be compressed.
    CompressedElf,
    /// An EFI zboot image in which the compressed kernel does not lie inside the file.
    ZbootPayload {
        /// Where the header says that it is.
        offset: u32,
        /// How long the header says that it is.
        len: u32,
        /// The file's length.
        limit: usize,
    },
    /// An EFI zboot image whose kernel is not compressed by gzip.
    ZbootCompression {
        /// The name of the method, padded by NULs.
        found: [u8; 32],
    },
    /// The gzip stream is damaged.
    Gzip(GzipError),
    /// The ELF is damaged, or not for this machine.
    Elf(ElfError),
    /// The guest's memory could not be written.
    Memory(MemoryError),
    /// The devicetree could not be made.
    Fdt(FdtError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRam => f.write_str("the VM has no RAM"),
            Self::EmptyKernel => f.write_str("the kernel is empty"),
            Self::DoesNotFit { part, start, len, limits: (first, end) } => {
                write!(
                    f,
                    "the {part} does not fit: {len:#x} bytes at {start}, guest memory is {first} to {end}"
                )
            }
            Self::DtbTooLarge { found, limit } => {
                write!(f, "the devicetree has {found:#x} bytes, at most {limit:#x} are possible")
            }
            Self::Overlap { firmware, kernel } => write!(
                f,
                "the firmware takes {} to {}, the kernel {} to {}: they overlap",
                firmware.start, firmware.end, kernel.start, kernel.end
            ),
            Self::CompressedElf => {
                f.write_str("the kernel is a compressed ELF: only an Image or a raw binary may be compressed")
            }
            Self::ZbootPayload { offset, len, limit } => {
                write!(
                    f,
                    "the EFI zboot image ends at {limit:#x}, its kernel has {len:#x} bytes at {offset:#x}"
                )
            }
            Self::ZbootCompression { found } => {
                let name = found.split(|byte| *byte == 0).next().unwrap_or_default().escape_ascii();
                write!(f, "the EFI zboot image is compressed by \"{name}\", only \"gzip\" is understood")
            }
            Self::Gzip(error) => write!(f, "the compressed kernel is damaged: {error}"),
            Self::Elf(error) => write!(f, "the ELF kernel is refused: {error}"),
            Self::Memory(error) => write!(f, "the guest cannot be loaded: {error}"),
            Self::Fdt(error) => write!(f, "the guest's machine is refused: {error}"),
        }
    }
}

impl Error for LoadError {}

impl From<GzipError> for LoadError {
    fn from(error: GzipError) -> Self {
        Self::Gzip(error)
    }
}

impl From<ElfError> for LoadError {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

impl From<MemoryError> for LoadError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl From<FdtError> for LoadError {
    fn from(error: FdtError) -> Self {
        Self::Fdt(error)
    }
}
