//! Loaders for what a guest boots from: the formats that QEMU's `-kernel` and `-bios` take, and where QEMU
//! puts them.
//!
//! ```text
//! ELF             program headers say where          RAM base  devicetree, if the ELF leaves room for it
//! arm64 Image     RAM base + text_offset
//! any other       RAM base + 0x80000
//!                                                    then      initrd, at half of RAM or 128 MiB
//!                                                    then      devicetree, 2 MiB-aligned
//! ```
//!
//! An Image or another flat binary may be compressed by gzip, or packed as an EFI zboot image. A file is
//! untrusted: it can neither write outside the guest's memory nor make EL2 allocate more than a fixed amount.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod elf;
mod error;
mod flat;
mod gzip;
mod zboot;

use core::ops::Range;

pub use self::{
    elf::ElfError,
    error::{LoadError, Part},
    gzip::GzipError,
};
use super::{
    fdt::{self, MachineSpec},
    machine,
};
use crate::mm::{
    addr::{Ipa, MIB, PAGE_SIZE},
    guest_memory::GuestMemory,
};

/// What a VM starts from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A kernel in any known format, and its initial RAM disk.
    Kernel {
        /// The kernel's file.
        image: &'a [u8],
        /// The initrd's file, which is handed over as it is.
        initrd: Option<&'a [u8]>,
    },
    /// Firmware, put into [`machine::FLASH0`], which the guest's memory must back.
    Firmware {
        /// The flash's contents.
        image: &'a [u8],
    },
}

/// How the boot CPU of a loaded VM starts, and what has been put where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The first instruction.
    pub entry: Ipa,
    /// The value of X0; X1 to X3 are zero (`Documentation/arch/arm64/booting.rst`).
    pub x0: u64,
    /// What the kernel or firmware takes, with the memory that a kernel needs before it knows of any.
    pub image: Range<Ipa>,
    /// The initrd.
    pub initrd: Option<Range<Ipa>>,
    /// The devicetree.
    pub dtb: Range<Ipa>,
}

/// A kernel in guest memory.
struct Kernel {
    entry: Ipa,
    footprint: Range<Ipa>,
    /// Whether the devicetree may lie below the kernel at the base of RAM, as QEMU has it for an ELF.
    dtb_below: bool,
}

/// A kernel maps the devicetree by one block of this size, so it must not cross such a boundary.
const DTB_ALIGN: u64 = 2 * MIB;
/// Longest devicetree in bytes (`booting.rst`, section 2).
const DTB_MAX: u64 = 2 * MIB;
/// The initrd is at least this far into RAM, or at half of a RAM that is smaller than twice this.
const INITRD_OFFSET: u64 = 128 * MIB;

/// Puts `source`, and the devicetree of `spec`, into the VM's memory.
///
/// Memory that nothing is loaded into is left as it is: for a VM that boots anew it must have been cleared.
///
/// # Errors
/// A damaged or unknown format, what does not fit into the VM's memory, or a machine that cannot exist. Guest
/// memory is then unspecified.
pub fn load<M: GuestMemory + ?Sized>(
    memory: &M,
    source: &Source<'_>,
    spec: &MachineSpec<'_>,
) -> Result<Boot, LoadError> {
    let ram = memory.ram().first().cloned().ok_or(LoadError::NoRam)?;
    match source {
        Source::Kernel { image, initrd } => {
            let kernel = load_kernel(memory, &ram, image)?;
            let initrd = initrd.map(|initrd| load_initrd(memory, &ram, &kernel, initrd)).transpose()?;
            let dtb = load_dtb(memory, &ram, Some(&kernel), initrd.as_ref(), spec)?;
            Ok(Boot { entry: kernel.entry, x0: dtb.start.0, image: kernel.footprint, initrd, dtb })
        }
        Source::Firmware { image } => {
            let footprint =
                place(Part::Firmware, machine::FLASH0.base, image.len() as u64, &machine::FLASH0.range())?;
            memory.write(footprint.start, image)?;
            // Firmware is not told: it looks for the devicetree at the base of RAM.
            let dtb = load_dtb(memory, &ram, None, None, spec)?;
            Ok(Boot { entry: footprint.start, x0: 0, image: footprint, initrd: None, dtb })
        }
    }
}

fn load_kernel<M: GuestMemory + ?Sized>(
    memory: &M,
    ram: &Range<Ipa>,
    image: &[u8],
) -> Result<Kernel, LoadError> {
    if elf::is_elf(image) {
        return elf::load(memory, ram, image);
    }
    let mut flat = flat::Loader::new(memory, ram);
    if gzip::is_gzip(image) {
        gzip::unpack(image, |chunk| flat.push(chunk))?;
    } else if let Some(payload) = zboot::payload(image)? {
        gzip::unpack(payload, |chunk| flat.push(chunk))?;
    } else {
        flat.push(image)?;
    }
    flat.finish()
}

fn load_initrd<M: GuestMemory + ?Sized>(
    memory: &M,
    ram: &Range<Ipa>,
    kernel: &Kernel,
    initrd: &[u8],
) -> Result<Range<Ipa>, LoadError> {
    let start = align_up(behind_kernel(ram, kernel), PAGE_SIZE);
    let range = place(Part::Initrd, start, initrd.len() as u64, ram)?;
    memory.write(range.start, initrd)?;
    Ok(range)
}

fn load_dtb<M: GuestMemory + ?Sized>(
    memory: &M,
    ram: &Range<Ipa>,
    kernel: Option<&Kernel>,
    initrd: Option<&Range<Ipa>>,
    spec: &MachineSpec<'_>,
) -> Result<Range<Ipa>, LoadError> {
    let dtb = fdt::build(spec, memory.ram(), initrd)?;
    let len = dtb.len() as u64;
    if len > DTB_MAX {
        return Err(LoadError::DtbTooLarge { found: len, limit: DTB_MAX });
    }
    let start = match kernel {
        None => ram.start,
        Some(kernel) if kernel.dtb_below && len <= distance(ram.start, kernel.footprint.start) => ram.start,
        Some(kernel) => {
            let free_from = initrd.map_or_else(|| behind_kernel(ram, kernel), |initrd| initrd.end);
            align_up(free_from, DTB_ALIGN)
        }
    };
    let range = place(Part::Dtb, start, len, ram)?;
    memory.write(range.start, &dtb)?;
    Ok(range)
}

/// Where QEMU starts to put what comes with a kernel: far enough behind it that a kernel whose real size is
/// not known does not run over it, but within the reach of a kernel that knows little memory at first.
fn behind_kernel(ram: &Range<Ipa>, kernel: &Kernel) -> Ipa {
    let offset = (distance(ram.start, ram.end) / 2).min(INITRD_OFFSET);
    Ipa(ram.start.0.saturating_add(offset)).max(kernel.footprint.end)
}

/// `len` bytes from `start` on, which lie within `limits`.
fn place(part: Part, start: Ipa, len: u64, limits: &Range<Ipa>) -> Result<Range<Ipa>, LoadError> {
    start
        .checked_add(len)
        .filter(|end| limits.start <= start && *end <= limits.end)
        .map(|end| start..end)
        .ok_or(LoadError::DoesNotFit { part, start, len, limits: (limits.start, limits.end) })
}

/// Bytes from `from` to `to`, or zero where `to` is below.
const fn distance(from: Ipa, to: Ipa) -> u64 {
    to.0.saturating_sub(from.0)
}

/// The next multiple of `alignment` (a power of two), or the end of the address space, where nothing fits.
fn align_up(address: Ipa, alignment: u64) -> Ipa {
    Ipa(address.0.checked_next_multiple_of(alignment).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
