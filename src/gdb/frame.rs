//! Packets on the line: `$`, the packet's data, `#`, two hexadecimal digits of checksum.
//!
//! `gdbstub` has a reader of its own. It takes a damaged packet for the end of the session, and cannot repeat a
//! reply. A serial line needs both to be everyday business.

use alloc::format;
use alloc::vec::Vec;

/// Longest packet, with its frame, that can be received.
pub const MAX_PACKET: usize = 4096;

/// What a byte completes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An undamaged packet, with its frame.
    Packet(&'a [u8]),
    /// A packet that is damaged or too long.
    Damaged,
    /// The other side has got the last packet damaged.
    Repeat,
    /// Ctrl-C.
    Interrupt,
}

#[derive(Clone, Copy)]
enum State {
    Between,
    Data,
    FirstDigit,
    SecondDigit,
}

/// Finds packets in what comes in.
pub struct Reader {
    state: State,
    packet: Vec<u8>,
    /// The sum of the data so far.
    sum: u8,
    /// The sum that the packet says it has.
    claimed: u8,
    /// Nothing is wrong with the packet so far.
    sound: bool,
}

impl Reader {
    /// A reader between two packets.
    pub fn new() -> Self {
        let packet = Vec::with_capacity(MAX_PACKET);
        Self { state: State::Between, packet, sum: 0, claimed: 0, sound: true }
    }

    /// Takes the next byte.
    pub fn push(&mut self, byte: u8) -> Option<Event<'_>> {
        // `$` is escaped within a packet: wherever it comes, it is a packet's first byte.
        if byte == b'$' {
            self.packet.clear();
            (self.state, self.sum, self.claimed, self.sound) = (State::Data, 0, 0, true);
        }
        if matches!(self.state, State::Between) {
            return match byte {
                0x03 => Some(Event::Interrupt),
                b'-' => Some(Event::Repeat),
                _ => None,
            };
        }
        if self.packet.len() < MAX_PACKET {
            self.packet.push(byte);
        } else {
            self.sound = false;
        }
        match (self.state, byte) {
            (State::Data, b'$') => {}
            (State::Data, b'#') => self.state = State::FirstDigit,
            (State::Data, _) => self.sum = self.sum.wrapping_add(byte),
            (State::FirstDigit, _) => {
                self.claim(byte);
                self.state = State::SecondDigit;
            }
            (State::SecondDigit | State::Between, _) => {
                self.claim(byte);
                self.state = State::Between;
                let sound = self.sound && self.claimed == self.sum;
                return Some(if sound { Event::Packet(&self.packet) } else { Event::Damaged });
            }
        }
        None
    }

    fn claim(&mut self, digit: u8) {
        match char::from(digit).to_digit(16) {
            Some(value) => self.claimed = self.claimed << 4 | value as u8,
            None => self.sound = false,
        }
    }
}

/// The packet with `data`, which needs no escapes.
pub fn packet(data: &str) -> Vec<u8> {
    let sum = data.bytes().fold(0u8, u8::wrapping_add);
    format!("${data}#{sum:02x}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8]) -> Vec<Result<Vec<u8>, &'static str>> {
        let mut reader = Reader::new();
        let mut events = Vec::new();
        for &byte in bytes {
            match reader.push(byte) {
                Some(Event::Packet(packet)) => events.push(Ok(packet.to_vec())),
                Some(Event::Damaged) => events.push(Err("damaged")),
                Some(Event::Repeat) => events.push(Err("repeat")),
                Some(Event::Interrupt) => events.push(Err("interrupt")),
                None => {}
            }
        }
        events
    }

    #[test]
    fn packets_are_found_among_acknowledgements_and_noise() {
        let bytes = b"+\x03$g#67junk-$m0,4#fd$lost$?#3f$X\x03#5b$#00";
        let packet = |bytes: &[u8]| Ok(bytes.to_vec());
        assert_eq!(
            events(bytes),
            [
                Err("interrupt"),
                packet(b"$g#67"),
                Err("repeat"),
                packet(b"$m0,4#fd"),
                packet(b"$?#3f"),
                packet(b"$X\x03#5b"),
                packet(b"$#00"),
            ]
        );
    }

    #[test]
    fn damage_is_noticed_and_what_follows_is_read() {
        assert_eq!(
            events(b"$g#68$h#67$g#6g$g#+1$g#67"),
            [Err("damaged"), Err("damaged"), Err("damaged"), Err("damaged"), Ok(b"$g#67".to_vec())]
        );
        for excess in [0, 1, 2, 3, 4, 100] {
            let mut long = packet(&"x".repeat(MAX_PACKET - 4 + excess));
            long.extend(b"$g#67");
            let found = events(&long);
            assert_eq!(found.last(), Some(&Ok(b"$g#67".to_vec())));
            assert_eq!(found[0].is_ok(), excess == 0, "{excess} bytes too many");
            assert_eq!(found.len(), 2);
        }
    }
}
