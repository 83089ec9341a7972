//! A state machine that tells numbers from what is none, character by character.

use super::crc::Crc;

/// How long the text is.
const LEN: usize = 660;
/// What the text repeats.
const TOKENS: [&[u8]; 16] = [
    b"5012",
    b"1234",
    b"-874",
    b"+122",
    b"35.54400",
    b".1234500",
    b"-110.700",
    b"+0.64400",
    b"5.500e+3",
    b"-.123e-2",
    b"-87e+832",
    b"+0.6e-12",
    b"T0.3e-1F",
    b"-T.T++Tq",
    b"1T3.4e4z",
    b"34.0e-T^",
];

/// What has been read of a token so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Sign,
    Integer,
    Fraction,
    Exponent,
    ExponentSign,
    Scientific,
    Invalid,
}

const STATES: usize = State::Invalid as usize + 1;

/// Tokens with commas between them.
#[derive(Debug)]
pub struct Text {
    bytes: [u8; LEN],
}

impl Text {
    /// Always the same.
    pub fn new() -> Self {
        let mut bytes = [b','; LEN];
        let mut rest = bytes.as_mut_slice();
        for token in TOKENS.iter().cycle() {
            let Some((to, behind)) = rest.split_at_mut_checked(token.len() + 1) else { break };
            to[..token.len()].copy_from_slice(token);
            rest = behind;
        }
        Self { bytes }
    }

    /// Reads the text, damages each `operand`th character, reads it again, and repairs it: the CRC of how many tokens ended in
    /// each state, and how often each state was left.
    pub fn work(&mut self, operand: u16, mut crc: Crc) -> u16 {
        let step = usize::from(operand).max(1);
        let mut ends = [0; STATES];
        let mut left = [0; STATES];
        self.read(&mut ends, &mut left);
        self.flip(step, operand as u8 & 0x1f);
        self.read(&mut ends, &mut left);
        self.flip(step, operand as u8 & 0x1f);
        for count in ends.iter().chain(&left) {
            crc.add_long(*count);
        }
        crc.value()
    }

    fn flip(&mut self, step: usize, bits: u8) {
        for byte in self.bytes.iter_mut().step_by(step) {
            if *byte != b',' && *byte ^ bits != b',' {
                *byte ^= bits;
            }
        }
    }

    fn read(&self, ends: &mut [u32; STATES], left: &mut [u32; STATES]) {
        let mut rest = self.bytes.as_slice();
        while !rest.is_empty() {
            let end = token(&mut rest, left);
            ends[end as usize] += 1;
        }
    }
}

fn is_sign(character: u8) -> bool {
    character == b'+' || character == b'-'
}

/// Reads up to the next comma: the state at the end.
#[inline(never)]
fn token(text: &mut &[u8], left: &mut [u32; STATES]) -> State {
    let mut state = State::Start;
    while let Some((&character, rest)) = text.split_first() {
        *text = rest;
        if character == b',' {
            break;
        }
        let next = match state {
            State::Start | State::Sign | State::Integer if character.is_ascii_digit() => State::Integer,
            State::Start | State::Sign | State::Integer if character == b'.' => State::Fraction,
            State::Start if is_sign(character) => State::Sign,
            State::Fraction if character.is_ascii_digit() => State::Fraction,
            State::Integer | State::Fraction if character | 0x20 == b'e' => State::Exponent,
            State::Exponent if is_sign(character) => State::ExponentSign,
            State::ExponentSign | State::Scientific if character.is_ascii_digit() => State::Scientific,
            _ => State::Invalid,
        };
        if next != state {
            left[state as usize] += 1;
            state = next;
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_what_is_none() {
        let mut left = [0; STATES];
        for (text, state) in [
            (&b"+12,"[..], State::Integer),
            (b"-1.5", State::Fraction),
            (b"1e+5,7", State::Scientific),
            (b"1e5", State::Invalid),
            (b"", State::Start),
        ] {
            assert_eq!(token(&mut &*text, &mut left), state, "{text:?}");
        }
    }

    #[test]
    fn damage_is_repaired() {
        let mut text = Text::new();
        let before = text.bytes;
        text.work(7, Crc::default());
        assert_eq!(text.bytes, before);
    }
}
