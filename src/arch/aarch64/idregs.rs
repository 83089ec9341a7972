//! The ID registers that guests see: what the hardware has, less what a VM may not use.
//!
//! Every feature that needs EL2 to context-switch, trap or share something that Polyvisor does not is hidden;
//! the tables below keep fields rather than drop them, so that a feature of tomorrow's CPU stays hidden until
//! somebody has thought about it. Field positions: DDI 0487 D24.2, "ID_AA64*_EL1".

use super::syndrome::SysReg;

/// What a guest sees of one register, by 4-bit fields; fields that are not mentioned read as zero.
struct Policy {
    /// Mask of the fields that have the hardware's value.
    same: u64,
    /// Fields that have the hardware's value but at most this, by their lowest bit. For unsigned fields only.
    at_most: &'static [(u32, u64)],
    /// Bits that are set whatever the hardware says.
    fixed: u64,
}

impl Policy {
    /// The hardware's value of the fields whose lowest bits are `shifts`.
    const fn same(shifts: &[u32]) -> Self {
        let mut same = 0;
        let mut rest = shifts;
        while let [shift, tail @ ..] = rest {
            same |= 0xf << *shift;
            rest = tail;
        }
        Self { same, at_most: &[], fixed: 0 }
    }

    const fn at_most(self, at_most: &'static [(u32, u64)]) -> Self {
        Self { at_most, ..self }
    }

    const fn fixed(self, fixed: u64) -> Self {
        Self { fixed, ..self }
    }
}

const NOTHING: Policy = Policy::same(&[]);
/// AArch32's registers hold facts of EL0 that need nothing of EL2.
const AARCH32: Policy = Policy { same: u64::MAX, at_most: &[], fixed: 0 };
/// All but PerfMon (27:24).
const AARCH32_DFR0: Policy = Policy::same(&[0, 4, 8, 12, 16, 20]);
/// EL0 (with AArch32 where the CPU has it), FP, AdvSIMD, GIC, DIT, CSV3; CSV2 without SCXTNUM_ELx; EL1 is
/// AArch64 only.
const PFR0: Policy = Policy::same(&[0, 16, 20, 24, 48, 60]).at_most(&[(56, 1)]).fixed(1 << 4);
/// BT, SSBS.
const PFR1: Policy = Policy::same(&[0, 4]);
/// BRPs, WRPs, CTX_CMPs, DoubleLock; DebugVer up to Armv8.2.
const DFR0: Policy = Policy::same(&[12, 20, 28, 36]).at_most(&[(0, 8)]);
/// All but TME (27:24).
const ISAR0: Policy = Policy::same(&[4, 8, 12, 16, 20, 28, 32, 36, 40, 44, 48, 52, 56, 60]);
/// All but LS64 (63:60) and XS (59:56), which HCRX_EL2 governs.
const ISAR1: Policy = Policy::same(&[0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52]);
/// WFxT, RPRES, GPA3, APA3, MOPS, BC, PAC_frac, CLRBHB, RPRFM, CSSC.
const ISAR2: Policy = Policy::same(&[0, 4, 8, 12, 16, 20, 24, 28, 48, 52]);
/// ASIDBits, BigEnd, SNSMem, BigEndEL0, TGran64, TGran4, ExS; PARange up to 40 bits, the width of our IPAs;
/// TGran16 without LPA2; ECV without CNTPOFF.
const MMFR0: Policy = Policy::same(&[4, 8, 12, 16, 24, 28, 44]).at_most(&[(0, 2), (20, 1), (60, 1)]);
/// HPDS, PAN, SpecSEI, ETS, AFP, nTLBPA, TIDCP1, ECBHB; HAFDBS without HAFT.
const MMFR1: Policy = Policy::same(&[12, 20, 24, 36, 44, 48, 52, 60]).at_most(&[(0, 2)]);
/// CnP, UAO, LSM, VARange, CCIDX, ST, AT, IDS, TTL, BBM, E0PD.
const MMFR2: Policy = Policy::same(&[0, 4, 8, 16, 20, 28, 32, 36, 48, 52, 60]);

/// Whether `register` is one of the feature ID registers that `HCR_EL2.TID3` traps, defined or reserved (DDI
/// 0487 D24.2.55).
pub fn is_feature_register(register: SysReg) -> bool {
    (register.op0(), register.op1(), register.crn()) == (3, 0, 0) && (1..=7).contains(&register.crm())
}

/// What a guest reads from the feature ID register `register`, of which the hardware says `native`.
///
/// `has_gic_registers` tells whether the VM's interrupt controller is a GICv3.
pub fn sanitise(register: SysReg, native: u64, has_gic_registers: bool) -> u64 {
    let policy = match (register.crm(), register.op2()) {
        (1, 2) => AARCH32_DFR0,
        (1..=3, _) => AARCH32,
        (4, 0) => PFR0,
        (4, 1) => PFR1,
        (5, 0) => DFR0,
        (6, 0) => ISAR0,
        (6, 1) => ISAR1,
        (6, 2) => ISAR2,
        (7, 0) => MMFR0,
        (7, 1) => MMFR1,
        (7, 2) => MMFR2,
        _ => NOTHING,
    };
    let mut value = native & policy.same | policy.fixed;
    for &(shift, most) in policy.at_most {
        value |= (native >> shift & 0xf).min(most) << shift;
    }
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
