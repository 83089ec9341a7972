//! From the machine's description to running VMs.

use alloc::boxed::Box;

use super::bundle::Bundle;
use super::{control, scheduler};
use crate::arch::aarch64::{cpu, irq, percpu};
use crate::mm::frames;
use crate::platform::board::{Board, Gic};
use crate::platform::{console, debug_line, devices, layout, power};

/// Says what this is and what it runs on.
pub fn announce(board: &Board, image: u64) {
    let total: u64 = board.memory.iter().map(|ram| ram.end.0 - ram.start.0).sum();
    log::info!("Polyvisor {} on {}", env!("CARGO_PKG_VERSION"), board.model);
    log::info!(
        "{} CPUs, {} MiB of RAM, {}, image at {image:#x}, PA {} bits",
        board.cpus.len(),
        total >> 20,
        match board.gic {
            Some(Gic::V2 { .. }) => "GICv2",
            Some(Gic::V3 { .. }) => "GICv3",
            None => "no GIC",
        },
        cpu::physical_address_bits(),
    );
    log::debug!("booted on CPU {}", percpu::this_cpu().index);
}

/// Starts the VMs of the bundle, or the built-in guest where there is none, and lets this CPU take its part
/// in running them.
pub fn start_all(board: &Board) -> ! {
    if let Some(interrupt) = board.uart.as_ref().and_then(|uart| uart.interrupt) {
        irq::register(interrupt, &console::interrupt);
    }
    if let Some(interrupt) = board.debug_uart.as_ref().and_then(|uart| uart.interrupt) {
        irq::register(interrupt, &debug_line::interrupt);
    }
    devices::start(board);
    let Some(bundle) = bundle(board) else { power::off() };
    control::start(board.model, bundle);
    control::gdb::start(board.bootargs);
    log::info!("EL2 uses {} KiB of RAM, {} KiB are free", layout::footprint() >> 10, frames::free() >> 10);
    scheduler::run_cpu()
}

/// The bundle that the boot loader has passed as its initrd, or one around the built-in guest where it has
/// passed none.
fn bundle(board: &Board) -> Option<&'static Bundle<'static>> {
    let bytes = match &board.initrd {
        // SAFETY: the boot loader has put the bundle there; it is reserved, mapped as RAM and never written.
        Some(range) => unsafe {
            core::slice::from_raw_parts(range.start.0 as *const u8, (range.end.0 - range.start.0) as usize)
        },
        None => {
            log::info!("no bundle was passed as initrd: starting the built-in guest");
            super::builtin::bundle()?
        }
    };
    match Bundle::parse(bytes) {
        Ok(bundle) => Some(Box::leak(Box::new(bundle))),
        Err(error) => {
            log::error!("the bundle cannot be used: {error}");
            None
        }
    }
}
