//! What the operator's terminal shows, as a queue of bytes for the line that leads there.
//!
//! The terminal scrolls, and its bottom line may be one that the operator is editing. Whole lines, whoever
//! they come from, appear above it: it is erased, they are written, and it is shown again. All that must not
//! be mixed with anything else is queued in one call.

use heapless::{Deque, Vec};

use super::ring::Ring;

/// Bytes that may wait for the line.
pub const QUEUE: usize = 4096;
/// As far as [`Terminal::line`] fills the queue: whoever prints without end leaves the operator the rest.
const SHARE: usize = QUEUE / 2;
/// Bytes of EL2's own lines that are kept.
pub const LOG: usize = 32 << 10;
/// Longest bottom line in bytes, escape sequences included.
pub const BOTTOM: usize = 128;

/// EL2's own lines, as they are kept.
pub type Log = Ring<[u8; LOG]>;

/// Begins the line again and erases what it shows (ECMA-48, EL).
const ERASE: &[u8] = b"\r\x1b[K";

/// A terminal with a VT100's cursor movement, seen from the near end of its line.
pub struct Terminal {
    queue: Deque<u8, QUEUE>,
    bottom: Vec<u8, BOTTOM>,
    /// The cursor is behind something that is neither a whole line nor the bottom line.
    unfinished: bool,
    /// What somebody will offer again was refused since [`Terminal::take_relief`].
    refused: bool,
    log: Log,
}

impl Terminal {
    /// An empty screen.
    #[expect(clippy::new_without_default, reason = "it is for a static, and too large for a stack")]
    pub const fn new() -> Self {
        Self {
            queue: Deque::new(),
            bottom: Vec::new(),
            unfinished: false,
            refused: false,
            log: Ring::new([0; LOG]),
        }
    }

    /// Queues `byte` as it is, after what was queued this way before; `false` where there is no room.
    pub fn raw(&mut self, byte: u8) -> bool {
        let taken = self.queue.push_back(byte).is_ok();
        match taken {
            true => self.unfinished = byte != b'\n',
            false => self.refused = true,
        }
        taken
    }

    /// Queues as much of `text` as there is room for, in whole lines where they are not overlong, and says
    /// how many bytes that was.
    pub fn text(&mut self, text: &[u8]) -> usize {
        // A line end takes two bytes.
        let mut room = QUEUE - self.queue.len();
        let fits = text
            .iter()
            .take_while(|&&byte| {
                let size = 1 + usize::from(byte == b'\n');
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            })
            .count();
        let lines = text.iter().take(fits).rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let taken = match fits == text.len() || (lines == 0 && fits > SHARE) {
            true => fits,
            false => lines,
        };
        self.refused |= taken < text.len();
        for &byte in text.iter().take(taken) {
            self.write(byte);
        }
        if let Some(&last) = text.get(..taken).and_then(<[u8]>::last) {
            self.unfinished = last != b'\n';
        }
        taken
    }

    /// Queues a whole line that consists of `parts` above the bottom line; `false` where there is no room for
    /// it, or another line is being written. Nobody is told when there is: such a line is lost.
    pub fn line(&mut self, parts: &[&[u8]]) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let frame = ERASE.len() + 2 + self.bottom.len();
        if self.queue.len() + length + frame > SHARE || (self.unfinished && self.bottom.is_empty()) {
            return false;
        }
        self.begin_line();
        parts.iter().copied().flatten().for_each(|&byte| self.write(byte));
        self.end_line();
        true
    }

    /// Shows `line` as the bottom line, with the cursor where it leaves it; none where it is empty. `false`
    /// where there is no room: the one before stays.
    pub fn show(&mut self, line: &[u8]) -> bool {
        if self.bottom == line {
            return true;
        }
        if self.queue.len() + line.len() + ERASE.len() > QUEUE || line.len() > BOTTOM {
            self.refused = true;
            return false;
        }
        let is_plain = !self.bottom.contains(&0x1b);
        if let Some(more) = line.strip_prefix(&*self.bottom).filter(|_| !self.bottom.is_empty()) {
            more.iter().for_each(|&byte| self.write(byte));
        } else if is_plain && self.bottom.strip_prefix(line).is_some_and(|rest| rest.len() == 1) {
            b"\x08 \x08".iter().for_each(|&byte| self.write(byte));
        } else {
            self.begin_line();
            line.iter().for_each(|&byte| self.write(byte));
        }
        self.bottom.clear();
        // It has been compared with the capacity.
        let _ = self.bottom.extend_from_slice(line);
        true
    }

    /// Lets go of the bottom line: it stays where it is, and what follows goes on behind it.
    pub fn release(&mut self) {
        self.unfinished |= !self.bottom.is_empty();
        self.bottom.clear();
    }

    /// Rings the bell.
    pub fn ring(&mut self) {
        self.write(0x07);
    }

    /// Makes room for a whole line above the bottom line. The caller sees to it that the queue has room, here
    /// and for [`Terminal::write`] and [`Terminal::end_line`].
    pub fn begin_line(&mut self) {
        if !self.bottom.is_empty() {
            ERASE.iter().for_each(|&byte| self.write(byte));
        } else if self.unfinished {
            self.write(b'\n');
        }
        self.unfinished = false;
    }

    /// Queues a byte of a whole line. It is lost where the caller has not seen to the room.
    #[inline(never)] // It is in many loops, which all end in a serial line.
    pub fn write(&mut self, byte: u8) {
        if byte == b'\n' {
            let _ = self.queue.push_back(b'\r');
        }
        let _ = self.queue.push_back(byte);
    }

    /// Ends the line that [`Terminal::begin_line`] began.
    pub fn end_line(&mut self) {
        self.write(b'\n');
        for index in 0..self.bottom.len() {
            if let Some(&byte) = self.bottom.get(index) {
                self.write(byte);
            }
        }
    }

    /// The byte that the line is to take next.
    pub fn front(&self) -> Option<u8> {
        self.queue.front().copied()
    }

    /// Takes the byte that the line is to take next.
    pub fn pop(&mut self) -> Option<u8> {
        self.queue.pop_front()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Drops what waits: there is no line.
    pub fn discard(&mut self) {
        self.queue.clear();
    }

    /// Whether somebody was refused and finds room now. Tells it once.
    pub fn take_relief(&mut self) -> bool {
        self.queue.len() <= SHARE / 2 && core::mem::take(&mut self.refused)
    }

    /// EL2's own lines.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Keeps a byte of a line of EL2's own.
    pub fn keep(&mut self, byte: u8) {
        self.log.push(byte);
    }
}
