//! Typed characters: a queue from the interrupt handler, and a line editor.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::*};

use guest_support::print;

const QUEUE_BYTES: usize = 128;
const LINE_BYTES: usize = 80;

static QUEUE: [AtomicU8; QUEUE_BYTES] = [const { AtomicU8::new(0) }; QUEUE_BYTES];
/// How many characters were ever put in, and taken out.
static PUT: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Takes a character from the interrupt handler. When the queue is full it is lost.
pub fn push(byte: u8) {
    let put = PUT.load(Relaxed);
    if put.wrapping_sub(TAKEN.load(Acquire)) < QUEUE_BYTES
        && let Some(slot) = QUEUE.get(put % QUEUE_BYTES)
    {
        slot.store(byte, Relaxed);
        PUT.store(put.wrapping_add(1), Release);
    }
}

/// Waits for a character.
fn next() -> u8 {
    super::sleep_until(|| PUT.load(Acquire) != TAKEN.load(Relaxed));
    let taken = TAKEN.load(Relaxed);
    let byte = QUEUE.get(taken % QUEUE_BYTES).map_or(0, |slot| slot.load(Relaxed));
    TAKEN.store(taken.wrapping_add(1), Release);
    byte
}

/// A line while it is typed.
pub struct Line {
    text: [u8; LINE_BYTES],
    length: usize,
}

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self { text: [0; LINE_BYTES], length: 0 }
    }

    /// Reads a line, echoing it. Backspace and Ctrl-U delete; other control characters, and what no longer
    /// fits, are ignored.
    pub fn read(&mut self) -> &str {
        self.length = 0;
        loop {
            match next() {
                b'\r' | b'\n' => break,
                0x08 | 0x7f => self.delete(),
                0x15 => {
                    while self.length > 0 {
                        self.delete();
                    }
                }
                byte @ b' '..=b'~' => {
                    if let Some(slot) = self.text.get_mut(self.length) {
                        *slot = byte;
                        self.length += 1;
                        print!("{}", char::from(byte));
                    }
                }
                _ => {}
            }
        }
        print!("\n");
        self.text.get(..self.length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn delete(&mut self) {
        if self.length > 0 {
            self.length -= 1;
            print!("\x08 \x08");
        }
    }
}
