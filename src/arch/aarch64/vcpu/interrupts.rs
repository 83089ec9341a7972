//! Between the virtual GIC's state machine and the list registers of this CPU.

use super::super::gic;
use super::super::sysreg::mrs;
use crate::devices::gic::{CpuInterface, IntId, ListRegister, VcpuSet, Vgic};

/// INTIDs of the generic timer's PPIs in a guest (BSA 3.4, as QEMU `virt` has them).
pub const VIRTUAL_TIMER: IntId = int_id(27);
/// See [`VIRTUAL_TIMER`].
pub const PHYSICAL_TIMER: IntId = int_id(30);

const fn int_id(number: u32) -> IntId {
    match IntId::new(number) {
        Some(intid) => intid,
        None => unreachable!(),
    }
}

/// `ICH_VMCR_EL2.VEOIM` and `GICH_VMCR.VEM`: the guest splits priority drop and deactivation.
const VMCR_EOI_MODE: u32 = 1 << 9;

/// `CNTV_CTL_EL0`: ISTATUS, IMASK and ENABLE.
const TIMER_STATE: u64 = 0b111;
/// The virtual timer asks for its interrupt: its condition is met, and it is enabled and not masked.
const TIMER_DUE: u64 = 0b101;

/// Takes the list registers of this CPU, on which `vcpu` is loaded, back into the model, with the level of
/// its virtual timer.
pub fn fold(vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
    let splits_eoi = gic::virtual_machine_control() & VMCR_EOI_MODE != 0;
    let eoi_count = if splits_eoi { 0 } else { gic::eoi_count() };
    let mut others = vgic.fold(vcpu, eoi_count, gic::read_list_register);
    if mrs!("cntv_ctl_el0") & TIMER_STATE != TIMER_DUE {
        others |= vgic.retract_hardware(vcpu, VIRTUAL_TIMER);
    }
    others.without(vcpu)
}

/// Fills the list registers of this CPU for `vcpu`, which is folded; `used` tells how many were and how many
/// are filled.
pub fn fill(vgic: &mut Vgic, vcpu: usize, used: &mut usize) {
    let interface = || CpuInterface::from_vmcr(gic::virtual_machine_control());
    let fill = vgic.fill(vcpu, interface, gic::write_list_register);
    for number in fill.used..*used {
        gic::write_list_register(number, ListRegister::EMPTY);
    }
    *used = fill.used;
    gic::set_virtual_control(fill.maintenance, fill.trap_deactivate);
    release(fill.release);
}

/// Deactivates the physical interrupts behind linked PPIs (a bit for each INTID) that no guest will.
pub fn release(linked: u32) {
    let mut rest = linked;
    while rest != 0 {
        gic::deactivate(rest.trailing_zeros());
        rest &= rest - 1;
    }
}
