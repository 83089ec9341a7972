//! The console: a polled PL011 (DDI 0183), shared by all CPUs.

use core::{
    fmt::{self, Write},
    panic::PanicInfo,
};

use spin::Mutex;

use crate::{machine::UART, mmio, psci};

/// Data register.
pub const DR: u64 = UART;
/// Flag register.
pub const FR: u64 = UART + 0x18;
/// Line control register.
pub const LCR_H: u64 = UART + 0x2c;
/// Control register.
pub const CR: u64 = UART + 0x30;
/// Interrupt FIFO level select register.
pub const IFLS: u64 = UART + 0x34;
/// Interrupt mask set/clear register.
pub const IMSC: u64 = UART + 0x38;
/// Raw interrupt status register.
pub const RIS: u64 = UART + 0x3c;
/// Masked interrupt status register.
pub const MIS: u64 = UART + 0x40;
/// Interrupt clear register.
pub const ICR: u64 = UART + 0x44;

/// FR: the receive FIFO is empty.
pub const FR_RXFE: u32 = 1 << 4;
/// FR: the transmit FIFO is full.
pub const FR_TXFF: u32 = 1 << 5;
/// CR: the UART, transmission and reception are enabled.
pub const CR_ENABLED: u32 = 1 << 0 | 1 << 8 | 1 << 9;
/// CR: what is transmitted is received, and leaves no further.
pub const CR_LOOPBACK: u32 = 1 << 7;
/// LCR_H: 8 bits per character.
pub const LCR_8BIT: u32 = 0b11 << 5;
/// LCR_H: FIFOs are enabled.
pub const LCR_FIFO: u32 = 1 << 4;
/// Interrupts: a character was received.
pub const INT_RX: u32 = 1 << 4;
/// Interrupts: characters were received, and then none for 32 bit periods.
pub const INT_RX_TIMEOUT: u32 = 1 << 6;

struct Uart;

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}

static CONSOLE: Mutex<Uart> = Mutex::new(Uart);

fn send(byte: u8) {
    while mmio::read32(FR) & FR_TXFF != 0 {}
    mmio::write32(DR, u32::from(byte));
}

/// Sets the UART up: FIFOs on, no interrupts. Firmware has chosen the speed.
pub fn init() {
    mmio::write32(CR, 0);
    mmio::write32(IMSC, 0);
    mmio::write32(ICR, 0x7ff);
    mmio::write32(LCR_H, LCR_8BIT | LCR_FIFO);
    mmio::write32(CR, CR_ENABLED);
}

/// The next character that was typed, if there is one.
pub fn receive() -> Option<u8> {
    (mmio::read32(FR) & FR_RXFE == 0).then(|| mmio::read32(DR) as u8)
}

/// What [`print!`](crate::print!) calls. A payload's interrupt handler must not print.
pub fn print(arguments: fmt::Arguments<'_>) {
    // The UART takes everything, so there is no error to report.
    let _ = CONSOLE.lock().write_fmt(arguments);
}

/// What [`println!`](crate::println!) calls: the line comes out in one piece.
pub fn print_line(arguments: fmt::Arguments<'_>) {
    let _ = writeln!(CONSOLE.lock(), "{arguments}");
}

/// Prints whatever `report` writes, even when this CPU was interrupted while it printed, and switches the
/// machine off.
pub(crate) fn last_words(report: impl Fn(&mut dyn fmt::Write) -> fmt::Result) -> ! {
    init();
    let _ = report(&mut Uart);
    psci::system_off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    last_words(|out| writeln!(out, "\nguest: {info}"))
}

/// Prints on the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}

/// Prints on the console, and ends the line.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::print_line(format_args!($($argument)*)) };
}
