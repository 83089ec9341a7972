//! Every operand of small formats against the model. The operations are the same code for all formats.

use super::{
    ROUNDINGS,
    model::{Datum, Model, Ratio, decode},
    run,
};
use crate::float::{Flags, Format, Negate, Rounding};

/// Four bits of precision.
type Byte = super::model::Small<4, 3>;
/// Three bits of precision, 64 encodings: three operands are few enough.
type Crumb = super::model::Small<3, 2>;

/// The sign of a zero that is a sum (IEEE 754-2008, 6.3).
fn zero_sum<F: Format>(rounding: Rounding, a_negative: bool, b_negative: bool) -> u8 {
    let negative = if a_negative == b_negative { a_negative } else { rounding == Rounding::Down };
    if negative { F::SIGN as u8 } else { 0 }
}

fn negative<F: Format<Bits = u8>>(bits: u8) -> bool {
    u64::from(bits) & F::SIGN != 0
}

/// Every pair of numbers in every rounding mode.
fn pairs(mut check: impl FnMut(Rounding, (u8, Ratio), (u8, Ratio))) {
    for (a, b) in (0..=u8::MAX).flat_map(|a| (0..=u8::MAX).map(move |b| (a, b))) {
        if let (Datum::Number(x), Datum::Number(y)) = (decode::<Byte>(a), decode::<Byte>(b)) {
            for rounding in ROUNDINGS {
                check(rounding, (a, x), (b, y));
            }
        }
    }
}

#[test]
fn sums_are_the_models() {
    let model = Model::of::<Byte>();
    pairs(|rounding, (a, x), (b, y)| {
        let exact = x.plus(y);
        let expected = if exact.0 == 0 {
            (zero_sum::<Byte>(rounding, negative::<Byte>(a), negative::<Byte>(b)), Flags::empty())
        } else {
            model.round_ratio(rounding, exact)
        };
        assert_eq!(run(rounding, |c| c.add::<Byte>(a, b)), expected, "{rounding:?} {a:#x} + {b:#x}");
        let minus_b = b ^ Byte::SIGN as u8;
        assert_eq!(
            run(rounding, |c| c.sub::<Byte>(a, minus_b)),
            expected,
            "{rounding:?} {a:#x} - {minus_b:#x}"
        );
    });
}

#[test]
fn products_and_quotients_are_the_models() {
    let model = Model::of::<Byte>();
    pairs(|rounding, (a, x), (b, y)| {
        let sign = (a ^ b) & Byte::SIGN as u8;
        let rounded = |exact: Ratio| match exact.0 {
            0 => (sign, Flags::empty()),
            _ => model.round_ratio(rounding, exact),
        };
        assert_eq!(
            run(rounding, |c| c.mul::<Byte>(a, b)),
            rounded(x.times(y)),
            "{rounding:?} {a:#x} * {b:#x}"
        );
        let quotient = match x.over(y) {
            Some(exact) => rounded(exact),
            None if x.0 == 0 => ((Byte::INFINITY | Byte::QUIET) as u8, Flags::NV),
            None => (Byte::INFINITY as u8 | sign, Flags::DZ),
        };
        assert_eq!(run(rounding, |c| c.div::<Byte>(a, b)), quotient, "{rounding:?} {a:#x} / {b:#x}");
    });
}

#[test]
fn square_roots_are_the_models() {
    let model = Model::of::<Byte>();
    for (a, rounding) in (0..=u8::MAX).flat_map(|a| ROUNDINGS.map(|rounding| (a, rounding))) {
        let expected = match decode::<Byte>(a) {
            Datum::Number(x) if x.0 == 0 => (a, Flags::empty()),
            // How a root compares with a number is how its square does.
            Datum::Number(x) if x.0 > 0 => model.round(rounding, false, &|n| x.compare(n.times(n))),
            Datum::Infinity if a == Byte::INFINITY as u8 => (a, Flags::empty()),
            Datum::Nan { signalling: false } => ((Byte::INFINITY | Byte::QUIET) as u8, Flags::empty()),
            _ => ((Byte::INFINITY | Byte::QUIET) as u8, Flags::NV),
        };
        assert_eq!(run(rounding, |c| c.sqrt::<Byte>(a)), expected, "{rounding:?} {a:#x}");
    }
}

#[test]
fn fused_products_are_the_models() {
    let model = Model::of::<Crumb>();
    let numbers = || {
        (0..64u8).filter_map(|bits| match decode::<Crumb>(bits) {
            Datum::Number(number) => Some((bits, number)),
            _ => None,
        })
    };
    let pairs = || numbers().flat_map(|a| numbers().map(move |b| (a, b)));
    for (((a, x), (b, y)), (c, z)) in pairs().flat_map(|pair| numbers().map(move |c| (pair, c))) {
        let exact = x.times(y).plus(z);
        for rounding in ROUNDINGS {
            let expected = if exact.0 == 0 {
                (zero_sum::<Crumb>(rounding, negative::<Crumb>(a ^ b), negative::<Crumb>(c)), Flags::empty())
            } else {
                model.round_ratio(rounding, exact)
            };
            let actual = run(rounding, |k| k.mul_add::<Crumb>(a, b, c, Negate::default()));
            assert_eq!(actual, expected, "{rounding:?} {a:#x} * {b:#x} + {c:#x}");
        }
    }
}

#[test]
fn conversions_between_formats_are_the_models() {
    let model = Model::of::<Crumb>();
    for (a, rounding) in (0..=u8::MAX).flat_map(|a| ROUNDINGS.map(|rounding| (a, rounding))) {
        let Datum::Number(x) = decode::<Byte>(a) else { continue };
        let expected = match x.0 {
            0 => (if negative::<Byte>(a) { Crumb::SIGN as u8 } else { 0 }, Flags::empty()),
            _ => model.round_ratio(rounding, x),
        };
        assert_eq!(run(rounding, |c| c.convert::<Byte, Crumb>(a)), expected, "{rounding:?} {a:#x}");
    }
    for a in 0..64u8 {
        let Datum::Number(x) = decode::<Crumb>(a) else { continue };
        let (wide, flags) = run(Rounding::Up, |c| c.convert::<Crumb, Byte>(a));
        let Datum::Number(y) = decode::<Byte>(wide) else { panic!("{a:#x} became {wide:#x}") };
        assert!(x.compare(y).is_eq() && flags.is_empty(), "{a:#x}");
        assert_eq!(negative::<Crumb>(a), negative::<Byte>(wide), "{a:#x}");
    }
}
