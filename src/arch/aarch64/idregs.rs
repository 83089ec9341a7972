//! The ID registers that guests see: what the hardware has, less what a VM may not use.
//!
//! Every feature that needs EL2 to context-switch, trap or share something that Polyvisor does not is hidden; the tables below keep fields
//! rather than drop them, so that a feature of tomorrow's CPU stays hidden until somebody has thought about it. Field positions: DDI 0487
//! D24.2, "ID_AA64*_EL1".

use super::syndrome::SysReg;

/// What remains of one 4-bit field.
#[derive(Clone, Copy)]
enum Keep {
    /// The hardware's value.
    Same,
    /// The hardware's value, at most this. For unsigned fields only.
    AtMost(u64),
    /// This value.
    Fixed(u64),
}
use Keep::{AtMost, Fixed, Same};

/// Kept fields of one register by their lowest bit; all others read as zero.
type Fields = &'static [(u32, Keep)];

const PFR0: Fields = &[
    (0, Same),       // EL0, with AArch32 where the CPU has it
    (4, Fixed(1)),   // EL1: AArch64 only
    (16, Same),      // FP
    (20, Same),      // AdvSIMD
    (24, Same),      // GIC: the system register interface, when the VM's GIC is a GICv3
    (48, Same),      // DIT
    (56, AtMost(1)), // CSV2, without SCXTNUM_ELx
    (60, Same),      // CSV3
];
const PFR1: Fields = &[(0, Same), (4, Same)]; // BT, SSBS
const DFR0: Fields = &[
    (0, AtMost(8)), // DebugVer: Armv8.2 at most
    (12, Same),     // BRPs
    (20, Same),     // WRPs
    (28, Same),     // CTX_CMPs
    (36, Same),     // DoubleLock
];
/// All but TME (27:24).
const ISAR0: Fields = &[
    (4, Same),
    (8, Same),
    (12, Same),
    (16, Same),
    (20, Same),
    (28, Same),
    (32, Same),
    (36, Same),
    (40, Same),
    (44, Same),
    (48, Same),
    (52, Same),
    (56, Same),
    (60, Same),
];
/// All but LS64 (63:60) and XS (59:56), which HCRX_EL2 governs.
const ISAR1: Fields = &[
    (0, Same),
    (4, Same),
    (8, Same),
    (12, Same),
    (16, Same),
    (20, Same),
    (24, Same),
    (28, Same),
    (32, Same),
    (36, Same),
    (40, Same),
    (44, Same),
    (48, Same),
    (52, Same),
];
/// WFxT, RPRES, GPA3, APA3, MOPS, BC, PAC_frac, CLRBHB, CSSC, RPRFM.
const ISAR2: Fields = &[
    (0, Same),
    (4, Same),
    (8, Same),
    (12, Same),
    (16, Same),
    (20, Same),
    (24, Same),
    (28, Same),
    (48, Same),
    (52, Same),
];
const MMFR0: Fields = &[
    (0, AtMost(2)),  // PARange: 40 bits, the width of our IPAs
    (4, Same),       // ASIDBits
    (8, Same),       // BigEnd
    (12, Same),      // SNSMem
    (16, Same),      // BigEndEL0
    (20, AtMost(1)), // TGran16, without LPA2
    (24, Same),      // TGran64
    (28, Same),      // TGran4: see `sanitise`
    (44, Same),      // ExS
    (60, AtMost(1)), // ECV: self-synchronising counter reads, no CNTPOFF
];
const MMFR1: Fields = &[
    (0, AtMost(2)), // HAFDBS, without HAFT
    (12, Same),     // HPDS
    (20, Same),     // PAN
    (24, Same),     // SpecSEI
    (36, Same),     // ETS
    (44, Same),     // AFP
    (48, Same),     // nTLBPA
    (52, Same),     // TIDCP1
    (60, Same),     // ECBHB
];
const MMFR2: Fields = &[
    (0, Same),  // CnP
    (4, Same),  // UAO
    (8, Same),  // LSM
    (16, Same), // VARange
    (20, Same), // CCIDX
    (28, Same), // ST
    (32, Same), // AT
    (36, Same), // IDS
    (48, Same), // TTL
    (52, Same), // BBM
    (60, Same), // E0PD
];
const EVERYTHING: Fields = &[
    (0, Same),
    (4, Same),
    (8, Same),
    (12, Same),
    (16, Same),
    (20, Same),
    (24, Same),
    (28, Same),
    (32, Same),
    (36, Same),
    (40, Same),
    (44, Same),
    (48, Same),
    (52, Same),
    (56, Same),
    (60, Same),
];
/// ID_DFR0_EL1 without PerfMon (27:24).
const AARCH32_DFR0: Fields = &[(0, Same), (4, Same), (8, Same), (12, Same), (16, Same), (20, Same)];

/// Whether `register` is one of the feature ID registers that `HCR_EL2.TID3` traps, defined or reserved (DDI 0487 D24.2.55).
pub fn is_feature_register(register: SysReg) -> bool {
    (register.op0(), register.op1(), register.crn()) == (3, 0, 0) && (1..=7).contains(&register.crm())
}

/// What a guest reads from the feature ID register `register`, of which the hardware says `native`.
///
/// `has_gic_registers` tells whether the VM's interrupt controller is a GICv3.
pub fn sanitise(register: SysReg, native: u64, has_gic_registers: bool) -> u64 {
    let fields = match (register.crm(), register.op2()) {
        (1, 2) => AARCH32_DFR0,
        (1..=3, _) => EVERYTHING, // AArch32's: fixed facts of EL0
        (4, 0) => PFR0,
        (4, 1) => PFR1,
        (5, 0) => DFR0,
        (6, 0) => ISAR0,
        (6, 1) => ISAR1,
        (6, 2) => ISAR2,
        (7, 0) => MMFR0,
        (7, 1) => MMFR1,
        (7, 2) => MMFR2,
        _ => &[],
    };
    let mut value = fields.iter().fold(0, |value, &(shift, keep)| {
        let field = native >> shift & 0xf;
        let kept = match keep {
            Same => field,
            // 0b1111 means "not implemented" in the fields that have it.
            AtMost(_) if field == 0xf => 0xf,
            AtMost(most) => field.min(most),
            Fixed(value) => value,
        };
        value | kept << shift
    });
    match (register.crm(), register.op2()) {
        (4, 0) if !has_gic_registers => value &= !(0xf << 24),
        // TGran4 counts up from 0b0000 (yes), 0b0001 (with LPA2); 0b1111 is no.
        (7, 0) if value >> 28 & 0xf == 1 => value &= !(0xf << 28),
        _ => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const PFR0_EL1: SysReg = SysReg::new(3, 0, 0, 4, 0);
    const MMFR0_EL1: SysReg = SysReg::new(3, 0, 0, 7, 0);

    #[test]
    fn hidden_features_read_as_absent() {
        // QEMU's `max`: EL2, EL3, SVE, RAS, MPAM, AMU, RME, CSV2 = 3 are not for guests; FP and CSV3 are.
        let native = 0x1301_1111_2111_1112;
        assert_eq!(sanitise(PFR0_EL1, native, true), 0x1101_0000_0111_0012);
        assert_eq!(sanitise(PFR0_EL1, native, false) >> 24 & 0xf, 0);
        // Without FP the fields stay 0b1111.
        assert_eq!(sanitise(PFR0_EL1, 0x00ff_0011, true), 0x00ff_0011);
        for op2 in 2..8 {
            assert_eq!(
                sanitise(SysReg::new(3, 0, 0, 4, op2), u64::MAX, true),
                0,
                "ZFR0, SMFR0 and reserved ones"
            );
        }
    }

    #[test]
    fn the_address_size_is_that_of_an_ipa() {
        assert_eq!(sanitise(MMFR0_EL1, 0x6, true) & 0xf, 2);
        assert_eq!(sanitise(MMFR0_EL1, 0x1, true) & 0xf, 1);
        assert_eq!(sanitise(MMFR0_EL1, 1 << 28 | 2 << 20, true), 1 << 20, "no LPA2");
    }

    #[test]
    fn the_trapped_space_is_crm_1_to_7() {
        assert!(is_feature_register(PFR0_EL1));
        assert!(!is_feature_register(SysReg::new(3, 0, 0, 0, 0)), "MIDR_EL1");
        assert!(!is_feature_register(SysReg::new(3, 1, 0, 0, 1)), "CLIDR_EL1");
    }
}
