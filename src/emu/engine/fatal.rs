//! The end: what the engine tells EL2 when it cannot go on. EL2 stops the VM and shows the message.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};

use aarch64_cpu::registers::{ESR_EL1, FAR_EL1, FP, Readable};
use polyvisor_cell_abi::{IMAGE, MAX_MESSAGE};

use crate::{
    address::{physical_address, virtual_address},
    cpu,
    exception::Frame,
    guest, hypercall, local,
};

/// How deep a backtrace goes at most.
const CALLS: usize = 24;

/// The text of a message. What does not fit is lost.
pub struct Report {
    begun: AtomicBool,
    len: AtomicUsize,
    text: [AtomicU8; MAX_MESSAGE as usize],
}

impl Report {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            begun: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            text: [const { AtomicU8::new(0) }; MAX_MESSAGE as usize],
        }
    }

    fn send(&self) -> ! {
        hypercall::fatal(physical_address(self.text.as_ptr() as u64), self.len.load(Relaxed) as u64)
    }
}

impl Write for &Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Whole characters only: EL2 wants UTF-8.
        for character in text.chars() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            let start = self.len.load(Relaxed);
            let slots = self.text.get(start..start + bytes.len()).ok_or(fmt::Error)?;
            for (slot, byte) in slots.iter().zip(bytes) {
                slot.store(*byte, Relaxed);
            }
            self.len.store(start + bytes.len(), Relaxed);
        }
        Ok(())
    }
}

/// Stops the VM because of `why`.
pub fn stop(why: fmt::Arguments) -> ! {
    finish(why, None)
}

/// Stops the VM because of an exception that nobody expects, `what`, which was taken at `frame`.
pub fn exception(frame: &Frame, what: fmt::Arguments) -> ! {
    finish(format_args!("{what} at {:#x}", frame.elr), Some(frame))
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    finish(format_args!("{info}"), None)
}

fn finish(why: fmt::Arguments, frame: Option<&Frame>) -> ! {
    cpu::mask();
    let report = &local::local().report;
    // A failure in here, of which there is nothing to say but what has been said already.
    if !report.begun.swap(true, Relaxed) {
        // It is full: the first lines are the important ones.
        let _ = write_all(report, why, frame);
    }
    report.send()
}

fn write_all(mut out: &Report, why: fmt::Arguments, frame: Option<&Frame>) -> fmt::Result {
    let hart = local::local().index.load(Relaxed);
    writeln!(out, "engine, hart {hart}: {why}")?;
    backtrace(out, frame)?;
    if let Some(frame) = frame {
        writeln!(
            out,
            "  esr {:08x}  far {:016x}  spsr {:08x}  sp {:016x}",
            ESR_EL1.get(),
            FAR_EL1.get(),
            frame.spsr,
            frame.sp
        )?;
        registers(out, &frame.x)?;
    }
    guest::registers(out, hart)
}

/// Writes registers called x0 and so on.
pub fn registers(mut out: &Report, x: &[u64]) -> fmt::Result {
    for (row, values) in x.chunks(3).enumerate() {
        for (column, value) in values.iter().enumerate() {
            write!(out, "  x{:<2} {value:016x}", row * 3 + column)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Writes where it was and where it was called from, innermost first, as offsets in the image: `xtask` resolves them. The
/// compiler keeps frame pointers.
fn backtrace(mut out: &Report, frame: Option<&Frame>) -> fmt::Result {
    write!(out, "engine backtrace:")?;
    if let Some(frame) = frame {
        write!(out, " {:#x}", frame.elr.wrapping_sub(virtual_address(IMAGE)))?;
    }
    let stack = local::stack();
    let mut at = frame.map_or(FP.get(), |frame| frame.x[29]);
    for _ in 0..CALLS {
        // A frame record (AAPCS64 6.4.6): the caller's, and where it goes on.
        if !at.is_multiple_of(8) || !stack.contains(&at) || stack.end - at < 16 {
            break;
        }
        // SAFETY: mapped memory, of this hart's stack.
        let [next, back] = unsafe { (at as *const [u64; 2]).read_volatile() };
        if back == 0 {
            break;
        }
        // The call, not what is behind it.
        write!(out, " {:#x}", back.wrapping_sub(virtual_address(IMAGE) + 4))?;
        if next <= at {
            break;
        }
        at = next;
    }
    writeln!(out)
}
