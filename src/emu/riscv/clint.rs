//! The core-local interruptor: machine software interrupts, machine timers and the time, as devices (ACLINT
//! specification, which calls them MSWI and MTIMER, with the layout of SiFive's CLINT).
//!
//! It is a part of the harts, so that it costs no exit from the cell; `Bus` is what a hart sees of memory and
//! devices.

use alloc::sync::Arc;
use core::ops::Range;

use super::cluster::{Cluster, Shared};
use super::platform::Platform;
use crate::memory::{Physical, Ram, Size};

/// Where it is, as in QEMU's `virt`.
pub const BASE: u64 = 0x200_0000;
/// How many bytes it takes.
pub const SIZE: u64 = 0x1_0000;
/// Its guest-physical addresses: the only ones that are neither RAM nor a device of the platform's.
pub const CLINT: Range<u64> = BASE..BASE + SIZE;

/// One register of 32 bits for each hart: bit 0 is its software interrupt.
const MSIP: u64 = 0;
/// One register of 64 bits for each hart.
const MTIMECMP: u64 = 0x4000;
/// The time. Writing it is not possible: it is the platform's.
const MTIME: u64 = 0xbff8;

/// The memory and the devices of one hart.
#[derive(Debug)]
pub struct Bus<P> {
    platform: P,
    cluster: Arc<Cluster>,
    index: usize,
}

/// What lies at an address of the CLINT.
enum Register<'a> {
    Msip(usize, &'a Shared),
    Mtimecmp(usize, &'a Shared),
    Mtime,
    /// Reads as zero, and ignores writes.
    Nothing,
}

impl<P: Platform> Bus<P> {
    /// The bus of hart `index`; `None` if the cluster has no such hart.
    pub fn new(cluster: Arc<Cluster>, platform: P, index: usize) -> Option<Self> {
        cluster.hart(index)?;
        // Whether it executes at all is among what it looks at.
        platform.make_due();
        Some(Self { platform, cluster, index })
    }

    /// The machine around the hart.
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// All harts.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The hart's number.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// What others may see and change of the hart.
    pub fn shared(&self) -> &Shared {
        self.cluster.shared(self.index)
    }

    /// Makes `hart` look at what has changed.
    pub fn notify(&self, hart: usize) {
        if hart == self.index {
            self.platform.make_due();
        } else {
            self.platform.kick(hart);
        }
    }

    /// The register that an access is about, and the offset in it.
    fn register(&self, offset: u64) -> (Register<'_>, u64) {
        let of = |hart: u64| Some((hart as usize, self.cluster.hart(hart as usize)?));
        let (register, at) = match offset {
            MSIP..MTIMECMP => {
                (of((offset - MSIP) / 4).map(|(hart, shared)| Register::Msip(hart, shared)), offset % 4)
            }
            MTIMECMP..MTIME => (
                of((offset - MTIMECMP) / 8).map(|(hart, shared)| Register::Mtimecmp(hart, shared)),
                offset % 8,
            ),
            _ => ((offset & !7 == MTIME).then_some(Register::Mtime), offset % 8),
        };
        (register.unwrap_or(Register::Nothing), at)
    }

    fn clint_read(&self, offset: u64, size: Size) -> u64 {
        let (register, at) = self.register(offset);
        let value = match register {
            Register::Msip(_, shared) => shared.msip().into(),
            Register::Mtimecmp(_, shared) => shared.mtimecmp(),
            Register::Mtime => self.platform.time(),
            Register::Nothing => 0,
        };
        value >> (8 * at) & mask(size)
    }

    fn clint_write(&self, offset: u64, size: Size, value: u64) {
        let (register, at) = self.register(offset);
        let insert = |old: u64| {
            let mask = mask(size) << (8 * at);
            old & !mask | value << (8 * at) & mask
        };
        match register {
            Register::Msip(hart, shared) => {
                shared.set_msip(insert(shared.msip().into()) & 1 != 0);
                self.notify(hart);
            }
            Register::Mtimecmp(hart, shared) => {
                shared.set_mtimecmp(insert(shared.mtimecmp()));
                self.notify(hart);
            }
            Register::Mtime | Register::Nothing => {}
        }
    }
}

/// The offset in the CLINT of an access that is inside one naturally aligned word of its size.
fn offset(address: u64, size: Size) -> Option<u64> {
    let offset = address.wrapping_sub(BASE);
    (offset < SIZE && offset.is_multiple_of(size.bytes())).then_some(offset)
}

/// All ones in a value of this size.
const fn mask(size: Size) -> u64 {
    u64::MAX >> (64 - 8 * size.bytes())
}

impl<P: Platform> Physical for Bus<P> {
    fn ram(&self) -> Ram {
        self.platform.ram()
    }

    fn writing(&self, address: u64, len: u64, write: &mut dyn FnMut()) {
        self.platform.writing(address, len, write);
    }

    fn read(&self, address: u64, size: Size) -> Option<u64> {
        match offset(address, size) {
            Some(offset) => Some(self.clint_read(offset, size)),
            None => self.platform.read(address, size),
        }
    }

    fn write(&self, address: u64, size: Size, value: u64) -> Option<()> {
        match offset(address, size) {
            Some(offset) => {
                self.clint_write(offset, size, value);
                Some(())
            }
            None => self.platform.write(address, size, value),
        }
    }
}
