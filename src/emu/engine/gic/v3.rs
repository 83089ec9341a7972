//! GICv3 (IHI 0069): private interrupts belong to redistributors, the CPU interface is system registers.

use aarch64_cpu::asm::barrier;
use polyvisor_cell_abi::{GIC_DIST, GIC_REDIST, GIC_REDIST_STRIDE, KICK_SGI};

use super::{ENABLED, MASK_NOTHING, read, write};

/// GICD_CTLR with one security state (12.9.4): affinity routing, Group 1.
const GICD_CTLR: u64 = GIC_DIST;
const GICD_CTLR_ARE: u32 = 1 << 4;
const GICD_CTLR_GROUP1: u32 = 1 << 1;

// Redistributor (12.11), its two frames.
const GICR_WAKER: u64 = 0x14;
const GICR_WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const GICR_WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
const GICR_IGROUPR0: u64 = 0x1_0080;
const GICR_ISENABLER0: u64 = 0x1_0100;

macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: the CPU interface's registers refer to no memory.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack)) };
        value
    }};
}

macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: as for `read_register`.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack)) };
    }};
}

pub fn init_distributor() {
    write(GICD_CTLR, GICD_CTLR_ARE | GICD_CTLR_GROUP1);
}

pub fn init_hart(index: usize) {
    let frame = GIC_REDIST + index as u64 * GIC_REDIST_STRIDE;
    write(frame + GICR_WAKER, read(frame + GICR_WAKER) & !GICR_WAKER_PROCESSOR_SLEEP);
    while read(frame + GICR_WAKER) & GICR_WAKER_CHILDREN_ASLEEP != 0 {}
    write(frame + GICR_IGROUPR0, u32::MAX);
    write(frame + GICR_ISENABLER0, ENABLED);
    write_register!("icc_sre_el1", 1);
    barrier::isb(barrier::SY);
    write_register!("icc_pmr_el1", u64::from(MASK_NOTHING));
    write_register!("icc_igrpen1_el1", 1);
}

pub fn acknowledge() -> u32 {
    read_register!("icc_iar1_el1") as u32
}

pub fn end(interrupt: u32) {
    write_register!("icc_eoir1_el1", u64::from(interrupt));
}

pub fn kick(hart: usize) {
    // ICC_SGI1R_EL1 (12.2.20): INTID in bits 27 to 24, targets with Aff0 below 16 in bits 15 to 0; Aff3 to Aff1 are 0.
    write_register!("icc_sgi1r_el1", u64::from(KICK_SGI) << 24 | 1 << hart);
}
