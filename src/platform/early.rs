//! What can be said before there is a console: the machine cannot be used, and why.

use core::fmt::{self, Write};

use super::board::Board;
use super::uart::Pl011;
use crate::arch::aarch64::{cpu, exception};
use crate::mm::addr::PhysAddr;

/// Why the CPU cannot be used.
pub enum Unusable {
    /// The image was entered at this level, below EL2.
    NotAtEl2(u64),
    /// There are no CRC32 instructions, which the image was compiled for.
    NoCrc32,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAtEl2(level) => write!(
                f,
                "entered at EL{level}, but a hypervisor needs EL2.\n\
                 Under QEMU start the machine with `-M virt,virtualization=on`; on a board let the boot loader enter the \
                 image at EL2 (U-Boot `booti` does)"
            ),
            Self::NoCrc32 => f.write_str(
                "the CPU has no CRC32 instructions (ID_AA64ISAR0_EL1.CRC32 is 0).\n\
                 For such a CPU, build without `target-feature=+crc` in .cargo/config.toml",
            ),
        }
    }
}

struct EarlyUart(Pl011);

impl Write for EarlyUart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let sent = (byte != b'\n' || self.0.send(b'\r')) && self.0.send(byte);
            if !sent {
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

/// Whether the CPU can be used.
///
/// # Errors
/// [`Unusable`].
pub fn check_cpu() -> Result<(), Unusable> {
    match cpu::current_el() {
        level @ ..2 => Err(Unusable::NotAtEl2(level)),
        _ if cfg!(target_feature = "crc") && !cpu::has_crc32() => Err(Unusable::NoCrc32),
        _ => Ok(()),
    }
}

/// Says why the machine cannot be used, on whatever console there is, and stops.
pub fn give_up(board: Option<&Board>, why: &dyn fmt::Display) -> ! {
    let base =
        board.and_then(|board| board.uart.as_ref()).map(|uart| uart.registers.start).or_else(well_known_uart);
    if let Some(base) = base {
        // SAFETY: a PL011, by the devicetree or its identification registers; the MMU is off, or maps it (see
        // `layout::early`).
        let mut uart = EarlyUart(unsafe { Pl011::new(base) });
        uart.0.enable();
        // If the line does not move, there is nobody to tell.
        let _ = write!(uart, "\npolyvisor: cannot start: {why}\npolyvisor stops.\n");
    }
    cpu::park()
}

/// Without a devicetree: the PL011 of QEMU `virt` or of a Raspberry Pi 4, if its identification registers
/// answer. Looking needs EL2's vectors, for on any other machine the read may abort.
fn well_known_uart() -> Option<PhysAddr> {
    const CANDIDATES: [u64; 2] = [0x0900_0000, 0xfe20_1000];
    const PERIPHERAL_ID: u64 = 0xfe0;
    if cpu::current_el() < 2 {
        return None;
    }
    CANDIDATES
        .into_iter()
        .find(|base| exception::probe_read(base + PERIPHERAL_ID).is_some_and(|id| id & 0xff == 0x11))
        .map(PhysAddr)
}
