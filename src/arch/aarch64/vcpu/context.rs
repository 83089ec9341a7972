//! The system registers of EL1 and EL0 that belong to a vCPU: what is saved when it is put and restored when
//! it is loaded.

use core::arch::asm;
use core::mem::offset_of;

use serde::{Deserialize, Serialize};

use super::super::sysreg::{mrs, msr};

/// Registers that are moved two at a time: the pairs are neighbours in memory. There may be one left over.
macro_rules! registers {
    ($(#[$doc:meta])* $name:ident {
        $($first:ident = $first_register:literal, $second:ident = $second_register:literal,)*
        $(; $last:ident = $last_register:literal,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
        #[repr(C)]
        pub struct $name {
            $(
                #[doc = $first_register] pub $first: u64,
                #[doc = $second_register] pub $second: u64,
            )*
            $(#[doc = $last_register] pub $last: u64,)?
        }

        impl $name {
            /// Reads the registers of this CPU.
            #[inline]
            pub fn save(&mut self) {
                $(
                    // SAFETY: reading these has no side effect; the two words are fields of `self`.
                    unsafe {
                        asm!(
                            concat!("mrs {first}, ", $first_register),
                            concat!("mrs {second}, ", $second_register),
                            "stp {first}, {second}, [{context}, #{offset}]",
                            first = out(reg) _,
                            second = out(reg) _,
                            context = in(reg) &raw mut *self,
                            offset = const offset_of!(Self, $first),
                            options(nostack, preserves_flags)
                        );
                    }
                )*
                $(self.$last = mrs!($last_register);)?
            }

            /// The values with the registers' names.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $(($first_register, self.$first), ($second_register, self.$second),)*
                    $(($last_register, self.$last),)?
                ]
                .into_iter()
            }

            /// Writes the registers of this CPU.
            #[inline]
            pub fn restore(&self) {
                $(
                    // SAFETY: EL1's and EL0's registers do not affect EL2; Stage-2 and the traps bound what the
                    // guest can do with any value of them.
                    unsafe {
                        asm!(
                            "ldp {first}, {second}, [{context}, #{offset}]",
                            concat!("msr ", $first_register, ", {first}"),
                            concat!("msr ", $second_register, ", {second}"),
                            first = out(reg) _,
                            second = out(reg) _,
                            context = in(reg) &raw const *self,
                            offset = const offset_of!(Self, $first),
                            options(nostack, preserves_flags)
                        );
                    }
                )*
                // SAFETY: as above.
                $(unsafe { msr!($last_register, self.$last) };)?
            }
        }
    };
}

registers! {
    /// Registers that every CPU has.
    El1Context {
        sctlr = "sctlr_el1",
        cpacr = "cpacr_el1",
        ttbr0 = "ttbr0_el1",
        ttbr1 = "ttbr1_el1",
        tcr = "tcr_el1",
        esr = "esr_el1",
        far = "far_el1",
        afsr0 = "afsr0_el1",
        afsr1 = "afsr1_el1",
        mair = "mair_el1",
        amair = "amair_el1",
        vbar = "vbar_el1",
        contextidr = "contextidr_el1",
        par = "par_el1",
        csselr = "csselr_el1",
        sp_el0 = "sp_el0",
        sp_el1 = "sp_el1",
        elr = "elr_el1",
        spsr = "spsr_el1",
        tpidr_el0 = "tpidr_el0",
        tpidrro_el0 = "tpidrro_el0",
        tpidr_el1 = "tpidr_el1",
        cntkctl = "cntkctl_el1",
        cntv_cval = "cntv_cval_el0",
        ; cntv_ctl = "cntv_ctl_el0",
    }
}

registers! {
    /// Keys of pointer authentication (FEAT_PAuth).
    PointerKeys {
        instruction_a_low = "S3_0_C2_C1_0",
        instruction_a_high = "S3_0_C2_C1_1",
        instruction_b_low = "S3_0_C2_C1_2",
        instruction_b_high = "S3_0_C2_C1_3",
        data_a_low = "S3_0_C2_C2_0",
        data_a_high = "S3_0_C2_C2_1",
        data_b_low = "S3_0_C2_C2_2",
        data_b_high = "S3_0_C2_C2_3",
        generic_low = "S3_0_C2_C3_0",
        generic_high = "S3_0_C2_C3_1",
    }
}

impl El1Context {
    /// The state after a reset: MMU and caches off, RES1 bits of `SCTLR_EL1` set, EL0 not trapped for
    /// waiting.
    pub fn reset() -> Self {
        /// RES1 of Armv8.0 (29, 28, 23, 22, 20, 11) and nTWE, nTWI.
        const SCTLR_RESET: u64 = 0x30d5_0800;
        Self { sctlr: SCTLR_RESET, ..Self::default() }
    }
}

/// Whether this CPU has pointer authentication: any of the address and generic fields of `ID_AA64ISAR1_EL1`
/// (API, APA, GPI, GPA) and `ID_AA64ISAR2_EL1` (APA3, GPA3).
pub fn has_pointer_authentication() -> bool {
    let isar1 = mrs!("id_aa64isar1_el1");
    let isar2 = mrs!("S3_0_C0_C6_2");
    isar1 & (0xf << 4 | 0xf << 8 | 0xf << 24 | 0xf << 28) != 0 || isar2 & (0xf << 8 | 0xf << 12) != 0
}
