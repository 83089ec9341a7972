//! What can be said before there is a console: the machine cannot be used, and why.

use core::fmt::{self, Write};

use super::board::Board;
use super::uart::Pl011;
use crate::arch::aarch64::{cpu, exception};
use crate::mm::addr::PhysAddr;

/// The image was entered at a level below EL2.
pub struct NotAtEl2(pub u64);

impl fmt::Display for NotAtEl2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "entered at EL{}, but a hypervisor needs EL2.\n\
             Under QEMU start the machine with `-M virt,virtualization=on`; on a board let the boot loader enter the image at \
             EL2 (U-Boot `booti` does)",
            self.0
        )
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
