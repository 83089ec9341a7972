//! The devices of a virtual machine, wired up as in QEMU's machine of its architecture.

mod arm64;
mod gic;
mod riscv64;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Mutex;

use super::attach::{self, AttachError, Attached, Site};
use super::bundle::{Arch, DeviceSpec};
use super::control;
use super::instance::{Memory, VmError};
use super::machine;
use super::operator::Line;
use super::scheduler::Task;
use super::vcpu::Attention;
use crate::arch::aarch64::irq;
use crate::arch::aarch64::vcpu::interrupts;
use crate::devices::bus::{Bus, MmioDevice};
use crate::devices::gic::device::VgicDevice;
use crate::devices::irq::IrqLine;
use crate::devices::pl061::Pl061;
use crate::devices::serial::{SerialBackend, SerialPort};
use crate::devices::virtio::balloon::Balloon;
use crate::devices::virtio::channel::{Channel, Worker};
use crate::devices::virtio::console::{self, Console};
use crate::devices::virtio::slots::Slots;
use crate::devices::virtio::vsock::Hub;
use crate::monitor::port;
use crate::storage::claim::Claim;
pub use gic::GicHost;

/// Through which VMs reach each other's sockets.
pub static SOCKETS: Hub = Hub::new(control::request);

/// The monitor as the other end of the UART and of the console ports of the VM of this number.
pub struct ConsolePort(pub usize);

impl SerialBackend for ConsolePort {
    fn transmit(&self, byte: u8) -> bool {
        port::transmit(Line::uart(self.0), &[byte]) == 1
    }

    fn input_wanted(&self) {
        port::input_wanted();
    }
}

impl console::Backend for ConsolePort {
    fn transmit(&self, port: usize, bytes: &[u8]) -> usize {
        port::transmit(Line { vm: self.0, port: Some(port) }, bytes)
    }

    fn input_wanted(&self, _: usize) {
        port::input_wanted();
    }
}

/// What a machine has besides its interrupt controller and virtio devices.
struct Board {
    /// By address.
    bus: Bus,
    /// The serial line.
    uart: Arc<dyn SerialPort>,
    /// Its slots for virtio devices.
    virtio: Slots,
    /// Their interrupt lines.
    virtio_lines: Vec<IrqLine>,
    /// The button's wire, on a machine that has one.
    power_button: Option<Arc<Pl061>>,
    /// What switching the machine off and on does to each of its devices.
    resets: Vec<Box<dyn Fn() + Send + Sync>>,
}

/// Puts a device onto a bus.
fn claim(
    bus: &mut Bus,
    region: machine::Region,
    name: &'static str,
    device: Arc<dyn MmioDevice>,
) -> Result<(), VmError> {
    bus.claim(region.base, region.size, name, device).map_err(VmError::Bus)
}

/// Puts `count` transports onto a bus, the first one at `first`.
fn transports(bus: &mut Bus, first: machine::Region, count: u32) -> Result<Slots, VmError> {
    let mut virtio = Slots::default();
    for slot in 0..u64::from(count) {
        let base = crate::mm::addr::Ipa(first.base.0 + slot * first.size);
        claim(bus, machine::Region { base, size: first.size }, "virtio-mmio", virtio.add())?;
    }
    Ok(virtio)
}

/// The devices of a VM, and the bus on which its vCPUs find them.
pub struct Devices {
    /// The interrupt controller.
    pub gic: Arc<VgicDevice<GicHost>>,
    board: Board,
    /// The virtio devices by slot, plugged in or not.
    attached: Vec<Fitted>,
    vcpus: usize,
}

/// A virtio device of a VM.
struct Fitted {
    device: Attached,
    /// What it is called where it is claimed.
    name: String,
    /// What it has for itself, while it is plugged in.
    claim: Mutex<Option<Claim>>,
}

/// Has a vCPU of the VM do what is left to do for a device.
struct VcpuWorker(Arc<[Arc<Task>]>);

impl Worker for VcpuWorker {
    fn wanted(&self) {
        let own = self.0.iter().find(|task| task.is_here());
        if let Some(task) = own.or_else(|| self.0.iter().find(|task| task.is_on())) {
            task.raise(Attention::DEVICES);
        }
    }
}

impl Devices {
    /// The devices of the VM of number `id` and of this architecture, whose vCPUs have these affinities, with `flash` bytes of
    /// firmware.
    ///
    /// # Errors
    /// [`VmError::Gic`] and [`VmError::Bus`].
    pub fn new(
        id: usize,
        arch: Arch,
        affinities: &[u64],
        flash: u64,
        memory: &Arc<Memory>,
        tasks: &Arc<[Arc<Task>]>,
    ) -> Result<Self, VmError> {
        let (gic, board) = match arch {
            Arch::Aarch64 => arm64::wire(id, affinities, flash, tasks)?,
            Arch::Riscv64 => riscv64::wire(id, affinities, memory, tasks)?,
        };
        Ok(Self { gic, board, attached: Vec::new(), vcpus: affinities.len() })
    }

    /// Where its vCPUs find it.
    pub fn bus(&self) -> &Bus {
        &self.board.bus
    }

    /// The serial line.
    pub fn uart(&self) -> &dyn SerialPort {
        &*self.board.uart
    }

    /// The slots for virtio devices.
    pub fn virtio(&self) -> &Slots {
        &self.board.virtio
    }

    /// Makes the virtio devices of the VM at `site`, and plugs in those that are to be there when the VM starts.
    ///
    /// # Errors
    /// [`VmError::Device`].
    pub fn attach(&mut self, site: &Site<'_>, tasks: &Arc<[Arc<Task>]>) -> Result<(), VmError> {
        let worker: Arc<dyn Worker> = Arc::new(VcpuWorker(tasks.clone()));
        for (slot, spec) in site.vm.devices.iter().enumerate() {
            let failed = |error| VmError::Device { slot, error };
            let Some(line) = self.board.virtio_lines.get(slot).cloned() else { continue };
            let channel =
                |sizes: &[u16]| Channel::new(sizes, site.memory.clone(), line.clone(), worker.clone());
            let device = site.attach(slot, spec, channel).map_err(failed)?;
            let name = match spec {
                DeviceSpec::Disk(disk) => attach::backend(disk),
                _ => String::new(),
            };
            self.attached.push(Fitted { device, name, claim: Mutex::new(None) });
            if attach::is_plugged(spec) {
                self.plug(slot).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The virtio device that belongs into this slot, plugged in or not.
    pub fn attached(&self, slot: usize) -> Option<&Attached> {
        self.attached.get(slot).map(|fitted| &fitted.device)
    }

    /// The balloon, plugged in or not.
    pub fn balloon(&self) -> Option<&Balloon> {
        self.attached.iter().find_map(|fitted| match &fitted.device {
            Attached::Balloon(balloon) => Some(&**balloon),
            _ => None,
        })
    }

    /// Whether there is a device in this slot now.
    pub fn is_plugged(&self, slot: usize) -> bool {
        self.board.virtio.get(slot).is_some_and(|transport| transport.device().is_some())
    }

    /// Plugs in what belongs into this slot, which is empty.
    ///
    /// # Errors
    /// [`AttachError::InUse`]. Nothing is plugged in then.
    pub fn plug(&self, slot: usize) -> Result<(), AttachError> {
        let (Some(fitted), Some(transport)) = (self.attached.get(slot), self.board.virtio.get(slot)) else {
            return Ok(());
        };
        let claim = fitted.device.claim();
        let claim = claim.map_err(|error| AttachError::InUse { what: fitted.name.clone(), error })?;
        *fitted.claim.lock() = claim;
        transport.plug(Some(fitted.device.device()));
        Ok(())
    }

    /// Pulls out what is in this slot. What is under way for it ends, but the guest does not hear of it.
    pub fn unplug(&self, slot: usize) {
        if let (Some(fitted), Some(transport)) = (self.attached.get(slot), self.board.virtio.get(slot)) {
            transport.plug(None);
            fitted.claim.lock().take();
        }
    }

    /// Pulls all virtio devices out and lets go of what they have, for whoever gets it next. No vCPU runs any more.
    pub fn detach(&self) {
        for (slot, fitted) in self.attached.iter().enumerate() {
            self.unplug(slot);
            fitted.device.detach();
        }
    }

    /// Its console device.
    pub fn console(&self) -> Option<&Console> {
        self.attached.iter().find_map(|fitted| match &fitted.device {
            Attached::Console(console) => Some(&**console),
            _ => None,
        })
    }

    /// What switching the machine off and on does.
    pub fn reset(&self) {
        self.board.resets.iter().for_each(|reset| reset());
        self.board.virtio.reset();
        let mut vgic = self.gic.lock();
        vgic.reset();
        for vcpu in 0..self.vcpus {
            match interrupts::is_timer_linked() {
                true => vgic.link_hardware(vcpu, interrupts::VIRTUAL_TIMER, irq::virtual_timer() as u16),
                false => vgic.poll_input(vcpu, interrupts::VIRTUAL_TIMER),
            }
        }
    }

    /// Does some of what is left to do for virtio devices; tells whether there is more.
    pub fn work(&self) -> bool {
        self.board.virtio.work()
    }

    /// Presses the power button, or lets go of it.
    pub fn power_button(&self, pressed: bool) {
        if let Some(gpio) = &self.board.power_button {
            gpio.set_input(machine::arm64::POWER_BUTTON, pressed);
        }
    }
}
