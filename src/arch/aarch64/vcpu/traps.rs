//! What EL2 keeps guests from, and what it wants to hear of.

use aarch64_cpu::registers::{CPTR_EL2, HCR_EL2, MIDR_EL1, Readable, Writeable};

use super::super::stage2;
use super::super::sysreg::{mrs, msr};

/// `HCR_EL2` of a loaded vCPU (DDI 0487 D24.2.53).
///
/// A vCPU that owns its CPU waits there by itself, and its TLB maintenance need not reach any other; one that
/// does not is trapped when it waits, and its maintenance is broadcast, to where it may have been before.
pub fn hypervisor_configuration(has_pointer_authentication: bool, dedicated: bool) -> u64 {
    let mut hcr = HCR_EL2::VM::SET
        + HCR_EL2::SWIO::SET // invalidation by set/way cleans, too
        + HCR_EL2::PTW::SET // no walks in device memory
        + HCR_EL2::FMO::SET
        + HCR_EL2::IMO::SET
        + HCR_EL2::AMO::SET
        + HCR_EL2::BSU::InnerShareable
        + HCR_EL2::TID3::SET
        + HCR_EL2::TSC::SET
        + HCR_EL2::TIDCP::SET
        + HCR_EL2::TACR::SET
        + HCR_EL2::RW::SET
        + HCR_EL2::TLOR::SET
        + HCR_EL2::TERR::SET;
    if !dedicated {
        hcr += HCR_EL2::FB::SET + HCR_EL2::TWI::SET;
    }
    if has_pointer_authentication {
        hcr += HCR_EL2::API::SET + HCR_EL2::APK::SET;
    }
    if stage2::has_forced_write_back() {
        hcr += HCR_EL2::FWB::SET;
    }
    hcr.value
}

/// `HCR_EL2` with or without the trap of instructions that wait for an event, by which spinning code lets
/// others run.
pub fn with_yielding(hcr: u64, wanted: bool) -> u64 {
    let bit = HCR_EL2::TWE::SET.value;
    if wanted { hcr | bit } else { hcr & !bit }
}

/// Whether [`with_yielding`] has set the trap.
pub fn is_yielding(hcr: u64) -> bool {
    hcr & HCR_EL2::TWE::SET.value != 0
}

/// `CPTR_EL2` with E2H = 0 (D24.2.34): FP and SIMD are free; SVE (TZ), SME (TSM), trace (TTA) and
/// activity monitors (TAM) trap. The rest is RES1.
const CPTR: u64 = 0x33ff | 1 << 20 | 1 << 30;
/// `MDCR_EL2` (D24.3.18): PMU (TPM, TPMCR), profiling (TPMS), trace filter (TTRF), and all of debug (ROM address
/// TDRA, OS lock TDOSA, the rest TDA; see [`super::debug`]) trap.
pub const MDCR: u64 = 1 << 6 | 1 << 5 | 1 << 14 | 1 << 19 | 1 << 11 | 1 << 10 | 1 << 9;

/// Sets up what is the same for every vCPU on this CPU.
pub fn init_cpu() {
    CPTR_EL2.set(CPTR);
    let midr = MIDR_EL1.get();
    // SAFETY: EL2's registers that define what the guest sees.
    unsafe {
        msr!("hstr_el2", 0u64);
        msr!("vpidr_el2", midr);
    }
    restrict_optional_features();
}

/// Registers that only newer CPUs have, and whose reset value is not architected.
fn restrict_optional_features() {
    let mmfr0 = mrs!("id_aa64mmfr0_el1");
    let mmfr1 = mrs!("id_aa64mmfr1_el1");
    let pfr0 = mrs!("id_aa64pfr0_el1");
    // SAFETY: all are EL2's own controls over EL1; each is written only where its feature is implemented.
    unsafe {
        if mmfr1 >> 40 & 0xf != 0 {
            /// HCRX_EL2.MSCEn: memory copy and set instructions are not trapped.
            const MSCEN: u64 = 1 << 11;
            msr!("S3_4_C1_C2_2", MSCEN);
        }
        if mmfr0 >> 56 & 0xf != 0 {
            // Fine-grained traps: the positive ones off, the negative ones (nXXX = 0) on.
            msr!("S3_4_C1_C1_4", 0u64); // HFGRTR_EL2
            msr!("S3_4_C1_C1_5", 0u64); // HFGWTR_EL2
            msr!("S3_4_C1_C1_6", 0u64); // HFGITR_EL2
            msr!("S3_4_C3_C1_4", 0u64); // HDFGRTR_EL2
            msr!("S3_4_C3_C1_5", 0u64); // HDFGWTR_EL2
        }
        if mmfr0 >> 56 & 0xf >= 2 {
            msr!("S3_4_C3_C1_2", 0u64); // HFGRTR2_EL2
            msr!("S3_4_C3_C1_3", 0u64); // HFGWTR2_EL2
            msr!("S3_4_C3_C1_7", 0u64); // HFGITR2_EL2
            msr!("S3_4_C3_C1_0", 0u64); // HDFGRTR2_EL2
            msr!("S3_4_C3_C1_1", 0u64); // HDFGWTR2_EL2
        }
        if pfr0 >> 40 & 0xf != 0 {
            /// MPAM2_EL2.TRAPMPAM0EL1 and .TRAPMPAM1EL1.
            const TRAP_MPAM: u64 = 1 << 49 | 1 << 48;
            msr!("S3_4_C10_C5_0", TRAP_MPAM);
        }
    }
}
