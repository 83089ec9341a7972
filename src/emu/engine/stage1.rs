//! The address space: guest-physical addresses and the engine's own, one to one, each part with the least rights (W^X).
//!
//! start.S switches to constant tables, so that the MMU is on before any memory is written; hart 0 then builds the tables
//! that all use. The former are address space 0, the latter 1, so that no entry of a TLB is ever of both (DDI 0487 D8.16.1).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aarch64_cpu::registers::{MAIR_EL1, SCTLR_EL1, TCR_EL1, TTBR0_EL1, Writeable};
use polyvisor_cell_abi::{CELL, CellInfo, GIC_DIST, IMAGE, PRIVATE};

use crate::{cpu, local};

const GIB: u64 = 1 << 30;
/// What an entry of a level 2 table maps.
const BLOCK: u64 = 2 << 20;
const PAGE: u64 = local::PAGE as u64;
/// How many entries a table has; as many GiB have an address of 39 bits.
const ENTRIES: usize = 512;

/// Of the engine's private memory, what is mapped by pages. The heap is behind it.
pub const PAGED: u64 = BLOCK;

/// Indices into MAIR_EL1.
const NORMAL: u64 = 0;
const DEVICE: u64 = 1;

/// MAIR_EL1: write-back memory, and Device-nGnRE.
pub const MAIR: u64 = MAIR_EL1::Attr0_Normal_Outer::WriteBack_NonTransient_ReadWriteAlloc.value
    | MAIR_EL1::Attr0_Normal_Inner::WriteBack_NonTransient_ReadWriteAlloc.value
    | MAIR_EL1::Attr1_Device::nonGathering_nonReordering_EarlyWriteAck.value;

/// TCR_EL1 without IPS: 39 bits from TTBR0, nothing from TTBR1.
pub const TCR: u64 = TCR_EL1::T0SZ.val(64 - 39).value
    | TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::SH0::Inner.value
    | TCR_EL1::TG0::KiB_4.value
    | TCR_EL1::EPD1::DisableTTBR1Walks.value;

/// SCTLR_EL1 bits that are RES1 in Armv8.0, and say "as in Armv8.0" later (DDI 0487 D24.2.118): LSMAOE, nTLSMD, SPAN, EIS,
/// TSCXT, EOS, SED, ITD.
const SCTLR_RES1: u64 = 0x30d0_0980;
/// SCTLR_EL1: MMU and caches on; whatever can be written cannot be executed.
pub const SCTLR: u64 = SCTLR_RES1
    | SCTLR_EL1::WXN::Enable.value
    | SCTLR_EL1::I::Cacheable.value
    | SCTLR_EL1::SA::Enable.value
    | SCTLR_EL1::C::Cacheable.value
    | SCTLR_EL1::M::Enable.value;

/// What memory may be used for.
#[derive(Debug, Clone, Copy)]
enum Access {
    /// Code.
    Execute,
    /// Constants.
    Read,
    /// The guest's RAM, and the engine's own.
    Write,
    /// Registers of devices.
    Device,
}

impl Access {
    /// A Stage-1 descriptor of a block of this kind (D8.3.1): nG, AF, SH, AP\[2\], AttrIndx, UXN and PXN.
    const fn block(self, address: u64) -> u64 {
        const BLOCK: u64 = 0b01;
        const NOT_GLOBAL: u64 = 1 << 11;
        const ACCESSED: u64 = 1 << 10;
        const INNER_SHAREABLE: u64 = 0b11 << 8;
        const READ_ONLY: u64 = 1 << 7;
        const EXECUTE_NEVER: u64 = 0b11 << 53;
        let normal = INNER_SHAREABLE | NORMAL << 2;
        let rights = match self {
            Self::Execute => normal | READ_ONLY,
            Self::Read => normal | READ_ONLY | EXECUTE_NEVER,
            Self::Write => normal | EXECUTE_NEVER,
            Self::Device => DEVICE << 2 | EXECUTE_NEVER,
        };
        address | rights | NOT_GLOBAL | ACCESSED | BLOCK
    }

    /// The descriptor of a page.
    const fn page(self, address: u64) -> u64 {
        self.block(address) | 0b11
    }
}

/// The tables that start.S begins with: the engine's code and its private memory. Constant.
#[repr(C, align(4096))]
pub struct BootTable([u64; ENTRIES]);

pub static BOOT: BootTable = {
    let mut entries = [0; ENTRIES];
    entries[(IMAGE / GIB) as usize] = Access::Execute.block(IMAGE / GIB * GIB);
    entries[(PRIVATE / GIB) as usize] = Access::Write.block(PRIVATE / GIB * GIB);
    BootTable(entries)
};

/// A translation table.
#[repr(C, align(4096))]
struct Table([AtomicU64; ENTRIES]);

impl Table {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ENTRIES])
    }

    /// Sets the entry for `address` in a table whose entries map `unit` bytes each.
    fn set(&self, address: u64, unit: u64, descriptor: u64) {
        if let Some(entry) = self.0.get((address / unit) as usize % ENTRIES) {
            entry.store(descriptor, Relaxed);
        }
    }

    /// The descriptor of a table (D8.3.1).
    fn descriptor(&self) -> u64 {
        self as *const Self as u64 | 0b11
    }
}

static ROOT: Table = Table::new();
static CELL_BLOCKS: Table = Table::new();
static IMAGE_PAGES: Table = Table::new();
static PRIVATE_BLOCKS: Table = Table::new();
static PRIVATE_PAGES: Table = Table::new();

const _: () = {
    assert!(CELL == IMAGE && IMAGE.is_multiple_of(GIB) && GIC_DIST / GIB == CELL / GIB, "CELL_BLOCKS");
    assert!(polyvisor_cell_abi::IMAGE_MAX <= BLOCK, "IMAGE_PAGES");
    assert!(PRIVATE.is_multiple_of(GIB), "PRIVATE_BLOCKS");
};

unsafe extern "C" {
    static __text_end: u8;
    static __image_end: u8;
}

/// Builds the tables that [`enter`] switches to.
pub fn build(cell: &CellInfo) {
    let ram_end = cell.ram_base.saturating_add(cell.ram_size).min(CELL);
    for address in (0..ram_end).step_by(GIB as usize) {
        let access = if address + GIB <= cell.ram_base { Access::Device } else { Access::Write };
        ROOT.set(address, GIB, access.block(address));
    }

    ROOT.set(CELL, GIB, CELL_BLOCKS.descriptor());
    CELL_BLOCKS.set(IMAGE, BLOCK, IMAGE_PAGES.descriptor());
    // All frames of the interrupt controller.
    CELL_BLOCKS.set(GIC_DIST, BLOCK, Access::Device.block(GIC_DIST));
    let (text_end, image_end) = (&raw const __text_end as u64, &raw const __image_end as u64);
    for page in (IMAGE..image_end).step_by(PAGE as usize) {
        let access = if page < text_end { Access::Execute } else { Access::Read };
        IMAGE_PAGES.set(page, PAGE, access.page(page));
    }

    ROOT.set(PRIVATE, GIB, PRIVATE_BLOCKS.descriptor());
    PRIVATE_BLOCKS.set(PRIVATE, BLOCK, PRIVATE_PAGES.descriptor());
    for page in (PRIVATE..PRIVATE + PAGED).step_by(PAGE as usize) {
        PRIVATE_PAGES.set(page, PAGE, Access::Write.page(page));
    }
    for guard in local::guards() {
        PRIVATE_PAGES.set(guard, PAGE, 0);
    }
    for block in (PRIVATE + PAGED..PRIVATE + cell.private_size.min(GIB)).step_by(BLOCK as usize) {
        PRIVATE_BLOCKS.set(block, BLOCK, Access::Write.block(block));
    }
    cpu::publish();
}

/// Switches this hart to them.
pub fn enter() {
    TTBR0_EL1.write(TTBR0_EL1::ASID.val(1) + TTBR0_EL1::BADDR.val(&raw const ROOT as u64 >> 1));
    cpu::synchronize();
}
