//! QEMU `virt` for arm64.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::gic::{self, Frames, GicHost};
use super::{Board, ConsolePort, claim, transports};
use crate::devices::bus::Bus;
use crate::devices::flash::EmptyFlash;
use crate::devices::gic::device::VgicDevice;
use crate::devices::irq::IrqLine;
use crate::devices::pl011::Pl011;
use crate::devices::pl031::Pl031;
use crate::devices::pl061::Pl061;
use crate::mm::addr::Ipa;
use crate::platform::clock::WallClock;
use crate::vm::instance::VmError;
use crate::vm::machine::{Region, arm64 as machine};
use crate::vm::scheduler::Task;

/// The machine of the VM of number `id`, whose vCPUs have these affinities, with `flash` bytes of firmware.
pub fn wire(
    id: usize,
    affinities: &[u64],
    flash: u64,
    tasks: &Arc<[Arc<Task>]>,
) -> Result<(Arc<VgicDevice<GicHost>>, Board), VmError> {
    let mut bus = Bus::new();
    let redistributor = Region { size: machine::GIC_REDIST_STRIDE, ..machine::GIC_REDIST };
    let frames = Frames { distributor: machine::GIC_DIST, cpu_interface: machine::GIC_CPU, redistributor };
    let vgic = gic::wire(&mut bus, &frames, machine::SPI_COUNT, affinities, tasks)?;
    let line = |spi| IrqLine::new(vgic.clone(), machine::spi_intid(spi));
    let uart = Arc::new(Pl011::new(line(machine::UART_SPI), Arc::new(ConsolePort(id))));
    let rtc = Arc::new(Pl031::new(line(machine::RTC_SPI), Arc::new(WallClock)));
    let gpio = Arc::new(Pl061::new(line(machine::GPIO_SPI)));
    claim(&mut bus, machine::UART, "uart", uart.clone())?;
    claim(&mut bus, machine::RTC, "rtc", rtc.clone())?;
    claim(&mut bus, machine::GPIO, "gpio", gpio.clone())?;
    let virtio = transports(&mut bus, machine::MMIO, machine::MMIO_TRANSPORTS)?;
    let virtio_lines = (0..machine::MMIO_TRANSPORTS).map(|slot| line(machine::MMIO_SPI + slot)).collect();
    if flash > 0 {
        let rest = machine::FLASH1.base.0 + machine::FLASH1.size - flash;
        claim(&mut bus, Region { base: Ipa(flash), size: rest }, "flash", Arc::new(EmptyFlash))?;
    }
    let board = Board {
        bus,
        uart: uart.clone(),
        virtio,
        virtio_lines,
        power_button: Some(gpio.clone()),
        resets: alloc::vec![
            Box::new(move || uart.reset()),
            Box::new(move || rtc.reset()),
            Box::new(move || gpio.reset()),
        ],
    };
    Ok((vgic, board))
}
