//! Generated text: lines of words, of which some come much more often than others, and of numbers.

use guest_support::rng::Rng;

/// The syllables that words are made of.
const SYLLABLES: [&[u8]; 16] = [
    b"ba", b"co", b"de", b"fi", b"gu", b"la", b"mer", b"no", b"pi", b"qua", b"ro", b"sen", b"ti", b"u",
    b"ver", b"xo",
];
/// How many different words there are.
const WORDS: u64 = 1024;
/// How many words end a line.
const WORDS_PER_LINE: u64 = 6;
/// The longest line, with its end.
pub const LINE: usize = 160;

/// Lines without end.
#[derive(Debug)]
pub struct Text {
    rng: Rng,
    line: [u8; LINE],
    len: usize,
}

impl Text {
    /// The text that is the same for a seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), line: [0; LINE], len: 0 }
    }

    /// The next line: a word, two numbers, and more words, with a space between each and a line feed behind.
    pub fn line(&mut self) -> &[u8] {
        self.len = 0;
        self.word();
        for limit in [1_000, 1_000_000] {
            self.push(b" ");
            let number = self.rng.below(limit);
            self.number(number);
        }
        for _ in 0..self.rng.below(WORDS_PER_LINE) + 1 {
            self.push(b" ");
            self.word();
        }
        self.push(b"\n");
        self.line.get(..self.len).unwrap_or_default()
    }

    /// Fills the buffer with lines, the last of which may be incomplete.
    pub fn fill(&mut self, mut buffer: &mut [u8]) {
        while !buffer.is_empty() {
            let line = self.line();
            let len = line.len().min(buffer.len());
            let (to, rest) = buffer.split_at_mut(len);
            to.copy_from_slice(&line[..len]);
            buffer = rest;
        }
    }

    fn word(&mut self) {
        // The product of two makes small ones likely.
        let word = self.rng.below(WORDS) * self.rng.below(WORDS) / WORDS;
        let mut rest = word + 1;
        while rest != 0 {
            self.push(SYLLABLES[(rest % SYLLABLES.len() as u64) as usize]);
            rest /= SYLLABLES.len() as u64;
        }
    }

    fn number(&mut self, number: u64) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.push(&[b'0' + (number % 10) as u8]);
    }

    /// Adds to the line what it has room for.
    fn push(&mut self, bytes: &[u8]) {
        if let Some(to) = self.line.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_fields() {
        let mut text = Text::new(1);
        for _ in 0..1000 {
            let line = text.line();
            assert_eq!(line.last(), Some(&b'\n'));
            let fields: Vec<_> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
            assert!(fields.len() >= 4, "{line:?}");
            assert!(fields[1..3].iter().all(|field| field.iter().all(u8::is_ascii_digit)), "{line:?}");
        }
    }
}
