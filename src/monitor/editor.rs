//! The line that the operator edits.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt::Write;

use super::keys::Key;
use crate::platform::terminal::BOTTOM;

/// What stands before the line.
pub const PROMPT: &str = "polyvisor> ";
/// Longest line in bytes.
pub const LIMIT: usize = 256;
/// Columns that are used of the terminal's 80. The last one stays free: terminals differ in where the cursor
/// is behind it.
pub const COLUMNS: usize = 79;
/// Lines that are remembered.
const HISTORY: usize = 32;
/// Columns for the line's text.
const WINDOW: usize = COLUMNS - PROMPT.len();

/// What a key has brought about.
#[derive(Debug, PartialEq, Eq)]
pub enum Edit {
    /// The line has changed, or the cursor has moved, or neither.
    Done,
    /// The key can do nothing here.
    Refused,
    /// The line is finished; the next one has begun.
    Entered(String),
}

/// The line, the cursor, and the lines before.
#[derive(Default)]
pub struct Editor {
    /// ASCII, at most [`LIMIT`] bytes.
    line: String,
    /// An index of `line`, up to its end.
    cursor: usize,
    history: VecDeque<String>,
    /// Where in the history the shown line is from, counted from the end; 0: it is a new one.
    back: usize,
    /// The new line, while one from the history is shown.
    draft: String,
}

impl Editor {
    /// The line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The line up to the cursor.
    pub fn before_cursor(&self) -> &str {
        self.line.get(..self.cursor).unwrap_or_default()
    }

    /// Takes a key that edits the line; others are refused.
    pub fn press(&mut self, key: Key) -> Edit {
        let before = self.cursor;
        match key {
            Key::Text(byte) if self.line.len() < LIMIT && byte.is_ascii() => {
                self.line.insert(self.cursor, byte.into());
                self.cursor += 1;
            }
            Key::Enter => return self.enter(),
            Key::Backspace if before > 0 => self.remove(before - 1, before),
            Key::Delete if before < self.line.len() => self.remove(before, before + 1),
            Key::Left if before > 0 => self.cursor -= 1,
            Key::Right if before < self.line.len() => self.cursor += 1,
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.line.len(),
            Key::KillBefore => self.remove(0, before),
            Key::KillAfter => self.line.truncate(before),
            Key::KillWord => {
                let words = self.before_cursor().trim_end();
                let start = words.rfind(' ').map_or(0, |space| space + 1);
                self.remove(start, before);
            }
            Key::Up if self.back < self.history.len() => self.recall(self.back + 1),
            Key::Down if self.back > 0 => self.recall(self.back - 1),
            _ => return Edit::Refused,
        }
        Edit::Done
    }

    /// Inserts as much of `text` at the cursor as there is room for.
    pub fn insert(&mut self, text: &str) {
        for byte in text.bytes() {
            self.press(Key::Text(byte));
        }
    }

    /// Drops the line.
    pub fn clear(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.back = 0;
    }

    fn remove(&mut self, start: usize, end: usize) {
        self.line.replace_range(start..end, "");
        self.cursor = start;
    }

    fn enter(&mut self) -> Edit {
        let line = core::mem::take(&mut self.line);
        self.clear();
        if !line.trim().is_empty() && self.history.back() != Some(&line) {
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        Edit::Entered(line)
    }

    fn recall(&mut self, back: usize) {
        if self.back == 0 {
            self.draft = core::mem::take(&mut self.line);
        }
        let index = self.history.len() - back;
        self.line = self.history.get(index).cloned().unwrap_or_else(|| core::mem::take(&mut self.draft));
        self.back = back;
        self.cursor = self.line.len();
    }

    /// What the terminal shows: prompt, the part of the line around the cursor that fits, and the cursor's
    /// movement to its place.
    pub fn image(&self) -> heapless::String<BOTTOM> {
        let start = (self.cursor + 1).saturating_sub(WINDOW);
        let end = self.line.len().min(start + WINDOW);
        let mut image = heapless::String::new();
        // It has room for a whole row and more.
        let _ = write!(image, "{PROMPT}{}", self.line.get(start..end).unwrap_or_default());
        if self.cursor < end {
            let _ = write!(image, "\x1b[{}D", end - self.cursor);
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::monitor::keys::Keys;

    fn typed(editor: &mut Editor, bytes: &[u8]) -> Vec<String> {
        let mut keys = Keys::default();
        let pressed = bytes.iter().filter_map(|&byte| keys.push(byte)).map(|key| editor.press(key));
        let mut entered = Vec::new();
        for edit in pressed {
            if let Edit::Entered(line) = edit {
                entered.push(line);
            }
        }
        entered
    }

    fn line(bytes: &[u8]) -> String {
        let mut editor = Editor::default();
        typed(&mut editor, bytes);
        editor.line().to_owned()
    }

    #[test]
    fn editing() {
        assert_eq!(line(b"ac\x1b[Db"), "abc");
        assert_eq!(line(b"abc\x7f\x08d"), "ad");
        assert_eq!(line(b"bc\x01a\x05d"), "abcd");
        assert_eq!(line(b"abc\x1b[D\x1b[D\x1b[3~"), "ac");
        assert_eq!(line(b"one two  \x17"), "one ");
        assert_eq!(line(b"one two\x1b[D\x1b[D\x0b"), "one t");
        assert_eq!(line(b"one two\x1b[D\x1b[D\x15"), "wo");
        assert_eq!(line(&[b'x'; 300]).len(), LIMIT);
    }

    #[test]
    fn history_goes_back_and_returns_to_the_draft() {
        let mut editor = Editor::default();
        assert_eq!(typed(&mut editor, b"one\r\ntwo\rtwo\r  \r"), ["one", "two", "two", "  "]);
        let mut after = |keys: &[u8]| {
            typed(&mut editor, keys);
            editor.line().to_owned()
        };
        assert_eq!(after(b"dra\x1b[A"), "two");
        assert_eq!(after(b"\x1b[A"), "one");
        assert_eq!(after(b"\x1b[A"), "one");
        assert_eq!(after(b"\x1b[B"), "two");
        assert_eq!(after(b"\x1b[Bft"), "draft");
        assert_eq!(after(b"\x1b[B"), "draft");
        for number in 0..40 {
            typed(&mut editor, format!("\x15{number}\r").as_bytes());
        }
        typed(&mut editor, b"\x1b[A".repeat(100).as_slice());
        assert_eq!(editor.line(), "8");
    }

    proptest! {
        #[test]
        fn the_image_fits_one_row_and_shows_the_cursor(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut editor = Editor::default();
            typed(&mut editor, &bytes);
            let image = editor.image();
            let text = image.split('\x1b').next().unwrap();
            prop_assert!(text.len() <= COLUMNS);
            prop_assert!(text.starts_with(PROMPT));
            prop_assert!(editor.line().contains(&text[PROMPT.len()..]));
            prop_assert!(editor.cursor <= editor.line().len());
        }
    }
}
