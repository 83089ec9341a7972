//! The floating-point operations of the intermediate representation.

use core::cmp::Ordering;

use super::{Context, Double, Format, Negate, Single, classify};
use crate::ir::{self, FloatKind, FloatOp, Integer};

/// A 32-bit integer in a variable.
fn extended(integer: i32) -> u64 {
    i64::from(integer).cast_unsigned()
}

impl Context {
    /// Carries out `op` on the values of variables. Numbers of the narrower format are in their low bits;
    /// what is above these is ignored.
    pub fn execute(&mut self, op: FloatOp, operands: [u64; 3]) -> u64 {
        match op.format {
            ir::Format::Single => self.execute_in::<Single, Double>(op.kind, operands),
            ir::Format::Double => self.execute_in::<Double, Single>(op.kind, operands),
        }
    }

    /// Carries out an operation of the format `F`, where `G` is the other one.
    fn execute_in<F: Format, G: Format>(&mut self, kind: FloatKind, operands: [u64; 3]) -> u64 {
        let [variable, ..] = operands;
        let [a, b, c] = operands.map(F::encoding);
        let negate = |product, addend| Negate { product, addend };
        match kind {
            FloatKind::Add => self.add::<F>(a, b).into(),
            FloatKind::Sub => self.sub::<F>(a, b).into(),
            FloatKind::Mul => self.mul::<F>(a, b).into(),
            FloatKind::Div => self.div::<F>(a, b).into(),
            FloatKind::Sqrt => self.sqrt::<F>(a).into(),
            FloatKind::MulAdd => self.mul_add::<F>(a, b, c, negate(false, false)).into(),
            FloatKind::MulSub => self.mul_add::<F>(a, b, c, negate(false, true)).into(),
            FloatKind::NegMulAdd => self.mul_add::<F>(a, b, c, negate(true, false)).into(),
            FloatKind::NegMulSub => self.mul_add::<F>(a, b, c, negate(true, true)).into(),
            FloatKind::Min => self.minimum_number::<F>(a, b).into(),
            FloatKind::Max => self.maximum_number::<F>(a, b).into(),
            FloatKind::MinNan => self.minimum::<F>(a, b).into(),
            FloatKind::MaxNan => self.maximum::<F>(a, b).into(),
            FloatKind::Equal => (self.compare_quiet::<F>(a, b) == Some(Ordering::Equal)).into(),
            FloatKind::Less => self.compare_signalling::<F>(a, b).is_some_and(Ordering::is_lt).into(),
            FloatKind::LessEqual => self.compare_signalling::<F>(a, b).is_some_and(Ordering::is_le).into(),
            FloatKind::LessQuiet => self.compare_quiet::<F>(a, b).is_some_and(Ordering::is_lt).into(),
            FloatKind::LessEqualQuiet => self.compare_quiet::<F>(a, b).is_some_and(Ordering::is_le).into(),
            FloatKind::Classify => 1 << classify::<F>(a) as u32,
            FloatKind::ToInteger(Integer::I32) => extended(self.to_integer::<F, i32>(a)),
            FloatKind::ToInteger(Integer::U32) => extended(self.to_integer::<F, u32>(a).cast_signed()),
            FloatKind::ToInteger(Integer::I64) => self.to_integer::<F, i64>(a).cast_unsigned(),
            FloatKind::ToInteger(Integer::U64) => self.to_integer::<F, u64>(a),
            FloatKind::FromInteger(Integer::I32) => self.from_integer::<F>(variable as i32).into(),
            FloatKind::FromInteger(Integer::U32) => self.from_integer::<F>(variable as u32).into(),
            FloatKind::FromInteger(Integer::I64) => self.from_integer::<F>(variable.cast_signed()).into(),
            FloatKind::FromInteger(Integer::U64) => self.from_integer::<F>(variable).into(),
            FloatKind::Convert => self.convert::<G, F>(G::encoding(variable)).into(),
            FloatKind::Round => self.round_to_integral::<F>(a).into(),
            FloatKind::RoundExact => self.round_to_integral_exact::<F>(a).into(),
            FloatKind::ToIntegerModulo => extended(self.to_integer_modular::<F>(a)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::{Flags, NanRule, Rounding};

    /// Executes an operation of both formats, which must agree, on small numbers.
    fn execute(kind: FloatKind, operands: [f32; 3]) -> f64 {
        let mut context = Context::new(Rounding::NearestEven, NanRule::Canonical);
        let single = FloatOp { kind, format: ir::Format::Single };
        let double = FloatOp { kind, format: ir::Format::Double };
        // RISC-V's NaN boxes above singles.
        let boxed = operands.map(|x| 0xffff_ffff_0000_0000 | u64::from(x.to_bits()));
        let narrow = context.execute(single, boxed);
        let wide = context.execute(double, operands.map(|x| f64::from(x).to_bits()));
        let narrow = f32::from_bits(u32::try_from(narrow).unwrap());
        assert_eq!(f64::from(narrow), f64::from_bits(wide));
        f64::from_bits(wide)
    }

    fn integer(kind: FloatKind, format: ir::Format, operands: [u64; 3]) -> (u64, Flags) {
        let mut context = Context::new(Rounding::NearestEven, NanRule::Canonical);
        (context.execute(FloatOp { kind, format }, operands), context.flags)
    }

    #[test]
    fn operands_and_signs_are_where_they_belong() {
        let expected = [
            (FloatKind::Add, 11.0),
            (FloatKind::Sub, 7.0),
            (FloatKind::Mul, 18.0),
            (FloatKind::Div, 4.5),
            (FloatKind::Sqrt, 3.0),
            (FloatKind::MulAdd, 23.0),
            (FloatKind::MulSub, 13.0),
            (FloatKind::NegMulAdd, -13.0),
            (FloatKind::NegMulSub, -23.0),
            (FloatKind::Min, 2.0),
            (FloatKind::Max, 9.0),
            (FloatKind::MinNan, 2.0),
            (FloatKind::MaxNan, 9.0),
            (FloatKind::Round, 9.0),
            (FloatKind::RoundExact, 9.0),
        ];
        for (kind, result) in expected {
            assert_eq!(execute(kind, [9.0, 2.0, 5.0]), result, "{kind:?}");
        }
    }

    #[test]
    fn comparisons_differ_in_what_they_accept_and_in_nans() {
        let (one, two, nan) = (1f64.to_bits(), 2f64.to_bits(), f64::NAN.to_bits());
        // For 1 and 2, 2 and 2, 2 and 1, and whether a NaN is invalid.
        let expected = [
            (FloatKind::Equal, [0, 1, 0], Flags::empty()),
            (FloatKind::Less, [1, 0, 0], Flags::NV),
            (FloatKind::LessEqual, [1, 1, 0], Flags::NV),
            (FloatKind::LessQuiet, [1, 0, 0], Flags::empty()),
            (FloatKind::LessEqualQuiet, [1, 1, 0], Flags::empty()),
        ];
        for (kind, results, invalid) in expected {
            for (operands, result) in [[one, two, 0], [two, two, 0], [two, one, 0]].into_iter().zip(results) {
                let actual = integer(kind, ir::Format::Double, operands);
                assert_eq!(actual, (result, Flags::empty()), "{kind:?}");
            }
            assert_eq!(integer(kind, ir::Format::Double, [one, nan, 0]), (0, invalid), "{kind:?}");
        }
        assert_eq!(integer(FloatKind::Classify, ir::Format::Double, [nan, 0, 0]).0, 1 << 9);
    }

    #[test]
    fn integers_of_32_bits_are_sign_extended() {
        let minus_one = u64::MAX;
        let to =
            |kind, x: f64| integer(FloatKind::ToInteger(kind), ir::Format::Double, [x.to_bits(), 0, 0]).0;
        assert_eq!(to(Integer::I32, -1.0), minus_one);
        assert_eq!(to(Integer::U32, 4_294_967_295.0), minus_one);
        assert_eq!(to(Integer::I64, -1.0), minus_one);
        assert_eq!(to(Integer::U64, 1e19), 10_000_000_000_000_000_000);
        let modulo =
            integer(FloatKind::ToIntegerModulo, ir::Format::Double, [4_294_967_295f64.to_bits(), 0, 0]);
        assert_eq!(modulo, (minus_one, Flags::NV));
        let from = |kind, x| integer(FloatKind::FromInteger(kind), ir::Format::Double, [x, 0, 0]).0;
        assert_eq!(from(Integer::I32, 0xffff_ffff), (-1f64).to_bits());
        assert_eq!(from(Integer::U32, minus_one), 4_294_967_295f64.to_bits());
        assert_eq!(from(Integer::I64, minus_one), (-1f64).to_bits());
        assert_eq!(from(Integer::U64, 1 << 63), 9_223_372_036_854_775_808f64.to_bits());
    }

    /// The operation's format is that of the result.
    #[test]
    fn a_conversion_takes_the_other_format() {
        let (single, double) = (u64::from(1.5f32.to_bits()), 1.5f64.to_bits());
        assert_eq!(integer(FloatKind::Convert, ir::Format::Single, [double, 0, 0]).0, single);
        assert_eq!(integer(FloatKind::Convert, ir::Format::Double, [single, 0, 0]).0, double);
    }
}
