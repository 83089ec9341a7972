//! Three judges: exact rational arithmetic on formats so small that every operand can be tried
//! ([`exhaustive`]), the host's hardware on the formats that guests use ([`host`], and with flags and
//! rounding modes [`x86`]), and the vectors of the specification ([`vectors`]).

mod exhaustive;
mod host;
mod model;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86;

use proptest::prelude::*;

use super::{Context, Double, Flags, Format, NanRule, Rounding, Single};

const ROUNDINGS: [Rounding; 5] =
    [Rounding::NearestEven, Rounding::TowardZero, Rounding::Down, Rounding::Up, Rounding::NearestAway];

/// What `operation` returns and raises, with RISC-V's NaNs.
fn run<T>(rounding: Rounding, operation: impl FnOnce(&mut Context) -> T) -> (T, Flags) {
    let mut context = Context::new(rounding, NanRule::Canonical);
    let result = operation(&mut context);
    (result, context.flags)
}

/// Encodings of which many are special, extreme, near to each other or short, so that they overflow,
/// underflow, cancel and tie.
fn encodings<F: Format>() -> impl Strategy<Value = F::Bits> + use<F>
where
    F::Bits: std::fmt::Debug,
{
    let (max, bias) = ((1u64 << F::EXPONENT) - 1, F::MAX_EXPONENT as u64);
    // Around what integers have, and what cancels.
    let near_one = bias - 66..bias + 66;
    let exponent = prop_oneof![
        1 => Just(max),
        2 => 0..3u64,
        1 => max - 3..max,
        3 => near_one,
        1 => bias / 2 - 2..bias / 2 + 2,
        1 => 0..max,
    ];
    let fraction = prop_oneof![
        1 => Just(0),
        1 => Just(F::FRACTION_MASK),
        1 => (0..F::FRACTION).prop_map(|bit| 1 << bit),
        1 => (0..F::FRACTION).prop_map(|bit| F::FRACTION_MASK << bit & F::FRACTION_MASK),
        1 => 0..4u64,
        2 => 0..F::FRACTION_MASK,
    ];
    (any::<bool>(), exponent, fraction)
        .prop_map(|(negative, exponent, fraction)| F::signed(negative, exponent << F::FRACTION | fraction))
}

fn singles() -> impl Strategy<Value = u32> {
    encodings::<Single>()
}

fn doubles() -> impl Strategy<Value = u64> {
    encodings::<Double>()
}
