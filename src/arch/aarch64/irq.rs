//! EL2's own interrupts: which is which, and who handles those of physical devices.

use heapless::Vec;
use spin::{Mutex, Once};

use super::gic;
use super::percpu::{self, PerCpu};
use crate::mrs;
use crate::platform::board::TimerInterrupts;
use crate::vm::scheduler;

/// What an interrupt means to EL2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The virtual timer of the vCPU that is loaded.
    VirtualTimer,
    /// The alarm of this CPU.
    HypervisorTimer,
    /// The list registers want attention.
    Maintenance,
    /// Another CPU has raised attention flags.
    Kick,
    /// A physical device.
    Device,
}

static TIMERS: Once<TimerInterrupts> = Once::new();
/// The handlers of device interrupts, with their INTIDs; few enough to be searched.
static HANDLERS: Mutex<Vec<(u32, Handler), 64>> = Mutex::new(Vec::new());

/// Who handles an interrupt. It is level-sensitive and may be that of several devices, so a handler takes its own
/// device's request back, and may be called although there is none.
pub type Handler = &'static (dyn Fn() + Sync);

/// Sets the numbers of the timers' interrupts.
pub fn init(timers: TimerInterrupts) {
    TIMERS.call_once(|| timers);
}

/// INTID of the virtual timer's physical interrupt.
pub fn virtual_timer() -> u32 {
    TIMERS.get().copied().unwrap_or_default().virtual_timer
}

/// The private interrupts that each CPU must enable.
pub fn private() -> [u32; 2] {
    let timers = TIMERS.get().copied().unwrap_or_default();
    [timers.virtual_timer, timers.hypervisor_timer]
}

/// Tells what `intid` is.
#[inline]
pub fn classify(intid: u32) -> Kind {
    let timers = TIMERS.get().copied().unwrap_or_default();
    if intid == timers.virtual_timer {
        Kind::VirtualTimer
    } else if intid == gic::KICK {
        Kind::Kick
    } else if intid == timers.hypervisor_timer {
        Kind::HypervisorTimer
    } else if intid == gic::maintenance_interrupt() {
        Kind::Maintenance
    } else {
        Kind::Device
    }
}

/// Whether an interrupt waits for this CPU, on which they are masked.
pub fn is_pending() -> bool {
    const IRQ: u64 = 1 << 7;
    const FIQ: u64 = 1 << 6;
    mrs!("isr_el1") & (IRQ | FIQ) != 0
}

/// Lets `handler` handle the shared interrupt `intid`, on this CPU, besides others that do.
pub fn register(intid: u32, handler: Handler) {
    if HANDLERS.lock().push((intid, handler)).is_err() {
        log::error!("interrupt {intid} has no handler: the table is full");
        return;
    }
    gic::enable_shared(intid, percpu::this_cpu());
}

/// Lets `cpu` handle all shared interrupts from now on.
pub fn move_to(cpu: &PerCpu) {
    for (intid, _) in &*HANDLERS.lock() {
        gic::enable_shared(*intid, cpu);
    }
}

/// Handles the device interrupt `intid`.
#[cold]
pub fn handle(intid: u32) {
    /// The first handler of `intid` from `start` on, and where the next may be.
    fn find(intid: u32, start: usize) -> Option<(usize, Handler)> {
        let handlers = HANDLERS.lock();
        let (at, found) = handlers.iter().enumerate().skip(start).find(|(_, (own, _))| *own == intid)?;
        Some((at + 1, found.1))
    }
    let mut start = 0;
    while let Some((next, handler)) = find(intid, start) {
        handler();
        start = next;
    }
    if start == 0 {
        log::warn!("spurious interrupt {intid}");
    }
}

/// The hypervisor timer has gone off.
pub fn alarm() {
    scheduler::alarm();
}

/// Takes and handles what is pending while no vCPU is loaded.
pub fn handle_idle() {
    while let Some(taken) = gic::acknowledge() {
        match classify(taken.intid()) {
            Kind::HypervisorTimer => alarm(),
            Kind::Device => handle(taken.intid()),
            Kind::VirtualTimer | Kind::Maintenance | Kind::Kick => {}
        }
        taken.end();
    }
}
