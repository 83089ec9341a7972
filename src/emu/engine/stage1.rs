//! The address space: all of the VM's addresses one to one in the *hole* (`docs/cell.md`), each part with the least rights
//! (W^X). It is behind one entry of a root, and global: every root has that entry, whatever else it has.
//!
//! start.S switches to constant tables, so that the MMU is on before any memory is written; hart 0 then builds the tables
//! that all use. Where the former overlap the latter they belong to address space 0, which nobody enters afterwards but
//! harts that start, with nothing of the former in the hole: so that no entry of a TLB is ever of both (DDI 0487 D8.16.1).

pub mod boot;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aarch64_cpu::registers::{MAIR_EL1, SCTLR_EL1, TCR_EL1, TTBR0_EL1, Writeable};
use polyvisor_cell_abi::{CELL, CellInfo, GIC_DIST, HOLE, IMAGE, PRIVATE, STORE, STORE_MAX};

use crate::{address::physical_address, cpu, local};

/// What an entry of a root maps.
const ROOT_UNIT: u64 = 512 << 30;
/// What an entry of a level 1 table maps.
const GIB: u64 = 1 << 30;
/// What an entry of a level 2 table maps.
const BLOCK: u64 = 2 << 20;
const PAGE: u64 = local::PAGE as u64;
/// How many entries a table has.
const ENTRIES: usize = 512;

/// The entry of a root that has the hole's beginning, which is all of it that is mapped.
pub const HOLE_ENTRY: usize = (HOLE / ROOT_UNIT) as usize;
/// The address space of the engine's own root, which has nothing but the hole. The boot tables' is 0.
const ASID: u64 = 1;

/// Of the engine's private memory, what is mapped by pages. The heap is behind it.
pub const PAGED: u64 = BLOCK;

/// Indices into MAIR_EL1.
const NORMAL: u64 = 0;
const DEVICE: u64 = 1;

/// MAIR_EL1: write-back memory, and Device-nGnRE.
pub const MAIR: u64 = MAIR_EL1::Attr0_Normal_Outer::WriteBack_NonTransient_ReadWriteAlloc.value
    | MAIR_EL1::Attr0_Normal_Inner::WriteBack_NonTransient_ReadWriteAlloc.value
    | MAIR_EL1::Attr1_Device::nonGathering_nonReordering_EarlyWriteAck.value;

/// TCR_EL1 without what start.S adds, IPS and AS: 48 bits from TTBR0, which has the ASID, and 48 from TTBR1.
pub const TCR: u64 = TCR_EL1::T0SZ.val(64 - 48).value
    | TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::SH0::Inner.value
    | TCR_EL1::TG0::KiB_4.value
    | TCR_EL1::A1::TTBR0.value
    | TCR_EL1::T1SZ.val(64 - 48).value
    | TCR_EL1::IRGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::ORGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::SH1::Inner.value
    | TCR_EL1::TG1::KiB_4.value;

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

/// A descriptor (D8.3.1): of a table, or of a page at the last level.
const TABLE: u64 = 0b11;
/// A block's or a page's descriptor: it holds in the current address space only.
const NOT_GLOBAL: u64 = 1 << 11;

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
    /// A Stage-1 descriptor of a block of this kind (D8.3.1): AF, SH, AP\[2\], AttrIndx, UXN and PXN.
    const fn block(self, address: u64) -> u64 {
        const BLOCK: u64 = 0b01;
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
        address | rights | ACCESSED | BLOCK
    }

    /// The descriptor of a page.
    const fn page(self, address: u64) -> u64 {
        self.block(address) | TABLE
    }
}

/// A translation table.
#[repr(C, align(4096))]
pub struct Table([AtomicU64; ENTRIES]);

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

    /// Its intermediate physical address.
    fn address(&self) -> u64 {
        physical_address(self as *const Self as u64)
    }

    /// The descriptor of a table.
    fn descriptor(&self) -> u64 {
        self.address() | TABLE
    }
}

/// A root that maps nothing.
pub static NO_ROOT: Table = Table::new();
static ROOT: Table = Table::new();
/// The hole.
static ENGINE: Table = Table::new();
static CELL_BLOCKS: Table = Table::new();
static IMAGE_PAGES: Table = Table::new();
static PRIVATE_BLOCKS: Table = Table::new();
static CODE_BLOCKS: Table = Table::new();
static PRIVATE_PAGES: Table = Table::new();

const _: () = {
    assert!(CELL == IMAGE && IMAGE.is_multiple_of(GIB) && GIC_DIST / GIB == CELL / GIB, "CELL_BLOCKS");
    assert!(STORE.is_multiple_of(BLOCK) && (STORE + STORE_MAX - 1) / GIB == CELL / GIB, "CELL_BLOCKS");
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
        ENGINE.set(address, GIB, access.block(address));
    }

    ENGINE.set(CELL, GIB, CELL_BLOCKS.descriptor());
    CELL_BLOCKS.set(IMAGE, BLOCK, IMAGE_PAGES.descriptor());
    // All frames of the interrupt controller.
    CELL_BLOCKS.set(GIC_DIST, BLOCK, Access::Device.block(GIC_DIST));
    let [text_end, image_end] =
        [&raw const __text_end, &raw const __image_end].map(|end| physical_address(end as u64));
    for page in (IMAGE..image_end).step_by(PAGE as usize) {
        let access = if page < text_end { Access::Execute } else { Access::Read };
        IMAGE_PAGES.set(page, PAGE, access.page(page));
    }

    for block in (STORE..STORE + cell.store_size.min(STORE_MAX)).step_by(BLOCK as usize) {
        CELL_BLOCKS.set(block, BLOCK, Access::Read.block(block));
    }

    ENGINE.set(PRIVATE, GIB, PRIVATE_BLOCKS.descriptor());
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
    ROOT.set(HOLE, ROOT_UNIT, engine_entry());
    cpu::publish();
}

/// Where translated code is executed.
const CODE_WINDOW: u64 = HOLE + 320 * GIB;

/// Maps `len` bytes of private memory at `address`, both multiples of 2 MiB, once more: executable, not writable. Where that is.
pub fn map_code(address: u64, len: u64) -> u64 {
    let physical = physical_address(address);
    for offset in (0..len.min(GIB)).step_by(BLOCK as usize) {
        CODE_BLOCKS.set(CODE_WINDOW + offset, BLOCK, Access::Execute.block(physical + offset));
    }
    ENGINE.set(CODE_WINDOW, GIB, CODE_BLOCKS.descriptor());
    cpu::publish();
    CODE_WINDOW
}

/// What every root must have as its entry [`HOLE_ENTRY`].
pub fn engine_entry() -> u64 {
    ENGINE.descriptor()
}

/// Switches this hart to them.
pub fn enter() {
    TTBR0_EL1.write(TTBR0_EL1::ASID.val(ASID) + TTBR0_EL1::BADDR.val(ROOT.address() >> 1));
    cpu::synchronize();
    // What remains of the boot tables, on whatever CPU this vCPU has been.
    // SAFETY: invalidating translations costs time only.
    unsafe { asm!("tlbi vmalle1is", "dsb ish", "isb", options(nostack)) };
}
