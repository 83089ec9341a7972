//! A guest's output as plain lines: without the escape sequences that move the cursor or change the terminal's
//! state, which would spoil the screen where several guests share it.

use heapless::Vec;

/// Longest line; a longer one is shown in pieces.
const LINE: usize = 256;

/// What one more byte has made of the line.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Open,
    /// It has ended, or is as long as a line may be.
    Ended,
}

/// Where in an escape sequence the output is (ECMA-48, 5.3 and 5.4; 5.6 for strings).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Text,
    /// Behind a CR, which may belong to a line end.
    Return,
    Escape,
    Control,
    /// A string, up to its terminator; `true` behind an ESC.
    String(bool),
}

/// Collects lines.
#[derive(Default)]
pub struct Lines {
    line: Vec<u8, LINE>,
    place: Place,
}

impl Lines {
    /// Takes a byte. [`Lines::take`] is to be called where the line has ended.
    pub fn push(&mut self, byte: u8) -> Progress {
        self.place = match (self.place, byte) {
            (_, b'\n') => {
                self.place = Place::Text;
                return Progress::Ended;
            }
            (Place::String(true), b'\\') | (Place::String(_), 0x07) => Place::Text,
            (Place::String(_), byte) => Place::String(byte == 0x1b),
            (_, 0x1b) => Place::Escape,
            (Place::Escape, b'[') => Place::Control,
            (Place::Escape, b']' | b'P' | b'X' | b'^' | b'_') => Place::String(false),
            // Intermediate bytes.
            (Place::Escape, 0x20..=0x2f) => Place::Escape,
            (Place::Escape, _) => Place::Text,
            // Parameters and intermediate bytes.
            (Place::Control, 0x20..=0x3f) => Place::Control,
            (Place::Control, _) => Place::Text,
            (_, b'\r') => Place::Return,
            (place, byte) => return self.text(place, byte),
        };
        Progress::Open
    }

    fn text(&mut self, place: Place, byte: u8) -> Progress {
        if place == Place::Return {
            // The line is written anew, as progress indicators do.
            self.line.clear();
        }
        self.place = Place::Text;
        match byte {
            0x08 => drop(self.line.pop()),
            b'\t' => drop(self.line.push(b' ')),
            0x20..=0x7e | 0x80.. => drop(self.line.push(byte)),
            _ => {}
        }
        if self.line.is_full() { Progress::Ended } else { Progress::Open }
    }

    /// The line as far as it has come.
    pub fn current(&self) -> &[u8] {
        &self.line
    }

    /// Begins the next line.
    pub fn clear(&mut self) {
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(output: &[u8]) -> std::vec::Vec<String> {
        let mut lines = Lines::default();
        let mut found = std::vec::Vec::new();
        for &byte in output {
            if lines.push(byte) == Progress::Ended {
                found.push(String::from_utf8_lossy(lines.current()).into_owned());
                lines.clear();
            }
        }
        found.push(String::from_utf8_lossy(lines.current()).into_owned());
        found
    }

    #[test]
    fn what_is_not_text_is_left_out() {
        assert_eq!(lines(b"one\r\ntwo\nthree"), ["one", "two", "three"]);
        assert_eq!(lines(b"\x1b[1;32mok\x1b[0m\x1b[2J\x1b[H!\x07\0"), ["ok!"]);
        assert_eq!(lines(b"\x1b]0;title\x07a\x1b]0;title\x1b\\b\x1b(Bc\x1bMd"), ["abcd"]);
        assert_eq!(lines(b"10%\r20%\r\n30"), ["20%", "30"]);
        assert_eq!(lines(b"tyo\x08po\tn\xc3\xbcn"), ["typo n\u{fc}n"]);
        assert_eq!(lines(b"\x1b]0;never ends\nnext"), ["", "next"]);
    }

    #[test]
    fn an_overlong_line_comes_in_pieces() {
        let pieces = lines(&[b'x'; 600]);
        assert_eq!(pieces.iter().map(String::len).collect::<std::vec::Vec<_>>(), [256, 256, 88]);
    }
}
