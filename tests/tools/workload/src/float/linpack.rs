//! LINPACK's kernel: a dense system of 100 linear equations, solved by elimination. Columns are worked on, as in the
//! original: most of the time goes into adding a multiple of one to another.

use guest_support::rng::Rng;

use super::arithmetic::multiply_add;

/// How many equations.
const SIZE: usize = 100;

type Column = [f64; SIZE];

/// A round of it: a sum over the bits of the solution, or 0 where the solution is none.
pub fn round() -> u64 {
    let mut columns = [[0.0; SIZE]; SIZE];
    let mut rng = Rng::new(1325);
    // Between -2 and 2, and multiples of 2^-14.
    columns.as_flattened_mut().fill_with(|| (rng.below(1 << 16) as f64 - 32768.0) / 16384.0);
    // With this right-hand side every unknown is 1.
    let mut right = [0.0; SIZE];
    for column in &columns {
        for (sum, value) in right.iter_mut().zip(column) {
            *sum += value;
        }
    }
    let mut pivots = [0; SIZE];
    eliminate(&mut columns, &mut pivots);
    substitute(&columns, &pivots, &mut right);
    if right.iter().any(|value| !(0.999_999..1.000_001).contains(value)) {
        return 0;
    }
    right.iter().fold(0, |sum: u64, value| sum.rotate_left(5) ^ value.to_bits())
}

/// Factors the matrix into a lower and an upper one, with the row of the largest number first.
#[inline(never)]
fn eliminate(columns: &mut [Column; SIZE], pivots: &mut [usize; SIZE]) {
    for (k, chosen) in pivots.iter_mut().enumerate().take(SIZE - 1) {
        let (done, rest) = columns.split_at_mut(k + 1);
        let Some(column) = done.last_mut() else { return };
        let pivot = k + largest(&column[k..]);
        *chosen = pivot;
        column.swap(k, pivot);
        let factor = -1.0 / column[k];
        scale(factor, &mut column[k + 1..]);
        for other in rest {
            other.swap(k, pivot);
            let factor = other[k];
            add_multiple(factor, &column[k + 1..], &mut other[k + 1..]);
        }
    }
}

/// Solves the factored system.
#[inline(never)]
fn substitute(columns: &[Column; SIZE], pivots: &[usize; SIZE], right: &mut Column) {
    for (k, (&pivot, column)) in pivots.iter().zip(columns).enumerate().take(SIZE - 1) {
        right.swap(k, pivot);
        let factor = right[k];
        add_multiple(factor, &column[k + 1..], &mut right[k + 1..]);
    }
    for (k, column) in columns.iter().enumerate().rev() {
        right[k] /= column[k];
        let factor = -right[k];
        add_multiple(factor, &column[..k], &mut right[..k]);
    }
}

/// BLAS's `idamax`.
#[inline(never)]
fn largest(values: &[f64]) -> usize {
    let mut best = (0, 0.0);
    for (index, value) in values.iter().enumerate() {
        if value.abs() > best.1 {
            best = (index, value.abs());
        }
    }
    best.0
}

/// BLAS's `dscal`.
#[inline(never)]
fn scale(factor: f64, values: &mut [f64]) {
    for value in values {
        *value *= factor;
    }
}

/// BLAS's `daxpy`, with the fused operation that C compilers choose.
#[inline(never)]
fn add_multiple(factor: f64, from: &[f64], to: &mut [f64]) {
    if factor == 0.0 {
        return;
    }
    for (from, to) in from.iter().zip(to) {
        *to = multiply_add(factor, *from, *to);
    }
}
