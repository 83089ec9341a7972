//! Corner cases that a specification names. Sections without a standard are those of RISC-V's chapter F.

use std::cmp::Ordering;

use super::{ROUNDINGS, run};
use crate::float::{
    Class, Context, Double, Flags, NanRule, Negate, Rounding, Single, classify, load_immediate,
};

const ONE: u32 = 0x3f80_0000;
const INFINITY: u32 = 0x7f80_0000;
const QUIET: u32 = 0x7fc0_1234;
const SIGNALLING: u32 = 0xff80_1234;
const CANONICAL: u32 = 0x7fc0_0000;
const MINUS_ZERO: u32 = 0x8000_0000;
const NEAREST: Rounding = Rounding::NearestEven;

/// "NaN Generation and Propagation".
#[test]
fn every_nan_is_canonical() {
    for (nan, flags) in [(QUIET, Flags::empty()), (SIGNALLING, Flags::NV)] {
        let wide = u64::from(nan >> 31) << 63 | 0x7ff0_0000_0000_0000 | u64::from(nan & 0x7f_ffff) << 29;
        assert_eq!(run(NEAREST, |c| c.add::<Single>(ONE, nan)), (CANONICAL, flags));
        assert_eq!(run(NEAREST, |c| c.sqrt::<Single>(nan)), (CANONICAL, flags));
        assert_eq!(
            run(NEAREST, |c| c.mul_add::<Single>(ONE, ONE, nan, Negate::default())),
            (CANONICAL, flags)
        );
        assert_eq!(run(NEAREST, |c| c.convert::<Single, Double>(nan)), (0x7ff8_0000_0000_0000, flags));
        assert_eq!(run(NEAREST, |c| c.convert::<Double, Single>(wide)), (CANONICAL, flags));
        assert_eq!(run(NEAREST, |c| c.round_to_integral::<Single>(nan)), (CANONICAL, flags));
    }
    assert_eq!(run(NEAREST, |c| c.sub::<Single>(INFINITY, INFINITY)), (CANONICAL, Flags::NV));
    assert_eq!(run(NEAREST, |c| c.div::<Single>(0, MINUS_ZERO)), (CANONICAL, Flags::NV));
    assert_eq!(run(NEAREST, |c| c.sqrt::<Single>(ONE | MINUS_ZERO)), (CANONICAL, Flags::NV));
    assert_eq!(run(NEAREST, |c| c.sqrt::<Single>(MINUS_ZERO)), (MINUS_ZERO, Flags::empty()));
}

/// "Single-Precision Floating-Point Computational Instructions": invalid even if the addend is a quiet NaN.
#[test]
fn infinity_times_zero_plus_nan() {
    let fused = |context: &mut Context| context.mul_add::<Single>(INFINITY, 0, QUIET, Negate::default());
    assert_eq!(run(NEAREST, fused), (CANONICAL, Flags::NV));
    let mut x86 = Context::new(NEAREST, NanRule::FirstOperand);
    assert_eq!((fused(&mut x86), x86.flags), (QUIET, Flags::empty()));
}

/// "Single-Precision Floating-Point Computational Instructions" and Zfa, "Minimum and Maximum Instructions".
#[test]
fn the_smaller_and_the_larger_of_nans_and_zeros() {
    for (nan, flags) in [(QUIET, Flags::empty()), (SIGNALLING, Flags::NV)] {
        for [a, b] in [[nan, ONE], [ONE, nan]] {
            assert_eq!(run(NEAREST, |c| c.minimum_number::<Single>(a, b)), (ONE, flags));
            assert_eq!(run(NEAREST, |c| c.maximum_number::<Single>(a, b)), (ONE, flags));
            assert_eq!(run(NEAREST, |c| c.minimum::<Single>(a, b)), (CANONICAL, flags));
            assert_eq!(run(NEAREST, |c| c.maximum::<Single>(a, b)), (CANONICAL, flags));
        }
        assert_eq!(run(NEAREST, |c| c.minimum_number::<Single>(nan, QUIET)), (CANONICAL, flags));
        assert_eq!(run(NEAREST, |c| c.maximum_number::<Single>(QUIET, nan)), (CANONICAL, flags));
    }
    for [a, b] in [[0, MINUS_ZERO], [MINUS_ZERO, 0]] {
        assert_eq!(run(NEAREST, |c| c.minimum_number::<Single>(a, b)).0, MINUS_ZERO);
        assert_eq!(run(NEAREST, |c| c.maximum::<Single>(a, b)).0, 0);
    }
}

/// "Single-Precision Floating-Point Compare Instructions".
#[test]
fn a_quiet_comparison_minds_signalling_nans_only() {
    assert_eq!(run(NEAREST, |c| c.compare_quiet::<Single>(ONE, QUIET)), (None, Flags::empty()));
    assert_eq!(run(NEAREST, |c| c.compare_quiet::<Single>(SIGNALLING, ONE)), (None, Flags::NV));
    assert_eq!(run(NEAREST, |c| c.compare_signalling::<Single>(ONE, QUIET)), (None, Flags::NV));
    let zeros = run(NEAREST, |c| c.compare_signalling::<Single>(MINUS_ZERO, 0));
    assert_eq!(zeros, (Some(Ordering::Equal), Flags::empty()));
}

/// "Domains of float-to-integer conversions and behavior for invalid inputs".
#[test]
fn what_no_integer_can_hold_is_clipped() {
    let minus_one = ONE | MINUS_ZERO;
    for (nan, flags) in [(QUIET, Flags::NV), (SIGNALLING, Flags::NV)] {
        assert_eq!(run(NEAREST, |c| c.to_integer::<Single, i32>(nan)), (i32::MAX, flags));
        assert_eq!(run(NEAREST, |c| c.to_integer::<Single, u64>(nan)), (u64::MAX, flags));
    }
    assert_eq!(run(NEAREST, |c| c.to_integer::<Single, u32>(minus_one)), (0, Flags::NV));
    assert_eq!(run(NEAREST, |c| c.to_integer::<Single, i64>(INFINITY | MINUS_ZERO)), (i64::MIN, Flags::NV));
    assert_eq!(run(NEAREST, |c| c.to_integer::<Single, u64>(INFINITY)), (u64::MAX, Flags::NV));
    for power in [63, 100, 116, 117, 130, 1000] {
        let (large, small) = [1.0, -1.0].map(|sign| (sign * 2f64.powi(power)).to_bits()).into();
        assert_eq!(run(NEAREST, |c| c.to_integer::<Double, i64>(large)), (i64::MAX, Flags::NV), "{power}");
        assert_eq!(run(NEAREST, |c| c.to_integer::<Double, u64>(small)), (0, Flags::NV), "{power}");
    }
    // -0.75 is valid where it becomes zero.
    let minus_three_quarters = (-0.75f32).to_bits();
    assert_eq!(run(Rounding::Up, |c| c.to_integer::<Single, u32>(minus_three_quarters)), (0, Flags::NX));
    assert_eq!(run(NEAREST, |c| c.to_integer::<Single, u32>(minus_three_quarters)), (0, Flags::NV));
}

/// (1 - 2^-53)^2 - 1 = -2^-52 + 2^-106, half way between two numbers. The product has all the bits that one
/// can have, and yet an exponent less than the addend.
#[test]
fn a_fused_product_keeps_its_last_bit() {
    let (factor, minus_one) = (0x3fef_ffff_ffff_ffff, (-1.0f64).to_bits());
    let (smaller, larger) = (0xbcaf_ffff_ffff_ffff, 0xbcb0_0000_0000_0000);
    for (rounding, expected) in ROUNDINGS.into_iter().zip([larger, smaller, larger, smaller, larger]) {
        let fused = run(rounding, |c| c.mul_add::<Double>(factor, factor, minus_one, Negate::default()));
        assert_eq!(fused, (expected, Flags::NX), "{rounding:?}");
    }
}

/// "Subnormal Arithmetic": tininess is detected after rounding, to the full precision and not to the fewer
/// bits that a subnormal number has. Of these, all delivered as the smallest normal number, only the last is
/// no underflow.
#[test]
fn what_rounds_up_to_the_smallest_normal_number_may_be_tiny() {
    let just_below_one = 0x3f7f_ffff;
    let smallest_normal = 0x0080_0000;
    let tiny = run(NEAREST, |c| c.mul::<Single>(just_below_one, smallest_normal));
    assert_eq!(tiny, (smallest_normal, Flags::UF | Flags::NX));
    // The smallest normal number less 0.3 and less 0.2 of the smallest subnormal one.
    for (factor, flags) in [(0.3f32, Flags::UF | Flags::NX), (0.2, Flags::NX)] {
        let less = Negate { product: true, addend: false };
        let fused = run(NEAREST, |c| c.mul_add::<Single>(1, factor.to_bits(), smallest_normal, less));
        assert_eq!(fused, (smallest_normal, flags), "{factor}");
    }
}

/// IEEE 754-2008, 7.4.
#[test]
fn what_overflows_goes_where_the_rounding_mode_says() {
    let largest = 0x7f7f_ffff;
    let expected = [INFINITY, largest, largest, INFINITY, INFINITY];
    let negative = [INFINITY, largest, INFINITY, largest, INFINITY].map(|bits| bits | MINUS_ZERO);
    for ((rounding, expected), negative) in ROUNDINGS.into_iter().zip(expected).zip(negative) {
        let flags = Flags::OF | Flags::NX;
        assert_eq!(run(rounding, |c| c.add::<Single>(largest, largest)), (expected, flags));
        assert_eq!(run(rounding, |c| c.mul::<Single>(largest | MINUS_ZERO, largest)), (negative, flags));
    }
    assert_eq!(run(NEAREST, |c| c.div::<Single>(ONE, MINUS_ZERO)), (INFINITY | MINUS_ZERO, Flags::DZ));
}

/// Zfa, "Modular Convert-to-Integer Instruction".
#[test]
fn a_modular_conversion_wraps_and_says_so() {
    let modular = |x: f64| run(NEAREST, |c| c.to_integer_modular::<Double>(x.to_bits()));
    assert_eq!(modular(2_147_483_648.0), (i32::MIN, Flags::NV));
    assert_eq!(modular(-4_294_967_297.5), (-1, Flags::NV));
    assert_eq!(modular(-1.5), (-1, Flags::NX));
    assert_eq!(modular(1e300), (0, Flags::NV));
    assert_eq!(modular(f64::NAN), (0, Flags::NV));
}

/// "Format of result of FCLASS instruction".
#[test]
fn classes_are_in_the_order_of_fclass() {
    let encodings = [
        0xff80_0000,
        ONE | MINUS_ZERO,
        0x807f_ffff,
        MINUS_ZERO,
        0,
        1,
        0x0080_0000,
        INFINITY,
        SIGNALLING,
        QUIET,
    ];
    for (bit, encoding) in encodings.into_iter().enumerate() {
        assert_eq!(classify::<Single>(encoding) as usize, bit, "{encoding:#x}");
    }
    assert_eq!(classify::<Double>(0x0010_0000_0000_0000), Class::PositiveNormal);
}

/// Zfa, table "Immediate values loaded by the FLI.S instruction".
#[test]
fn immediates_are_zfas() {
    let smallest = 1;
    let values = [
        -1.0,
        0.0,
        1.0 / 65536.0,
        1.0 / 32768.0,
        1.0 / 256.0,
        1.0 / 128.0,
        0.0625,
        0.125,
        0.25,
        0.3125,
        0.375,
        0.4375,
        0.5,
        0.625,
        0.75,
        0.875,
        1.0,
        1.25,
        1.5,
        1.75,
        2.0,
        2.5,
        3.0,
        4.0,
        8.0,
        16.0,
        128.0,
        256.0,
        32768.0,
        65536.0,
        f32::INFINITY,
        f32::NAN,
    ];
    for (index, value) in (0..).zip(values) {
        let (single, double) = match index {
            _ if index == smallest => (f32::MIN_POSITIVE.to_bits(), f64::MIN_POSITIVE.to_bits()),
            31 => (CANONICAL, 0x7ff8_0000_0000_0000),
            _ => (value.to_bits(), f64::from(value).to_bits()),
        };
        assert_eq!(load_immediate::<Single>(index), Some(single), "{index}");
        assert_eq!(load_immediate::<Double>(index), Some(double), "{index}");
    }
    assert_eq!(load_immediate::<Single>(32), None);
}
