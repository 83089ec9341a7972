//! What the operator's keys send: control characters, and the sequences of a VT100 and of xterm.

/// A key of the line editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Key {
    /// A printable ASCII character.
    Text(u8),
    Enter,
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    Up,
    Down,
    Tab,
    /// Ctrl-U: erases up to the cursor.
    KillBefore,
    /// Ctrl-K: erases from the cursor on.
    KillAfter,
    /// Ctrl-W: erases the word before the cursor.
    KillWord,
    /// Ctrl-C: drops the line.
    Cancel,
    /// Ctrl-L: draws the screen anew.
    Redraw,
    /// Ctrl-]: leaves a VM's console, or sends this character to it.
    Escape,
}

/// The character that leaves a VM's console: Ctrl-].
pub const ESCAPE: u8 = 0x1d;

/// Recognises keys in what comes in.
#[derive(Debug, Default)]
pub struct Keys {
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Ground,
    /// Behind CR, which a LF may follow.
    Return,
    Escape,
    /// Behind `ESC [` or `ESC O`; the first parameter.
    Sequence(u16),
}

impl Keys {
    /// Takes a byte, and returns the key that it completes. What is no key is ignored.
    pub fn push(&mut self, byte: u8) -> Option<Key> {
        let place = core::mem::take(&mut self.place);
        match (place, byte) {
            (Place::Escape, b'[' | b'O') => self.place = Place::Sequence(0),
            (Place::Sequence(parameter), b'0'..=b'9') => {
                let digit = u16::from(byte - b'0');
                self.place = Place::Sequence(parameter.saturating_mul(10).saturating_add(digit));
            }
            // Modifiers, which make no difference.
            (Place::Sequence(parameter), b';') => self.place = Place::Sequence(parameter),
            (Place::Sequence(parameter), 0x40..=0x7e) => return sequence(parameter, byte),
            (Place::Return, b'\n') => {}
            // Alt with a key, which means nothing; but a control character always does.
            (Place::Escape | Place::Sequence(_), 0x20..) => {}
            (_, 0x1b) => self.place = Place::Escape,
            _ => return self.single(byte),
        }
        None
    }

    fn single(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            b'\r' => {
                self.place = Place::Return;
                Key::Enter
            }
            b'\n' => Key::Enter,
            0x20..=0x7e => Key::Text(byte),
            0x08 | 0x7f => Key::Backspace,
            b'\t' => Key::Tab,
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Cancel,
            0x04 => Key::Delete,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x0b => Key::KillAfter,
            0x0c => Key::Redraw,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::KillBefore,
            0x17 => Key::KillWord,
            ESCAPE => Key::Escape,
            _ => return None,
        })
    }
}

fn sequence(parameter: u16, last: u8) -> Option<Key> {
    match (last, parameter) {
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', _) => Some(Key::Right),
        (b'D', _) => Some(Key::Left),
        (b'H', _) | (b'~', 1 | 7) => Some(Key::Home),
        (b'F', _) | (b'~', 4 | 8) => Some(Key::End),
        (b'~', 3) => Some(Key::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_one_byte_or_several() {
        let mut keys = Keys::default();
        let found: Vec<Key> =
            b"a\r\nb\n\x1b[C\x1b[D\x1bOH\x1b[4~\x1b[3~\x1b[1;5A\x1bx\x1b[9~\xc3\x7f\x1b\x03"
                .iter()
                .filter_map(|&byte| keys.push(byte))
                .collect();
        use Key::*;
        let expected =
            [Text(b'a'), Enter, Text(b'b'), Enter, Right, Left, Home, End, Delete, Up, Backspace, Cancel];
        assert_eq!(found, expected);
    }
}
