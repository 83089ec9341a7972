//! One block as words: what it is found by, the guest code that it was made of, and what was made of that.
//!
//! | words | |
//! |---|---|
//! | 2 | the program counter |
//! | 1 | the context |
//! | 1 | guest instructions (0: it is not translatable), pieces of guest code |
//! | 1 | words of code, ways out |
//! | 1 | faults |
//! | 1 for each piece | its first unit on the page and how many it has, of two bytes each |
//! | 1 for two units | the guest code, one piece behind the other |
//! | 1 for each | the code; what [`Cache::insert`](crate::jit::cache::Cache::insert) relocates is not |
//! | 2 or 4 for each | ways out |
//! | 2 to 5 for each | faults |
//!
//! Where two numbers share a word, the first one is in the low half. Nothing of what is read is believed.

use alloc::vec::Vec;

use super::Capture;
use super::capture::UNITS_OF_PAGE;
use crate::interp::Key;
use crate::jit::cache::{self, pieces};
use crate::jit::compile::float::Pending;
use crate::jit::compile::{Compiled, Exit, ExitKind, Fault};
use crate::jit::tables::SLOTS;
use crate::jit::trace::Source;

/// Addresses on one page have these bits in common.
const PAGE: u64 = !0xfff;
/// No branch.
const NONE: u16 = u16::MAX;

/// Kinds of ways out: in the low bits of the second word of one.
mod kind {
    pub const MASK: u32 = 7;
    pub const JUMP: u32 = 0;
    pub const FAR: u32 = 1;
    pub const INDIRECT: u32 = 2;
    pub const INTERPRET: u32 = 3;
    pub const ATTENTION: u32 = 4;
    pub const FLOAT: u32 = 5;
    /// Of a jump: it leads backwards.
    pub const BACKWARD: u32 = 1 << 3;
    /// Of a far one: it has a slot.
    pub const SLOT: u32 = 1 << 4;
}

/// What a fault's first word says beside its word (16 bits) and its address on the page (12 bits).
mod fault {
    /// Extensions are pending: a word with the registers.
    pub const PENDING: u32 = 1 << 28;
    /// So is something about floating point: two words.
    pub const FLOATS: u32 = 1 << 29;
}

const fn pair(low: u16, high: u16) -> u32 {
    low as u32 | (high as u32) << 16
}

const fn halves(word: u32) -> (u16, u16) {
    (word as u16, (word >> 16) as u16)
}

/// Appends a block to `out`: that of `key`, made of what has been captured; `None` if that is not translatable. Whether it
/// can be stored; if not, there is rubbish behind `out`.
pub fn encode(out: &mut Vec<u32>, key: Key, capture: &Capture, compiled: Option<&Compiled<'_>>) -> bool {
    try_encode(out, key, capture, compiled).is_some()
}

fn try_encode(
    out: &mut Vec<u32>,
    key: Key,
    capture: &Capture,
    compiled: Option<&Compiled<'_>>,
) -> Option<()> {
    let count = |count: usize| u16::try_from(count).ok().filter(|&count| count != NONE);
    let pieces = count(capture.pieces().count()).filter(|&pieces| pieces != 0 && capture.is_consistent())?;
    let [words, exits, faults] = match compiled {
        Some(block) => [block.words.len(), block.exits.len(), block.faults.len()],
        None => [0; 3],
    };
    let instructions = compiled.map_or(0, |block| block.guest_instructions as usize);
    out.extend([key.pc as u32, (key.pc >> 32) as u32, key.context]);
    out.extend([
        pair(count(instructions)?, pieces),
        pair(count(words)?, count(exits)?),
        pair(count(faults)?, 0),
    ]);
    out.extend(capture.pieces().map(|(start, piece)| pair(start as u16, piece.len() as u16)));
    let mut odd = None;
    for &unit in capture.pieces().flat_map(|(_, piece)| piece) {
        match odd.take() {
            None => odd = Some(unit),
            Some(first) => out.push(pair(first, unit)),
        }
    }
    out.extend(odd.map(|unit| pair(unit, 0)));
    let Some(block) = compiled else { return Some(()) };
    out.extend_from_slice(block.words);
    block.exits.iter().try_for_each(|exit| encode_exit(out, key.pc, exit))?;
    block.faults.iter().for_each(|fault| encode_fault(out, fault));
    Some(())
}

fn encode_exit(out: &mut Vec<u32>, pc: u64, exit: &Exit) -> Option<()> {
    let on_page = |address: u64| ((address ^ pc) & PAGE == 0).then_some((address as u32 & 0xfff) << 16);
    let what = match exit.kind {
        ExitKind::Jump { target, backward } => {
            kind::JUMP | on_page(target)? | if backward { kind::BACKWARD } else { 0 }
        }
        ExitKind::FarMiss { slot: Some(slot), .. } => kind::FAR | kind::SLOT | slot << 16,
        ExitKind::FarMiss { slot: None, .. } => kind::FAR,
        ExitKind::Indirect => kind::INDIRECT,
        ExitKind::Interpret { pc } => kind::INTERPRET | on_page(pc)?,
        ExitKind::Attention { pc } => kind::ATTENTION | on_page(pc)?,
        ExitKind::Float { pc } => kind::FLOAT | on_page(pc)?,
    };
    out.extend([pair(exit.branch.unwrap_or(NONE), exit.stub), what]);
    if let ExitKind::FarMiss { target, .. } = exit.kind {
        out.extend([target as u32, (target >> 32) as u32]);
    }
    Some(())
}

fn encode_fault(out: &mut Vec<u32>, fault: &Fault) {
    let Fault { word, offset, retired, pending, floats } = *fault;
    let mut first = pair(word, offset & 0xfff);
    for (is_there, bit) in [(pending != 0, fault::PENDING), (!floats.is_nothing(), fault::FLOATS)] {
        first |= if is_there { bit } else { 0 };
    }
    out.extend([first, retired.into()]);
    out.extend((pending != 0).then_some(pending));
    if !floats.is_nothing() {
        out.extend(floats.to_words());
    }
}

/// Reads words one after the other.
struct Words<'a>(&'a [u32]);

impl<'a> Words<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u32]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*word)
    }

    fn double(&mut self) -> Option<u64> {
        Some(u64::from(self.word()?) | u64::from(self.word()?) << 32)
    }
}

/// A block, as far as it has been read: the rest is when it is needed.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The guest-virtual address.
    pub pc: u64,
    /// The context.
    pub context: u32,
    instructions: u16,
    pieces: &'a [u32],
    units: &'a [u32],
    words: &'a [u32],
    exits: u16,
    faults: u16,
    rest: &'a [u32],
}

/// Only what a block is found by: the program counter and the context of what `words` begin with.
pub fn key(words: &[u32]) -> Option<(u64, u32)> {
    let mut words = Words(words);
    Some((words.double()?, words.word()?))
}

impl<'a> Encoded<'a> {
    /// What `words` begin with; `None` if that is no block.
    pub fn parse(words: &'a [u32]) -> Option<Self> {
        let mut words = Words(words);
        let (pc, context) = (words.double()?, words.word()?);
        let (instructions, pieces) = halves(words.word()?);
        let (count, exits) = halves(words.word()?);
        let (faults, _) = halves(words.word()?);
        let pieces = words.take(pieces.into())?;
        let units: usize = pieces.iter().map(|piece| usize::from(halves(*piece).1)).sum();
        let units = words.take(units.div_ceil(2))?;
        let code = words.take(count.into())?;
        // Two entries at least, or nothing at all.
        let is_sound = if instructions == 0 { count == 0 } else { count >= 2 };
        (is_sound && !pieces.is_empty()).then_some(Self {
            pc,
            context,
            instructions,
            pieces,
            units,
            words: code,
            exits,
            faults,
            rest: words.0,
        })
    }

    /// The guest code: what it is compared by.
    pub const fn guest_code(&self) -> (&'a [u32], &'a [u32]) {
        (self.pieces, self.units)
    }

    /// Whether its first instruction goes on on the next page.
    pub fn goes_on(&self) -> bool {
        self.pieces.iter().any(|piece| {
            let (start, count) = halves(*piece);
            usize::from(start) + usize::from(count) > UNITS_OF_PAGE
        })
    }

    /// Whether the code at `source` is what the block was made of.
    pub fn is_made_of(&self, Source { ram, key, second }: &Source) -> bool {
        let mut units: &[u16] = bytemuck::cast_slice(self.units);
        self.pieces.iter().all(|piece| {
            let (start, count) = halves(*piece);
            let Some((code, rest)) = units.split_at_checked(count.into()) else { return false };
            units = rest;
            let Some(most) = UNITS_OF_PAGE.checked_sub(start.into()) else { return false };
            let (here, beyond) = code.split_at(code.len().min(most));
            let goes_on =
                || second.is_some_and(|second| beyond.len() == 1 && ram.holds(second & PAGE, beyond));
            ram.holds(key.physical & PAGE | (u64::from(start) * 2), here) && (beyond.is_empty() || goes_on())
        })
    }

    /// Which pieces of its page it lies in ([`Compiled::code`]).
    fn code(&self) -> u64 {
        self.pieces.iter().fold(0, |code, piece| {
            let (start, count) = halves(*piece);
            let [start, end] = [start, start.saturating_add(count)].map(|unit| u64::from(unit) * 2);
            code | if start < end && start < cache::PAGE { pieces(0, start..=end - 1) } else { 0 }
        })
    }

    /// What was made of it; `None` if that makes no sense.
    pub fn decode<'b>(&self, buffers: &'b mut Buffers) -> Option<Compiled<'b>>
    where
        'a: 'b,
    {
        let Buffers { faults, exits } = buffers;
        faults.clear();
        exits.clear();
        let mut rest = Words(self.rest);
        for _ in 0..self.exits {
            exits.push(self.exit(&mut rest)?);
        }
        for _ in 0..self.faults {
            faults.push(self.fault(&mut rest)?);
        }
        Some(Compiled {
            words: self.words,
            faults,
            exits,
            guest_instructions: self.instructions.into(),
            code: self.code(),
            starts: &[],
            main: 0,
            uses_float: false,
        })
    }

    fn has_word(&self, index: u16) -> bool {
        usize::from(index) < self.words.len()
    }

    fn exit(&self, words: &mut Words<'_>) -> Option<Exit> {
        let (branch, stub) = halves(words.word()?);
        let what = words.word()?;
        let high = what >> 16;
        let pc = self.pc & PAGE | u64::from(high & 0xfff);
        let kind = match what & kind::MASK {
            kind::JUMP => ExitKind::Jump { target: pc, backward: what & kind::BACKWARD != 0 },
            kind::FAR => {
                let slot = (what & kind::SLOT != 0).then_some(high);
                let is_slot = slot.is_none_or(|slot| (slot as usize) < SLOTS);
                ExitKind::FarMiss { target: words.double()?, slot: is_slot.then_some(slot)? }
            }
            kind::INDIRECT => ExitKind::Indirect,
            kind::INTERPRET => ExitKind::Interpret { pc },
            kind::ATTENTION => ExitKind::Attention { pc },
            kind::FLOAT => ExitKind::Float { pc },
            _ => return None,
        };
        let branch = (branch != NONE).then_some(branch);
        // Behind the stub's call is the number of the way out.
        let is_inside =
            branch.is_none_or(|branch| self.has_word(branch)) && self.has_word(stub.checked_add(1)?);
        is_inside.then_some(Exit { branch, stub, kind })
    }

    fn fault(&self, words: &mut Words<'_>) -> Option<Fault> {
        let (first, retired) = (words.word()?, words.word()?);
        let (word, high) = halves(first);
        let pending = if first & fault::PENDING != 0 { words.word()? } else { 0 };
        let floats = match first & fault::FLOATS {
            0 => Pending::default(),
            _ => Pending::from_words([words.word()?, words.word()?])?,
        };
        let retired = u16::try_from(retired).ok()?;
        self.has_word(word).then_some(Fault { word, offset: high & 0xfff, retired, pending, floats })
    }
}

/// Buffers for what is read of a block. One is kept.
#[derive(Debug, Default)]
pub struct Buffers {
    faults: Vec<Fault>,
    exits: Vec<Exit>,
}
