//! Small facts about the CPU that executes this, and its barriers.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CurrentEL, ID_AA64ISAR0_EL1, ID_AA64MMFR0_EL1, MPIDR_EL1, Readable};

/// The exception level that executes this (1, 2 or 3).
pub fn current_el() -> u64 {
    CurrentEL.read(CurrentEL::EL)
}

/// The affinity fields of `MPIDR_EL1` (Aff3 in bits 39:32, Aff2..0 in bits 23:0), which name this CPU in the
/// devicetree.
pub fn affinity() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// Whether this CPU has the CRC32 instructions.
pub fn has_crc32() -> bool {
    // Bits 19:16 (DDI 0487 D24.2, "ID_AA64ISAR0_EL1").
    ID_AA64ISAR0_EL1.get() >> 16 & 0b1111 != 0
}

/// Physical address width of this CPU in bits, from `ID_AA64MMFR0_EL1.PARange`; 52-bit addresses need
/// granules or LPA2 that Polyvisor does not use, so at most 48.
pub fn physical_address_bits() -> u32 {
    physical_address_bits_of(physical_size_field())
}

/// [`physical_address_bits`] as `TCR_EL2.PS` and `VTCR_EL2.PS` encode it, which is as `PARange` does.
pub fn physical_size_field() -> u64 {
    ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange).min(5)
}

/// The width that a value of those fields stands for.
pub fn physical_address_bits_of(field: u64) -> u32 {
    match field {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// Sleeps until an interrupt is pending; the interrupt itself stays masked at EL2 and is taken from the
/// controller.
pub fn wait_for_interrupt() {
    barrier::dsb(barrier::SY);
    aarch64_cpu::asm::wfi();
}

/// Stops this CPU for good.
pub fn park() -> ! {
    loop {
        aarch64_cpu::asm::wfe();
    }
}
