//! The console: one UART, and the operator's terminal behind it.
//!
//! Nothing that is queued for the terminal makes EL2 wait: the UART's transmit interrupt drains the queue.
//! EL2's own lines are rare and are sent at once, after what is queued. What is typed waits in a queue until
//! the control plane takes it, and then in the UART, which holds its sender back where the line can.

use core::fmt;

use heapless::Deque;
use spin::{Mutex, Once};

use super::terminal::{QUEUE, Terminal};
use super::uart::Pl011;

/// Bytes of input that may wait.
const INPUT: usize = 256;

struct Console {
    uart: Option<Pl011>,
    terminal: Terminal,
    input: Deque<u8, INPUT>,
    /// The transmit interrupt is on.
    draining: bool,
}

static CONSOLE: Mutex<Console> =
    Mutex::new(Console { uart: None, terminal: Terminal::new(), input: Deque::new(), draining: false });
static NOTIFIER: Once<fn()> = Once::new();

impl Console {
    /// Moves bytes from the queue to the UART as far as there is room.
    fn drain(&mut self) {
        let Some(uart) = &mut self.uart else {
            self.terminal.discard();
            return;
        };
        while let Some(byte) = self.terminal.front() {
            if !uart.try_send(byte) {
                break;
            }
            self.terminal.pop();
        }
        if self.draining == self.terminal.is_empty() {
            self.draining = !self.draining;
            uart.set_transmit_interrupt(self.draining);
        }
    }

    /// Moves bytes from the UART to the queue as far as there is room; what is left there interrupts again
    /// when there is.
    fn collect(&mut self) {
        let Some(uart) = &mut self.uart else { return };
        while !self.input.is_full() {
            let Some(byte) = uart.try_receive() else { break };
            // There is room.
            let _ = self.input.push_back(byte);
        }
        uart.set_receive_interrupt(!self.input.is_full());
    }

    /// Sends what is queued, and waits for the room that it takes. A UART that does not move is given up for
    /// good, so that it cannot stop EL2.
    fn send_queue(&mut self) {
        let Some(uart) = &mut self.uart else {
            self.terminal.discard();
            return;
        };
        while let Some(byte) = self.terminal.pop() {
            if !uart.send(byte) {
                self.uart = None;
                self.terminal.discard();
                return;
            }
        }
        self.drain();
    }

    /// Sends what is queued, and a line of EL2's own above the terminal's bottom line.
    fn send_line(&mut self, line: fmt::Arguments<'_>) {
        struct Sender<'c>(&'c mut Console);
        impl fmt::Write for Sender<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                // The queue is empty and holds any of these, line ends included.
                for piece in text.as_bytes().chunks(QUEUE / 2) {
                    for &byte in piece {
                        self.0.terminal.keep(byte);
                        self.0.terminal.write(byte);
                    }
                    self.0.send_queue();
                }
                Ok(())
            }
        }
        self.send_queue();
        self.terminal.begin_line();
        // The writer never fails.
        let _ = fmt::write(&mut Sender(self), line);
        self.terminal.keep(b'\n');
        self.terminal.end_line();
        self.send_queue();
    }
}

/// Makes `uart` the console.
pub fn attach(mut uart: Pl011) {
    uart.enable();
    CONSOLE.lock().uart = Some(uart);
}

/// Lets what is typed come in from now on, and has `notifier` called when there is input, or when there is
/// room again for output that was refused. It is called from an interrupt handler or, by [`notify`], with
/// locks held: it must only take note. The console's interrupt must be routed to [`interrupt`].
pub fn listen(notifier: fn()) {
    NOTIFIER.call_once(|| notifier);
    CONSOLE.lock().collect();
}

/// Calls the notifier.
pub fn notify() {
    if let Some(notifier) = NOTIFIER.get() {
        notifier();
    }
}

/// Lets `write` write to the terminal.
pub fn terminal<R>(write: impl FnOnce(&mut Terminal) -> R) -> R {
    let mut console = CONSOLE.lock();
    let result = write(&mut console.terminal);
    console.drain();
    let relief = console.terminal.take_relief();
    drop(console);
    if relief {
        notify();
    }
    result
}

/// Takes a byte that was typed.
pub fn take_input() -> Option<u8> {
    let mut console = CONSOLE.lock();
    let byte = console.input.pop_front();
    if byte.is_some() {
        console.collect();
    }
    byte
}

/// The UART's interrupt.
pub fn interrupt() {
    let mut console = CONSOLE.lock();
    if let Some(uart) = &mut console.uart {
        uart.clear_interrupts();
    }
    console.collect();
    console.drain();
    let news = !console.input.is_empty() | console.terminal.take_relief();
    drop(console);
    if news {
        notify();
    }
}

/// Writes whole lines of EL2's own; starts a new line where a guest has left one unfinished.
pub struct Line;

impl Line {
    /// Writes `line` and ends it.
    pub fn print(line: fmt::Arguments<'_>) {
        CONSOLE.lock().send_line(line);
    }
}

/// Writes for the panic report: takes the lock if it can be had, and goes on without it if its holder is the
/// one that died.
pub struct Unlocked;

impl Unlocked {
    fn send(console: &mut Console, text: &str) {
        console.send_queue();
        for piece in text.as_bytes().chunks(QUEUE / 2) {
            piece.iter().for_each(|&byte| console.terminal.write(byte));
            console.send_queue();
        }
    }
}

impl fmt::Write for Unlocked {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for _ in 0..100_000 {
            if let Some(mut console) = CONSOLE.try_lock() {
                Self::send(&mut console, text);
                return Ok(());
            }
        }
        // SAFETY: only the reporting CPU gets here, and whoever holds the lock has had ample time: it is
        // stuck.
        unsafe { CONSOLE.force_unlock() };
        Self::send(&mut CONSOLE.lock(), text);
        Ok(())
    }
}

/// Sends what is queued, and waits until it is on the line.
pub fn flush() {
    if let Some(mut console) = CONSOLE.try_lock() {
        console.send_queue();
        if let Some(uart) = &mut console.uart {
            uart.flush();
        }
    }
}
