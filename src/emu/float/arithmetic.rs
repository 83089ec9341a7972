//! Sums, products, quotients, square roots and fused products.

use super::{
    Context, Flags, Format, NanRule,
    number::{Number, Value},
};

/// What a fused multiply-add negates before it adds. RISC-V's `FMADD`, `FMSUB`, `FNMSUB` and `FNMADD` negate
/// nothing, the addend, the product, and both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Negate {
    /// The product is negated.
    pub product: bool,
    /// The addend is negated.
    pub addend: bool,
}

impl Context {
    /// `a` + `b`.
    pub fn add<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        self.binary::<F>(a, b, |context, x, y| x.plus(y, context.rounding))
    }

    /// `a` - `b`.
    pub fn sub<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        self.binary::<F>(a, b, |context, x, y| x.plus(y.negated_if(true), context.rounding))
    }

    /// `a` × `b`.
    pub fn mul<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        self.binary::<F>(a, b, |_, x, y| x.times(y))
    }

    /// `a` / `b`.
    pub fn div<F: Format>(&mut self, a: F::Bits, b: F::Bits) -> F::Bits {
        self.binary::<F>(a, b, Self::quotient)
    }

    /// What `operation` makes of two numbers, or a NaN if one is.
    fn binary<F: Format>(
        &mut self,
        a: F::Bits,
        b: F::Bits,
        operation: impl FnOnce(&mut Self, Value, Value) -> Option<Value>,
    ) -> F::Bits {
        let (Some(x), Some(y)) = (Value::of::<F>(a), Value::of::<F>(b)) else {
            return self.propagate::<F>(&[a, b]);
        };
        let result = operation(self, x, y);
        self.deliver::<F>(result)
    }

    fn quotient(&mut self, x: Value, y: Value) -> Option<Value> {
        let negative = x.negative() != y.negative();
        match (x, y) {
            (Value::Infinity { .. }, Value::Infinity { .. }) => None,
            (Value::Infinity { .. }, Value::Finite(_)) => Some(Value::Infinity { negative }),
            (Value::Finite(_), Value::Infinity { .. }) => Some(Value::Finite(Number::zero(negative))),
            (Value::Finite(x), Value::Finite(y)) => match x.divided_by(y) {
                Some(quotient) => Some(Value::Finite(quotient)),
                None if x.is_zero() => None,
                None => {
                    self.flags |= Flags::DZ;
                    Some(Value::Infinity { negative })
                }
            },
        }
    }

    /// The square root of `a`.
    pub fn sqrt<F: Format>(&mut self, a: F::Bits) -> F::Bits {
        let Some(x) = Value::of::<F>(a) else {
            return self.propagate::<F>(&[a]);
        };
        self.deliver::<F>(x.square_root())
    }

    /// `a` × `b` + `c`, rounded once, with the signs that `negate` says. [`NanRule::FirstOperand`] looks at
    /// `a`, `b` and `c` in this order.
    pub fn mul_add<F: Format>(&mut self, a: F::Bits, b: F::Bits, c: F::Bits, negate: Negate) -> F::Bits {
        // `None` for a NaN, `Some(None)` for infinity times zero.
        let product = Value::of::<F>(a).zip(Value::of::<F>(b)).map(|(x, y)| x.times(y));
        match (product, Value::of::<F>(c)) {
            (Some(product), Some(addend)) => self.deliver::<F>(product.and_then(|product| {
                let addend = addend.negated_if(negate.addend);
                product.negated_if(negate.product).plus(addend, self.rounding)
            })),
            (product, _) => {
                // Infinity times zero plus a quiet NaN: invalid for RISC-V (F, "Single-Precision
                // Floating-Point Computational Instructions"), but not for x86 (SDM, "Fused-Multiply-ADD
                // (FMA) Numeric Behavior").
                if matches!(product, Some(None)) && self.nans == NanRule::Canonical {
                    self.flags |= Flags::NV;
                }
                self.propagate::<F>(&[a, b, c])
            }
        }
    }
}
