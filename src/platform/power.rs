//! Switching the machine off and on again: by PSCI, or by the Raspberry Pi's power management block where
//! there is none.

use spin::Once;

use super::board::{Board, Conduit};
use super::console;
use crate::arch::aarch64::{cpu, smp};
use crate::mm::addr::PhysAddr;

/// Who is asked.
#[derive(Debug, Clone, Copy)]
enum Means {
    Psci,
    Bcm2835(PhysAddr),
    Nobody,
}

static MEANS: Once<Means> = Once::new();

/// Whether [`off`] can do what it says.
pub fn can_switch_off() -> bool {
    !matches!(MEANS.get(), None | Some(Means::Nobody))
}

/// Remembers how the machine is switched off.
pub fn init(board: &Board) {
    MEANS.call_once(|| match (board.psci, &board.bcm2835_power) {
        (Some(Conduit::Smc), _) => Means::Psci,
        (_, Some(registers)) => Means::Bcm2835(registers.start),
        _ => Means::Nobody,
    });
}

/// Switches the machine off; where nobody can do that, the CPU stops for good.
pub fn off() -> ! {
    end(smp::psci_system_off, RSTS_HALT)
}

/// Restarts the machine; where nobody can do that, the CPU stops for good.
pub fn restart() -> ! {
    end(smp::psci_system_reset, RSTS_BOOT)
}

fn end(psci: fn(), partition: u32) -> ! {
    console::flush();
    match MEANS.get().copied().unwrap_or(Means::Nobody) {
        Means::Psci => psci(),
        Means::Bcm2835(base) => bcm2835_reset(base, partition),
        Means::Nobody => {}
    }
    cpu::park()
}

/// The partition number that tells the Raspberry Pi's firmware to halt.
const RSTS_HALT: u32 = 0x555;
/// The partition number that tells it to boot as it does when it is switched on.
const RSTS_BOOT: u32 = 0;

/// A watchdog reset with the partition number for the firmware (as Linux' bcm2835_wdt driver does).
fn bcm2835_reset(base: PhysAddr, partition: u32) {
    const PASSWORD: u32 = 0x5a00_0000;
    const RSTC: u64 = 0x1c;
    const RSTS: u64 = 0x20;
    const WDOG: u64 = 0x24;
    const RSTC_FULL_RESET: u32 = 0x20;
    const RSTC_CONFIG_MASK: u32 = 0x30;
    const RSTS_PARTITION: u32 = 0x555;
    let register = |offset| (base.0 + offset) as *mut u32;
    // SAFETY: the block's registers are mapped as device memory; the machine ends here.
    unsafe {
        let status = register(RSTS).read_volatile() & !0xff00_0000 & !RSTS_PARTITION;
        register(RSTS).write_volatile(PASSWORD | status | partition);
        register(WDOG).write_volatile(PASSWORD | 10);
        let control = register(RSTC).read_volatile() & !0xff00_0000;
        register(RSTC).write_volatile(PASSWORD | control & !RSTC_CONFIG_MASK | RSTC_FULL_RESET);
    }
}
