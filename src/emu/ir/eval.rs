//! What the operations mean. The optimiser and the interpreter both compute with these functions, so that each meaning is
//! written once; given a constant operation, they come down to an instruction or a few.

use super::{AtomicOp, BinaryOp, Condition, UnaryOp, Width};
use crate::memory::Size;

/// The quiet NaN of binary32 that is not NaN-boxed (RISC-V Unprivileged ISA 21.3).
pub const CANONICAL_NAN: u64 = 0x7fc0_0000;
/// The high half of a NaN-boxed binary32.
pub const BOX: u64 = 0xffff_ffff_0000_0000;

/// `op(a)`.
#[inline(always)]
pub fn unary(op: UnaryOp, width: Width, a: u64) -> u64 {
    match width {
        Width::W64 => unary64(op, a),
        Width::S32 => sign_extend32(unary32(op, a as u32)),
        Width::U32 => u64::from(unary32(op, a as u32)),
    }
}

/// `op(a, b)`.
#[inline(always)]
pub fn binary(op: BinaryOp, width: Width, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => binary64(op, a, b),
        Width::S32 => sign_extend32(binary32(op, a as u32, b as u32)),
        Width::U32 => u64::from(binary32(op, a as u32, b as u32)),
    }
}

/// What an atomic operation stores, where `old` is. The bits above `size` have no meaning.
pub fn atomic(op: AtomicOp, size: Size, old: u64, value: u64) -> u64 {
    let op = match op {
        AtomicOp::Swap => return value,
        AtomicOp::Add => BinaryOp::Add,
        AtomicOp::And => BinaryOp::And,
        AtomicOp::Or => BinaryOp::Or,
        AtomicOp::Xor => BinaryOp::Xor,
        AtomicOp::Min => BinaryOp::Min,
        AtomicOp::MinUnsigned => BinaryOp::MinUnsigned,
        AtomicOp::Max => BinaryOp::Max,
        AtomicOp::MaxUnsigned => BinaryOp::MaxUnsigned,
    };
    binary(op, if size == Size::Word { Width::S32 } else { Width::W64 }, old, value)
}

/// Whether `condition(a, b)`.
#[inline(always)]
pub fn compare(condition: Condition, a: u64, b: u64) -> bool {
    match condition {
        Condition::Equal => a == b,
        Condition::NotEqual => a != b,
        Condition::Less => (a as i64) < b as i64,
        Condition::GreaterEqual => a as i64 >= b as i64,
        Condition::Below => a < b,
        Condition::AboveEqual => a >= b,
    }
}

#[inline(always)]
fn sign_extend32(a: u32) -> u64 {
    a as i32 as u64
}

#[inline(always)]
fn unary64(op: UnaryOp, a: u64) -> u64 {
    match op {
        UnaryOp::Move => a,
        UnaryOp::LeadingZeros => u64::from(a.leading_zeros()),
        UnaryOp::TrailingZeros => u64::from(a.trailing_zeros()),
        UnaryOp::CountOnes => u64::from(a.count_ones()),
        UnaryOp::SwapBytes => a.swap_bytes(),
        UnaryOp::ReverseBitsInBytes => a.reverse_bits().swap_bytes(),
        UnaryOp::SaturateBytes => saturate_bytes(a),
        UnaryOp::SignExtend8 => a as i8 as u64,
        UnaryOp::SignExtend16 => a as i16 as u64,
        UnaryOp::ZeroExtend8 => u64::from(a as u8),
        UnaryOp::ZeroExtend16 => u64::from(a as u16),
        UnaryOp::BoxSingle => a | BOX,
        UnaryOp::UnboxSingle => {
            if a & BOX == BOX {
                u64::from(a as u32)
            } else {
                CANONICAL_NAN
            }
        }
    }
}

#[inline(always)]
fn unary32(op: UnaryOp, a: u32) -> u32 {
    match op {
        UnaryOp::LeadingZeros => a.leading_zeros(),
        UnaryOp::TrailingZeros => a.trailing_zeros(),
        UnaryOp::SwapBytes => a.swap_bytes(),
        UnaryOp::ReverseBitsInBytes => a.reverse_bits().swap_bytes(),
        // 32 bits have no room for a box: such an operand is not boxed.
        UnaryOp::BoxSingle
        | UnaryOp::UnboxSingle
        | UnaryOp::Move
        | UnaryOp::CountOnes
        | UnaryOp::SaturateBytes
        | UnaryOp::SignExtend8
        | UnaryOp::SignExtend16
        | UnaryOp::ZeroExtend8
        | UnaryOp::ZeroExtend16 => unary64(op, u64::from(a)) as u32,
    }
}

/// Each byte that is not zero becomes 0xff.
#[inline(always)]
fn saturate_bytes(a: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The top bit of each byte: whether the byte is not zero. The sum does not carry over.
    let tops = (((a & LOW) + LOW) | a) & !LOW;
    (tops >> 7) * 0xff
}

#[inline(always)]
fn binary64(op: BinaryOp, a: u64, b: u64) -> u64 {
    match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::And => a & b,
        BinaryOp::Or => a | b,
        BinaryOp::Xor => a ^ b,
        BinaryOp::AndNot => a & !b,
        BinaryOp::OrNot => a | !b,
        BinaryOp::XorNot => !(a ^ b),
        BinaryOp::ShiftLeft => a.wrapping_shl(b as u32),
        BinaryOp::ShiftRight => a.wrapping_shr(b as u32),
        BinaryOp::ShiftRightSigned => (a as i64).wrapping_shr(b as u32) as u64,
        BinaryOp::RotateRight => a.rotate_right(b as u32 & 63),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::MulHigh => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
        BinaryOp::MulHighSignedUnsigned => ((i128::from(a as i64) * i128::from(b)) >> 64) as u64,
        BinaryOp::MulHighUnsigned => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        BinaryOp::Div if b == 0 => u64::MAX,
        BinaryOp::Div => (a as i64).wrapping_div(b as i64) as u64,
        BinaryOp::DivUnsigned => a.checked_div(b).unwrap_or(u64::MAX),
        BinaryOp::Rem if b == 0 => a,
        BinaryOp::Rem => (a as i64).wrapping_rem(b as i64) as u64,
        BinaryOp::RemUnsigned => a.checked_rem(b).unwrap_or(a),
        BinaryOp::Min => (a as i64).min(b as i64) as u64,
        BinaryOp::MinUnsigned => a.min(b),
        BinaryOp::Max => (a as i64).max(b as i64) as u64,
        BinaryOp::MaxUnsigned => a.max(b),
        BinaryOp::CarrylessMul => carryless_product(a, b) as u64,
        BinaryOp::CarrylessMulHigh => (carryless_product(a, b) >> 64) as u64,
    }
}

#[inline(always)]
fn binary32(op: BinaryOp, a: u32, b: u32) -> u32 {
    let (signed_a, signed_b) = (a as i32, b as i32);
    match op {
        BinaryOp::ShiftLeft => a.wrapping_shl(b),
        BinaryOp::ShiftRight => a.wrapping_shr(b),
        BinaryOp::ShiftRightSigned => signed_a.wrapping_shr(b) as u32,
        BinaryOp::RotateRight => a.rotate_right(b & 31),
        BinaryOp::MulHigh => ((i64::from(signed_a) * i64::from(signed_b)) >> 32) as u32,
        BinaryOp::MulHighSignedUnsigned => ((i64::from(signed_a) * i64::from(b)) >> 32) as u32,
        BinaryOp::MulHighUnsigned => ((u64::from(a) * u64::from(b)) >> 32) as u32,
        BinaryOp::Div if b == 0 => u32::MAX,
        BinaryOp::Div => signed_a.wrapping_div(signed_b) as u32,
        BinaryOp::DivUnsigned => a.checked_div(b).unwrap_or(u32::MAX),
        BinaryOp::Rem if b == 0 => a,
        BinaryOp::Rem => signed_a.wrapping_rem(signed_b) as u32,
        BinaryOp::RemUnsigned => a.checked_rem(b).unwrap_or(a),
        BinaryOp::Min => signed_a.min(signed_b) as u32,
        BinaryOp::Max => signed_a.max(signed_b) as u32,
        BinaryOp::CarrylessMulHigh => (carryless_product(u64::from(a), u64::from(b)) >> 32) as u32,
        // The low 32 bits of what 64 give, of operands with zeros above.
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Xor
        | BinaryOp::AndNot
        | BinaryOp::OrNot
        | BinaryOp::XorNot
        | BinaryOp::Mul
        | BinaryOp::MinUnsigned
        | BinaryOp::MaxUnsigned
        | BinaryOp::CarrylessMul => binary64(op, u64::from(a), u64::from(b)) as u32,
    }
}

#[inline(never)]
fn carryless_product(a: u64, b: u64) -> u128 {
    // The multiples of `a` by all numbers of four bits; then four bits of `b` at a time, from the top.
    let mut multiples = [0; 16];
    for by in 1..16 {
        multiples[by] = multiples[by / 2] << 1 ^ if by % 2 == 0 { 0 } else { u128::from(a) };
    }
    (0..16).rev().fold(0, |product, digit| product << 4 ^ multiples[(b >> (4 * digit)) as usize % 16])
}
