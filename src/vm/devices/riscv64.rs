//! QEMU's riscv `virt`, with the interrupt controller of a cell behind it.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use polyvisor_cell_abi as abi;

use super::gic::{self, Frames, GicHost};
use super::{Board, ConsolePort, claim, transports};
use crate::devices::bus::Bus;
use crate::devices::finisher::{self, Finish, Finisher};
use crate::devices::gic::device::VgicDevice;
use crate::devices::goldfish_rtc::GoldfishRtc;
use crate::devices::irq::IrqLine;
use crate::devices::plic::{Outputs, Plic};
use crate::devices::uart16550::Uart16550;
use crate::mm::addr::Ipa;
use crate::platform::clock::WallClock;
use crate::vm::cell;
use crate::vm::control::{self, Happening};
use crate::vm::instance::{Memory, VmError};
use crate::vm::lifecycle::Event;
use crate::vm::machine::{Region, riscv64 as machine};
use crate::vm::scheduler::Task;

/// How many SPIs the cell's interrupt controller has: the fewest that there can be, for it uses none.
const SPIS: u32 = 32;

/// The machine of the VM of number `id`, whose vCPUs have these affinities.
pub fn wire(
    id: usize,
    affinities: &[u64],
    memory: &Arc<Memory>,
    tasks: &Arc<[Arc<Task>]>,
) -> Result<(Arc<VgicDevice<GicHost>>, Board), VmError> {
    let mut bus = Bus::new();
    let region = |base, size| Region { base: Ipa(base), size };
    let frames = Frames {
        distributor: region(abi::GIC_DIST, abi::GIC_CPU - abi::GIC_DIST),
        cpu_interface: region(abi::GIC_CPU, abi::GIC_CPU - abi::GIC_DIST),
        redistributor: region(abi::GIC_REDIST, abi::GIC_REDIST_STRIDE),
    };
    let vgic = gic::wire(&mut bus, &frames, SPIS, affinities, tasks)?;
    let harts = affinities.len();
    let lines = HartLines {
        memory: memory.clone(),
        gic: vgic.clone(),
        levels: (0..harts).map(|_| AtomicU32::new(0)).collect(),
    };
    let plic = Arc::new(Plic::new(harts, Arc::new(lines)));
    let line = |source| IrqLine::new(plic.clone(), source);
    let uart = Arc::new(Uart16550::new(line(machine::UART_SOURCE), Arc::new(ConsolePort(id))));
    let rtc = Arc::new(GoldfishRtc::new(line(machine::RTC_SOURCE), Arc::new(WallClock)));
    let ending = Arc::new(Ending { vm: id, is_over: AtomicBool::new(false) });
    claim(&mut bus, machine::TEST, "test", Arc::new(Finisher::new(ending.clone())))?;
    claim(&mut bus, machine::RTC, "rtc", rtc.clone())?;
    claim(&mut bus, machine::PLIC, "plic", plic.clone())?;
    claim(&mut bus, machine::UART, "uart", uart.clone())?;
    let virtio = transports(&mut bus, machine::MMIO, machine::MMIO_TRANSPORTS)?;
    let virtio_lines = (0..machine::MMIO_TRANSPORTS).map(|slot| line(machine::MMIO_SOURCE + slot)).collect();
    let board = Board {
        bus,
        uart: uart.clone(),
        virtio,
        virtio_lines,
        power_button: None,
        resets: alloc::vec![
            Box::new(move || uart.reset()),
            Box::new(move || rtc.reset()),
            Box::new(move || plic.reset()),
            Box::new(move || ending.is_over.store(false, Ordering::Relaxed)),
        ],
    };
    Ok((vgic, board))
}

/// How the PLIC reaches the harts: by a word in each one's cell, and its doorbell.
struct HartLines {
    memory: Arc<Memory>,
    gic: Arc<VgicDevice<GicHost>>,
    levels: Vec<AtomicU32>,
}

impl Outputs for HartLines {
    /// The PLIC's lock is held, so that levels do not overtake one another.
    fn set(&self, context: usize, level: bool) {
        let (hart, line) = match (context / 2, context % 2) {
            (hart, 0) => (hart, abi::Lines::MACHINE_EXTERNAL),
            (hart, _) => (hart, abi::Lines::SUPERVISOR_EXTERNAL),
        };
        let Some(levels) = self.levels.get(hart) else { return };
        let now = match level {
            true => levels.fetch_or(line, Ordering::Relaxed) | line,
            false => levels.fetch_and(!line, Ordering::Relaxed) & !line,
        };
        cell::set_lines(&self.memory.pin_private(), hart, now);
        self.gic.ring(hart, abi::DOORBELL_SGI);
    }
}

/// The end of the machine, as its guest wants it.
struct Ending {
    vm: usize,
    /// It has been asked for: once is enough, and a guest may ask as often as it likes.
    is_over: AtomicBool,
}

impl finisher::Machine for Ending {
    fn finish(&self, vcpu: usize, request: Finish) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        let (event, detail) = match request {
            Finish::PowerOff { exit_code: 0 } => (Event::GuestOff, None),
            Finish::PowerOff { exit_code } => {
                (Event::GuestOff, Some((vcpu, format!("it ends with code {exit_code}"))))
            }
            Finish::Reset => (Event::GuestReset, None),
        };
        control::post(Happening { vm: self.vm, event, detail });
    }
}
