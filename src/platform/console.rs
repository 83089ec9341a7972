//! The console: one UART, shared by EL2's log and the guest that is attached to it.
//!
//! Guests' output never makes EL2 wait: it goes to a queue that the UART's transmit interrupt drains, and
//! where the queue is full the guest's own UART shows a full FIFO. EL2's own lines are rare and are sent at
//! once, after what is queued. What is typed faster than the guest takes it waits in a queue, too, and then
//! in the UART, which holds its sender back where the line can.

use core::fmt;

use alloc::sync::Arc;
use heapless::Deque;
use spin::Mutex;

use super::uart::Pl011;

/// Bytes of output that may wait.
const OUTPUT: usize = 4096;
/// Bytes of input that may wait.
const INPUT: usize = 256;

/// Who gets what is typed, and is told when there is room for output again.
pub trait Listener: Send + Sync {
    /// A byte has been typed. Returns whether it was taken; if not, the listener calls [`offer_input`] when
    /// it has room.
    fn typed(&self, byte: u8) -> bool;

    /// The queue has room again after [`transmit`] refused a byte.
    fn room(&self);
}

struct Console {
    uart: Option<Pl011>,
    output: Deque<u8, OUTPUT>,
    input: Deque<u8, INPUT>,
    /// [`transmit`] has refused a byte since there was room.
    refused: bool,
    at_line_start: bool,
}

static CONSOLE: Mutex<Console> = Mutex::new(Console {
    uart: None,
    output: Deque::new(),
    input: Deque::new(),
    refused: false,
    at_line_start: true,
});
static LISTENER: Mutex<Option<Arc<dyn Listener>>> = Mutex::new(None);

impl Console {
    /// Moves bytes from the queue to the UART as far as there is room.
    fn drain(&mut self) {
        let Some(uart) = &mut self.uart else {
            self.output.clear();
            return;
        };
        while let Some(&byte) = self.output.front() {
            if !uart.try_send(byte) {
                break;
            }
            self.output.pop_front();
        }
        uart.set_transmit_interrupt(!self.output.is_empty() || self.refused);
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

    /// Sends what is queued and then `bytes`. A UART that does not move is given up for good, so that it
    /// cannot stop EL2.
    fn send_now(&mut self, bytes: &[u8]) {
        let Some(uart) = &mut self.uart else {
            self.output.clear();
            return;
        };
        let mut moves = true;
        while moves && let Some(byte) = self.output.pop_front() {
            moves = uart.send(byte);
        }
        for &byte in bytes {
            moves = moves && (byte != b'\n' || uart.send(b'\r')) && uart.send(byte);
            self.at_line_start = byte == b'\n';
        }
        if moves {
            self.drain();
        } else {
            self.uart = None;
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
        uart.set_receive_interrupt(true);
    }
}

/// Queues one byte of a guest's output; `false` where there is no room, and [`Listener::room`] will follow.
pub fn transmit(byte: u8) -> bool {
    let mut console = CONSOLE.lock();
    if console.output.is_empty()
        && let Some(uart) = &mut console.uart
        && uart.try_send(byte)
    {
        console.at_line_start = byte == b'\n';
        return true;
    }
    if console.output.push_back(byte).is_err() {
        console.refused = true;
        return false;
    }
    console.at_line_start = byte == b'\n';
    console.drain();
    true
}

/// The UART's interrupt.
pub fn interrupt() {
    let mut console = CONSOLE.lock();
    if let Some(uart) = &mut console.uart {
        uart.clear_interrupts();
    }
    console.collect();
    console.drain();
    let room = !console.output.is_full() && core::mem::take(&mut console.refused);
    drop(console);
    offer_input();
    if room {
        let listener = LISTENER.lock().clone();
        if let Some(listener) = listener {
            listener.room();
        }
    }
}

/// Offers the listener what has been typed, as far as it takes it. It asks for more by calling this again.
pub fn offer_input() {
    /// Keeps the bytes in order where two CPUs offer at once.
    static OFFERING: Mutex<()> = Mutex::new(());
    let Some(listener) = LISTENER.lock().clone() else { return };
    let _offering = OFFERING.lock();
    loop {
        let Some(byte) = CONSOLE.lock().input.front().copied() else { break };
        // The listener may transmit, so the console must not be locked here.
        if !listener.typed(byte) {
            break;
        }
        let mut console = CONSOLE.lock();
        console.input.pop_front();
        console.collect();
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

/// Writes for the panic report: takes the lock if it can be had, and goes on without it if its holder is the
/// one that died.
pub struct Unlocked;

impl fmt::Write for Unlocked {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for _ in 0..100_000 {
            if let Some(mut console) = CONSOLE.try_lock() {
                console.send_now(text.as_bytes());
                return Ok(());
            }
        }
        // SAFETY: only the reporting CPU gets here, and whoever holds the lock has had ample time: it is
        // stuck.
        unsafe { CONSOLE.force_unlock() };
        CONSOLE.lock().send_now(text.as_bytes());
        Ok(())
    }
}

/// Sends what is queued, and waits until it is on the line.
pub fn flush() {
    if let Some(mut console) = CONSOLE.try_lock() {
        console.send_now(b"");
        if let Some(uart) = &mut console.uart {
            uart.flush();
        }
    }
}
