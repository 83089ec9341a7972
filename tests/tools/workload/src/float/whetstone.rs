//! Modules as Whetstone mixes them: array elements, an array as a parameter, conditional jumps, integers, trigonometry,
//! procedure calls, references, standard functions.

use core::hint::black_box;

use super::{
    arithmetic::square_root,
    elementary::{atan, cos, exp, ln, sin},
};

/// How often each module's loop runs, per turn.
const WEIGHTS: Weights = Weights {
    elements: 12,
    parameter: 14,
    jumps: 345,
    integers: 210,
    angles: 32,
    calls: 899,
    references: 616,
    functions: 93,
};
/// How many turns a round has.
const TURNS: u32 = 20;
const T: f64 = 0.499_975;
const T1: f64 = 0.500_25;
const T2: f64 = 2.0;

struct Weights {
    elements: u32,
    parameter: u32,
    jumps: u32,
    integers: u32,
    angles: u32,
    calls: u32,
    references: u32,
    functions: u32,
}

/// A round of it: a sum over the bits of what each module ends with.
pub fn round() -> u64 {
    let mut sum = 0u64;
    let mut note = |value: f64| sum = sum.rotate_left(9) ^ value.to_bits();
    for _ in 0..TURNS {
        let mut array = [1.0, -1.0, -1.0, -1.0];
        (0..WEIGHTS.elements * 10).for_each(|_| mix(black_box(&mut array), T));
        array.iter().copied().for_each(&mut note);
        (0..WEIGHTS.parameter).for_each(|_| by_parameter(&mut array));
        array.iter().copied().for_each(&mut note);
        note(f64::from(jumps()));
        integers(&mut array);
        array.iter().copied().for_each(&mut note);
        let (x, y) = angles();
        note(x);
        note(y);
        let mut z = 0.0;
        (0..WEIGHTS.calls).for_each(|_| procedure(black_box(1.0), black_box(1.0), &mut z));
        note(z);
        let mut array = [1.0, 2.0, 3.0, 0.0];
        (0..WEIGHTS.references).for_each(|_| rotate(black_box(&mut array)));
        array.iter().copied().for_each(&mut note);
        note(functions());
    }
    sum
}

#[inline(always)]
fn mix([a, b, c, d]: &mut [f64; 4], factor: f64) {
    *a = (*a + *b + *c - *d) * factor;
    *b = (*a + *b - *c + *d) * factor;
    *c = (*a - *b + *c + *d) * factor;
    *d = (-*a + *b + *c + *d) * factor;
}

#[inline(never)]
fn by_parameter(array: &mut [f64; 4]) {
    for _ in 0..6 {
        mix(array, T);
        array[3] /= T2;
    }
}

#[inline(never)]
fn jumps() -> i32 {
    let mut j = 1;
    for _ in 0..WEIGHTS.jumps {
        j = if black_box(j) == 1 { 2 } else { 3 };
        j = if black_box(j) > 2 { 0 } else { 1 };
        j = if black_box(j) < 1 { 1 } else { 0 };
    }
    j
}

#[inline(never)]
fn integers(array: &mut [f64; 4]) {
    let (mut j, mut k, mut l) = (1i64, 2i64, 3i64);
    for _ in 0..WEIGHTS.integers {
        j = black_box(j) * (k - j) * (l - k);
        k = l * k - (l - j) * k;
        l = (l - k) * (k + j);
        array[((l - 2) & 3) as usize] = (j + k + l) as f64;
        array[((k - 2) & 3) as usize] = (j * k * l) as f64;
    }
}

#[inline(never)]
fn angles() -> (f64, f64) {
    let (mut x, mut y) = (0.5, 0.5);
    for _ in 0..WEIGHTS.angles {
        x = T * atan(T2 * sin(x) * cos(x) / (cos(x + y) + cos(x - y) - 1.0));
        y = T * atan(T2 * sin(y) * cos(y) / (cos(x + y) + cos(x - y) - 1.0));
    }
    (x, y)
}

#[inline(never)]
fn procedure(x: f64, y: f64, z: &mut f64) {
    let x = T * (x + y);
    let y = T * (x + y);
    *z = (x + y) / T2;
}

#[inline(never)]
fn rotate([a, b, c, _]: &mut [f64; 4]) {
    let first = *a;
    *a = *b;
    *b = *c;
    *c = first;
}

#[inline(never)]
fn functions() -> f64 {
    (0..WEIGHTS.functions).fold(0.75, |x, _| square_root(exp(ln(x) / T1)))
}
