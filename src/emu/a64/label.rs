//! Labels and what refers to them.

use super::Assembler;
use crate::bounded::Bounded;

/// A place in the code, which may be used before it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label(u32);

/// An instruction does not reach the place that it refers to, or there was no room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

/// Where an instruction keeps the distance of its label.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    /// `imm14` of TBZ: words, from bit 5 on.
    Imm14,
    /// `imm19` of B.cond, CBZ and LDR (literal): words, from bit 5 on.
    Imm19,
    /// `imm26` of B: words, from bit 0 on.
    Imm26,
    /// `immlo` and `immhi` of ADR: 21 bits that count bytes, the lowest two in bits 29 and 30, the others from bit 5 on.
    Adr,
}

impl Field {
    /// The field for a distance of as many words; `None` if it is too large.
    const fn encode(self, words: i64) -> Option<u32> {
        match self {
            Self::Imm14 => field(words, 14, 5),
            // Bytes that are a multiple of 4: `immlo` is 0, and `immhi` counts words.
            Self::Imm19 | Self::Adr => field(words, 19, 5),
            Self::Imm26 => field(words, 26, 0),
        }
    }
}

/// `value` as a signed number of `width` bits from the bit `at` on; `None` if it has more.
pub(super) const fn field(value: i64, width: u32, at: u32) -> Option<u32> {
    let half = 1 << (width - 1);
    if -half <= value && value < half { Some(((value & (2 * half - 1)) as u32) << at) } else { None }
}

/// The labels of a piece of code, and the instructions that refer to them.
#[derive(Debug)]
pub(super) struct Labels {
    /// By the number of the label: the word that it is bound to.
    places: Bounded<Option<u32>>,
    uses: Bounded<Use>,
}

/// How many labels a piece of code may have, and how often they may be referred to.
const ROOM: usize = 1 << 12;

#[derive(Debug)]
struct Use {
    at: usize,
    label: Label,
    field: Field,
}

impl Labels {
    pub(super) fn new() -> Self {
        Self { places: Bounded::new(ROOM), uses: Bounded::new(ROOM) }
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.uses.clear();
    }

    pub(super) fn create(&mut self) -> Label {
        let label = Label(self.places.len() as u32);
        self.places.push(None);
        label
    }

    pub(super) fn bind(&mut self, label: Label, at: usize) {
        if let Some(place) = self.places.get_mut(label.0 as usize) {
            *place = Some(at as u32);
        }
    }

    fn place(&self, label: Label) -> Option<u32> {
        self.places.get(label.0 as usize).copied().flatten()
    }

    /// Writes the distances into the instructions.
    pub(super) fn resolve(&mut self, words: &mut [u32]) -> Result<(), OutOfRange> {
        for &Use { at, label, field } in self.uses.iter() {
            let place = self.place(label).ok_or(OutOfRange)?;
            let distance = i64::from(place) - at as i64;
            let word = words.get_mut(at).ok_or(OutOfRange)?;
            *word |= field.encode(distance).ok_or(OutOfRange)?;
        }
        let is_complete = self.uses.is_complete();
        self.uses.clear();
        if is_complete { Ok(()) } else { Err(OutOfRange) }
    }
}

impl Assembler {
    /// A new label, which is not bound yet.
    pub fn label(&mut self) -> Label {
        self.labels.create()
    }

    /// Binds `label` to the next word.
    pub fn bind(&mut self, label: Label) {
        self.labels.bind(label, self.words.len());
    }

    /// The index of the word that `label` is bound to.
    pub fn at(&self, label: Label) -> Option<usize> {
        self.labels.place(label).map(|place| place as usize)
    }

    /// Emits `word`, which refers to `label` by a `field` that is 0 yet.
    pub(super) fn refer(&mut self, word: u32, label: Label, field: Field) {
        self.labels.uses.push(Use { at: self.words.len(), label, field });
        self.word(word);
    }
}
