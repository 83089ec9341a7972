//! Loaders for what a guest boots from: the formats that QEMU's `-kernel` and `-bios` take, and where QEMU
//! puts them.
//!
//! ```text
//! ELF               program headers say where          RAM base  devicetree, if the ELF leaves room for it
//! arm64 Image       RAM base + text_offset
//! any other, arm64  RAM base + 0x80000
//! any, RISC-V       RAM base + 2 MiB if there is firmware below, else RAM base
//!                                                      then      initrd, at half of RAM or 128 MiB
//!                                                      then      devicetree, 2 MiB-aligned
//! ```
//!
//! An Image or another flat binary may be compressed by gzip, or packed as an EFI zboot image. A file is
//! untrusted: it can neither write outside the guest's memory nor make EL2 allocate more than a fixed amount.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod elf;
mod error;
mod flat;
mod gzip;
mod target;
mod zboot;

use core::ops::Range;

pub use self::{
    elf::ElfError,
    error::{LoadError, Part},
    gzip::GzipError,
    target::{Flat, Riscv64, Target},
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
    /// Firmware alone, put into the machine's flash, which the guest's memory must back.
    Firmware {
        /// The flash's contents.
        image: &'a [u8],
    },
    /// A kernel, and below it firmware that starts first and is told where the kernel is.
    Supervised {
        /// The firmware.
        firmware: &'a [u8],
        /// The kernel's file.
        image: &'a [u8],
        /// The initrd's file.
        initrd: Option<&'a [u8]>,
    },
}

/// How the boot CPU of a loaded VM starts, and what has been put where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The first instruction.
    pub entry: Ipa,
    /// The devicetree's address as the guest is told, 0 if it is not: X0 on arm64 (`Documentation/arch/arm64/booting.rst`), a1
    /// on RISC-V.
    pub told_dtb: u64,
    /// What firmware is told of the kernel above it; 0 if there is none.
    pub next_stage: u64,
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
    target: &impl Target,
) -> Result<Boot, LoadError> {
    let ram = memory.ram().first().cloned().ok_or(LoadError::NoRam)?;
    match source {
        Source::Kernel { image, initrd } => {
            let kernel = load_kernel(memory, &ram, image, target, target.kernel())?;
            load_rest(memory, &ram, kernel, *initrd, target)
        }
        Source::Firmware { image } => {
            let flash = target.flash();
            let footprint = place(Part::Firmware, flash.start, image.len() as u64, &flash)?;
            memory.write(footprint.start, image)?;
            // Firmware is not told: it looks for the devicetree at the base of RAM.
            let dtb = load_dtb(memory, &ram, None, None, target)?;
            let entry = footprint.start;
            Ok(Boot { entry, told_dtb: 0, next_stage: 0, image: footprint, initrd: None, dtb })
        }
        Source::Supervised { firmware, image, initrd } => {
            let below = load_kernel(memory, &ram, firmware, target, target.firmware())?;
            let kernel = load_kernel(memory, &ram, image, target, target.kernel())?;
            if below.footprint.end > kernel.footprint.start && kernel.footprint.end > below.footprint.start {
                return Err(LoadError::Overlap { firmware: below.footprint, kernel: kernel.footprint });
            }
            let entry = kernel.entry;
            let boot = load_rest(memory, &ram, kernel, *initrd, target)?;
            let info = target.next_stage(entry);
            let start = align_up(boot.dtb.end, align_of::<u64>() as u64);
            let place = place(Part::NextStage, start, info.len() as u64, &ram)?;
            memory.write(place.start, &info)?;
            Ok(Boot { entry: below.entry, next_stage: place.start.0, ..boot })
        }
    }
}

/// Loads what comes with `kernel`.
fn load_rest<M: GuestMemory + ?Sized>(
    memory: &M,
    ram: &Range<Ipa>,
    kernel: Kernel,
    initrd: Option<&[u8]>,
    target: &impl Target,
) -> Result<Boot, LoadError> {
    let initrd = initrd.map(|initrd| load_initrd(memory, ram, &kernel, initrd)).transpose()?;
    let dtb = load_dtb(memory, ram, Some(&kernel), initrd.as_ref(), target)?;
    let (entry, image) = (kernel.entry, kernel.footprint);
    Ok(Boot { entry, told_dtb: dtb.start.0, next_stage: 0, image, initrd, dtb })
}

fn load_kernel<M: GuestMemory + ?Sized>(
    memory: &M,
    ram: &Range<Ipa>,
    image: &[u8],
    target: &impl Target,
    format: Flat,
) -> Result<Kernel, LoadError> {
    if elf::is_elf(image) {
        return elf::load(memory, ram, image, target.elf_machine());
    }
    let mut flat = flat::Loader::new(memory, ram, format);
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
    target: &impl Target,
) -> Result<Range<Ipa>, LoadError> {
    let dtb = target.devicetree(memory.ram(), initrd)?;
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
