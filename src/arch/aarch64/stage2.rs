//! The guests' translation regime: intermediate physical addresses to physical ones (DDI 0487 D8.2).

use core::arch::asm;
use core::fmt;

use aarch64_cpu::registers::{HCR_EL2, Readable, VTCR_EL2, VTTBR_EL2, Writeable};
use spin::Mutex;

use super::cpu::{physical_address_bits, physical_size_field};
use super::sysreg::mrs;
use crate::mm::addr::{PAGE_SIZE, PhysAddr};
use crate::mm::tables::{Attributes, TableError, Tables, Tlb};

/// Most bits of an IPA: QEMU `virt` puts nothing above 1 TiB, and a walk from level 1 needs no more than two
/// root tables.
const MAX_IPA_BITS: u32 = 40;

/// Width of this machine's IPAs in bits. All CPUs of a board that Polyvisor knows agree on it.
pub fn ipa_bits() -> u32 {
    physical_address_bits().min(MAX_IPA_BITS)
}

/// Whether Stage-2 can force a guest's accesses to be cacheable (FEAT_S2FWB), which spares cache maintenance.
pub fn has_forced_write_back() -> bool {
    mrs!("id_aa64mmfr2_el1") >> 40 & 0xf != 0
}

/// Leaf attributes of guest RAM: AF, inner shareable, read-write-execute, normal write-back memory. With
/// FEAT_S2FWB `MemAttr` 0b0110 forces write-back; without it 0b1111 lets the guest's own attributes only
/// weaken it (D8.6.5, D8.6.6).
pub fn ram_attributes() -> Attributes {
    const ACCESSED: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    const READ_WRITE: u64 = 0b11 << 6;
    let memory = if has_forced_write_back() { 0b0110 } else { 0b1111 };
    Attributes(ACCESSED | INNER_SHAREABLE | READ_WRITE | memory << 2)
}

/// As [`ram_attributes`], but the guest may only read and execute: writes fault.
pub fn rom_attributes() -> Attributes {
    const WRITE: u64 = 1 << 7;
    Attributes(ram_attributes().0 & !WRITE)
}

/// Leaf attributes of a physical device that a guest drives itself: Device-nGnRE, read-write, never executed.
pub fn device_attributes() -> Attributes {
    const EXECUTE_NEVER: u64 = 0b10 << 53;
    Attributes(1 << 10 | 0b11 << 6 | 0b0001 << 2 | EXECUTE_NEVER)
}

/// A name by which the TLBs tell VMs apart. Zero is what no VM has; 8 bits are what every CPU has.
#[derive(Debug, PartialEq, Eq)]
pub struct Vmid(u8);

/// All 255 VMIDs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfVmids;

impl fmt::Display for OutOfVmids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all 255 VMIDs are taken")
    }
}

static VMIDS: Mutex<[u64; 4]> = Mutex::new([1, 0, 0, 0]);

impl Vmid {
    fn allocate() -> Result<Self, OutOfVmids> {
        let mut words = VMIDS.lock();
        for (number, word) in (0u8..).zip(words.iter_mut()) {
            let bit = word.trailing_ones();
            if bit < 64 {
                *word |= 1 << bit;
                return Ok(Self(number * 64 + bit as u8));
            }
        }
        Err(OutOfVmids)
    }
}

impl Drop for Vmid {
    fn drop(&mut self) {
        if let Some(word) = VMIDS.lock().get_mut(usize::from(self.0 / 64)) {
            *word &= !(1 << (self.0 % 64));
        }
    }
}

/// The TLB entries of one VM.
pub struct Stage2Tlb {
    vmid: Vmid,
    root: PhysAddr,
}

impl Stage2Tlb {
    fn vttbr(&self) -> u64 {
        self.root.0 | u64::from(self.vmid.0) << 48
    }

    /// Runs `maintenance` with the VM's VMID current, which is what TLBI instructions act on.
    fn with_vmid(&self, maintenance: impl FnOnce()) {
        let current = VTTBR_EL2.get();
        let wanted = self.vttbr();
        if current != wanted {
            VTTBR_EL2.set(wanted);
            aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
        }
        maintenance();
        if current != wanted {
            VTTBR_EL2.set(current);
            aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
        }
    }

    fn invalidate_all(&self) {
        // SAFETY: invalidating translations costs time only.
        self.with_vmid(|| unsafe {
            asm!("dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack));
        });
    }
}

impl Tlb for Stage2Tlb {
    /// One page goes by its IPA, and then the combined entries, which hold no IPA, by VMID (D8.16.6.2). A
    /// larger entry may be a table of many pages: the whole VMID is cheaper than an invalidation for each.
    fn invalidate(&self, address: u64, len: u64) {
        if len > PAGE_SIZE {
            return self.invalidate_all();
        }
        // SAFETY: invalidating translations costs time only.
        self.with_vmid(|| unsafe {
            asm!(
                "dsb ishst",
                "tlbi ipas2e1is, {page}",
                "dsb ish",
                "tlbi vmalle1is",
                "dsb ish",
                "isb",
                page = in(reg) address >> 12,
                options(nostack)
            );
        });
    }

    fn publish(&self) {
        // SAFETY: a barrier.
        unsafe { asm!("dsb ishst", "isb", options(nostack)) }
    }
}

/// The Stage-2 tables of one VM.
pub type Stage2 = Tables<Stage2Tlb>;

/// Why there is no Stage-2 for a new VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage2Error {
    /// No VMID.
    Vmids(OutOfVmids),
    /// No tables.
    Tables(TableError),
}

impl fmt::Display for Stage2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmids(error) => error.fmt(f),
            Self::Tables(error) => error.fmt(f),
        }
    }
}

/// Empty tables under a new VMID.
///
/// # Errors
/// [`Stage2Error`].
pub fn create() -> Result<Stage2, Stage2Error> {
    let vmid = Vmid::allocate().map_err(Stage2Error::Vmids)?;
    let mut tables =
        Tables::new(ipa_bits(), 1, Stage2Tlb { vmid, root: PhysAddr(0) }).map_err(Stage2Error::Tables)?;
    let root = tables.root();
    tables.tlb_mut().root = root;
    // The VMID may have been another VM's.
    tables.tlb().invalidate_all();
    Ok(tables)
}

/// The values of `VTTBR_EL2` and `VTCR_EL2` with which a CPU walks `tables`.
pub fn registers(tables: &Stage2) -> (u64, u64) {
    /// SL0 = 1: the walk starts at level 1. SH0, ORGN0, IRGN0: inner shareable write-back. Bit 31 is RES1.
    const VTCR: u64 = 1 << 31 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 0b01 << 6;
    (tables.tlb().vttbr(), VTCR | physical_size_field() << 16 | u64::from(64 - ipa_bits()))
}

/// Removes what this CPU's TLB holds of the VM that is loaded. Two vCPUs may use the same ASID for different address
/// spaces (DDI 0487 D8.16.3), so one that takes another's turn on a CPU must not see the other's translations.
pub fn forget_address_spaces() {
    // SAFETY: invalidating translations costs time only.
    unsafe { asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack)) };
}

/// Leaves EL1 and EL0 of this CPU without a VM: no traps, no Stage-2, and no reference to tables that may be
/// freed.
pub fn unload() {
    HCR_EL2.write(HCR_EL2::RW::SET);
    VTTBR_EL2.set(0);
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}

/// Makes `tables` those that this CPU walks for EL1 and EL0.
pub fn load((vttbr, vtcr): (u64, u64)) {
    VTCR_EL2.set(vtcr);
    VTTBR_EL2.set(vttbr);
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}
