//! The devicetree that a guest is given: that of QEMU's machine, less the devices that the VM does not have.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod arm64;
pub mod riscv64;

use alloc::format;
use core::{error::Error, fmt, ops::Range};

use vm_fdt::FdtWriter;

use super::machine::Region;
use crate::mm::addr::Ipa;

/// Entropy that the guest's kernel uses before it has found any of its own.
#[derive(Clone)]
pub struct Seed {
    /// Where the kernel puts itself in its virtual address space (`kaslr-seed`), if it is to.
    pub kaslr: Option<u64>,
    /// For its random number generator (`rng-seed`).
    pub rng: [u8; 32],
}

impl fmt::Debug for Seed {
    /// Does not say the secret: it would end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Why no devicetree can be made for a machine.
#[derive(Debug, PartialEq)]
pub enum FdtError {
    /// No vCPU, or more than the interrupt controller serves.
    Vcpus {
        /// How many.
        found: usize,
        /// At most how many are possible.
        limit: usize,
    },
    /// More virtio-mmio transports than there is room for.
    VirtioSlots {
        /// How many.
        found: u32,
        /// At most how many are possible.
        limit: u32,
    },
    /// The writer refused a value: a string with a NUL.
    Writer(vm_fdt::Error),
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpus { found, limit } => {
                write!(f, "{found} vCPUs, the machine's interrupt controller serves 1 to {limit}")
            }
            Self::VirtioSlots { found, limit } => {
                write!(f, "{found} virtio-mmio transports, at most {limit} are possible")
            }
            Self::Writer(error) => write!(f, "the devicetree cannot be written: {error}"),
        }
    }
}

impl Error for FdtError {}

impl From<vm_fdt::Error> for FdtError {
    fn from(error: vm_fdt::Error) -> Self {
        Self::Writer(error)
    }
}

/// The `#address-cells` and `#size-cells` of the root.
const CELLS: u32 = 2;

type Written = Result<(), FdtError>;

/// What the boot loader tells the kernel.
struct Chosen<'a> {
    /// The path of the console's node.
    console: &'a str,
    /// The command line; nothing is said where it is empty.
    bootargs: &'a str,
    initrd: Option<&'a Range<Ipa>>,
    seed: Option<&'a Seed>,
}

fn chosen(fdt: &mut FdtWriter, chosen: &Chosen<'_>) -> Written {
    let node = fdt.begin_node("chosen")?;
    fdt.property_string("stdout-path", chosen.console)?;
    if !chosen.bootargs.is_empty() {
        fdt.property_string("bootargs", chosen.bootargs)?;
    }
    if let Some(initrd) = chosen.initrd {
        fdt.property_u64("linux,initrd-start", initrd.start.0)?;
        fdt.property_u64("linux,initrd-end", initrd.end.0)?;
    }
    if let Some(seed) = chosen.seed {
        if let Some(kaslr) = seed.kaslr {
            fdt.property_u64("kaslr-seed", kaslr)?;
        }
        fdt.property("rng-seed", &seed.rng)?;
    }
    Ok(fdt.end_node(node)?)
}

fn memory(fdt: &mut FdtWriter, range: &Range<Ipa>) -> Written {
    let node = fdt.begin_node(&format!("memory@{:x}", range.start.0))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[range.start.0, range.end.0.saturating_sub(range.start.0)])?;
    Ok(fdt.end_node(node)?)
}

fn reg(region: Region) -> [u64; 2] {
    [region.base.0, region.size]
}
