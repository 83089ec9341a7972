//! From a recording to a store.

use alloc::{collections::BTreeSet, vec, vec::Vec};
use core::fmt;

use polyvisor_cell_abi::{EngineDigest, PAGE, RecordingHeader, StoreHeader};

use super::block::Encoded;
use super::{bucket, recording};

/// What is no recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// The index of the word where it makes no sense.
    pub word: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no recording of translations: word {} makes no sense", self.word)
    }
}

impl core::error::Error for Malformed {}

/// The entries of a recording: slots, and blocks.
type Entries<'a> = (Vec<&'a [u32]>, Vec<(&'a [u32], Encoded<'a>)>);

fn entries(words: &[u32]) -> Result<Entries<'_>, Malformed> {
    let (mut slots, mut blocks) = (Vec::new(), Vec::new());
    let mut at = RecordingHeader::WORDS;
    while let Some(&head) = words.get(at) {
        let (malformed, len) = (Malformed { word: at }, (head & !recording::SLOT) as usize);
        let entry = words.get(at + 1..at + len).filter(|_| len != 0).ok_or(malformed)?;
        if head & recording::SLOT != 0 {
            slots.push(entry);
        } else {
            blocks.push((entry, Encoded::parse(entry).ok_or(malformed)?));
        }
        at += len;
    }
    Ok((slots, blocks))
}

/// Makes a store of the recording in `memory`, which was made with this engine; `crc` is CRC-32. What was recorded twice,
/// because it was forgotten and translated again, is in it once.
///
/// # Errors
/// [`Malformed`].
pub fn assemble(
    memory: &[u32],
    engine: EngineDigest,
    crc: impl FnOnce(&[u8]) -> u32,
) -> Result<Vec<u32>, Malformed> {
    let malformed = Malformed { word: 0 };
    let header = memory.first_chunk().and_then(RecordingHeader::decode).ok_or(malformed)?;
    let words = memory.get(..header.words as usize).ok_or(malformed)?;
    let (slots, mut blocks) = entries(words)?;
    let mut seen = BTreeSet::new();
    blocks.retain(|(_, block)| seen.insert((block.pc, block.context, block.guest_code())));
    let buckets = blocks.len().next_power_of_two().max(1) as u32;

    let mut store = vec![0; StoreHeader::WORDS];
    slots.iter().for_each(|slot| store.extend_from_slice(slot));
    let heads = store.len();
    store.resize(heads + buckets as usize, 0);
    // The last word of each list so far: its head, or the first word of a block.
    let mut ends: Vec<usize> = (heads..store.len()).collect();
    for (entry, block) in &blocks {
        let at = store.len();
        if let Some(end) = ends.get_mut(bucket(block.pc, block.context, buckets)) {
            store[core::mem::replace(end, at)] = at as u32;
        }
        store.push(0);
        store.extend_from_slice(entry);
    }
    let whole_pages = (store.len() + 1).next_multiple_of(PAGE as usize / size_of::<u32>());
    store.resize(whole_pages - 1, 0);
    let header = StoreHeader {
        features: header.features,
        engine,
        words: whole_pages as u32,
        blocks: blocks.len() as u32,
        slots: slots.len() as u32,
        buckets,
    };
    store[..StoreHeader::WORDS].copy_from_slice(&header.encode());
    store.push(crc(bytemuck::cast_slice(&store)));
    Ok(store)
}
