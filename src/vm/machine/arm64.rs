//! The arm64 guest machine: the memory map and interrupt numbers of QEMU's `virt`.
//!
//! Names are those of the memory map in QEMU's `hw/arm/virt.c`; `docs/guest-machine.md` says what is behind
//! each.

use super::{GicVersion, Region};
use crate::mm::addr::{GIB, MIB};

impl GicVersion {
    /// The affinity fields that QEMU gives vCPU `index`: clusters as large as an SGI's target list.
    pub const fn affinity(self, index: u64) -> u64 {
        let cluster = match self {
            Self::V2 => 8,
            Self::V3 => 16,
        };
        ((index / cluster) << 8) | (index % cluster)
    }

    /// How many vCPUs it serves: a GICv2 has eight CPU interfaces; [`GIC_REDIST`] has room for 123
    /// redistributors.
    pub const fn max_vcpus(self) -> usize {
        match self {
            Self::V2 => 8,
            Self::V3 => (GIC_REDIST.size / GIC_REDIST_STRIDE) as usize,
        }
    }
}

/// The first bank of flash, where a vCPU starts after reset: read-only, it holds the firmware.
pub const FLASH0: Region = Region::new(0, 64 * MIB);
/// The second bank of flash: firmware keeps its variables there.
pub const FLASH1: Region = Region::new(64 * MIB, 64 * MIB);
/// The distributor of either GIC.
pub const GIC_DIST: Region = Region::new(0x0800_0000, 0x1_0000);
/// The CPU interface of a GICv2.
pub const GIC_CPU: Region = Region::new(0x0801_0000, 0x1_0000);
/// The redistributors of a GICv3, one after the other.
pub const GIC_REDIST: Region = Region::new(0x080a_0000, 0x00f6_0000);
/// What each redistributor takes of [`GIC_REDIST`]: the RD and SGI frames of 64 KiB.
pub const GIC_REDIST_STRIDE: u64 = 0x2_0000;
/// The PL011 that is the console.
pub const UART: Region = Region::new(0x0900_0000, 0x1000);
/// The PL031.
pub const RTC: Region = Region::new(0x0901_0000, 0x1000);
/// The PL061 with the power button.
pub const GPIO: Region = Region::new(0x0903_0000, 0x1000);
/// The first virtio-mmio transport; the others follow it.
pub const MMIO: Region = Region::new(0x0a00_0000, 0x200);
/// How many virtio-mmio transports there is room for.
pub const MMIO_TRANSPORTS: u32 = 32;
/// RAM: where it starts, and how much there may be.
pub const MEM: Region = Region::new(GIB, 255 * GIB);

/// Number of the shared peripheral interrupt of [`UART`].
pub const UART_SPI: u32 = 1;
/// Number of the shared peripheral interrupt of [`RTC`].
pub const RTC_SPI: u32 = 2;
/// Number of the shared peripheral interrupt of [`GPIO`].
pub const GPIO_SPI: u32 = 7;
/// The line of [`GPIO`] that is high while the power button is pressed.
pub const POWER_BUTTON: u8 = 3;
/// Number of the shared peripheral interrupt of the first transport of [`MMIO`]; the others follow it.
pub const MMIO_SPI: u32 = 16;
/// How many SPIs the distributor has.
pub const SPI_COUNT: u32 = 256;

/// Number of the private peripheral interrupt of the EL2 physical timer, which a guest at EL1 never sees.
pub const HYP_TIMER_PPI: u32 = 10;
/// Number of the private peripheral interrupt of the virtual timer.
pub const VIRT_TIMER_PPI: u32 = 11;
/// Number of the private peripheral interrupt of the secure physical timer, which a guest at EL1 never sees.
pub const SECURE_TIMER_PPI: u32 = 13;
/// Number of the private peripheral interrupt of the non-secure physical timer.
pub const PHYS_TIMER_PPI: u32 = 14;

/// The interrupt id of a private peripheral interrupt (0 to 15).
pub const fn ppi_intid(ppi: u32) -> u32 {
    16 + ppi
}

/// The interrupt id of a shared peripheral interrupt (below [`SPI_COUNT`]).
pub const fn spi_intid(spi: u32) -> u32 {
    32 + spi
}
