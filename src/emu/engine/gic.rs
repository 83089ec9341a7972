//! The cell's interrupt controller: GICv2 (IHI 0048) or GICv3 (IHI 0069), as far as harts need it.
//!
//! It is an emulated one, fresh at start: no interrupt is enabled, all have the highest priority and no SPI is used.

mod v2;
mod v3;

use polyvisor_cell_abi::{DOORBELL_SGI, KICK_SGI, TIMER_INTID};

use crate::{address::virtual_address, cpu};

/// The interrupts that are enabled, as bits of GICD_ISENABLER0 or GICR_ISENABLER0.
const ENABLED: u32 = 1 << KICK_SGI | 1 << DOORBELL_SGI | 1 << TIMER_INTID;
/// The priority mask that lets every priority through but the lowest.
const MASK_NOTHING: u8 = 0xff;
/// INTIDs from here on are no interrupts.
const SPECIAL: u32 = 1020;

/// What acknowledging gave. Ending the interrupt wants it back as it was.
#[derive(Debug, Clone, Copy)]
pub struct Interrupt(u32);

impl Interrupt {
    /// Its number.
    pub const fn intid(self) -> u32 {
        // GICC_IAR (4.4.4) has the sender of an SGI in bits 12 to 10. There is no interrupt with a larger number.
        self.0 & 0x3ff
    }
}

/// The controller. Everything is about the hart that asks.
#[derive(Debug, Clone, Copy)]
pub enum Gic {
    /// GICv2.
    V2,
    /// GICv3.
    V3,
}

impl Gic {
    /// The one of this architecture version.
    pub const fn new(version: u32) -> Self {
        if version == 2 { Self::V2 } else { Self::V3 }
    }

    /// Sets up what all harts share.
    pub fn init_distributor(self) {
        match self {
            Self::V2 => v2::init_distributor(),
            Self::V3 => v3::init_distributor(),
        }
    }

    /// Sets up what belongs to this hart, which has the number `index`.
    pub fn init_hart(self, index: usize) {
        match self {
            Self::V2 => v2::init_hart(),
            Self::V3 => v3::init_hart(index),
        }
        cpu::synchronize();
    }

    /// Acknowledges the next interrupt that is pending. What was written before it was sent can be seen afterwards.
    pub fn acknowledge(self) -> Option<Interrupt> {
        let interrupt = Interrupt(match self {
            Self::V2 => v2::acknowledge(),
            Self::V3 => v3::acknowledge(),
        });
        cpu::synchronize();
        (interrupt.intid() < SPECIAL).then_some(interrupt)
    }

    /// Ends an interrupt.
    pub fn end(self, interrupt: Interrupt) {
        cpu::synchronize();
        match self {
            Self::V2 => v2::end(interrupt.0),
            Self::V3 => v3::end(interrupt.0),
        }
    }

    /// Sends [`KICK_SGI`] to the hart with the number `hart`, below [`MAX_HARTS`](polyvisor_cell_abi::MAX_HARTS). It sees
    /// what was written before.
    pub fn kick(self, hart: usize) {
        cpu::publish();
        match self {
            Self::V2 => v2::kick(hart),
            Self::V3 => v3::kick(hart),
        }
    }
}

/// Reads the register at the intermediate physical address `ipa`.
fn read(ipa: u64) -> u32 {
    // SAFETY: all callers name registers of the controller, which is mapped as device memory and not Rust's.
    unsafe { (virtual_address(ipa) as *const u32).read_volatile() }
}

/// Writes the register at `ipa`.
fn write(ipa: u64, value: u32) {
    // SAFETY: as for `read`.
    unsafe { (virtual_address(ipa) as *mut u32).write_volatile(value) }
}
