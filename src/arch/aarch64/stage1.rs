//! EL2's own translation regime: memory mapped one to one, each part with the least rights (W^X).

use core::ops::Range;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{MAIR_EL2, Readable, SCTLR_EL2, TCR_EL2, TTBR0_EL2};
use spin::{Mutex, Once};

use super::cpu::physical_size_field;
use crate::mm::addr::{MIB, PAGE_SIZE, PhysAddr};
use crate::mm::tables::{Attributes, TableError, Tables, Tlb};

/// What a part of memory may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Code.
    Execute,
    /// Constants.
    Read,
    /// Everything else in RAM.
    Write,
    /// Registers of a device: Device-nGnRE, never speculated to.
    Device,
    /// Code and data alike: the image as long as its parts share 2 MiB blocks.
    Everything,
}

/// Indices into `MAIR_EL2`.
const NORMAL: u64 = 0;
const DEVICE: u64 = 1;

impl Access {
    /// Leaf attributes of a Stage-1 descriptor of the EL2 regime (DDI 0487 D8.3.1.2): AF, SH, AP[2:1],
    /// AttrIndx, XN.
    const fn attributes(self) -> Attributes {
        const ACCESSED: u64 = 1 << 10;
        const INNER_SHAREABLE: u64 = 0b11 << 8;
        const READ_ONLY: u64 = 1 << 7;
        const AP1: u64 = 1 << 6; // RES1: the regime has no EL0
        const EXECUTE_NEVER: u64 = 1 << 54;
        let normal = ACCESSED | INNER_SHAREABLE | AP1 | NORMAL << 2;
        Attributes(match self {
            Self::Execute => normal | READ_ONLY,
            Self::Read => normal | READ_ONLY | EXECUTE_NEVER,
            Self::Write => normal | EXECUTE_NEVER,
            Self::Everything => normal,
            Self::Device => ACCESSED | AP1 | DEVICE << 2 | EXECUTE_NEVER,
        })
    }
}

/// Bits of an input address: the most there are without LPA2, the least that needs no thought about where RAM
/// lies.
const INPUT_BITS: u32 = 48;

/// The values of the registers that switch the regime on, as arch/aarch64/boot.S loads them.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Regime {
    mair: u64,
    tcr: u64,
    ttbr0: u64,
    sctlr: u64,
}

impl Regime {
    fn new(root: PhysAddr) -> Self {
        let mair = MAIR_EL2::Attr0_Normal_Outer::WriteBack_NonTransient_ReadWriteAlloc
            + MAIR_EL2::Attr0_Normal_Inner::WriteBack_NonTransient_ReadWriteAlloc
            + MAIR_EL2::Attr1_Device::nonGathering_nonReordering_EarlyWriteAck;
        let tcr = TCR_EL2::T0SZ.val(64 - u64::from(INPUT_BITS))
            + TCR_EL2::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL2::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL2::SH0::Inner
            + TCR_EL2::TG0::KiB_4;
        /// TCR_EL2 bits 31 and 23 are RES1; PS is bits 18:16.
        const TCR_RES1: u64 = 1 << 31 | 1 << 23;
        /// SCTLR_EL2: the RES1 bits, SA, WXN, and I, C, M.
        const SCTLR: u64 = 0x30c5_0830 | 1 << 3 | 1 << 19 | 1 << 12 | 1 << 2 | 1;
        Self {
            mair: mair.value,
            tcr: tcr.value | TCR_RES1 | physical_size_field() << 16,
            ttbr0: root.0,
            sctlr: SCTLR,
        }
    }

    /// The registers' values in the order in which `enable_mmu` takes them.
    pub fn values(&self) -> [u64; 4] {
        [self.mair, self.tcr, self.ttbr0, self.sctlr]
    }

    /// Switches the regime on for this CPU, in place of the one in use.
    ///
    /// # Safety
    /// The tables map the code and stack in use one to one.
    unsafe fn enable(&self) {
        unsafe extern "C" {
            fn enable_mmu(regime: *const Regime);
        }
        // SAFETY: the caller's promise.
        unsafe { enable_mmu(self) }
    }
}

/// The TLB of the EL2 regime (DDI 0487 D8.16).
pub struct El2Tlb;

impl Tlb for El2Tlb {
    fn invalidate(&self, _address: u64, _len: u64) {
        // EL2's own mappings change a handful of times in all: the whole regime is cheap enough.
        // SAFETY: invalidating translations costs time only.
        unsafe { core::arch::asm!("dsb ishst", "tlbi alle2is", "dsb ish", "isb", options(nostack)) }
    }

    fn publish(&self) {
        barrier::dsb(barrier::ISHST);
        barrier::isb(barrier::SY);
    }
}

static TABLES: Once<Mutex<Tables<El2Tlb>>> = Once::new();

/// The first tables: 2 MiB blocks for what code running before the frame allocator touches.
#[repr(C, align(4096))]
struct EarlyTables([[u64; 512]; EARLY_TABLES]);

/// One for level 0, and two for each of three ranges.
const EARLY_TABLES: usize = 7;

static mut EARLY: EarlyTables = EarlyTables([[0; 512]; EARLY_TABLES]);

/// Switches MMU and caches on with the given ranges, at most three and each within a gigabyte, so that
/// atomics work. [`finish`] replaces the mapping by the real one.
///
/// # Safety
/// Called once, on the boot CPU, with the MMU off; the ranges contain the image, the stack and whatever else
/// is used until [`finish`]. Write-execute protection starts only there.
pub unsafe fn enable_early(ranges: &[(Range<u64>, Access)]) {
    let tables = &raw mut EARLY;
    let table = |number: usize| tables.cast::<[u64; 512]>().wrapping_add(number).cast::<u64>();
    let entry = |number: usize, index: u64| table(number).wrapping_add(index as usize);
    const TABLE: u64 = 0b11;
    const BLOCK: u64 = 0b01;
    let mut used = 1;
    // Tables 1.. are handed out as level-1 and level-2 tables when an entry first needs one.
    let mut below = |number: usize, index: u64| -> Option<usize> {
        // SAFETY: `entry` points into EARLY, which only this CPU uses.
        let slot = unsafe { &mut *entry(number, index) };
        if *slot == 0 {
            if used >= EARLY_TABLES {
                return None;
            }
            *slot = table(used) as u64 | TABLE;
            used += 1;
        }
        Some(((*slot & !0xfff) as usize - tables as usize) / PAGE_SIZE as usize)
    };
    for (range, access) in ranges {
        let mut address = range.start & !(2 * MIB - 1);
        while address < range.end {
            let level2 =
                below(0, address >> 39 & 0x1ff).and_then(|level1| below(level1, address >> 30 & 0x1ff));
            if let Some(level2) = level2 {
                let attributes = access.attributes().0;
                // SAFETY: as above.
                unsafe { *entry(level2, address >> 21 & 0x1ff) = address | attributes | BLOCK };
            }
            address += 2 * MIB;
        }
    }
    let mut regime = Regime::new(PhysAddr(tables as u64));
    regime.sctlr &= !(1 << 19); // WXN: code and data still share blocks
    // SAFETY: the caller's promise. The tables were written with the caches off, as the walker will not see
    // them otherwise; no stale line covers them, for the boot code has invalidated the image.
    unsafe { regime.enable() }
}

/// Builds the real tables out of `ranges`, later ones overriding earlier ones, and switches to them. A range
/// without access is left unmapped.
///
/// # Errors
/// [`TableError`] where a range cannot be mapped.
///
/// # Safety
/// Called once, on the boot CPU, with the early tables on; the ranges cover all that is in use.
pub unsafe fn finish(ranges: &[(Range<u64>, Option<Access>)]) -> Result<(), TableError> {
    let mut tables = Tables::new(INPUT_BITS, 0, El2Tlb)?;
    for (range, access) in ranges {
        let start = range.start & !(PAGE_SIZE - 1);
        let end = range.end.next_multiple_of(PAGE_SIZE);
        match access {
            Some(access) => tables.map(start, PhysAddr(start), end - start, access.attributes())?,
            None => tables.unmap(start, end - start)?,
        }
    }
    let regime = Regime::new(tables.root());
    tables.forbid_changes();
    TABLES.call_once(|| Mutex::new(tables));
    // `enable_mmu` goes through "off", as live entries change their size. SAFETY: the new tables map all that
    // the old ones did, with rights that code, stack and data in use have.
    unsafe { regime.enable() };
    Ok(())
}

/// Maps `len` bytes at `start` where nothing is mapped yet. What is mapped stays as it is: EL2 runs on these
/// tables, so a live entry cannot be broken and made anew.
///
/// # Errors
/// [`TableError`].
pub fn map(start: PhysAddr, len: u64, access: Access) -> Result<(), TableError> {
    let Some(tables) = TABLES.get() else { return Ok(()) };
    let mut tables = tables.lock();
    let end = start.0.saturating_add(len).next_multiple_of(PAGE_SIZE);
    let mut page = start.align_down(PAGE_SIZE).0;
    while page < end {
        let hole = (page..end)
            .step_by(PAGE_SIZE as usize)
            .find(|&page| tables.translate(page).is_some())
            .unwrap_or(end);
        if page < hole {
            tables.map(page, PhysAddr(page), hole - page, access.attributes())?;
        }
        page = hole + PAGE_SIZE;
    }
    Ok(())
}

/// The regime in use, for CPUs yet to be started.
pub fn regime() -> Regime {
    let mut regime = Regime::new(PhysAddr(TTBR0_EL2.get()));
    regime.sctlr = SCTLR_EL2.get();
    regime
}
