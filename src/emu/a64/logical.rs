//! The immediates of logical instructions (C3.4.2, and the pseudocode `DecodeBitMasks`).

use super::Bits;

/// The fields `N`, `immr` and `imms`, as they lie from bit 10 on, for a `value` that is an immediate of a logical
/// instruction: copies of an element of 2, 4, 8, 16, 32 or 64 bits, in which a run of ones, at least one and not all,
/// is rotated. Of the narrow ones, the low half of `value` counts.
pub(super) fn encode(bits: Bits, value: u64) -> Option<u32> {
    let value = match bits {
        Bits::W64 => value,
        Bits::W32 => value & 0xffff_ffff | value << 32,
    };
    if value == 0 || value == u64::MAX {
        return None;
    }
    let mut size = 64;
    while size > 2 && value.rotate_left(size / 2) == value {
        size /= 2;
    }
    // How far to the right the run, at the right end of the element, was rotated.
    let rotation =
        if value & 1 == 0 { size - value.trailing_zeros() } else { value.leading_ones() } & (size - 1);
    let run = value.rotate_left(rotation) << (64 - size) >> (64 - size);
    if run & (run + 1) != 0 {
        return None;
    }
    let ones = run.trailing_ones();
    let n = u32::from(size == 64);
    // Ones above the bits of the count, but for a zero, tell the size.
    let imms = !(2 * size - 1) & 0x3f | (ones - 1);
    Some(n << 22 | rotation << 16 | imms << 10)
}
