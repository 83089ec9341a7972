//! The console: one UART, shared by EL2's log and the guest that is attached to it.
//!
//! Guests' output never makes EL2 wait: it goes to a queue that the UART's transmit interrupt drains, and where the queue is full the
//! guest's own UART shows a full FIFO. EL2's own lines are rare and are sent at once, after what is queued.

use core::fmt;

use alloc::sync::Arc;
use spin::Mutex;

use super::uart::Pl011;

const QUEUE: usize = 4096;

/// Who gets what is typed, and is told when there is room for output again.
pub trait Listener: Send + Sync {
    /// Bytes have been typed. Returns how many of them were taken; the rest is lost, as on a real line.
    fn typed(&self, bytes: &[u8]) -> usize;

    /// The queue has room again after [`transmit`] refused a byte.
    fn room(&self);
}

struct Console {
    uart: Option<Pl011>,
    queue: [u8; QUEUE],
    head: usize,
    len: usize,
    refused: bool,
    at_line_start: bool,
}

static CONSOLE: Mutex<Console> =
    Mutex::new(Console { uart: None, queue: [0; QUEUE], head: 0, len: 0, refused: false, at_line_start: true });
static LISTENER: Mutex<Option<Arc<dyn Listener>>> = Mutex::new(None);

impl Console {
    /// Moves bytes from the queue to the UART as far as there is room.
    fn drain(&mut self) {
        let Some(uart) = &mut self.uart else {
            self.len = 0;
            return;
        };
        while self.len > 0 {
            let Some(&byte) = self.queue.get(self.head) else { break };
            if !uart.try_send(byte) {
                break;
            }
            self.head = (self.head + 1) % QUEUE;
            self.len -= 1;
        }
        uart.set_transmit_interrupt(self.len > 0);
    }

    fn send_now(&mut self, bytes: &[u8]) {
        while self.len > 0 {
            self.drain();
        }
        let Some(uart) = &mut self.uart else { return };
        for &byte in bytes {
            if byte == b'\n' {
                uart.send(b'\r');
            }
            uart.send(byte);
            self.at_line_start = byte == b'\n';
        }
    }
}

/// Makes `uart` the console.
pub fn attach(mut uart: Pl011) {
    uart.enable();
    CONSOLE.lock().uart = Some(uart);
}

/// Lets `listener` have what is typed from now on. The console's interrupt must be routed to [`interrupt`].
pub fn listen(listener: Arc<dyn Listener>) {
    *LISTENER.lock() = Some(listener);
    if let Some(uart) = &mut CONSOLE.lock().uart {
        uart.enable_receive_interrupt();
    }
}

/// Queues one byte of a guest's output; `false` where there is no room, and [`Listener::room`] will follow.
pub fn transmit(byte: u8) -> bool {
    let mut console = CONSOLE.lock();
    if console.len == 0
        && let Some(uart) = &mut console.uart
        && uart.try_send(byte)
    {
        console.at_line_start = byte == b'\n';
        return true;
    }
    if console.len == QUEUE {
        console.refused = true;
        return false;
    }
    let tail = (console.head + console.len) % QUEUE;
    if let Some(slot) = console.queue.get_mut(tail) {
        *slot = byte;
        console.len += 1;
        console.at_line_start = byte == b'\n';
    }
    console.drain();
    true
}

/// The UART's interrupt.
pub fn interrupt() {
    let mut typed = [0; 64];
    let mut count = 0;
    let mut console = CONSOLE.lock();
    if let Some(uart) = &mut console.uart {
        uart.clear_interrupts();
        for slot in &mut typed {
            let Some(byte) = uart.try_receive() else { break };
            *slot = byte;
            count += 1;
        }
    }
    console.drain();
    let room = core::mem::take(&mut console.refused) && console.len < QUEUE;
    drop(console);
    // The listener may transmit, so the console must not be locked here.
    let Some(listener) = LISTENER.lock().clone() else { return };
    if count > 0 {
        listener.typed(typed.get(..count).unwrap_or(&[]));
    }
    if room {
        listener.room();
    }
}

/// Writes whole lines of EL2's own; starts a new line where a guest has left one unfinished.
pub struct Line;

impl Line {
    /// Writes `line` and ends it.
    pub fn print(line: fmt::Arguments<'_>) {
        struct Locked<'c>(&'c mut Console);
        impl fmt::Write for Locked<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.send_now(text.as_bytes());
                Ok(())
            }
        }
        let mut console = CONSOLE.lock();
        if !console.at_line_start {
            console.send_now(b"\n");
        }
        // The writer never fails.
        let _ = fmt::write(&mut Locked(&mut console), line);
        console.send_now(b"\n");
    }
}

/// Writes for the panic report: takes the lock if it can be had, and goes on without it if its holder is the one that died.
pub struct Unlocked;

impl fmt::Write for Unlocked {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for _ in 0..100_000 {
            if let Some(mut console) = CONSOLE.try_lock() {
                console.send_now(text.as_bytes());
                return Ok(());
            }
        }
        // SAFETY: only the reporting CPU gets here, and whoever holds the lock has had ample time: it is stuck.
        unsafe { CONSOLE.force_unlock() };
        CONSOLE.lock().send_now(text.as_bytes());
        Ok(())
    }
}
