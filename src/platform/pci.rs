//! The PCI host bridge: finding the functions on its root bus, and giving their registers addresses.
//!
//! QEMU without firmware leaves every BAR unassigned. Where firmware has assigned some, these stay.

use core::ops::Range;

use virtio_drivers::transport::SomeTransport;
use virtio_drivers::transport::pci::bus::{
    BarInfo, Command, ConfigurationAccess, DeviceFunction, MemoryBarType, PciRoot,
};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};

use super::board::{InterruptMap, PciHost};
use super::virtio::{Dma, Error};
use crate::arch::aarch64::stage1::{self, Access};
use crate::mm::addr::{MIB, PhysAddr};

/// Bytes of configuration space of one bus (PCIe 7.2.2).
const BUS_SIZE: u64 = MIB;
/// Offset of the register whose second byte is the interrupt pin.
const INTERRUPT: u8 = 0x3c;

/// The configuration spaces of the root bus.
#[derive(Clone, Copy)]
struct Ecam {
    start: PhysAddr,
    bus: u8,
}

impl Ecam {
    fn register(&self, function: DeviceFunction, offset: u8) -> Option<*mut u32> {
        let place =
            u64::from(function.device) << 15 | u64::from(function.function) << 12 | u64::from(offset & !3);
        (function.bus == self.bus && function.valid()).then(|| (self.start.0 + place) as *mut u32)
    }
}

impl ConfigurationAccess for Ecam {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        // SAFETY: inside the bus's space, which `functions` has mapped; reading configuration has no side effects.
        // What is not there reads as ones.
        self.register(function, offset).map_or(u32::MAX, |register| unsafe { register.read_volatile() })
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, value: u32) {
        if let Some(register) = self.register(function, offset) {
            // SAFETY: as above; that the value is right is the caller's business.
            unsafe { register.write_volatile(value) };
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// The root bus.
pub struct RootBus {
    root: PciRoot<Ecam>,
    ecam: Ecam,
    interrupts: InterruptMap,
    /// What is left of the window.
    window: Range<u64>,
}

impl RootBus {
    /// The root bus of `host`.
    ///
    /// # Errors
    /// [`Error::Map`].
    ///
    /// # Safety
    /// The devicetree says that the bridge is there, and nobody else uses it.
    pub unsafe fn new(host: &PciHost) -> Result<Self, Error> {
        let size = BUS_SIZE.min(host.ecam.end.0.saturating_sub(host.ecam.start.0));
        stage1::map(host.ecam.start, size, Access::Device).map_err(Error::Map)?;
        let ecam = Ecam { start: host.ecam.start, bus: host.first_bus };
        let root = PciRoot::new(ecam);
        let window = host.window.start.0..host.window.end.0;
        let mut bus = Self { root, ecam, interrupts: host.interrupt_map, window };
        bus.skip_assigned();
        Ok(bus)
    }

    /// Calls `found` with each virtio device, ready for use, and the INTID of its interrupt.
    pub fn for_each_virtio(&mut self, mut found: impl FnMut(SomeTransport<'static>, u32)) {
        for (function, info) in self.root.enumerate_bus(self.ecam.bus) {
            if virtio_device_type(&info).is_none() {
                continue;
            }
            let pin = (self.ecam.read_word(function, INTERRUPT) >> 8) as u8;
            let Some(intid) = self.interrupts.intid(function.device, pin) else {
                log::warn!("PCI {function}: its interrupt leads nowhere");
                continue;
            };
            match self.enable(function) {
                Ok(transport) => found(transport, intid),
                Err(error) => log::warn!("PCI {function}: {error}"),
            }
        }
    }

    /// Leaves out of the window all that lies before the end of what has an address already.
    fn skip_assigned(&mut self) {
        for (function, _) in self.root.enumerate_bus(self.ecam.bus) {
            let Ok(bars) = self.root.bars(function) else { continue };
            for (address, size) in bars.iter().flatten().filter_map(BarInfo::memory_address_size) {
                let end = address.saturating_add(size);
                if address != 0 && self.window.contains(&address) {
                    self.window.start = self.window.start.max(end);
                }
            }
        }
    }

    /// Gives the function's memory BARs addresses, maps them, and lets it access memory.
    fn enable(&mut self, function: DeviceFunction) -> Result<SomeTransport<'static>, Error> {
        let pci = |error| Error::Pci(error);
        let bars = self.root.bars(function).map_err(|error| pci(error.into()))?;
        for (index, bar) in bars.iter().enumerate() {
            let Some(BarInfo::Memory { address_type, address, size, .. }) = *bar else { continue };
            let address = match address {
                0 => {
                    let address = self.take(size)?;
                    match address_type {
                        MemoryBarType::Width64 => self.root.set_bar_64(function, index as u8, address),
                        _ => self.root.set_bar_32(function, index as u8, address as u32),
                    }
                    address
                }
                assigned => assigned,
            };
            stage1::map(PhysAddr(address), size, Access::Device).map_err(Error::Map)?;
        }
        self.root.set_command(function, Command::MEMORY_SPACE | Command::BUS_MASTER);
        Ok(PciTransport::new::<Dma, _>(&mut self.root, function).map_err(pci)?.into())
    }

    /// Takes a naturally aligned range of `size` bytes, a power of two, out of the window.
    fn take(&mut self, size: u64) -> Result<u64, Error> {
        let start = self.window.start.checked_next_multiple_of(size).ok_or(Error::NoRoom(size))?;
        let end = start.checked_add(size).filter(|&end| end <= self.window.end).ok_or(Error::NoRoom(size))?;
        self.window.start = end;
        Ok(start)
    }
}
