//! The riscv64 guest machine: the memory map and interrupt numbers of QEMU's riscv `virt`.
//!
//! Names are those of the memory map in QEMU's `hw/riscv/virt.c`; `docs/guest-machine.md` says what is behind each.

use polyvisor_cell_abi as abi;

use super::Region;
use crate::mm::addr::{GIB, MIB};

/// The test finisher, by which a guest ends its machine.
pub const TEST: Region = Region::new(0x10_0000, 0x1000);
/// The Goldfish RTC.
pub const RTC: Region = Region::new(0x10_1000, 0x1000);
/// The core-local interruptor, which the engine answers for.
pub const CLINT: Region = Region::new(0x200_0000, 0x1_0000);
/// The platform-level interrupt controller, with room for all the harts that QEMU allows.
pub const PLIC: Region = Region::new(0xc00_0000, 0x60_0000);
/// The 16550A that is the console.
pub const UART: Region = Region::new(0x1000_0000, 0x100);
/// The first virtio-mmio transport; the others follow it.
pub const MMIO: Region = Region::new(0x1000_1000, 0x1000);
/// How many virtio-mmio transports there are.
pub const MMIO_TRANSPORTS: u32 = 8;
/// RAM: where it starts, and how much there may be.
pub const DRAM: Region = Region::new(2 * GIB, abi::CELL - 2 * GIB);
/// Bytes from the start of RAM to a kernel that has firmware below it.
pub const KERNEL_OFFSET: u64 = 2 * MIB;

/// Interrupt source of the first transport of [`MMIO`]; the others follow it.
pub const MMIO_SOURCE: u32 = 1;
/// Interrupt source of [`UART`].
pub const UART_SOURCE: u32 = 10;
/// Interrupt source of [`RTC`].
pub const RTC_SOURCE: u32 = 11;
/// How many interrupt sources the controller has (`riscv,ndev`).
pub const SOURCES: u32 = 95;

/// How many harts it may have.
pub const MAX_HARTS: usize = abi::MAX_HARTS;
