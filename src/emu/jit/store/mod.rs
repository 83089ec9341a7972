//! Translations that outlast a run: recorded in one, found again by their guest code in others.
//!
//! | module | is about |
//! |---|---|
//! | [`block`] | one block as words |
//! | [`capture`] | the guest code that a block is made of |
//! | [`recording`] | what a run translates, appended to memory |
//! | [`writer`] | from a recording to a store |
//! | [`reader`] | a store, read where it lies |
//!
//! A store's header is [`polyvisor_cell_abi::StoreHeader`]. `docs/aot.md` describes the format, and how the parts work
//! together.

mod block;
mod capture;
mod reader;
mod recording;
mod writer;

pub use block::Buffers;
pub use capture::Capture;
pub use reader::{Store, Stored};
pub use recording::Recording;
pub use writer::{Malformed, assemble};

use polyvisor_cell_abi::{FEATURE_LSE, FEATURE_PMULL};

use super::compile::Features;
use crate::hash;

/// As [`StoreHeader::features`](polyvisor_cell_abi::StoreHeader::features) has them.
pub fn feature_bits(features: Features) -> u32 {
    let Features { lse, pmull } = features;
    [(lse, FEATURE_LSE), (pmull, FEATURE_PMULL)].iter().filter(|(has, _)| *has).map(|(_, bit)| bit).sum()
}

/// Where the lists of a store's blocks begin: which of so many heads, a power of two, has those of `pc` in `context`.
fn bucket(pc: u64, context: u32, buckets: u32) -> usize {
    let hash = hash::spread(pc ^ u64::from(context).rotate_left(48)) >> 32;
    hash as usize & (buckets.saturating_sub(1)) as usize
}
