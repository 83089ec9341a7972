//! Exceptions that a guest is given by EL2, as the architecture would take them to EL1 (DDI 0487 D1.3).

use super::super::syndrome::{AbortFlags, FaultStatus, Origin, Syndrome};
use super::super::sysreg::{mrs, msr};
use super::GuestFrame;

/// PSTATE fields in the layout of `SPSR_EL2` (C5.2.20).
mod pstate {
    pub const MODE: u64 = 0x1f;
    pub const AARCH32: u64 = 1 << 4;
    pub const EL1T: u64 = 0b0_0100;
    pub const EL1H: u64 = 0b0_0101;
    pub const DAIF: u64 = 0xf << 6;
    pub const SSBS: u64 = 1 << 12;
    pub const PAN: u64 = 1 << 22;
    pub const DIT: u64 = 1 << 24;
    pub const NZCV: u64 = 0xf << 28;
}

/// `SCTLR_EL1.SPAN`: when clear, an exception sets PSTATE.PAN.
const SCTLR_SPAN: u64 = 1 << 23;
/// `SCTLR_EL1.DSSBS`: the value that an exception gives PSTATE.SSBS.
const SCTLR_DSSBS: u64 = 1 << 44;
/// `ID_AA64MMFR1_EL1.PAN`.
const MMFR1_PAN: u64 = 0xf << 20;
/// `ID_AA64PFR1_EL1.SSBS`.
const PFR1_SSBS: u64 = 0xf << 4;

/// Where the guest was when it was interrupted.
pub fn origin(frame: &GuestFrame) -> Origin {
    match frame.pstate & pstate::MODE {
        pstate::EL1T | pstate::EL1H => Origin::SameLevel,
        _ => Origin::LowerLevel,
    }
}

/// Whether the guest was in AArch32 state.
pub fn is_aarch32(frame: &GuestFrame) -> bool {
    frame.pstate & pstate::AARCH32 != 0
}

/// An undefined instruction at the program counter.
pub fn undefined(frame: &mut GuestFrame) {
    synchronous(frame, Syndrome::undefined(), None);
}

/// A data abort for `address`.
pub fn data_abort(frame: &mut GuestFrame, address: u64, status: FaultStatus, flags: AbortFlags) {
    let syndrome = Syndrome::new_data_abort(origin(frame), status, flags);
    synchronous(frame, syndrome, Some(address));
}

/// An instruction abort for `address`.
pub fn instruction_abort(frame: &mut GuestFrame, address: u64, status: FaultStatus) {
    let syndrome = Syndrome::new_instruction_abort(origin(frame), status, AbortFlags::empty());
    synchronous(frame, syndrome, Some(address));
}

/// An exception that was taken to EL2 and that EL1 would have taken with the same syndrome.
pub fn as_it_came(frame: &mut GuestFrame, syndrome: Syndrome) {
    synchronous(frame, syndrome, None);
}

/// Whether the guest is about to execute the first instruction of one of the vectors at `base`, as after an
/// exception.
pub fn is_at_vector(frame: &GuestFrame, base: u64) -> bool {
    const VECTORS: u64 = 0x800;
    const STRIDE: u64 = 0x80;
    let offset = frame.pc.wrapping_sub(base);
    let entered = pstate::DAIF | pstate::EL1H;
    offset < VECTORS
        && offset.is_multiple_of(STRIDE)
        && frame.pstate & (pstate::DAIF | pstate::MODE) == entered
}

/// Enters the guest's synchronous vector. EL1's registers are those of this CPU, for the vCPU is loaded.
fn synchronous(frame: &mut GuestFrame, syndrome: Syndrome, address: Option<u64>) {
    let vector = match frame.pstate & pstate::MODE {
        pstate::EL1T => 0x000,
        pstate::EL1H => 0x200,
        mode if mode & pstate::AARCH32 != 0 => 0x600,
        _ => 0x400,
    };
    // SAFETY: registers of EL1, which the guest could have set itself.
    unsafe {
        msr!("esr_el1", syndrome.0);
        if let Some(address) = address {
            msr!("far_el1", address);
        }
        msr!("elr_el1", frame.pc);
        msr!("spsr_el1", frame.pstate);
    }
    frame.pc = mrs!("vbar_el1").wrapping_add(vector);
    frame.pstate = entry_state(frame.pstate);
}

/// PSTATE at the first instruction of an EL1 exception handler, coming from `old` (D1.3.2).
fn entry_state(old: u64) -> u64 {
    let sctlr = mrs!("sctlr_el1");
    let mut new = old & (pstate::NZCV | pstate::DIT | pstate::PAN) | pstate::DAIF | pstate::EL1H;
    if sctlr & SCTLR_SPAN == 0 && mrs!("id_aa64mmfr1_el1") & MMFR1_PAN != 0 {
        new |= pstate::PAN;
    }
    if sctlr & SCTLR_DSSBS != 0 && mrs!("id_aa64pfr1_el1") & PFR1_SSBS != 0 {
        new |= pstate::SSBS;
    }
    new
}
