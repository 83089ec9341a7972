//! Starting the other CPUs, by PSCI (DEN 0022) or from a spin table, and asking the firmware to switch the
//! machine off.

use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aarch64_cpu::registers::{Readable, TCR_EL2};

use super::{cache, cpu, percpu, stage1};
use crate::mm::tables::TableError;
use crate::platform::board::{Board, Conduit, Cpu, EnableMethod};
use crate::platform::layout;

const PSCI_SYSTEM_OFF: u64 = 0x8400_0008;
const PSCI_SYSTEM_RESET: u64 = 0x8400_0009;
const PSCI_CPU_ON_64: u64 = 0xc400_0003;

/// What a CPU on its way up needs to know; arch/aarch64/boot.S reads it with the MMU off.
#[repr(C, align(64))]
struct SecondaryMailbox {
    stack_top: AtomicU64,
    regime: [AtomicU64; 4],
    arrived: AtomicBool,
}

#[unsafe(no_mangle)]
static SECONDARY_MAILBOX: SecondaryMailbox = SecondaryMailbox {
    stack_top: AtomicU64::new(0),
    regime: [const { AtomicU64::new(0) }; 4],
    arrived: AtomicBool::new(false),
};

unsafe extern "C" {
    fn secondary_entry();
}

/// Why a CPU could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The devicetree names no way that Polyvisor knows.
    NoMethod,
    /// The firmware refused, with this PSCI error code.
    Psci(i64),
    /// It was started but did not report within the given number of milliseconds.
    Silent(u64),
    /// There was no memory for its stack.
    NoArea,
    /// Its release address cannot be mapped.
    Table(TableError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMethod => f.write_str("no enable-method that is known"),
            Self::Psci(code) => write!(f, "PSCI CPU_ON answered {code}"),
            Self::Silent(milliseconds) => write!(f, "did not report within {milliseconds} ms"),
            Self::NoArea => f.write_str("there is no memory for its stack"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

/// Starts `cpu`, the `index`-th of the board, and waits until it runs in its own area.
///
/// # Errors
/// [`StartError`]. After [`StartError::Silent`] no other CPU may be started: the late one would find that
/// one's mailbox.
pub fn start(board: &Board, index: usize, cpu: &Cpu) -> Result<(), StartError> {
    /// Generous: real firmware takes microseconds, an emulated machine under load some milliseconds.
    const PATIENCE_MS: u64 = 2000;

    let start = layout::cpu_area(index).ok_or(StartError::NoArea)?;
    // SAFETY: the layout has set the area aside for the CPU of this index, which is started once.
    let stack_top = unsafe { percpu::prepare(start, index, cpu.affinity) };
    let mailbox = &SECONDARY_MAILBOX;
    mailbox.arrived.store(false, Ordering::Relaxed);
    mailbox.stack_top.store(stack_top, Ordering::Relaxed);
    for (slot, value) in mailbox.regime.iter().zip(stage1::regime().values()) {
        slot.store(value, Ordering::Relaxed);
    }
    cache::clean_and_invalidate((&raw const *mailbox).cast(), size_of::<SecondaryMailbox>());

    let entry = secondary_entry as *const () as u64;
    match (cpu.enable, board.psci) {
        (Some(EnableMethod::Psci), Some(Conduit::Smc)) => {
            let code = smc(PSCI_CPU_ON_64, cpu.affinity, entry, 0) as i64;
            if code != 0 {
                return Err(StartError::Psci(code));
            }
        }
        (Some(EnableMethod::SpinTable(release)), _) => {
            stage1::map(release, 8, stage1::Access::Write).map_err(StartError::Table)?;
            let slot = release.0 as *mut u64;
            // SAFETY: the devicetree gives the slot to whoever starts the CPU; it was mapped above. The
            // waiting CPU has its caches off, so the value must reach memory.
            unsafe { slot.write_volatile(entry) };
            cache::clean_and_invalidate(slot.cast(), 8);
            aarch64_cpu::asm::sev();
        }
        _ => return Err(StartError::NoMethod),
    }

    let deadline = super::timer::now() + super::timer::frequency() / 1000 * PATIENCE_MS;
    while !mailbox.arrived.load(Ordering::Acquire) {
        if super::timer::now() > deadline {
            return Err(StartError::Silent(PATIENCE_MS));
        }
        core::hint::spin_loop();
    }
    Ok(())
}

/// The width that the tables in use were made for, from `TCR_EL2.PS`, which every CPU shares.
fn physical_address_bits_at_boot() -> u32 {
    cpu::physical_address_bits_of(TCR_EL2.get() >> 16 & 0x7)
}

/// Tells [`start`] that this CPU no longer needs the mailbox.
fn report_arrival() {
    SECONDARY_MAILBOX.arrived.store(true, Ordering::Release);
}

/// Asks the firmware to switch the machine off; returns if it does not know how.
pub fn psci_system_off() {
    smc(PSCI_SYSTEM_OFF, 0, 0, 0);
}

/// Asks the firmware to restart the machine; returns if it does not know how.
pub fn psci_system_reset() {
    smc(PSCI_SYSTEM_RESET, 0, 0, 0);
}

/// An SMCCC call to EL3. Only made where the devicetree names `smc` as PSCI's conduit.
fn smc(function: u64, x1: u64, x2: u64, x3: u64) -> u64 {
    let result;
    // SAFETY: the SMC calling convention (DEN 0028) preserves all but x0 to x17.
    unsafe {
        asm!(
            "smc #0",
            inout("x0") function => result,
            inout("x1") x1 => _,
            inout("x2") x2 => _,
            inout("x3") x3 => _,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
            out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
            options(nostack)
        );
    }
    result
}

/// Where arch/aarch64/boot.S leads a secondary CPU, on the stack of its own area and with the MMU on.
#[unsafe(no_mangle)]
extern "C" fn polyvisor_secondary_main() -> ! {
    // SAFETY: boot.S has set SP to the top of the area that `start` prepared.
    unsafe { percpu::install() };
    let own = percpu::this_cpu();
    let here = cpu::physical_address_bits();
    let boot = physical_address_bits_at_boot();
    if here < boot {
        log::error!("CPU {} has {here}-bit physical addresses, the boot CPU {boot}-bit ones", own.index);
        cpu::park();
    }
    if let Err(error) = super::init_cpu() {
        log::error!("CPU {} ({:#x}): {error}", own.index, own.affinity);
        cpu::park();
    }
    own.publish();
    report_arrival();
    crate::vm::scheduler::run_cpu()
}
