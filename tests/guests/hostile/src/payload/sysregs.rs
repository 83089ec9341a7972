//! MRS and MSR of every encoding.

use super::Attack;

/// op0 (2 or 3), op1, CRn, CRm and op2: 15 bits; and a bit for the direction.
const OPERATIONS: u64 = 1 << 16;
/// Odd, so that every encoding has its turn; large, so that neighbours do not follow each other.
const STRIDE: u64 = 40_503;

pub fn operation(attack: &mut Attack) {
    let number = (attack.done.wrapping_mul(STRIDE) % OPERATIONS) as u32;
    let read = number & 1 == 1;
    // As in the instruction: op0 - 2 in bit 14, op1 [13:11], CRn [10:7], CRm [6:3], op2 [2:0].
    let register = number >> 1;
    if !read && is_vital(register) {
        return;
    }
    // MSR and MRS: bit 20 is the upper bit of op0, bit 21 the direction.
    let instruction = 0xd510_0000 | u32::from(read) << 21 | register << 5;
    let registers = attack.registers();
    attack.execute(instruction, &registers);
    if attack.done.is_multiple_of(256) {
        attack.machine.gic.init_cpu();
    }
}

/// Registers which this program cannot lose: a write would harm nobody else.
const fn is_vital(register: u32) -> bool {
    let (op0, op1) = (2 + (register >> 14), register >> 11 & 7);
    let (crn, crm, op2) = (register >> 7 & 0xf, register >> 3 & 0xf, register & 7);
    match (op0, op1, crn, crm, op2) {
        // SCTLR_EL1, CPACR_EL1, SMCR_EL1 and their like; TTBR0_EL1, TCR_EL1, keys, guarded stacks.
        (3, 0, 1 | 2, ..) => true,
        // SPSel, PAN, UAO; ALLINT, which would mask every interrupt from here on.
        (3, 0, 4, 2 | 3, _) => true,
        // MAIR_EL1, PIR_EL1, AMAIR_EL1.
        (3, 0, 10, 2 | 3, _) => true,
        // VBAR_EL1, RMR_EL1.
        (3, 0, 12, 0, _) => true,
        // TPIDR_EL1, where start-up keeps this CPU's data.
        (3, 0, 13, 0, 4) => true,
        // CNTFRQ_EL0, which EL1 may write where it is the highest exception level; waits are measured by it.
        (3, 3, 14, 0, 0) => true,
        _ => false,
    }
}
