//! Zba, Zbb, Zbc, Zbs and Zicond.

use super::check::{Checks, binary, immediate, unary};

const fn word(value: u32) -> u64 {
    value as i32 as i64 as u64
}

/// The lower half of the carry-less product.
const fn carryless(a: u64, b: u64) -> u128 {
    let mut product = 0;
    let mut bit = 0;
    while bit < 64 {
        if b >> bit & 1 == 1 {
            product ^= (a as u128) << bit;
        }
        bit += 1;
    }
    product
}

const fn or_combine(a: u64) -> u64 {
    let mut bytes = a.to_le_bytes();
    let mut i = 0;
    while i < 8 {
        bytes[i] = if bytes[i] == 0 { 0 } else { 0xff };
        i += 1;
    }
    u64::from_le_bytes(bytes)
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    addresses(checks);
    basic(checks);
    rotations(checks);
    single_bits(checks);
    binary!(checks, "clmul", |a, b| carryless(a, b) as u64);
    binary!(checks, "clmulh", |a, b| (carryless(a, b) >> 64) as u64);
    binary!(checks, "clmulr", |a, b| (carryless(a, b) >> 63) as u64);
    binary!(checks, "czero.eqz", |a, b| if b == 0 { 0 } else { a });
    binary!(checks, "czero.nez", |a, b| if b == 0 { a } else { 0 });
}

fn addresses(checks: &mut Checks) {
    binary!(checks, "sh1add", |a, b| (a << 1).wrapping_add(b));
    binary!(checks, "sh2add", |a, b| (a << 2).wrapping_add(b));
    binary!(checks, "sh3add", |a, b| (a << 3).wrapping_add(b));
    binary!(checks, "add.uw", |a, b| (a as u32 as u64).wrapping_add(b));
    binary!(checks, "sh1add.uw", |a, b| ((a as u32 as u64) << 1).wrapping_add(b));
    binary!(checks, "sh2add.uw", |a, b| ((a as u32 as u64) << 2).wrapping_add(b));
    binary!(checks, "sh3add.uw", |a, b| ((a as u32 as u64) << 3).wrapping_add(b));
    immediate!(checks, "slli.uw", [0, 1, 31, 32, 63], |a, i| (a as u32 as u64) << i);
}

fn basic(checks: &mut Checks) {
    binary!(checks, "andn", |a, b| a & !b);
    binary!(checks, "orn", |a, b| a | !b);
    binary!(checks, "xnor", |a, b| !(a ^ b));
    unary!(checks, "clz", |a| a.leading_zeros() as u64);
    unary!(checks, "ctz", |a| a.trailing_zeros() as u64);
    unary!(checks, "cpop", |a| a.count_ones() as u64);
    unary!(checks, "clzw", |a| (a as u32).leading_zeros() as u64);
    unary!(checks, "ctzw", |a| (a as u32).trailing_zeros() as u64);
    unary!(checks, "cpopw", |a| (a as u32).count_ones() as u64);
    binary!(checks, "max", |a, b| if (a as i64) < b as i64 { b } else { a });
    binary!(checks, "maxu", |a, b| if a < b { b } else { a });
    binary!(checks, "min", |a, b| if (a as i64) < b as i64 { a } else { b });
    binary!(checks, "minu", |a, b| if a < b { a } else { b });
    unary!(checks, "sext.b", |a| a as i8 as i64 as u64);
    unary!(checks, "sext.h", |a| a as i16 as i64 as u64);
    unary!(checks, "zext.h", |a| a as u16 as u64);
    unary!(checks, "rev8", |a| a.swap_bytes());
    unary!(checks, "orc.b", |a| or_combine(a));
}

fn rotations(checks: &mut Checks) {
    binary!(checks, "rol", |a, b| a.rotate_left(b as u32 & 63));
    binary!(checks, "ror", |a, b| a.rotate_right(b as u32 & 63));
    binary!(checks, "rolw", |a, b| word((a as u32).rotate_left(b as u32 & 31)));
    binary!(checks, "rorw", |a, b| word((a as u32).rotate_right(b as u32 & 31)));
    immediate!(checks, "rori", [0, 1, 31, 32, 63], |a, i| a.rotate_right(i as u32));
    immediate!(checks, "roriw", [0, 1, 31], |a, i| word((a as u32).rotate_right(i as u32)));
}

fn single_bits(checks: &mut Checks) {
    binary!(checks, "bclr", |a, b| a & !(1 << (b & 63)));
    binary!(checks, "bext", |a, b| a >> (b & 63) & 1);
    binary!(checks, "binv", |a, b| a ^ 1 << (b & 63));
    binary!(checks, "bset", |a, b| a | 1 << (b & 63));
    immediate!(checks, "bclri", [0, 31, 32, 63], |a, i| a & !(1 << i));
    immediate!(checks, "bexti", [0, 31, 32, 63], |a, i| a >> i & 1);
    immediate!(checks, "binvi", [0, 31, 32, 63], |a, i| a ^ 1 << i);
    immediate!(checks, "bseti", [0, 31, 32, 63], |a, i| a | 1 << i);
}
