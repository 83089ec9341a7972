//! From exact numbers to encodings: the only place that rounds to a format, and that knows of overflow and
//! underflow.

use super::{
    Context, Flags, Format,
    number::{Number, Value},
};

impl Context {
    /// The encoding of a result, where `None` is an invalid operation.
    pub(super) fn deliver<F: Format>(&mut self, result: Option<Value>) -> F::Bits {
        match result {
            None => self.invalid::<F>(),
            Some(Value::Infinity { negative }) => F::signed(negative, F::INFINITY),
            Some(Value::Finite(number)) => self.round::<F>(number),
        }
    }

    /// The encoding of `number`, rounded.
    pub(super) fn round<F: Format>(&mut self, number: Number) -> F::Bits {
        let Some(top) = number.significand.checked_ilog2() else {
            return F::signed(number.negative, 0);
        };
        // 2^exponent <= |number| < 2^(exponent + 1)
        let exponent = number.exponent + top as i32;
        if exponent > F::MAX_EXPONENT {
            return self.overflow::<F>(number.negative);
        }
        let quantum = exponent.max(F::MIN_EXPONENT) - F::FRACTION as i32;
        let (count, inexact) = number.count_of(quantum, self.rounding);
        // The leading 1 of a normal number adds one to the exponent field, and so does a carry out of the
        // fraction.
        let magnitude = ((quantum - F::MIN_QUANTUM) as u64).wrapping_shl(F::FRACTION) + count as u64;
        if magnitude >= F::INFINITY {
            return self.overflow::<F>(number.negative);
        }
        if inexact {
            self.flags |= Flags::NX;
            if exponent < F::MIN_EXPONENT && self.is_tiny::<F>(number, exponent) {
                self.flags |= Flags::UF;
            }
        }
        F::signed(number.negative, magnitude)
    }

    /// Whether `number`, whose exponent is `exponent` and too small, stays so when it is rounded to the
    /// precision of the format as if exponents had no bounds. (F, "Subnormal Arithmetic": after rounding.)
    fn is_tiny<F: Format>(&self, number: Number, exponent: i32) -> bool {
        let (count, _) = number.count_of(exponent - F::FRACTION as i32, self.rounding);
        let carry = (count >> F::PRECISION) as i32;
        exponent + carry < F::MIN_EXPONENT
    }

    /// The result that is too large for the format (IEEE 754-2008, 7.4).
    fn overflow<F: Format>(&mut self, negative: bool) -> F::Bits {
        self.flags |= Flags::OF | Flags::NX;
        let infinite = self.rounding.overflows_to_infinity(negative);
        F::signed(negative, if infinite { F::INFINITY } else { F::INFINITY - 1 })
    }
}
