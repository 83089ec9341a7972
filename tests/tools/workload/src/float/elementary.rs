//! Elementary functions, as a mathematical library computes them: the argument is reduced, and a polynomial does the
//! rest. Good to about 1e-13, and the same on every machine.

use core::f64::consts::{FRAC_PI_2, FRAC_PI_6, LN_2};

use super::arithmetic::multiply_add;

/// How many bits of a double are its fraction.
const FRACTION_BITS: u32 = 52;
const BIAS: i64 = 1023;

/// The polynomial with these coefficients, the highest first.
#[inline(always)]
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    coefficients.into_iter().fold(0.0, |sum, coefficient| multiply_add(sum, x, coefficient))
}

/// 1/2!, -1/4!, 1/6! and so on: the quotients of neighbours are those of the powers of x.
const fn reciprocal_factorial(n: u32) -> f64 {
    let (mut result, mut factor) = (1.0, 1);
    while factor <= n {
        result /= factor as f64;
        factor += 1;
    }
    result
}

/// The nearest integer.
#[inline(always)]
fn nearest(x: f64) -> i64 {
    (if x < 0.0 { x - 0.5 } else { x + 0.5 }) as i64
}

/// e to the power of `x`, for a result that is neither too large nor too small.
#[inline(never)]
pub fn exp(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 14] = {
        let mut coefficients = [0.0; 14];
        let mut n = 0;
        while n < coefficients.len() {
            coefficients[coefficients.len() - 1 - n] = reciprocal_factorial(n as u32);
            n += 1;
        }
        coefficients
    };
    let halvings = nearest(x / LN_2);
    let rest = multiply_add(-(halvings as f64), LN_2, x);
    polynomial(rest, COEFFICIENTS) * f64::from_bits(((BIAS + halvings) as u64) << FRACTION_BITS)
}

/// The natural logarithm of a number above 0.
#[inline(never)]
pub fn ln(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 17] = {
        let mut coefficients = [0.0; 17];
        let mut n = 0;
        while n < coefficients.len() {
            coefficients[coefficients.len() - 1 - n] = 2.0 / (2 * n + 1) as f64;
            n += 1;
        }
        coefficients
    };
    let exponent = (x.to_bits() >> FRACTION_BITS) as i64 - BIAS;
    let fraction = f64::from_bits(x.to_bits() & ((1 << FRACTION_BITS) - 1) | (BIAS as u64) << FRACTION_BITS);
    // ln((1 + y) / (1 - y)) = 2y + 2/3 y^3 + ...
    let y = (fraction - 1.0) / (fraction + 1.0);
    multiply_add(exponent as f64, LN_2, y * polynomial(y * y, COEFFICIENTS))
}

/// The sine.
#[inline(never)]
pub fn sin(x: f64) -> f64 {
    let quarters = nearest(x / FRAC_PI_2);
    let rest = multiply_add(-(quarters as f64), FRAC_PI_2, x);
    let result = if quarters & 1 == 0 { near_zero::<1>(rest) * rest } else { near_zero::<0>(rest) };
    if quarters & 2 == 0 { result } else { -result }
}

/// The cosine.
pub fn cos(x: f64) -> f64 {
    sin(x + FRAC_PI_2)
}

/// The cosine of a small number (`FIRST` is 0), or its sine divided by it (1).
#[inline(always)]
fn near_zero<const FIRST: u32>(x: f64) -> f64 {
    let coefficients: [f64; 9] = const {
        let mut coefficients = [0.0; 9];
        let mut n = 0;
        while n < coefficients.len() {
            let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
            coefficients[coefficients.len() - 1 - n] = sign * reciprocal_factorial(2 * n as u32 + FIRST);
            n += 1;
        }
        coefficients
    };
    polynomial(x * x, coefficients)
}

/// The angle whose tangent is `x`.
#[inline(never)]
pub fn atan(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 13] = {
        let mut coefficients = [0.0; 13];
        let mut n = 0;
        while n < coefficients.len() {
            let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
            coefficients[coefficients.len() - 1 - n] = sign / (2 * n + 1) as f64;
            n += 1;
        }
        coefficients
    };
    /// The tangents of 15 and of 30 degrees.
    const FIFTEEN: f64 = 0.267_949_192_431_122_7;
    const THIRTY: f64 = 0.577_350_269_189_625_8;
    let positive = if x < 0.0 { -x } else { x };
    let below_one = if positive > 1.0 { 1.0 / positive } else { positive };
    let (base, rest) = if below_one > FIFTEEN {
        (FRAC_PI_6, (below_one - THIRTY) / multiply_add(below_one, THIRTY, 1.0))
    } else {
        (0.0, below_one)
    };
    let angle = multiply_add(rest, polynomial(rest * rest, COEFFICIENTS), base);
    let angle = if positive > 1.0 { FRAC_PI_2 - angle } else { angle };
    if x < 0.0 { -angle } else { angle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_they_say() {
        const TOLERANCE: f64 = 1e-12;
        for step in -300..300 {
            let x = f64::from(step) / 37.0;
            for (ours, theirs) in [
                (exp(x), x.exp()),
                (sin(x), x.sin()),
                (cos(x), x.cos()),
                (atan(x), x.atan()),
                (ln(x.abs() + 0.01), (x.abs() + 0.01).ln()),
            ] {
                assert!((ours - theirs).abs() <= TOLERANCE * theirs.abs().max(1.0), "{x}: {ours} {theirs}");
            }
        }
    }
}
