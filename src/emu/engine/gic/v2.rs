//! GICv2 (IHI 0048B): all registers are memory-mapped.

use polyvisor_cell_abi::{GIC_CPU, GIC_DIST, KICK_SGI};

use super::{ENABLED, MASK_NOTHING, read, write};

// Distributor (4.3).
const GICD_CTLR: u64 = GIC_DIST;
const GICD_ISENABLER0: u64 = GIC_DIST + 0x100;
const GICD_SGIR: u64 = GIC_DIST + 0xf00;

// CPU interface (4.4).
const GICC_CTLR: u64 = GIC_CPU;
const GICC_PMR: u64 = GIC_CPU + 0x4;
const GICC_IAR: u64 = GIC_CPU + 0xc;
const GICC_EOIR: u64 = GIC_CPU + 0x10;

/// GICD_CTLR and GICC_CTLR, without the Security Extensions.
const CTLR_ENABLE: u32 = 1 << 0;

pub fn init_distributor() {
    write(GICD_CTLR, CTLR_ENABLE);
}

pub fn init_hart() {
    write(GICD_ISENABLER0, ENABLED);
    write(GICC_PMR, u32::from(MASK_NOTHING));
    write(GICC_CTLR, CTLR_ENABLE);
}

pub fn acknowledge() -> u32 {
    read(GICC_IAR)
}

pub fn end(interrupt: u32) {
    write(GICC_EOIR, interrupt);
}

pub fn kick(hart: usize) {
    // TargetListFilter 0: the CPU interfaces in CPUTargetList, bits 23 to 16 (4.3.15).
    write(GICD_SGIR, 1 << (16 + hart) | KICK_SGI);
}
