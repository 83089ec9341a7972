//! What shadow tables need of the CPU: TLB maintenance (DDI 0487 D8.17) and the roots.

use core::arch::asm;

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, Readable, TTBR0_EL1, TTBR1_EL1, Writeable};
use polyvisor_emu::shadow::Hardware;

/// This hart's CPU.
pub struct Cpu;

/// A TLB maintenance instruction with an operand, behind all changes of tables so far.
macro_rules! tlbi {
    ($name:literal, $operand:expr) => {{
        // SAFETY: invalidating translations costs time only.
        unsafe { asm!("dsb ishst", concat!("tlbi ", $name, ", {}"), in(reg) $operand, options(nostack)) }
    }};
}

/// The operand of an invalidation by address: the ASID in bits 63:48, the page in the low 44.
const fn operand(asid: u16, address: u64) -> u64 {
    (asid as u64) << 48 | address >> 12 & ((1 << 44) - 1)
}

impl Hardware for Cpu {
    fn asids(&self) -> u32 {
        match ID_AA64MMFR0_EL1.read_as_enum(ID_AA64MMFR0_EL1::ASIDBits) {
            Some(ID_AA64MMFR0_EL1::ASIDBits::Value::Bits_16) => 1 << 16,
            _ => 1 << 8,
        }
    }

    fn set_ttbr0(&self, value: u64) {
        TTBR0_EL1.set(value);
        // SAFETY: an instruction barrier.
        unsafe { asm!("isb", options(nostack)) };
    }

    fn set_ttbr1(&self, value: u64) {
        TTBR1_EL1.set(value);
        // SAFETY: an instruction barrier.
        unsafe { asm!("isb", options(nostack)) };
    }

    fn invalidate_page(&self, asid: Option<u16>, address: u64, all_harts: bool) {
        match (asid, all_harts) {
            (Some(asid), false) => tlbi!("vale1", operand(asid, address)),
            (Some(asid), true) => tlbi!("vale1is", operand(asid, address)),
            (None, false) => tlbi!("vaale1", operand(0, address)),
            (None, true) => tlbi!("vaale1is", operand(0, address)),
        }
    }

    fn invalidate_asid(&self, asid: u16) {
        tlbi!("aside1", operand(asid, 0));
    }

    fn invalidate_all(&self) {
        // SAFETY: invalidating translations costs time only.
        unsafe { asm!("dsb ishst", "tlbi vmalle1", options(nostack)) };
    }

    fn synchronise(&self) {
        // SAFETY: barriers.
        unsafe { asm!("dsb ish", "isb", options(nostack)) };
    }
}
