//! Between the virtual GIC's state machine and the list registers of this CPU.

use super::super::sysreg::mrs;
use super::super::{gic, irq};
use crate::devices::gic::{CpuInterface, GicVersion, IntId, VcpuSet, Vgic};

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

/// Whether the guest's end of the virtual timer's interrupt deactivates the physical one (LR.HW).
///
/// With GICv2 it does not: QEMU 10.0's model does not look again at a level that is still high when a list register
/// deactivates its interrupt, so a timer that is due again by then would be silent from there on. EL2 masks the physical
/// interrupt instead, and the end of the virtual one is an exit that unmasks it.
pub fn is_timer_linked() -> bool {
    gic::version() == GicVersion::V3
}

/// Takes the list registers of this CPU, on which `vcpu` is loaded, back into the model, with the level of its
/// virtual timer, whose `CNTV_CTL_EL0` is given.
pub fn fold(vgic: &mut Vgic, vcpu: usize, timer_control: u64) -> VcpuSet {
    let eoi_count = || {
        let splits_eoi = gic::virtual_machine_control() & VMCR_EOI_MODE != 0;
        if splits_eoi { 0 } else { gic::eoi_count() }
    };
    let others = vgic.fold(vcpu, eoi_count, gic::read_list_register);
    let due = timer_control & TIMER_STATE == TIMER_DUE;
    // A private interrupt concerns nobody else.
    if !is_timer_linked() {
        let _ = vgic.set_level(vcpu, VIRTUAL_TIMER, due);
        if !due {
            gic::enable_private(irq::virtual_timer());
        }
    } else if !due {
        let _ = vgic.retract_hardware(vcpu, VIRTUAL_TIMER);
    }
    others
}

/// The physical interrupt of the virtual timer of `vcpu`, which is loaded on this CPU and folded, was taken.
pub fn timer_fired(vgic: &mut Vgic, vcpu: usize, taken: gic::Acknowledged) -> VcpuSet {
    if is_timer_linked() {
        // It stays active until the guest deactivates its own.
        taken.drop_priority();
        vgic.inject_hardware(vcpu, VIRTUAL_TIMER)
    } else {
        gic::disable_private(taken.intid());
        taken.end();
        vgic.set_level(vcpu, VIRTUAL_TIMER, true)
    }
}

/// Fills the list registers of this CPU for `vcpu`, which is folded.
pub fn fill(vgic: &mut Vgic, vcpu: usize) {
    let interface = || CpuInterface::from_vmcr(gic::virtual_machine_control());
    let fill = vgic.fill(vcpu, interface, gic::write_list_register);
    gic::empty_list_registers(fill.used);
    gic::set_virtual_control(fill.maintenance, fill.trap_deactivate);
    release(fill.release);
}

/// Whether the virtual timer of `vcpu`, which is folded, is due by its `CNTV_CTL_EL0` and its interrupt still to come.
pub fn is_timer_new(vgic: &Vgic, vcpu: usize, timer_control: u64) -> bool {
    timer_control & TIMER_STATE == TIMER_DUE
        && is_timer_linked()
        && vgic.holds_hardware(vcpu) >> VIRTUAL_TIMER.number() & 1 == 0
}

/// When the virtual timer of the vCPU that is loaded on this CPU will be due, on the physical counter, if it is
/// on and not due yet by its `CNTV_CTL_EL0`. `offset` is `CNTVOFF_EL2`.
pub fn virtual_timer_deadline(timer_control: u64, offset: impl FnOnce() -> u64) -> Option<u64> {
    /// Enabled, not masked, condition not met.
    const TIMER_RUNS: u64 = 0b001;
    let runs = timer_control & TIMER_STATE == TIMER_RUNS;
    runs.then(|| mrs!("cntv_cval_el0").saturating_add(offset()))
}

/// Brings the physical interrupt of this CPU's virtual timer, and the virtual one of `vcpu`, which is being loaded
/// here, into agreement: one that the guest has not ended yet must not come again before it has.
pub fn adopt_timer(vgic: &mut Vgic, vcpu: usize) {
    if is_timer_linked() {
        vgic.forget_release(vcpu);
        if vgic.holds_hardware(vcpu) >> VIRTUAL_TIMER.number() & 1 != 0 {
            gic::activate_private(irq::virtual_timer());
        }
        return;
    }
    let due = mrs!("cntv_ctl_el0") & TIMER_STATE == TIMER_DUE;
    // This vCPU's own list registers are about to be filled.
    let _ = vgic.set_level(vcpu, VIRTUAL_TIMER, due);
    if due {
        gic::disable_private(irq::virtual_timer());
    } else {
        gic::enable_private(irq::virtual_timer());
    }
}

/// Gives the line of the emulated physical timer of `vcpu`, which is folded, its level; `line` is that which it was last
/// given, if that is known.
pub fn drive_physical_timer(vgic: &mut Vgic, vcpu: usize, line: &mut Option<bool>, level: bool) {
    if *line != Some(level) {
        *line = Some(level);
        // A private interrupt concerns nobody else.
        let _ = vgic.set_level(vcpu, PHYSICAL_TIMER, level);
    }
}

/// Deactivates the physical interrupts behind linked PPIs (a bit for each INTID) that no guest will: of the virtual
/// timer, the only one that is ever linked.
pub fn release(linked: u32) {
    if linked >> VIRTUAL_TIMER.number() & 1 != 0 {
        gic::deactivate(irq::virtual_timer());
    }
}
