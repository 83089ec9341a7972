//! Exceptions that EL2 itself takes, and the report that every fatal error ends in.
//!
//! EL2 runs with interrupts masked, so the only expected one is the abort of [`probe_read`]. The report's
//! last lines are for `xtask`, which resolves the addresses with the image's symbols.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::registers::{ESR_EL2, FAR_EL2, HPFAR_EL2, Readable};

use super::{cpu, percpu, syndrome};
use crate::platform::{console, power};

/// What arch/aarch64/vectors.S stores when EL2 takes an exception.
#[repr(C)]
pub struct TrapFrame {
    x: [u64; 31],
    elr: u64,
    spsr: u64,
    vector: u64,
}

const _: () = assert!(size_of::<TrapFrame>() == 272 && core::mem::offset_of!(TrapFrame, spsr) == 256);

/// Added by vectors.S to the vector's number when the stack had overflowed.
const STACK_OVERFLOW: u64 = 16;
const VECTORS: [&str; 8] = [
    "synchronous exception on SP_EL0",
    "IRQ on SP_EL0",
    "FIQ on SP_EL0",
    "SError on SP_EL0",
    "synchronous exception",
    "IRQ",
    "FIQ",
    "SError",
];

unsafe extern "C" {
    static __image_start: u8;
    fn probe_load_aborted();
    fn probe_load(address: u64) -> ProbeResult;
}

/// Two registers, as the procedure call standard returns them.
#[repr(C)]
struct ProbeResult {
    value: u64,
    aborted: u64,
}

/// Reads the 32-bit word at `address`, or `None` where that takes a synchronous abort.
pub fn probe_read(address: u64) -> Option<u32> {
    // SAFETY: an abort of the load is caught; a read of a device register that has a side effect is the
    // caller's business.
    let result = unsafe { probe_load(address) };
    (result.aborted == 0).then_some(result.value as u32)
}

/// Called by vectors.S; returns where to go on.
#[unsafe(no_mangle)]
extern "C" fn el2_exception(frame: &TrapFrame) -> u64 {
    let probe = probe_load as *const () as u64;
    if frame.vector == 4 && frame.elr == probe {
        return probe_load_aborted as *const () as u64;
    }
    let overflow = frame.vector >= STACK_OVERFLOW;
    let name = VECTORS.get((frame.vector % STACK_OVERFLOW) as usize).unwrap_or(&"exception");
    let esr = ESR_EL2.get();
    report(
        format_args!(
            "{}{name} at {:#x}: {}",
            if overflow { "stack overflow, " } else { "" },
            frame.elr,
            syndrome::Syndrome(esr)
        ),
        Some(frame),
        frame.elr,
        frame.x[29],
    )
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let frame_pointer: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) frame_pointer, options(nomem, nostack)) };
    match info.location() {
        Some(place) => report(format_args!("{} ({place})", info.message()), None, 0, frame_pointer),
        None => report(format_args!("{}", info.message()), None, 0, frame_pointer),
    }
}

/// Reports a fatal error of EL2 and stops the machine.
fn report(what: fmt::Arguments<'_>, frame: Option<&TrapFrame>, pc: u64, frame_pointer: u64) -> ! {
    static REPORTING: AtomicBool = AtomicBool::new(false);
    if REPORTING.swap(true, Ordering::Relaxed) {
        // Another CPU is at it, or the report itself failed; either way there is nothing to add.
        cpu::park();
    }
    let mut out = console::Unlocked;
    let base = &raw const __image_start as u64;
    // The console cannot fail; a formatter that does still has the rest of the report to come.
    let _ = writeln!(out, "\npolyvisor panic: {what}");
    let _ = writeln!(out, "  cpu {} image base {base:#x}", percpu::this_cpu().index);
    if let Some(frame) = frame {
        for (row, registers) in frame.x.chunks(4).enumerate() {
            let _ = write!(out, " ");
            for (column, value) in registers.iter().enumerate() {
                let _ = write!(out, " x{:<2} {value:016x}", row * 4 + column);
            }
            let _ = writeln!(out);
        }
        let _ = writeln!(out, "  elr {:016x} spsr {:08x} esr {:08x}", frame.elr, frame.spsr, ESR_EL2.get());
        let _ = writeln!(out, "  far {:016x} hpfar {:010x}", FAR_EL2.get(), HPFAR_EL2.get());
    }
    let _ = write!(out, "polyvisor backtrace:");
    if pc != 0 {
        let _ = write!(out, " {:#x}", pc.wrapping_sub(base));
    }
    for address in Backtrace(frame_pointer).take(32) {
        let _ = write!(out, " {:#x}", address.wrapping_sub(base));
    }
    let _ = writeln!(out, "\npolyvisor stops.");
    power::off()
}

/// Return addresses along the chain of frame records (AAPCS64 6.4.6), as long as it stays within a stack of
/// this CPU.
struct Backtrace(u64);

impl Iterator for Backtrace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let stack = percpu::stack_around(self.0)?;
        if !self.0.is_multiple_of(8) || self.0 + 16 > stack.end {
            return None;
        }
        // SAFETY: both words lie within a mapped stack.
        let [next, address] = unsafe { *(self.0 as *const [u64; 2]) };
        // Callers' frames lie higher up; anything else is a chain that has been overwritten.
        self.0 = if next > self.0 { next } else { 0 };
        (address != 0).then(|| address - 4)
    }
}
