//! A quick hash.

/// Spreads a number over 64 bits: Fibonacci hashing (Knuth, The Art of Computer Programming 6.4). The highest bits are the best
/// ones.
pub const fn spread(number: u64) -> u64 {
    // 2^64 divided by the golden ratio.
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
