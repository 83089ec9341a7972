//! Every operation in every format and rounding mode, on numbers that are special, extreme, or near to where something
//! changes.

use std::vec::Vec;

use super::*;
use crate::ir::{FloatKind, FloatOp, Format, Integer};

pub(super) const BOX: u64 = 0xffff_ffff_0000_0000;

/// Random numbers that are the same each time (splitmix64).
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The bits of a number.
    pub(super) fn number(&mut self, format: Format) -> u64 {
        let (fraction_bits, exponent_bits) = match format {
            Format::Single => (23, 8),
            Format::Double => (52, 11),
        };
        let (max, mask) = ((1u64 << exponent_bits) - 1, (1u64 << fraction_bits) - 1);
        let bias = max / 2;
        let exponent = match self.below(8) {
            0 => [0, 1, 2, max - 1, max][self.below(5) as usize],
            1..=3 => bias - 3 + self.below(7),
            4 => bias + self.below(70) - 4,
            5 => bias / 2 + self.below(4) - 1,
            _ => self.below(max),
        };
        let fraction = match self.below(6) {
            0 => 0,
            1 => mask,
            2 => 1 << self.below(fraction_bits),
            3 => mask << self.below(fraction_bits) & mask,
            4 => self.below(4),
            _ => self.next() & mask,
        };
        self.below(2) << (fraction_bits + exponent_bits) | exponent << fraction_bits | fraction
    }

    /// Three operands whose product, or sum with a product, is about as small as normal numbers may be: `a * b` is
    /// 2^(1 - bias), give or take a last digit, or the third operand makes up for what is missing.
    pub(super) fn small(&mut self, format: Format) -> [u64; 3] {
        let (fraction, bias) = if format == Format::Single { (23, 127u64) } else { (52, 1023) };
        let mask = (1u64 << fraction) - 1;
        let significand = (self.next() & mask | 1 << fraction) as u128;
        // 1 / significand, and some digits more or less.
        let inverse = (1u128 << (2 * fraction + 1)) / significand;
        let inverse = inverse.wrapping_add(u128::from(self.below(5))).wrapping_sub(2) as u64;
        let shift = self.below(bias / 2) as i64 - bias as i64 / 4;
        let down = if self.below(2) == 0 { 0 } else { self.below(fraction as u64) as i64 };
        let exponent = |e: i64| (e.clamp(1, 2 * bias as i64) as u64) << fraction;
        let a = exponent(bias as i64 / 2 + shift + self.below(3) as i64 - 1) | significand as u64 & mask;
        let b = exponent(bias as i64 / 2 + 1 - shift + 1 - down) | inverse & mask;
        let sign = 1 << (fraction + if format == Format::Single { 8 } else { 11 });
        let smallest = 1u64 << fraction;
        let c = match self.below(4) {
            0 => 0,
            1 => smallest - self.below(1 << 4),
            2 => smallest - (smallest >> self.below(fraction as u64)),
            _ => self.next() & mask,
        };
        let flip = |bits: u64, random: &mut Self| if random.below(3) == 0 { bits ^ sign } else { bits };
        let (a, b) = (flip(a, self), flip(b, self));
        [a, b, flip(c, self)]
    }

    /// A double near the smallest normal single.
    fn narrow(&mut self) -> u64 {
        let smallest = f64::from(f32::MIN_POSITIVE).to_bits();
        smallest.wrapping_add(self.below(1 << 31)).wrapping_sub(1 << 30) ^ self.below(2) << 63
    }
}

/// The instruction `op rd, rs1, rs2, rs3` with the rounding mode `rm`: rd is f10 or x10, or what `registers` says.
pub(super) fn encode(op: FloatOp, rm: u32, [rd, rs1, rs2, rs3]: [u32; 4]) -> u32 {
    let format = u32::from(op.format == Format::Double);
    let integer = |integer| match integer {
        Integer::I32 => 0,
        Integer::U32 => 1,
        Integer::I64 => 2,
        Integer::U64 => 3,
    };
    let op_fp = |funct5: u32, rs2: u32, rm: u32| {
        funct5 << 27 | format << 25 | rs2 << 20 | rs1 << 15 | rm << 12 | rd << 7 | 0x53
    };
    let fused = |opcode: u32| rs3 << 27 | format << 25 | rs2 << 20 | rs1 << 15 | rm << 12 | rd << 7 | opcode;
    match op.kind {
        FloatKind::Add => op_fp(0b00000, rs2, rm),
        FloatKind::Sub => op_fp(0b00001, rs2, rm),
        FloatKind::Mul => op_fp(0b00010, rs2, rm),
        FloatKind::Div => op_fp(0b00011, rs2, rm),
        FloatKind::Sqrt => op_fp(0b01011, 0, rm),
        FloatKind::MulAdd => fused(0x43),
        FloatKind::MulSub => fused(0x47),
        FloatKind::NegMulAdd => fused(0x4b),
        FloatKind::NegMulSub => fused(0x4f),
        FloatKind::Min => op_fp(0b00101, rs2, 0),
        FloatKind::Max => op_fp(0b00101, rs2, 1),
        FloatKind::MinNan => op_fp(0b00101, rs2, 2),
        FloatKind::MaxNan => op_fp(0b00101, rs2, 3),
        FloatKind::LessEqual => op_fp(0b10100, rs2, 0),
        FloatKind::Less => op_fp(0b10100, rs2, 1),
        FloatKind::Equal => op_fp(0b10100, rs2, 2),
        FloatKind::LessEqualQuiet => op_fp(0b10100, rs2, 4),
        FloatKind::LessQuiet => op_fp(0b10100, rs2, 5),
        FloatKind::Classify => op_fp(0b11100, 0, 1),
        FloatKind::ToInteger(to) => op_fp(0b11000, integer(to), rm),
        FloatKind::FromInteger(from) => op_fp(0b11010, integer(from), rm),
        FloatKind::Convert => op_fp(0b01000, 1 - format, rm),
        FloatKind::Round => op_fp(0b01000, 4, rm),
        FloatKind::RoundExact => op_fp(0b01000, 5, rm),
        FloatKind::ToIntegerModulo => op_fp(0b11000, 8, 1),
    }
}

/// Operands for an operation: the values of rs1 to rs3.
fn operands(random: &mut Random, op: FloatOp) -> [u64; 3] {
    let numbers = match op.kind {
        FloatKind::FromInteger(_) => {
            let mut integer = || (random.next() as i64 >> random.below(64)) as u64 ^ random.below(3);
            return [integer(), 0, 0];
        }
        FloatKind::Convert if op.format == Format::Single && random.below(2) == 0 => [random.narrow(); 3],
        FloatKind::Mul
        | FloatKind::Div
        | FloatKind::MulAdd
        | FloatKind::MulSub
        | FloatKind::NegMulAdd
        | FloatKind::NegMulSub
            if random.below(2) == 0 =>
        {
            random.small(op.format)
        }
        _ => core::array::from_fn(|_| random.number(op.source())),
    };
    match op.source() {
        Format::Single => numbers.map(|bits| if random.below(50) == 0 { bits } else { BOX | bits }),
        Format::Double => numbers,
    }
}

pub(super) fn operations() -> impl Iterator<Item = FloatOp> {
    let formats = [Format::Single, Format::Double];
    FloatKind::ALL
        .into_iter()
        .flat_map(move |kind| formats.map(|format| FloatOp { kind, format }))
        .filter(|op| op.kind != FloatKind::ToIntegerModulo || op.format == Format::Double)
}

/// Where operands and results are: in different registers, in the same, and in memory.
const PLACES: [[u32; 4]; 9] = [
    [10, 11, 12, 13],
    [10, 10, 12, 13],
    [10, 11, 10, 13],
    [10, 11, 12, 10],
    [10, 10, 10, 10],
    [30, 29, 30, 31],
    [10, 31, 29, 31],
    [6, 6, 7, 30],
    [29, 7, 7, 7],
];

#[test]
fn every_operation_has_the_result_and_the_flags_of_the_specification() {
    let mut random = Random(6);
    let mut underflows = 0;
    for op in operations() {
        for rm in [0, 1, 2, 3, 4, 7] {
            for places in PLACES {
                let word = encode(op, rm, places);
                let block = lift(0x1000, &[word]);
                let code = compile(&block);
                if code.compiled == 0 {
                    assert!(code.needs <= Needs::Ready && declines(op, rm), "{op:?} {rm}");
                    continue;
                }
                let modes: &[u8] = if code.needs == Needs::Nearest { &[0] } else { &[0, 1, 2, 3] };
                for _ in 0..CASES {
                    let mut guest = Guest::new(modes[random.below(modes.len() as u64) as usize]);
                    let values = operands(&mut random, op);
                    for (register, value) in places.into_iter().skip(1).zip(values) {
                        guest.vars[register as usize + 32] = value;
                        guest.vars[register as usize] = value;
                    }
                    guest.vars[usize::from(FFLAGS)] = random.next() & random.next() & 0x1f;
                    check(&block, &code, &guest);
                    let mut after = guest.clone();
                    after.vars[usize::from(FFLAGS)] = 0;
                    instructions(&block).flatten().for_each(|&inst| after.step(inst));
                    underflows += u32::from(after.vars[usize::from(FFLAGS)] & 2 != 0);
                }
            }
        }
    }
    assert!(underflows > 1000, "{underflows}");
}

const CASES: usize = 100;

/// What there is no code for.
fn declines(op: FloatOp, rm: u32) -> bool {
    match op.kind {
        FloatKind::Classify | FloatKind::ToIntegerModulo => true,
        FloatKind::ToInteger(integer) => rm == 7 && integer != Integer::I64,
        _ => (1..=4).contains(&rm),
    }
}

/// The results that RISC-V does not call tiny, and A64 does.
#[test]
fn what_rounds_up_to_a_normal_number_has_not_underflowed() {
    let mut random = Random(66);
    let mut found: Vec<(FloatKind, Format)> = Vec::new();
    let guarded = [FloatKind::Mul, FloatKind::MulAdd, FloatKind::NegMulSub, FloatKind::Convert];
    for op in operations().filter(|op| guarded.contains(&op.kind)) {
        if op.kind == FloatKind::Convert && op.format == Format::Double {
            continue;
        }
        let block = lift(0x1000, &[encode(op, 7, [10, 11, 12, 13])]);
        let code = compile(&block);
        for _ in 0..100_000 {
            let mut guest = Guest::new(random.below(4) as u8);
            let values = match op.kind {
                FloatKind::Convert => [random.narrow(); 3],
                _ => random
                    .small(op.format)
                    .map(|bits| if op.format == Format::Single { BOX | bits } else { bits }),
            };
            guest.vars[43..46].copy_from_slice(&values);
            let mut after = guest.clone();
            instructions(&block).flatten().for_each(|&inst| after.step(inst));
            let (smallest, sign) =
                if op.format == Format::Single { (1 << 23, 1 << 31) } else { (1 << 52, 1 << 63) };
            let result = after.vars[42] & !sign & if op.format == Format::Single { !BOX } else { !0 };
            if result == smallest && after.vars[usize::from(FFLAGS)] == 1 {
                found.push((op.kind, op.format));
                check(&block, &code, &guest);
            }
        }
        let count = found.iter().filter(|&&it| it == (op.kind, op.format)).count();
        assert!(count > 20, "{op:?}: {count}");
    }
}
