//! Trapped accesses to system registers. What is not listed is undefined to the guest.

use core::ops::ControlFlow;

use aarch64_cpu::registers::{CNTPCT_EL0, Readable};

use super::super::syndrome::{SysReg, SysRegTrap};
use super::super::sysreg::mrs;
use super::super::{gic, idregs};
use super::{Machine, Vcpu, inject};
use crate::devices::gic::{GicVersion, SgiGroup};
use crate::vm::vcpu::Exit;

const ACTLR_EL1: SysReg = SysReg::new(3, 0, 1, 0, 1);
const ICC_DIR_EL1: SysReg = SysReg::new(3, 0, 12, 11, 1);
const ICC_SGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 5);
const ICC_ASGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 6);
const ICC_SGI0R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 7);
const ICC_SRE_EL1: SysReg = SysReg::new(3, 0, 12, 12, 5);
const CNTP_TVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 0);
const CNTP_CTL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 1);
const CNTP_CVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 2);

/// Answers an `MSR`, `MRS` or system instruction that EL2 traps.
pub fn access<M: Machine>(vcpu: &mut Vcpu<M>, trap: SysRegTrap) -> ControlFlow<Exit> {
    let register = trap.register();
    let handled = if trap.is_read() {
        read(vcpu, register).map(|value| vcpu.frame.set(trap.rt(), value)).is_some()
    } else {
        let value = vcpu.frame.get(trap.rt());
        write(vcpu, register, value).is_some()
    };
    if handled {
        vcpu.frame.advance(4);
    } else {
        vcpu.shared.undefined.count();
        inject::undefined(&mut vcpu.frame);
    }
    ControlFlow::Continue(())
}

fn read<M: Machine>(vcpu: &Vcpu<M>, register: SysReg) -> Option<u64> {
    if idregs::is_feature_register(register) {
        let has_registers = gic::version() == GicVersion::V3;
        return Some(idregs::sanitise(register, native_id_register(register), has_registers));
    }
    match register {
        ACTLR_EL1 => Some(mrs!("actlr_el1")),
        // SRE, DFB, DIB: the system register interface is all there is.
        ICC_SRE_EL1 if gic::version() == GicVersion::V3 => Some(0b111),
        CNTP_TVAL_EL0 => Some(vcpu.physical_timer.value(CNTPCT_EL0.get())),
        CNTP_CTL_EL0 => Some(vcpu.physical_timer.control(CNTPCT_EL0.get())),
        CNTP_CVAL_EL0 => Some(vcpu.physical_timer.compare()),
        _ => vcpu.debug.read(register),
    }
}

fn write<M: Machine>(vcpu: &mut Vcpu<M>, register: SysReg, value: u64) -> Option<()> {
    match register {
        // Implementation-defined controls of the physical CPU are not the guest's.
        ACTLR_EL1 => {}
        ICC_SRE_EL1 if gic::version() == GicVersion::V3 => {}
        ICC_SGI1R_EL1 => vcpu.send_sgi(SgiGroup::Group1, value)?,
        ICC_SGI0R_EL1 | ICC_ASGI1R_EL1 => vcpu.send_sgi(SgiGroup::Group0, value)?,
        ICC_DIR_EL1 => vcpu.machine.gic().deactivate(vcpu.id.index, value as u32 & 0xff_ffff),
        CNTP_TVAL_EL0 => vcpu.physical_timer.set_value(CNTPCT_EL0.get(), value),
        CNTP_CTL_EL0 => vcpu.physical_timer.set_control(value),
        CNTP_CVAL_EL0 => vcpu.physical_timer.set_compare(value),
        _ => {
            vcpu.debug.write(register, value)?;
            vcpu.load_debug_registers();
        }
    }
    if matches!(register, CNTP_TVAL_EL0 | CNTP_CTL_EL0 | CNTP_CVAL_EL0) {
        vcpu.update_physical_timer();
    }
    Some(())
}

/// Reads S3_0_C0_C<CRm>_<op2> of this CPU, the space that `HCR_EL2.TID3` traps.
fn native_id_register(register: SysReg) -> u64 {
    macro_rules! registers {
        ($($crm:literal)*) => {
            match (register.crm(), register.op2()) {
                $(
                    ($crm, 0) => mrs!(concat!("S3_0_C0_C", $crm, "_0")),
                    ($crm, 1) => mrs!(concat!("S3_0_C0_C", $crm, "_1")),
                    ($crm, 2) => mrs!(concat!("S3_0_C0_C", $crm, "_2")),
                    ($crm, 3) => mrs!(concat!("S3_0_C0_C", $crm, "_3")),
                    ($crm, 4) => mrs!(concat!("S3_0_C0_C", $crm, "_4")),
                    ($crm, 5) => mrs!(concat!("S3_0_C0_C", $crm, "_5")),
                    ($crm, 6) => mrs!(concat!("S3_0_C0_C", $crm, "_6")),
                    ($crm, 7) => mrs!(concat!("S3_0_C0_C", $crm, "_7")),
                )*
                _ => 0,
            }
        };
    }
    registers!(1 2 3 4 5 6 7)
}
