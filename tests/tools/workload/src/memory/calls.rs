//! Functions that call themselves.

use core::hint::black_box;

/// A round of it: both results.
pub fn round() -> u64 {
    fibonacci(black_box(24)) << 32 | ackermann(black_box(2), black_box(200))
}

#[inline(never)]
fn fibonacci(n: u64) -> u64 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

#[inline(never)]
fn ackermann(m: u64, n: u64) -> u64 {
    match (m, n) {
        (0, n) => n + 1,
        (m, 0) => ackermann(m - 1, 1),
        (m, n) => ackermann(m - 1, ackermann(m, n - 1)),
    }
}
