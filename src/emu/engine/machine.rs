//! The machine around one hart, for the translator.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use polyvisor_cell_abi::{CellInfo, HartInfo, Requests, StopReason};
use polyvisor_emu::memory::{Physical, Ram, Size};
use polyvisor_emu::riscv::{Platform, Shutdown};

use crate::{
    address::virtual_address, cell, cpu, device::Devices, fatal, gic::Gic, hypercall, local, local::Local,
    timer, translator,
};

/// One hart's machine.
pub struct Machine {
    cell: &'static CellInfo,
    hart: &'static HartInfo,
    local: &'static Local,
    ram: Ram,
    devices: Devices,
    gic: Gic,
}

impl Machine {
    /// The machine of the hart that runs this, which has the number `index`.
    pub fn new(cell: &'static CellInfo, index: usize, gic: Gic) -> Self {
        let Some(hart) = cell::hart(index) else { fatal::stop(format_args!("there is no hart {index}")) };
        let host = virtual_address(cell.ram_base) as *mut u8;
        // SAFETY: the guest's RAM is mapped there; it is not the engine's, so nobody makes references to it.
        let ram = unsafe { Ram::new(cell.ram_base, cell.ram_size, host) };
        let devices = Devices::below(cell.ram_base);
        Self { cell, hart, local: local::local(), ram, devices, gic }
    }
}

impl Physical for Machine {
    fn ram(&self) -> Ram {
        self.ram
    }

    fn writing(&self, address: u64, len: u64, write: &mut dyn FnMut()) {
        translator::writing(address, len, write);
    }

    fn read(&self, address: u64, size: Size) -> Option<u64> {
        self.devices.read(address, size)
    }

    fn write(&self, address: u64, size: Size, value: u64) -> Option<()> {
        self.devices.write(address, size, value)
    }
}

impl Platform for Machine {
    /// As many as half of the engine's own address space can hold.
    fn virtual_bits(&self) -> u32 {
        48
    }

    fn time(&self) -> u64 {
        timer::now()
    }

    fn set_deadline(&self, deadline: u64) {
        timer::arm(deadline);
    }

    fn lines(&self) -> u32 {
        self.hart.lines.load(Acquire)
    }

    /// Interrupts are taken, and their handler leaves a note: to look at that is a load from the nearest cache. The other way,
    /// to keep them masked and to read ISR_EL1, costs as many instructions, but that register is outside of the core on
    /// some CPUs, and a function call on emulated ones; and this is asked after every block, while interrupts are rare.
    #[inline]
    fn is_due(&self) -> bool {
        self.local.due.load(Relaxed)
    }

    fn make_due(&self) {
        self.local.due.store(true, Relaxed);
    }

    fn acknowledge(&self) {
        self.local.due.store(false, Relaxed);
        // The timer's interrupt is silent until the next deadline is set.
        if timer::is_due() {
            self.local.due.store(true, Relaxed);
        }
    }

    fn kick(&self, hart: usize) {
        if hart < cell::harts(self.cell) {
            self.gic.kick(hart);
        }
    }

    fn wait(&self) {
        // Masked between the question and WFI, so that no interrupt slips in between: a masked one ends WFI, too.
        cpu::mask_irqs();
        if !self.is_due() {
            cpu::wait_for_interrupt();
        }
        cpu::unmask_irqs();
    }

    fn relax(&self) {
        cpu::wait_for_event();
    }

    fn take_requests(&self) -> u32 {
        let requests = self.hart.requests.swap(0, Acquire);
        if requests & Requests::FAIL != 0 {
            fail();
        }
        if requests & Requests::REPORT != 0 {
            translator::report(self.cell, self.ram);
        }
        requests
    }

    fn is_breakpoint(&self, pc: u64) -> bool {
        let count = self.cell.breakpoint_count.load(Acquire) as usize;
        self.cell.breakpoints.iter().take(count).any(|breakpoint| breakpoint.load(Relaxed) == pc)
    }

    fn breakpoint_generation(&self) -> u32 {
        self.cell.breakpoint_generation.load(Acquire)
    }

    fn stopped(&self, reason: StopReason) {
        hypercall::stopped(reason);
    }

    fn shutdown(&self, how: Shutdown) {
        match how {
            Shutdown::Off => hypercall::system_off(),
            Shutdown::Reset => hypercall::system_reset(),
        }
    }
}

/// Does what [`Requests::FAIL`] asks for: the load takes an exception that nobody expects.
fn fail() {
    let nothing = cell::UNMAPPED as *const u64;
    // SAFETY: nothing is mapped there, so nothing is read.
    let _ = unsafe { nothing.read_volatile() };
}
