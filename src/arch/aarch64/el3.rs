//! What a machine without firmware leaves to whoever is entered at EL3: opening the interrupt controller to
//! the Non-secure state.

use crate::mm::addr::PhysAddr;
use crate::platform::board::{self, Board, Gic};

/// Called by arch/aarch64/boot.S at EL3, MMU off, before the drop to EL2. Without a usable devicetree it does
/// nothing: `polyvisor_main` says what is wrong.
#[unsafe(no_mangle)]
extern "C" fn polyvisor_el3_main(tree: u64) {
    // SAFETY: the boot protocol has x0 point to the devicetree.
    let Ok(board) = unsafe { board::tree_at(tree) }.and_then(Board::read) else { return };
    match board.gic {
        Some(Gic::V2 { distributor, cpu, .. }) => open_gicv2(distributor.start, cpu.start),
        Some(Gic::V3 { distributor, .. }) => open_gicv3(distributor.start),
        None => {}
    }
}

const GICD_CTLR: u64 = 0x000;
const GICD_TYPER: u64 = 0x004;
const GICD_TYPER_SECURITY: u32 = 1 << 10;

/// One register of the GIC.
fn register(base: PhysAddr, offset: u64) -> *mut u32 {
    (base.0 + offset) as *mut u32
}

/// IHI 0069 12.9.4: with `GICD_CTLR.DS` set there is a single security state, which EL2 drives.
fn open_gicv3(distributor: PhysAddr) {
    const DS: u32 = 1 << 6;
    // SAFETY: the devicetree says that this is a GICv3's distributor; the MMU is off.
    unsafe {
        if register(distributor, GICD_TYPER).read_volatile() & GICD_TYPER_SECURITY != 0 {
            register(distributor, GICD_CTLR).write_volatile(DS);
        }
    }
}

/// IHI 0048B 4.3.4: interrupts of Group 1 are the Non-secure state's. The priority mask must let their half
/// through.
fn open_gicv2(distributor: PhysAddr, cpu: PhysAddr) {
    const GICD_IGROUPR: u64 = 0x080;
    const GICC_PMR: u64 = 0x004;
    // SAFETY: the devicetree says that these are a GICv2's; the MMU is off.
    unsafe {
        let typer = register(distributor, GICD_TYPER).read_volatile();
        if typer & GICD_TYPER_SECURITY != 0 {
            for word in 0..=u64::from(typer & 0x1f) {
                register(distributor, GICD_IGROUPR + word * 4).write_volatile(u32::MAX);
            }
            register(cpu, GICC_PMR).write_volatile(0xff);
        }
    }
}
