//! A hart of the guest, on this vCPU.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Release;

use polyvisor_cell_abi::CellInfo;
use polyvisor_emu::riscv::{Boot, Cluster, Hart, Mode};
use spin::Once;

use crate::{address::physical_address, cell, fatal, hypercall, machine::Machine, translator};

/// What all harts share.
static CLUSTER: Once<Arc<Cluster>> = Once::new();

/// Sets that up, before other harts start.
pub fn init(cell: &CellInfo) {
    let Some(mode) = Mode::from_bits(cell.boot_mode.into()) else {
        fatal::stop(format_args!("no mode to start in: {}", cell.boot_mode));
    };
    let boot = Boot { mode, entry: cell.entry, arguments: cell.arguments };
    CLUSTER.call_once(|| Arc::new(Cluster::new(cell::harts(cell), boot)));
    translator::init(cell);
}

/// Runs hart `index`, whose machine this is, for good.
pub fn run(machine: Machine, index: usize) -> ! {
    let hart = CLUSTER.get().and_then(|cluster| Hart::new(cluster.clone(), machine, index));
    let (Some(hart), Some(info)) = (hart, cell::hart(index)) else {
        fatal::stop(format_args!("there is no hart {index}"));
    };
    // It stays where it is: EL2 is told the address.
    let mut hart = Box::new(hart);
    info.state.store(physical_address(hart.registers().as_ptr() as u64), Release);
    translator::run(&mut hart, cell::info(), index);
    // The guest has ended its machine, of which another hart is telling EL2. There is nothing left to do between two of
    // the guest's instructions, where EL2 would stop this hart.
    hypercall::cpu_off()
}
