//! How many instructions the machine executes for what compilers make of loops. Integer code is counted as what it is at
//! best: one for an addition.

use std::vec::Vec;

use super::operations::{BOX, encode};
use super::*;
use crate::ir::{FloatKind, FloatOp, Format, Integer};

/// Registers of loops, by their numbers. The pointers are x10 and x11.
const A: u32 = 10;
const B: u32 = 14;
const C: u32 = 15;
const D: u32 = 13;
const SUM: u32 = 11;

struct Kernel {
    name: &'static str,
    format: Format,
    /// What a round of the loop does, up to its branch.
    body: fn(&Assembly) -> Vec<u32>,
    /// How many of the machine's instructions the guest's take, for four rounds in a row.
    cost: u64,
}

/// Writes guest instructions of a format.
struct Assembly(Format);

impl Assembly {
    fn width(&self) -> u32 {
        2 + u32::from(self.0 == Format::Double)
    }

    fn load(&self, rd: u32, offset: u32, base: u32) -> u32 {
        offset << 20 | base << 15 | self.width() << 12 | rd << 7 | 0x07
    }

    fn store(&self, rs2: u32, offset: u32, base: u32) -> u32 {
        offset >> 5 << 25 | rs2 << 20 | base << 15 | self.width() << 12 | (offset & 31) << 7 | 0x27
    }

    fn step(&self, register: u32) -> u32 {
        (1 << self.width()) << 20 | register << 15 | register << 7 | 0x13
    }

    fn compute(&self, kind: FloatKind, registers: [u32; 4]) -> u32 {
        encode(FloatOp { kind, format: self.0 }, 7, registers)
    }

    fn negate(&self, rd: u32, rs: u32) -> u32 {
        0x2000_1053 | (self.width() - 2) << 25 | rs << 20 | rs << 15 | rd << 7
    }
}

fn kernels() -> Vec<Kernel> {
    use FloatKind::{Add, Div, Less, Mul, MulAdd, MulSub, Sqrt, Sub};
    // y[i] = a * x[i] + y[i]
    let axpy = |a: &Assembly| {
        std::vec![
            a.load(C, 0, 10),
            a.load(B, 0, 11),
            a.compute(MulAdd, [C, C, A, B]),
            a.store(C, 0, 11),
            a.step(10),
            a.step(11),
        ]
    };
    // sum = a[i] * b[i] + sum
    let dot = |a: &Assembly| {
        std::vec![
            a.load(C, 0, 10),
            a.load(B, 0, 11),
            a.compute(MulAdd, [SUM, C, B, SUM]),
            a.step(10),
            a.step(11),
        ]
    };
    // Whetstone's first module.
    let whetstone = |a: &Assembly| {
        let mut words = Vec::new();
        for (dst, last) in [(0, Sub), (1, Add), (2, Add), (3, Add)] {
            let [x1, x2, x3, x4] = [20, 21, 22, 23];
            words.extend([
                a.compute(if dst == 3 { Sub } else { Add }, [C, x1, x2, 0]),
                a.compute(if dst == 2 { Sub } else { Add }, [C, C, x3, 0]),
                a.compute(last, [C, C, x4, 0]),
                a.compute(Mul, [20 + dst, C, A, 0]),
            ]);
        }
        words
    };
    // A polynomial.
    let horner = |a: &Assembly| {
        std::vec![
            a.load(B, 0, 10),
            a.compute(MulAdd, [C, B, A, 20]),
            a.compute(MulAdd, [C, C, B, 21]),
            a.compute(MulAdd, [C, C, B, 22]),
            a.compute(MulAdd, [C, C, B, 23]),
            a.store(C, 0, 11),
            a.step(10),
            a.step(11),
        ]
    };
    // A product of complex numbers.
    let complex = |a: &Assembly| {
        std::vec![
            a.load(A, 0, 10),
            a.load(B, 8, 10),
            a.load(C, 0, 11),
            a.load(D, 8, 11),
            a.compute(Mul, [20, B, D, 0]),
            a.compute(Mul, [21, B, C, 0]),
            a.compute(MulSub, [20, A, C, 20]),
            a.compute(MulAdd, [21, A, D, 21]),
            a.store(20, 0, 11),
            a.store(21, 8, 11),
            a.step(10),
            a.step(11),
        ]
    };
    let rest = |a: &Assembly| {
        let int = FloatOp { kind: FloatKind::ToInteger(Integer::I32), format: a.0 };
        std::vec![
            a.load(C, 0, 10),
            a.compute(Div, [B, C, A, 0]),
            a.compute(Sqrt, [B, B, 0, 0]),
            a.negate(B, B),
            a.compute(Less, [12, B, C, 0]),
            encode(int, 1, [13, B, 0, 0]),
            a.store(B, 0, 10),
            a.step(10),
        ]
    };
    let kernel = |name, format, body, cost| Kernel { name, format, body, cost };
    let (double, single) = (Format::Double, Format::Single);
    std::vec![
        kernel("daxpy", double, axpy, 35),
        kernel("saxpy", single, axpy, 41),
        kernel("ddot", double, dot, 30),
        kernel("sdot", single, dot, 37),
        kernel("whetstone", double, whetstone, 76),
        kernel("horner", double, horner, 43),
        kernel("complex", double, complex, 60),
        kernel("div, sqrt, neg, lt, int", double, rest, 53),
    ]
}

#[test]
fn loops_take_as_many_instructions_as_they_did() {
    for Kernel { name, format, body, cost } in kernels() {
        let round = body(&Assembly(format));
        let words = round.repeat(4);
        let block = lift(0x1000, &words);
        let code = compile(&block);
        assert_eq!(code.compiled, words.len(), "{name}");
        let mut guest = Guest::new(0);
        for register in 32..64 {
            guest.vars[register] = if format == Format::Single { BOX | 0x3f80_0000 } else { 1f64.to_bits() };
        }
        for at in (0..DATA_BYTES).step_by(8) {
            let one = if format == Format::Single { 0x3f80_0000_3f80_0000 } else { 1f64.to_bits() };
            guest.memory[at..at + 8].copy_from_slice(&u64::to_le_bytes(one));
        }
        [guest.vars[10], guest.vars[11]] = [DATA, DATA + 0x1000];
        let (executed, actual) = guest.clone().run(&code);
        assert_eq!((executed, check(&block, &code, &guest)), (words.len(), words.len()), "{name}");
        assert_eq!(actual, cost, "{name}: {} guest instructions", words.len());
    }
}
