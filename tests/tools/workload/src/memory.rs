//! Work that is bound by memory, unpredictable branches and calls.

pub mod calls;
pub mod compress;
mod huffman;
pub mod sort;
mod table;
pub mod text;
pub mod words;

/// A sum over bytes: FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
