//! M: multiplication and division.

use super::check::{Checks, binary};

const fn word(value: u32) -> u64 {
    value as i32 as i64 as u64
}

/// The upper half of a product.
const fn high(product: i128) -> u64 {
    (product >> 64) as u64
}

/// Checks them all. Division by zero and overflow do not trap: they have results.
pub fn check(checks: &mut Checks) {
    binary!(checks, "mul", |a, b| a.wrapping_mul(b));
    binary!(checks, "mulh", |a, b| high(a as i64 as i128 * b as i64 as i128));
    binary!(checks, "mulhsu", |a, b| high(a as i64 as i128 * b as i128));
    binary!(checks, "mulhu", |a, b| (((a as u128) * b as u128) >> 64) as u64);
    binary!(checks, "mulw", |a, b| word((a as u32).wrapping_mul(b as u32)));
    binary!(checks, "div", |a, b| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 });
    binary!(checks, "divu", |a, b| match b {
        0 => u64::MAX,
        b => a / b,
    });
    binary!(checks, "rem", |a, b| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 });
    binary!(checks, "remu", |a, b| if b == 0 { a } else { a % b });
    binary!(checks, "divw", |a, b| match b as i32 {
        0 => u64::MAX,
        b => word((a as i32).wrapping_div(b) as u32),
    });
    binary!(checks, "divuw", |a, b| match b as u32 {
        0 => u64::MAX,
        b => word(a as u32 / b),
    });
    binary!(checks, "remw", |a, b| match b as i32 {
        0 => word(a as u32),
        b => word((a as i32).wrapping_rem(b) as u32),
    });
    binary!(checks, "remuw", |a, b| word(if b as u32 == 0 { a as u32 } else { a as u32 % b as u32 }));
}
