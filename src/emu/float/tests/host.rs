//! The formats that guests use against the host's own arithmetic, which rounds to the nearest and shows no
//! flags.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::{doubles, run, singles};
use crate::float::{Double, Flags, Negate, Rounding, Single};

const NEAREST: Rounding = Rounding::NearestEven;

/// The bits of a result, where every NaN is RISC-V's.
fn single(result: f32) -> u32 {
    if result.is_nan() { 0x7fc0_0000 } else { result.to_bits() }
}

fn double(result: f64) -> u64 {
    if result.is_nan() { 0x7ff8_0000_0000_0000 } else { result.to_bits() }
}

/// How the host rounds a number to an integral one.
fn integral(rounding: Rounding, x: f64) -> f64 {
    match rounding {
        Rounding::NearestEven => x.round_ties_even(),
        Rounding::TowardZero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
        Rounding::NearestAway => x.round(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn single_arithmetic(a in singles(), b in singles(), c in singles()) {
        let [x, y, z] = [a, b, c].map(f32::from_bits);
        prop_assert_eq!(run(NEAREST, |k| k.add::<Single>(a, b)).0, single(x + y));
        prop_assert_eq!(run(NEAREST, |k| k.sub::<Single>(a, b)).0, single(x - y));
        prop_assert_eq!(run(NEAREST, |k| k.mul::<Single>(a, b)).0, single(x * y));
        prop_assert_eq!(run(NEAREST, |k| k.div::<Single>(a, b)).0, single(x / y));
        prop_assert_eq!(run(NEAREST, |k| k.sqrt::<Single>(a)).0, single(x.sqrt()));
        let fused = |product, addend| {
            run(NEAREST, |k| k.mul_add::<Single>(a, b, c, Negate { product, addend })).0
        };
        prop_assert_eq!(fused(false, false), single(x.mul_add(y, z)));
        prop_assert_eq!(fused(false, true), single(x.mul_add(y, -z)));
        prop_assert_eq!(fused(true, false), single((-x).mul_add(y, z)));
        prop_assert_eq!(fused(true, true), single((-x).mul_add(y, -z)));
    }

    #[test]
    fn double_arithmetic(a in doubles(), b in doubles(), c in doubles()) {
        let [x, y, z] = [a, b, c].map(f64::from_bits);
        prop_assert_eq!(run(NEAREST, |k| k.add::<Double>(a, b)).0, double(x + y));
        prop_assert_eq!(run(NEAREST, |k| k.sub::<Double>(a, b)).0, double(x - y));
        prop_assert_eq!(run(NEAREST, |k| k.mul::<Double>(a, b)).0, double(x * y));
        prop_assert_eq!(run(NEAREST, |k| k.div::<Double>(a, b)).0, double(x / y));
        prop_assert_eq!(run(NEAREST, |k| k.sqrt::<Double>(a)).0, double(x.sqrt()));
        let fused = run(NEAREST, |k| k.mul_add::<Double>(a, b, c, Negate::default())).0;
        prop_assert_eq!(fused, double(x.mul_add(y, z)));
    }

    /// The addend is the rounded product, so that what remains is the product's rounding error: no digit may
    /// be lost.
    #[test]
    fn a_fused_product_cancels_exactly(a in doubles(), b in doubles()) {
        let [x, y] = [a, b].map(f64::from_bits);
        let c = -(x * y);
        let fused = run(NEAREST, |k| k.mul_add::<Double>(a, b, c.to_bits(), Negate::default())).0;
        prop_assert_eq!(fused, double(x.mul_add(y, c)));
    }

    #[test]
    fn conversion_between_formats(a in doubles(), b in singles()) {
        prop_assert_eq!(run(NEAREST, |k| k.convert::<Double, Single>(a)).0, single(f64::from_bits(a) as f32));
        prop_assert_eq!(run(NEAREST, |k| k.convert::<Single, Double>(b)).0, double(f32::from_bits(b).into()));
    }

    #[test]
    fn conversion_from_integers(i in any::<i64>(), bits in 0..64u32) {
        let i = i >> bits;
        prop_assert_eq!(run(NEAREST, |k| k.from_integer::<Single>(i)).0, single(i as f32));
        prop_assert_eq!(run(NEAREST, |k| k.from_integer::<Double>(i)).0, double(i as f64));
        prop_assert_eq!(run(NEAREST, |k| k.from_integer::<Single>(i as u64)).0, single(i as u64 as f32));
        prop_assert_eq!(run(NEAREST, |k| k.from_integer::<Double>(i as u64)).0, double(i as u64 as f64));
        let (result, flags) = run(NEAREST, |k| k.from_integer::<Double>(i));
        let exact = f64::from_bits(result) as i128 == i128::from(i);
        prop_assert_eq!(flags, if exact { Flags::empty() } else { Flags::NX });
    }

    /// `as` saturates as RISC-V does, but for NaNs.
    #[test]
    fn conversion_to_integers(a in doubles()) {
        for rounding in super::ROUNDINGS {
            let x = f64::from_bits(a);
            let r = integral(rounding, x);
            macro_rules! check {
                ($($integer:ty),*) => {$(
                    let expected = if x.is_nan() { <$integer>::MAX } else { r as $integer };
                    // 2^32 and 2^64 are the first that an unsigned type has not, and so on: all are doubles.
                    let valid = r >= <$integer>::MIN as f64 && r < <$integer>::MAX as f64 + 1.0
                        || r == <$integer>::MAX as f64 && <$integer>::BITS == 32;
                    let flags = match valid {
                        false => Flags::NV,
                        true if r == x => Flags::empty(),
                        true => Flags::NX,
                    };
                    let actual = run(rounding, |k| k.to_integer::<Double, $integer>(a));
                    prop_assert_eq!(actual, (expected, flags), "{:?} {}", rounding, x);
                )*};
            }
            check!(i32, u32, i64, u64);
        }
    }

    #[test]
    fn integral_numbers(a in doubles()) {
        for rounding in super::ROUNDINGS {
            let x = f64::from_bits(a);
            let expected = double(integral(rounding, x));
            let invalid = if x.is_nan() && a >> 51 & 1 == 0 { Flags::NV } else { Flags::empty() };
            let inexact = if x.is_nan() || expected == a { Flags::empty() } else { Flags::NX };
            prop_assert_eq!(run(rounding, |k| k.round_to_integral::<Double>(a)), (expected, invalid));
            let exact = run(rounding, |k| k.round_to_integral_exact::<Double>(a));
            prop_assert_eq!(exact, (expected, invalid | inexact));
        }
    }

    #[test]
    fn modular_integers(a in doubles()) {
        let x = f64::from_bits(a);
        // The remainder is exact, and has the sign of `x`.
        let expected = if x.is_finite() { (x % 4_294_967_296.0).trunc() as i64 as i32 } else { 0 };
        let (result, flags) = run(Rounding::Up, |k| k.to_integer_modular::<Double>(a));
        prop_assert_eq!(result, expected);
        prop_assert_eq!(flags, run(Rounding::TowardZero, |k| k.to_integer::<Double, i32>(a)).1);
    }

    #[test]
    fn comparison(a in doubles(), b in doubles()) {
        let [x, y] = [a, b].map(f64::from_bits);
        let nan = x.is_nan() || y.is_nan();
        prop_assert_eq!(run(NEAREST, |k| k.compare_quiet::<Double>(a, b)).0, x.partial_cmp(&y));
        let invalid = if nan { Flags::NV } else { Flags::empty() };
        let signalling = run(NEAREST, |k| k.compare_signalling::<Double>(a, b));
        prop_assert_eq!(signalling, (x.partial_cmp(&y), invalid));
        if !nan {
            let (smaller, larger) = if x.total_cmp(&y) == Ordering::Less { (a, b) } else { (b, a) };
            prop_assert_eq!(run(NEAREST, |k| k.minimum::<Double>(a, b)), (smaller, Flags::empty()));
            prop_assert_eq!(run(NEAREST, |k| k.minimum_number::<Double>(a, b)), (smaller, Flags::empty()));
            prop_assert_eq!(run(NEAREST, |k| k.maximum::<Double>(a, b)), (larger, Flags::empty()));
            prop_assert_eq!(run(NEAREST, |k| k.maximum_number::<Double>(a, b)), (larger, Flags::empty()));
        }
    }
}
