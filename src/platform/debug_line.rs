//! The debugger's line: a second UART, whose bytes are the remote debugger's alone.
//!
//! What comes in waits in a queue until the control plane takes it, and what goes out until the UART has room; neither
//! makes EL2 wait. gdb's protocol is one of questions and answers, so the queues fill only for a peer that does not
//! keep to it.

use heapless::Deque;
use spin::Mutex;

use super::uart::Pl011;

/// Bytes of output that may wait: more than the longest answer.
const OUTPUT: usize = 16 << 10;
/// Bytes of input that may wait. More is held back in the UART.
const INPUT: usize = 1024;

struct Line {
    uart: Option<Pl011>,
    output: Deque<u8, OUTPUT>,
    input: Deque<u8, INPUT>,
    /// Tells the control plane that there is input.
    notify: Option<fn()>,
}

static LINE: Mutex<Line> =
    Mutex::new(Line { uart: None, output: Deque::new(), input: Deque::new(), notify: None });

impl Line {
    /// Moves bytes from the queue to the UART as far as there is room.
    fn drain(&mut self) {
        let Some(uart) = &mut self.uart else { return };
        while let Some(&byte) = self.output.front() {
            if !uart.try_send(byte) {
                break;
            }
            self.output.pop_front();
        }
        uart.set_transmit_interrupt(!self.output.is_empty());
    }

    /// Moves bytes from the UART to the queue as far as there is room; what is left there interrupts again when
    /// there is.
    fn collect(&mut self) {
        let Some(uart) = &mut self.uart else { return };
        while !self.input.is_full() {
            let Some(byte) = uart.try_receive() else { break };
            // There is room.
            let _ = self.input.push_back(byte);
        }
        uart.set_receive_interrupt(!self.input.is_full());
    }
}

/// Makes `uart` the debugger's line.
pub fn attach(mut uart: Pl011) {
    uart.enable();
    LINE.lock().uart = Some(uart);
}

/// Whether there is such a line.
pub fn is_attached() -> bool {
    LINE.lock().uart.is_some()
}

/// Has `notify` called when something has come in, from the interrupt's handler and without a lock held. The UART's
/// interrupt must be routed to [`interrupt`].
pub fn listen(notify: fn()) {
    let mut line = LINE.lock();
    line.notify = Some(notify);
    line.collect();
    // Nobody has been told of what came in before.
    let waiting = !line.input.is_empty();
    drop(line);
    if waiting {
        notify();
    }
}

/// The UART's interrupt.
pub fn interrupt() {
    let mut line = LINE.lock();
    if let Some(uart) = &mut line.uart {
        uart.clear_interrupts();
    }
    line.collect();
    line.drain();
    let notify = line.notify.filter(|_| !line.input.is_empty());
    drop(line);
    if let Some(notify) = notify {
        notify();
    }
}

/// Takes what has come in, as far as `buffer` has room, and returns how much that is. There may be more until it is
/// 0.
pub fn receive(buffer: &mut [u8]) -> usize {
    let mut line = LINE.lock();
    // Not behind the loop: what is taken from the UART interrupts no more, so 0 would be a lie.
    line.collect();
    let mut received = 0;
    for slot in buffer {
        let Some(byte) = line.input.pop_front() else { break };
        *slot = byte;
        received += 1;
    }
    received
}

/// Queues `bytes`, all of them or, where there is no room, none: half an answer is of no use.
pub fn transmit(bytes: &[u8]) {
    let mut line = LINE.lock();
    if line.output.capacity() - line.output.len() < bytes.len() {
        return;
    }
    for byte in bytes {
        // There is room.
        let _ = line.output.push_back(*byte);
    }
    line.drain();
}
