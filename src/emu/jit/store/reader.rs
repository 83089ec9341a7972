//! A store, read where it lies.

use polyvisor_cell_abi::StoreHeader;

use super::block::{self, Encoded};
use super::{bucket, feature_bits};
use crate::jit::compile::{Compiled, Features};
use crate::jit::trace::Source;

use super::Buffers;

/// Words of a slot: its target and its context.
pub const SLOT_WORDS: usize = 3;

/// A store. Its header has been checked, and nothing else: what is wrong besides is found where it is read.
#[derive(Debug, Clone, Copy)]
pub struct Store<'a> {
    words: &'a [u32],
    slots: &'a [u32],
    heads: &'a [u32],
    blocks: u32,
}

impl<'a> Store<'a> {
    /// The store that `words` are, if a CPU with `features` can execute its code. That it belongs to this engine, and is
    /// undamaged, is for [`StoreHeader::check`].
    pub fn open(words: &'a [u32], features: Features) -> Option<Self> {
        let (head, rest) = words.split_first_chunk()?;
        let header = StoreHeader::decode(head, words.len()).ok()?;
        let (slots, rest) = rest.split_at_checked((header.slots as usize).checked_mul(SLOT_WORDS)?)?;
        let heads = rest.get(..header.buckets as usize)?;
        let is_for_cpu = header.features & !feature_bits(features) == 0;
        (is_for_cpu && header.buckets.is_power_of_two()).then_some(Self {
            words,
            slots,
            heads,
            blocks: header.blocks,
        })
    }

    /// How many blocks there are.
    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The targets and contexts of slots, in the order of their numbers.
    pub fn slots(&self) -> impl Iterator<Item = (u64, u32)> {
        let (slots, _) = self.slots.as_chunks::<SLOT_WORDS>();
        slots.iter().map(|[low, high, context]| (u64::from(*low) | u64::from(*high) << 32, *context))
    }

    /// The blocks at `pc` in `context`, each made of other code.
    pub fn candidates(&self, pc: u64, context: u32) -> impl Iterator<Item = Stored<'a>> + use<'a> {
        let Self { words, heads, .. } = *self;
        let mut at = heads.get(bucket(pc, context, heads.len() as u32)).copied().unwrap_or(0);
        core::iter::from_fn(move || {
            loop {
                let (next, block) = words.get(at as usize..).filter(|_| at != 0)?.split_first()?;
                // Lists go upwards, so that they have an end.
                at = if *next > at { *next } else { 0 };
                if block::key(block)? == (pc, context) {
                    return Some(Stored(Encoded::parse(block)?));
                }
            }
        })
    }
}

/// A block of a store.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a>(Encoded<'a>);

impl<'a> Stored<'a> {
    /// Whether its first instruction goes on on the next page.
    pub fn goes_on(&self) -> bool {
        self.0.goes_on()
    }

    /// Whether the code at `source` is what the block was made of.
    pub fn is_made_of(&self, source: &Source) -> bool {
        self.0.is_made_of(source)
    }

    /// The block; `None` if it makes no sense.
    pub fn decode<'b>(&self, buffers: &'b mut Buffers) -> Option<Compiled<'b>>
    where
        'a: 'b,
    {
        self.0.decode(buffers)
    }
}
