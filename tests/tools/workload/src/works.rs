//! Work whose result is known.

use crate::{
    float::{linpack, whetstone},
    integer,
    memory::{calls, compress, sort, words},
};

/// Some work, done in rounds that are all the same.
#[derive(Debug)]
pub struct Work {
    /// What it is measured with.
    pub group: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// A round of it.
    pub round: fn() -> u64,
    /// What a round must come to.
    pub result: u64,
}

const fn work(group: &'static str, name: &'static str, round: fn() -> u64, result: u64) -> Work {
    Work { group, name, round, result }
}

/// Integers: what [`integer`] does.
pub const CORE: Work = work("core", "core", integer::round, 0xb0ae);

/// All of it.
pub const WORKS: [Work; 7] = [
    CORE,
    work("float", "linpack", linpack::round, 0x2ac3_0c1a_4f53_00db),
    work("float", "whetstone", whetstone::round, 0xc3f1_1e31_c99b_523f),
    work("memory", "sort", sort::round, 0xdde1_11c7_da00_bf24),
    work("memory", "compress", compress::round, 0xa2d1_8ead_2a28_b321),
    work("memory", "words", words::round, 0xecb4_c214_3407_334c),
    work("memory", "calls", calls::round, 0xb520_0000_0193),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_the_known_ones() {
        for work in &WORKS {
            assert_eq!((work.round)(), work.result, "{}", work.name);
        }
    }
}
