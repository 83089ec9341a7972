//! Every operation, on edge cases, against what Rust says; through the optimiser (on constants) and not (on variables).

use std::vec::Vec;

use super::toy::{RAM, ToyGuest};
use crate::interp::Interpreter;
use crate::ir::{BinaryOp, Condition, FloatKind, FloatOp, Format, Inst, UnaryOp, Value, Var, Width};

const EDGES: [u64; 14] = [
    0,
    1,
    2,
    31,
    64,
    0x7f,
    0x8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0xffff_ffff_8000_0000,
    0x0123_4567_89ab_cdef,
    0x8000_0000_0000_0000,
    u64::MAX,
];
const WIDTHS: [Width; 3] = [Width::W64, Width::S32, Width::U32];
const DST: Var = Var(100);

/// What each instruction computes.
fn execute(insts: &[Inst], vars: &[u64]) -> Vec<u64> {
    let mut guest = ToyGuest::new();
    guest.vars[..vars.len()].copy_from_slice(vars);
    let mut address = RAM;
    for (at, &inst) in insts.iter().enumerate() {
        let slot = Var(101 + at as u8);
        let keep = Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst: slot, a: DST.into() };
        guest.put(address, &[inst, keep], None);
        address += 4;
    }
    guest.run(&mut Interpreter::new(1 << 20), RAM);
    guest.vars[101..101 + insts.len()].to_vec()
}

/// The operands as variables or constants, in all combinations.
fn forms() -> [[Value; 2]; 4] {
    let [a, b] = [Value::Var(Var(1)), Value::Var(Var(2))];
    // Replaced by the operands.
    [[a, b], [a, Value::Const(2)], [Value::Const(1), b], [Value::Const(1), Value::Const(2)]]
}

fn check(make: impl Fn([Value; 2]) -> Inst, [a, b]: [u64; 2], expected: u64) {
    let insts = forms().map(|form| {
        // What needs more bits than an operand has is in its variable.
        let operand = |value, var| Value::of_constant(value).unwrap_or(Value::Var(Var(var)));
        make(form.map(|value| match value {
            Value::Const(1) => operand(a, 1),
            Value::Const(_) => operand(b, 2),
            var => var,
        }))
    });
    assert_eq!(execute(&insts, &[0, a, b]), [expected; 4], "{:?} of {a:#x}, {b:#x}", insts[0]);
}

fn pairs() -> impl Iterator<Item = [u64; 2]> {
    EDGES.into_iter().flat_map(|a| EDGES.into_iter().map(move |b| [a, b]))
}

/// The operation in 128 bits on operands of `bits` bits, before it is cut.
fn model(op: BinaryOp, a: u64, b: u64, bits: u32) -> u128 {
    let mask = u64::MAX >> (64 - bits);
    let (a, b) = (a & mask, b & mask);
    let signed = |value: u64| i128::from((value << (64 - bits)) as i64 >> (64 - bits));
    let (wide_a, wide_b, amount) = (u128::from(a), u128::from(b), b as u32 % bits);
    let clmul = (0..bits).filter(|bit| b >> bit & 1 == 1).fold(0, |product, bit| product ^ wide_a << bit);
    match op {
        BinaryOp::Add => wide_a + wide_b,
        BinaryOp::Sub => wide_a.wrapping_sub(wide_b),
        BinaryOp::And => wide_a & wide_b,
        BinaryOp::Or => wide_a | wide_b,
        BinaryOp::Xor => wide_a ^ wide_b,
        BinaryOp::AndNot => wide_a & !wide_b,
        BinaryOp::OrNot => wide_a | !wide_b,
        BinaryOp::XorNot => !(wide_a ^ wide_b),
        BinaryOp::ShiftLeft => wide_a << amount,
        BinaryOp::ShiftRight => wide_a >> amount,
        BinaryOp::ShiftRightSigned => (signed(a) >> amount) as u128,
        BinaryOp::RotateRight => (wide_a << bits | wide_a) >> amount,
        BinaryOp::Mul => wide_a.wrapping_mul(wide_b),
        BinaryOp::MulHigh => ((signed(a) * signed(b)) >> bits) as u128,
        BinaryOp::MulHighSignedUnsigned => ((signed(a) * wide_b as i128) >> bits) as u128,
        BinaryOp::MulHighUnsigned => (wide_a * wide_b) >> bits,
        BinaryOp::Div | BinaryOp::DivUnsigned if b == 0 => u128::MAX,
        BinaryOp::Rem | BinaryOp::RemUnsigned if b == 0 => wide_a,
        BinaryOp::Div => (signed(a) / signed(b)) as u128,
        BinaryOp::DivUnsigned => wide_a / wide_b,
        BinaryOp::Rem => (signed(a) % signed(b)) as u128,
        BinaryOp::RemUnsigned => wide_a % wide_b,
        BinaryOp::Min => signed(a).min(signed(b)) as u128,
        BinaryOp::MinUnsigned => wide_a.min(wide_b),
        BinaryOp::Max => signed(a).max(signed(b)) as u128,
        BinaryOp::MaxUnsigned => wide_a.max(wide_b),
        BinaryOp::CarrylessMul => clmul,
        BinaryOp::CarrylessMulHigh => clmul >> bits,
    }
}

fn cut(value: u128, width: Width) -> u64 {
    match width {
        Width::W64 => value as u64,
        Width::S32 => value as i32 as u64,
        Width::U32 => u64::from(value as u32),
    }
}

#[test]
fn binary() {
    use BinaryOp::*;
    const OPS: [BinaryOp; 26] = [
        Add,
        Sub,
        And,
        Or,
        Xor,
        AndNot,
        OrNot,
        XorNot,
        ShiftLeft,
        ShiftRight,
        ShiftRightSigned,
        RotateRight,
        Mul,
        MulHigh,
        MulHighSignedUnsigned,
        MulHighUnsigned,
        Div,
        DivUnsigned,
        Rem,
        RemUnsigned,
        Min,
        MinUnsigned,
        Max,
        MaxUnsigned,
        CarrylessMul,
        CarrylessMulHigh,
    ];
    for (op, width) in OPS.into_iter().flat_map(|op| WIDTHS.map(|width| (op, width))) {
        let bits = if width == Width::W64 { 64 } else { 32 };
        for [a, b] in pairs() {
            let expected = cut(model(op, a, b, bits), width);
            check(|[a, b]| Inst::Binary { op, width, dst: DST, a, b }, [a, b], expected);
        }
    }
}

#[test]
fn compare() {
    for [a, b] in pairs() {
        let (signed_a, signed_b) = (a as i64, b as i64);
        for (condition, expected) in [
            (Condition::Equal, a == b),
            (Condition::NotEqual, a != b),
            (Condition::Less, signed_a < signed_b),
            (Condition::GreaterEqual, signed_a >= signed_b),
            (Condition::Below, a < b),
            (Condition::AboveEqual, a >= b),
        ] {
            check(|[a, b]| Inst::Compare { condition, dst: DST, a, b }, [a, b], u64::from(expected));
        }
    }
}

#[test]
fn unary() {
    for a in EDGES {
        let boxed = if a >> 32 == 0xffff_ffff { a & 0xffff_ffff } else { 0x7fc0_0000 };
        let low = a as u32;
        let saturate =
            |bytes: u64| u64::from_le_bytes(bytes.to_le_bytes().map(|byte| if byte == 0 { 0 } else { 0xff }));
        let reverse = |bytes: u64| u64::from_le_bytes(bytes.to_le_bytes().map(u8::reverse_bits));
        for (op, wide, narrow) in [
            (UnaryOp::Move, a, low),
            (UnaryOp::LeadingZeros, a.leading_zeros().into(), low.leading_zeros()),
            (UnaryOp::TrailingZeros, a.trailing_zeros().into(), low.trailing_zeros()),
            (UnaryOp::CountOnes, a.count_ones().into(), low.count_ones()),
            (UnaryOp::SwapBytes, a.swap_bytes(), low.swap_bytes()),
            (UnaryOp::ReverseBitsInBytes, reverse(a), reverse(a) as u32),
            (UnaryOp::SaturateBytes, saturate(a), saturate(a) as u32),
            (UnaryOp::SignExtend8, a as i8 as u64, a as i8 as u32),
            (UnaryOp::SignExtend16, a as i16 as u64, a as i16 as u32),
            (UnaryOp::ZeroExtend8, a & 0xff, low & 0xff),
            (UnaryOp::ZeroExtend16, a & 0xffff, low & 0xffff),
            (UnaryOp::UnboxSingle, boxed, 0x7fc0_0000),
        ] {
            for width in WIDTHS {
                let expected = if width == Width::W64 { wide } else { cut(narrow.into(), width) };
                check(|[a, _]| Inst::Unary { op, width, dst: DST, a }, [a, 0], expected);
            }
        }
    }
}

#[test]
fn select() {
    for (test, expected) in [(0, 6), (1, 5), (1 << 63, 5)] {
        check(|[a, b]| Inst::Select { dst: DST, test: Var(3), a, b }, [5, 5], 5);
        for constant in [false, true] {
            let set = match constant {
                true => Inst::Constant { dst: DST, value: test },
                false => Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst: DST, a: Var(3).into() },
            };
            let inst = Inst::Select { dst: DST, test: DST, a: Value::Const(5), b: Value::Var(Var(4)) };
            assert_eq!(execute(&[set, inst], &[0, 0, 0, test, 6])[1], expected);
        }
    }
}

#[test]
fn float_operations_reach_the_guest_as_they_are() {
    for (number, kind) in FloatKind::ALL.into_iter().enumerate() {
        for (format, rounding) in [(Format::Single, 0), (Format::Double, 7), (Format::Single, 255)] {
            let [a, b, c] = [Value::Var(Var(1)), Value::Var(Var(2)), Value::Const(0x1234_5678)];
            let op = FloatOp { kind, format };
            let expected = 3_u64
                ^ 5 << 8
                ^ 0x1234_5678_u64.rotate_left(16)
                ^ (number as u64) << 32
                ^ (format as u64) << 40
                ^ u64::from(rounding) << 48;
            let inst = Inst::Float { op, rounding, dst: DST, a, b, c };
            assert_eq!(execute(&[inst], &[0, 3, 5]), [expected]);
        }
    }
}
