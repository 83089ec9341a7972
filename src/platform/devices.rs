//! The machine's own disks and network cards: found once, at boot, and known by name.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Once;
use virtio_drivers::transport::{DeviceType, SomeTransport, Transport};

use super::board::{Board, Device};
use super::pci::RootBus;
use super::sdhci::{Mmio, SdCard};
use super::virtio::block::BlockController;
use super::virtio::net::{Nic, PAUSE_US};
use super::virtio::{self, Error};
use crate::arch::aarch64::irq;
use crate::arch::aarch64::stage1::{self, Access};
use crate::arch::aarch64::timer::{self, Alarm};
use crate::mm::frames::OutOfFrames;
use crate::storage::physical::{Controller, PhysicalDisk};
use crate::storage::{Disk, Named, SECTOR};

/// A network card that can be named in a manifest.
pub struct NamedNic {
    /// `nic0`, `nic1`, ... in the order in which they were found.
    pub name: String,
    /// The card.
    pub nic: Arc<Nic>,
}

#[derive(Default)]
struct Devices {
    disks: Vec<Named>,
    nics: Vec<NamedNic>,
}

static DEVICES: Once<Devices> = Once::new();

/// Finds and starts the devices that `board` names: those behind virtio-mmio, then those on the PCI root bus, then SD
/// cards. This CPU takes their interrupts, until they are moved.
pub fn start(board: &Board) {
    let mut devices = Devices::default();
    // QEMU fills `virt`'s transports from the last to the first: so the names go by its command line.
    for device in board.virtio.iter().rev() {
        let registers = &device.registers;
        let len = registers.end.0.saturating_sub(registers.start.0);
        if let Err(error) = stage1::map(registers.start, len, Access::Device) {
            log::warn!("virtio at {}: {}", registers.start, Error::Map(error));
            continue;
        }
        // SAFETY: the devicetree names the transport, which has just been mapped.
        if let Some(transport) = unsafe { virtio::probe_mmio(registers) } {
            devices.add(transport, device.interrupt);
        }
    }
    if let Some(host) = &board.pci {
        // SAFETY: the devicetree names the bridge, and this is the only use of it.
        match unsafe { RootBus::new(host) } {
            Ok(mut bus) => bus.for_each_virtio(|transport, intid| devices.add(transport, intid)),
            Err(error) => log::warn!("PCI: {error}"),
        }
    }
    for controller in &board.sdhci {
        devices.add_card(controller);
    }
    DEVICES.call_once(|| devices);
}

/// The disks.
pub fn disks() -> &'static [Named] {
    DEVICES.get().map_or(&[], |devices| &devices.disks)
}

/// The disk of this name or serial number.
pub fn disk(name: &str) -> Option<Arc<dyn Disk>> {
    disks().iter().find(|disk| disk.names.iter().any(|own| own == name)).map(|found| found.disk.clone())
}

/// The network cards.
pub fn nics() -> &'static [NamedNic] {
    DEVICES.get().map_or(&[], |devices| &devices.nics)
}

/// The network card of this name.
pub fn nic(name: &str) -> Option<Arc<Nic>> {
    nics().iter().find(|nic| nic.name == name).map(|found| found.nic.clone())
}

/// [`Alarm::Devices`] has gone off: listens to the network cards again that had too much to say.
pub fn resume() {
    let mut again = false;
    for nic in nics() {
        again |= nic.nic.resume();
    }
    if again {
        come_back();
    }
}

/// Has [`resume`] called in a while, on this CPU.
fn come_back() {
    timer::set(Alarm::Devices, Some(timer::now().saturating_add(timer::ticks(PAUSE_US))));
}

impl Devices {
    /// Starts what is behind `transport`, if it is something of use.
    fn add(&mut self, transport: SomeTransport<'static>, intid: u32) {
        let kind = transport.device_type();
        let added = match kind {
            DeviceType::Block => self.add_disk(transport, intid),
            DeviceType::Network => self.add_nic(transport, intid),
            _ => return,
        };
        if let Err(error) = added {
            log::warn!("virtio {kind:?} with interrupt {intid}: {error}");
        }
    }

    #[inline(never)] // The stack need not hold this and what the other has.
    fn add_disk(&mut self, transport: SomeTransport<'static>, intid: u32) -> Result<(), Error> {
        let mut controller = BlockController::new(transport)?;
        let serial = controller.serial_number();
        Ok(self.enter_disk(controller, serial, intid)?)
    }

    #[inline(never)] // As above.
    fn add_card(&mut self, controller: &Device) {
        let base = controller.registers.start;
        if let Err(error) = stage1::map(base, Mmio::SIZE, Access::Device) {
            log::warn!("SD host controller at {base}: {}", Error::Map(error));
            return;
        }
        // SAFETY: the devicetree names the controller, which has just been mapped; nobody else drives it.
        match SdCard::new(unsafe { Mmio::new(base) }) {
            Ok(card) => {
                let serial = format!("{:#010x}", card.serial());
                if let Err(error) = self.enter_disk(card, Some(serial), controller.interrupt) {
                    log::warn!("SD host controller at {base}: {error}");
                }
            }
            Err(error) if error.is_absence() => log::debug!("SD host controller at {base}: {error}"),
            Err(error) => log::warn!("SD host controller at {base}: {error}"),
        }
    }

    /// Enters a disk, and has it handle its interrupt.
    fn enter_disk<C: Controller + 'static>(
        &mut self,
        controller: C,
        serial: Option<String>,
        intid: u32,
    ) -> Result<(), OutOfFrames> {
        let name = format!("disk{}", self.disks.len());
        let disk = Arc::new(PhysicalDisk::new(controller)?);
        let geometry = disk.geometry();
        log::info!(
            "{name}: {} MiB{}{}, interrupt {intid}",
            geometry.sectors / ((1 << 20) / SECTOR),
            if geometry.read_only { ", read-only" } else { "" },
            serial.as_ref().map_or(String::new(), |serial| format!(", serial number {serial}")),
        );
        let handled = disk.clone();
        irq::register(intid, Box::leak(Box::new(move || handled.interrupt())));
        let names = [Some(name), serial].into_iter().flatten().collect();
        self.disks.push(Named { names, disk });
        Ok(())
    }

    #[inline(never)] // As above.
    fn add_nic(&mut self, transport: SomeTransport<'static>, intid: u32) -> Result<(), Error> {
        let nic = Arc::new(Nic::new(transport)?);
        let name = format!("nic{}", self.nics.len());
        let link = if nic.is_up() { "up" } else { "down" };
        log::info!("{name}: {}, link {link}, interrupt {intid}", nic.mac());
        let handled = nic.clone();
        irq::register(
            intid,
            Box::leak(Box::new(move || {
                if handled.interrupt() {
                    come_back();
                }
            })),
        );
        self.nics.push(NamedNic { name, nic });
        Ok(())
    }
}
