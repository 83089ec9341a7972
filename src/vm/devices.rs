//! The devices of a virtual machine, wired up as in QEMU's `virt`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Mutex;

use super::attach::{self, AttachError, Attached, Site};
use super::bundle::DeviceSpec;
use super::control;
use super::instance::VmError;
use super::machine;
use super::operator::Line;
use super::scheduler::Task;
use super::vcpu::Attention;
use crate::arch::aarch64::vcpu::interrupts;
use crate::arch::aarch64::{gic, irq};
use crate::devices::bus::{Access, Bus, MmioDevice, Width};
use crate::devices::flash::EmptyFlash;
use crate::devices::gic::device::{Distributor, Host, Redistributors, VgicDevice};
use crate::devices::gic::{GicVersion, VcpuSet, Vgic, VgicConfig};
use crate::devices::irq::IrqLine;
use crate::devices::pl011::Pl011;
use crate::devices::pl031::Pl031;
use crate::devices::pl061::Pl061;
use crate::devices::serial::SerialBackend;
use crate::devices::virtio::balloon::Balloon;
use crate::devices::virtio::channel::{Channel, Worker};
use crate::devices::virtio::console::{self, Console};
use crate::devices::virtio::slots::Slots;
use crate::devices::virtio::vsock::Hub;
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::monitor::port;
use crate::mrs;
use crate::platform::clock::WallClock;
use crate::storage::claim::Claim;

/// The vCPUs of a VM, as its interrupt controller reaches them.
pub struct GicHost(Arc<[Arc<Task>]>);

impl Host for GicHost {
    fn fold(&self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        interrupts::fold(vgic, vcpu, mrs!("cntv_ctl_el0"))
    }

    fn kick(&self, vcpus: VcpuSet) {
        for task in vcpus.iter().filter_map(|vcpu| self.0.get(vcpu)) {
            task.raise(Attention::INTERRUPTS);
        }
    }
}

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

/// The page with `GICC_DIR`, which stays out of the GICv2's hardware interface (see
/// [`Vm::map_cpu_interface`]).
struct DeactivateRegister(Arc<VgicDevice<GicHost>>);

impl MmioDevice for DeactivateRegister {
    fn read(&self, _: Access) -> u64 {
        0
    }

    fn write(&self, access: Access, value: u64) {
        if (access.offset, access.width) == (0, Width::Word) {
            self.0.deactivate(access.vcpu, value as u32 & 0x3ff);
        }
    }
}

/// The devices of a VM, and the bus on which its vCPUs find them.
pub struct Devices {
    /// By address.
    pub bus: Bus,
    /// The interrupt controller.
    pub gic: Arc<VgicDevice<GicHost>>,
    /// The serial line.
    pub uart: Arc<Pl011>,
    rtc: Arc<Pl031>,
    gpio: Arc<Pl061>,
    /// The slots for virtio devices.
    pub virtio: Slots,
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
    /// The devices of the VM of number `id`, whose vCPUs have these affinities, with `flash` bytes of firmware.
    ///
    /// # Errors
    /// [`VmError::Gic`] and [`VmError::Bus`].
    pub fn new(id: usize, affinities: &[u64], flash: u64, tasks: &Arc<[Arc<Task>]>) -> Result<Self, VmError> {
        let version = gic::version();
        let config = VgicConfig {
            version,
            vcpus: affinities.to_vec(),
            spis: machine::SPI_COUNT,
            list_registers: gic::list_registers(),
            priority_bits: gic::virtual_priority_bits().min(5),
        };
        let vgic = VgicDevice::new(&config, GicHost(tasks.clone())).map_err(VmError::Gic)?;
        let line = |spi| IrqLine::new(vgic.clone(), machine::spi_intid(spi));
        let uart = Arc::new(Pl011::new(line(machine::UART_SPI), Arc::new(ConsolePort(id))));
        let rtc = Arc::new(Pl031::new(line(machine::RTC_SPI), Arc::new(WallClock)));
        let gpio = Arc::new(Pl061::new(line(machine::GPIO_SPI)));

        let mut bus = Bus::new();
        let mut claim = |region: machine::Region, name, device: Arc<dyn MmioDevice>| {
            bus.claim(region.base, region.size, name, device).map_err(VmError::Bus)
        };
        claim(machine::UART, "uart", uart.clone())?;
        claim(machine::RTC, "rtc", rtc.clone())?;
        claim(machine::GPIO, "gpio", gpio.clone())?;
        claim(machine::GIC_DIST, "gic-distributor", Arc::new(Distributor(vgic.clone())))?;
        match version {
            GicVersion::V2 => {
                let page = machine::Region {
                    base: Ipa(machine::GIC_CPU.base.0 + PAGE_SIZE),
                    size: machine::GIC_CPU.size - PAGE_SIZE,
                };
                claim(page, "gic-deactivate", Arc::new(DeactivateRegister(vgic.clone())))?;
            }
            GicVersion::V3 => {
                let size = machine::GIC_REDIST_STRIDE * affinities.len() as u64;
                let region = machine::Region { base: machine::GIC_REDIST.base, size };
                claim(region, "gic-redistributors", Arc::new(Redistributors(vgic.clone())))?;
            }
        }
        let mut virtio = Slots::default();
        for slot in 0..machine::MMIO_TRANSPORTS {
            let base = Ipa(machine::MMIO.base.0 + u64::from(slot) * machine::MMIO.size);
            claim(machine::Region { base, size: machine::MMIO.size }, "virtio-mmio", virtio.add())?;
        }
        if flash > 0 {
            let rest = machine::FLASH1.base.0 + machine::FLASH1.size - flash;
            claim(machine::Region { base: Ipa(flash), size: rest }, "flash", Arc::new(EmptyFlash))?;
        }

        Ok(Self { bus, gic: vgic, uart, rtc, gpio, virtio, attached: Vec::new(), vcpus: affinities.len() })
    }

    /// Makes the virtio devices of the VM at `site`, and plugs in those that are to be there when the VM starts.
    ///
    /// # Errors
    /// [`VmError::Device`].
    pub fn attach(&mut self, site: &Site<'_>, tasks: &Arc<[Arc<Task>]>) -> Result<(), VmError> {
        let worker: Arc<dyn Worker> = Arc::new(VcpuWorker(tasks.clone()));
        for (slot, spec) in site.vm.devices.iter().enumerate() {
            let failed = |error| VmError::Device { slot, error };
            let line = IrqLine::new(self.gic.clone(), machine::spi_intid(machine::MMIO_SPI + slot as u32));
            let channel = |sizes: &[u16]| Channel::new(sizes, site.memory.clone(), line, worker.clone());
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
        self.virtio.get(slot).is_some_and(|transport| transport.device().is_some())
    }

    /// Plugs in what belongs into this slot, which is empty.
    ///
    /// # Errors
    /// [`AttachError::InUse`]. Nothing is plugged in then.
    pub fn plug(&self, slot: usize) -> Result<(), AttachError> {
        let (Some(fitted), Some(transport)) = (self.attached.get(slot), self.virtio.get(slot)) else {
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
        if let (Some(fitted), Some(transport)) = (self.attached.get(slot), self.virtio.get(slot)) {
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
        self.uart.reset();
        self.rtc.reset();
        self.gpio.reset();
        self.virtio.reset();
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
        self.virtio.work()
    }

    /// Presses the power button, or lets go of it.
    pub fn power_button(&self, pressed: bool) {
        self.gpio.set_input(machine::POWER_BUTTON, pressed);
    }
}
