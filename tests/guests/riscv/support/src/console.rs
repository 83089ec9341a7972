//! The console: a polled 16550A.

use core::{
    fmt::{self, Write},
    panic::PanicInfo,
};

use crate::finisher;

/// Where it is.
const UART: usize = 0x1000_0000;
/// Transmitter holding register.
const THR: *mut u8 = UART as *mut u8;
/// Line status register.
const LSR: *const u8 = (UART + 5) as *const u8;
/// LSR: the transmitter takes another byte.
const LSR_THRE: u8 = 1 << 5;

struct Uart;

/// Brings the UART back into a state in which it sends, whatever has been written to it.
pub fn init() {
    /// Line control (8 bits, no parity), interrupt enable, FIFO control, modem control.
    const REGISTERS: [(usize, u8); 4] = [(3, 3), (1, 0), (2, 0), (4, 0)];
    for (register, value) in REGISTERS {
        // SAFETY: as in `send`.
        unsafe { ((UART + register) as *mut u8).write_volatile(value) };
    }
}

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

fn send(byte: u8) {
    // SAFETY: a 16550A is there on this machine, and reading LSR and writing THR have no effect on memory.
    unsafe {
        while LSR.read_volatile() & LSR_THRE == 0 {}
        THR.write_volatile(byte);
    }
}

/// Writes to the console; what [`print!`](crate::print) calls.
pub fn print(arguments: fmt::Arguments) {
    // It never fails.
    let _ = Uart.write_fmt(arguments);
}

/// Writes to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}

/// Writes a line to the console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::print!("{}\n", format_args!($($argument)*)) };
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    println!("guest: {info}");
    finisher::fail(1)
}
