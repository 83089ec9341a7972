//! Between the virtual GIC's state machine and the list registers of this CPU.

use super::super::gic;
use crate::devices::gic::{CpuInterface, ListRegister, VcpuSet, Vgic};

/// INTIDs of the generic timer's PPIs in a guest (BSA 3.4, as QEMU `virt` has them).
pub const VIRTUAL_TIMER: u32 = 27;
/// See [`VIRTUAL_TIMER`].
pub const PHYSICAL_TIMER: u32 = 30;

/// `ICH_VMCR_EL2.VEOIM` and `GICH_VMCR.VEM`: the guest splits priority drop and deactivation.
const VMCR_EOI_MODE: u32 = 1 << 9;

/// Takes the list registers of this CPU, on which `vcpu` is loaded, back into the model.
pub fn fold(vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
    let splits_eoi = gic::virtual_machine_control() & VMCR_EOI_MODE != 0;
    let eoi_count = if splits_eoi { 0 } else { gic::eoi_count() };
    vgic.fold(vcpu, eoi_count, gic::read_list_register)
}

/// Fills the list registers of this CPU for `vcpu`, which is folded; `used` tells how many were and how many are filled.
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
