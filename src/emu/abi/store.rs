//! Saved translations: the heads of a store and of a recording, which EL2 and tools look at. What is behind them is the
//! translator's (`jit::store`); `docs/aot.md` has the whole format.
//!
//! Both are words of 32 bits, little-endian.

use core::fmt;

/// The version of both formats.
pub const STORE_VERSION: u32 = 1;

/// What the first two words of a store are: "PolyAOT1".
pub const STORE_MAGIC: [u32; 2] = magic(*b"PolyAOT1");
/// What the first two words of a recording are: "PolyRec1".
pub const RECORDING_MAGIC: [u32; 2] = magic(*b"PolyRec1");

const fn magic([a, b, c, d, e, f, g, h]: [u8; 8]) -> [u32; 2] {
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Bits of [`StoreHeader::features`]: what translations need of the CPU beyond Armv8.0. FEAT_LSE, FEAT_PMULL.
pub const FEATURE_LSE: u32 = 1 << 0;
/// See [`FEATURE_LSE`].
pub const FEATURE_PMULL: u32 = 1 << 1;

/// Those that a CPU has whose ID_AA64ISAR0_EL1 this is.
pub const fn cpu_features(isar0: u64) -> u32 {
    /// Fields Atomic and AES (DDI 0487 D24.2.73): 2 is FEAT_LSE, and FEAT_PMULL.
    const ATOMIC: u32 = 20;
    const AES: u32 = 4;
    let lse = if isar0 >> ATOMIC & 0xf >= 2 { FEATURE_LSE } else { 0 };
    let pmull = if isar0 >> AES & 0xf >= 2 { FEATURE_PMULL } else { 0 };
    lse | pmull
}

/// A digest of an engine's image, by SHA-256.
pub type EngineDigest = [u8; 32];

/// What a store begins with. Its last word is the CRC-32 of all bytes before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHeader {
    /// What the CPU must have.
    pub features: u32,
    /// The engine that its code belongs to.
    pub engine: EngineDigest,
    /// Words of the whole store.
    pub words: u32,
    /// How many blocks there are.
    pub blocks: u32,
    /// How many slots of jump tables are assigned.
    pub slots: u32,
    /// How many heads of lists of blocks there are, a power of two.
    pub buckets: u32,
}

impl StoreHeader {
    /// How many words it takes.
    pub const WORDS: usize = 16;

    /// As words.
    pub fn encode(&self) -> [u32; Self::WORDS] {
        let [a, b] = STORE_MAGIC;
        let mut words = [0; Self::WORDS];
        words[..4].copy_from_slice(&[a, b, STORE_VERSION, self.features]);
        let (engine, _) = self.engine.as_chunks::<4>();
        words.iter_mut().skip(4).zip(engine).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
        words[12..].copy_from_slice(&[self.words, self.blocks, self.slots, self.buckets]);
        words
    }

    /// What a store of so many words in all begins with.
    ///
    /// # Errors
    /// It is none that can be read.
    pub fn decode(head: &[u32; Self::WORDS], len: usize) -> Result<Self, Unfit> {
        let [a, b, version, features, engine @ .., words, blocks, slots, buckets] = *head;
        let engine: [u32; 8] = engine;
        if [a, b] != STORE_MAGIC {
            return Err(Unfit::NoStore);
        }
        if version != STORE_VERSION {
            return Err(Unfit::Version { found: version });
        }
        if words as usize != len {
            return Err(Unfit::Length { found: len, expected: words });
        }
        let mut digest = [0; 32];
        let (chunks, _) = digest.as_chunks_mut::<4>();
        chunks.iter_mut().zip(engine).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
        Ok(Self { features, engine: digest, words, blocks, slots, buckets })
    }

    /// Looks whether `bytes` are a store for this engine and a CPU with `features`, and undamaged; `crc` is CRC-32.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn check(
        bytes: &[u8],
        engine: &EngineDigest,
        features: u32,
        crc: impl FnOnce(&[u8]) -> u32,
    ) -> Result<Self, Unfit> {
        let (words, []) = bytes.as_chunks::<4>() else { return Err(Unfit::NoStore) };
        let head: Option<&[[u8; 4]; Self::WORDS]> = words.first_chunk();
        let (Some(head), Some(sum)) = (head, words.last()) else { return Err(Unfit::NoStore) };
        let header = Self::decode(&head.map(u32::from_le_bytes), words.len())?;
        if header.engine != *engine {
            return Err(Unfit::Engine { found: header.engine, expected: *engine });
        }
        if header.features & !features != 0 {
            return Err(Unfit::Features { found: header.features, has: features });
        }
        let expected = u32::from_le_bytes(*sum);
        let found = crc(bytes.get(..bytes.len() - size_of_val(sum)).unwrap_or_default());
        if found != expected { Err(Unfit::Checksum { found, expected }) } else { Ok(header) }
    }
}

/// Why translations cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// They are something else.
    NoStore,
    /// Of another version.
    Version {
        /// This one.
        found: u32,
    },
    /// More or less than it says itself.
    Length {
        /// Words that are there.
        found: usize,
        /// Words that it says there are.
        expected: u32,
    },
    /// Made with another engine.
    Engine {
        /// This one.
        found: EngineDigest,
        /// The one that is to use it.
        expected: EngineDigest,
    },
    /// For a CPU that has more.
    Features {
        /// Such a one.
        found: u32,
        /// What the CPU has.
        has: u32,
    },
    /// Damaged.
    Checksum {
        /// The CRC-32 of what is there.
        found: u32,
        /// What it is to be.
        expected: u32,
    },
}

/// The beginning of a digest: enough to tell two apart.
struct Short<'a>(&'a EngineDigest);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStore => f.write_str("they are no saved translations"),
            Self::Version { found } => {
                write!(f, "they have format version {found}, only version {STORE_VERSION} is understood")
            }
            Self::Length { found, expected } => {
                write!(f, "they have {found} words, and should have {expected}")
            }
            Self::Engine { found, expected } => write!(
                f,
                "they were made with the engine {}..., and this one is {}...",
                Short(found),
                Short(expected)
            ),
            Self::Features { found, has } => {
                write!(f, "they need CPU features {found:#x} (1: LSE, 2: PMULL), and this one has {has:#x}")
            }
            Self::Checksum { found, expected } => {
                write!(f, "they are corrupt: CRC-32 is {found:#010x} instead of {expected:#010x}")
            }
        }
    }
}

impl core::error::Error for Unfit {}

/// What a recording begins with. The entries follow, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingHeader {
    /// What the CPU has.
    pub features: u32,
    /// Words that are used, this header included.
    pub words: u32,
    /// How many blocks there are.
    pub blocks: u32,
    /// There was no room for more.
    pub full: bool,
}

impl RecordingHeader {
    /// How many words it takes.
    pub const WORDS: usize = 8;

    /// As words.
    pub const fn encode(&self) -> [u32; Self::WORDS] {
        let [a, b] = RECORDING_MAGIC;
        [a, b, STORE_VERSION, self.features, self.words, self.blocks, self.full as u32, 0]
    }

    /// What [`RecordingHeader::encode`] has made; `None` if that is none.
    pub fn decode(words: &[u32; Self::WORDS]) -> Option<Self> {
        let [a, b, version, features, words, blocks, full, _] = *words;
        let is_one = [a, b] == RECORDING_MAGIC && version == STORE_VERSION;
        is_one.then_some(Self { features, words, blocks, full: full != 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const HEADER: StoreHeader =
        StoreHeader { features: 1, engine: [7; 32], words: 17, blocks: 1, slots: 2, buckets: 4 };

    fn sum(bytes: &[u8]) -> u32 {
        bytes.iter().fold(1, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
    }

    fn store(header: &StoreHeader) -> Vec<u8> {
        let mut bytes: Vec<u8> = header.encode().iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(sum(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn a_store_is_for_its_engine_and_cpus_that_have_enough() {
        let check = |bytes: &[u8], features| StoreHeader::check(bytes, &[7; 32], features, sum);
        let bytes = store(&HEADER);
        assert_eq!(check(&bytes, FEATURE_LSE | FEATURE_PMULL), Ok(HEADER));
        assert_eq!(check(&bytes, FEATURE_PMULL), Err(Unfit::Features { found: 1, has: 2 }));
        let other = store(&StoreHeader { engine: [8; 32], ..HEADER });
        let unfit = Unfit::Engine { found: [8; 32], expected: [7; 32] };
        assert_eq!(check(&other, 1), Err(unfit));
        let longer = store(&StoreHeader { words: 18, ..HEADER });
        assert_eq!(check(&longer, 1), Err(Unfit::Length { found: 17, expected: 18 }));
        assert_eq!(check(&bytes[..64], 1), Err(Unfit::Length { found: 16, expected: 17 }));
        assert_eq!(check(&bytes[..63], 1), Err(Unfit::NoStore));
        assert_eq!(check(&[], 1), Err(Unfit::NoStore));
    }

    #[test]
    fn features_are_told_by_their_fields() {
        // Atomic is 0 or 2, AES 0 to 2: 1 has no PMULL.
        let expected = [(0, 0), (2 << 20, FEATURE_LSE), (1 << 4, 0), (2 << 4, FEATURE_PMULL)];
        assert!(expected.into_iter().all(|(isar0, features)| cpu_features(isar0) == features));
        assert_eq!(cpu_features(u64::MAX), FEATURE_LSE | FEATURE_PMULL);
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let bytes = store(&HEADER);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(StoreHeader::check(&damaged, &[7; 32], u32::MAX, sum).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_recording_says_what_is_in_it() {
        let header = RecordingHeader { features: 3, words: 100, blocks: 7, full: true };
        let mut words = header.encode();
        assert_eq!(RecordingHeader::decode(&words), Some(header));
        words[1] ^= 1;
        assert_eq!(RecordingHeader::decode(&words), None);
    }
}
