//! Texts that an operator asks the engine for.

use core::fmt;
use core::str::FromStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Most bytes of an answer.
pub const MAX_REPORT: u64 = 64 << 10;

/// What an operator wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The blocks that are executed most, at most so many. The answer has how many samples there are of all blocks, and a line
    /// for each [`HotBlock`], the hottest one first.
    Top(u64),
    /// The block that the guest's instruction at this virtual address belongs to: the guest's code, and what it was translated
    /// to.
    Block(u64),
}

impl Question {
    const TOP: u32 = 0;
    const BLOCK: u32 = 1;

    /// [`Report::kind`] and [`Report::argument`].
    pub const fn encode(self) -> (u32, u64) {
        match self {
            Self::Top(count) => (Self::TOP, count),
            Self::Block(address) => (Self::BLOCK, address),
        }
    }

    /// What [`Question::encode`] has made; `None` where it is nothing of that kind.
    pub const fn decode(kind: u32, argument: u64) -> Option<Self> {
        match kind {
            Self::TOP => Some(Self::Top(argument)),
            Self::BLOCK => Some(Self::Block(argument)),
            _ => None,
        }
    }
}

/// A block that is executed often, as a line of the answer to [`Question::Top`]. They are ordered by heat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HotBlock {
    /// How often a hart was found executing it.
    pub samples: u32,
    /// Its guest-virtual address.
    pub pc: u64,
    /// Its guest-physical address.
    pub physical: u64,
    /// How many instructions of the guest it has.
    pub instructions: u32,
    /// Bytes of code.
    pub code: u32,
}

impl fmt::Display for HotBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, pc, physical, instructions, code } = self;
        write!(f, "{samples} {pc:x} {physical:x} {instructions} {code}")
    }
}

/// The line is of no [`HotBlock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHotBlock;

impl FromStr for HotBlock {
    type Err = NoHotBlock;

    fn from_str(line: &str) -> Result<Self, NoHotBlock> {
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or(NoHotBlock);
        let count = |word: &str| word.parse().map_err(|_| NoHotBlock);
        let address = |word: &str| u64::from_str_radix(word, 16).map_err(|_| NoHotBlock);
        let (samples, pc, physical) = (count(word()?)?, address(word()?)?, address(word()?)?);
        let (instructions, code) = (count(word()?)?, count(word()?)?);
        match words.next() {
            None => Ok(Self { samples, pc, physical, instructions, code }),
            Some(_) => Err(NoHotBlock),
        }
    }
}

/// A question to the engine and its answer. EL2 asks, then sets [`Requests::REPORT`](crate::Requests::REPORT) of a hart, which
/// answers at its next attention, before it stops if that is wanted as well. There is one question at a time; one that
/// is not answered in time is followed by another one with another number.
#[repr(C)]
pub struct Report {
    /// The number of the last question. EL2 counts it up when the question is there.
    pub asked: AtomicU32,
    /// The number of the last question that has an answer. The engine stores it when the answer is there.
    pub answered: AtomicU32,
    /// What is asked ([`Question`]).
    pub kind: AtomicU32,
    /// Bytes of the answer, UTF-8, at most [`MAX_REPORT`].
    pub length: AtomicU32,
    /// What the question is about.
    pub argument: AtomicU64,
    /// Where in private memory the answer is. It stays there until the next question.
    pub address: AtomicU64,
}

impl Report {
    /// The question, and its number for the answer; `None` where it is none.
    pub fn question(&self) -> (u32, Option<Question>) {
        let number = self.asked.load(Acquire);
        (number, Question::decode(self.kind.load(Relaxed), self.argument.load(Relaxed)))
    }

    /// The answer to the question of this number: so many bytes at `address`.
    pub fn answer(&self, number: u32, address: u64, length: u32) {
        self.address.store(address, Relaxed);
        self.length.store(length, Relaxed);
        self.answered.store(number, Release);
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_hot_block_is_the_line_that_it_has_made() {
        let block = HotBlock { samples: 7, pc: u64::MAX, physical: 1 << 40, instructions: 5, code: 400 };
        let line = block.to_string();
        assert_eq!(line.parse(), Ok(block));
        for line in ["", "7 0 0 5", "7 0 0 5 4 3", "7 0x0 0 5 4", "-7 0 0 5 4", &line[..line.len() - 3]] {
            assert_eq!(line.parse::<HotBlock>(), Err(NoHotBlock), "{line}");
        }
    }

    #[test]
    fn questions_come_out_as_they_went_in() {
        for question in [Question::Top(10), Question::Block(u64::MAX)] {
            let (kind, argument) = question.encode();
            assert_eq!(Question::decode(kind, argument), Some(question));
        }
        assert_eq!(Question::decode(2, 0), None);
    }
}
