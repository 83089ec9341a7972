//! Floating-point instructions: boxes, signs, moves, legality. What operations compute is tested in
//! `crate::float`.

use proptest::prelude::*;

use super::machine::Machine;
use super::*;
use crate::ir::{FloatKind, FloatOp, Format, Inst};
use crate::memory::Size;

const FADD_S: u32 = 0x0020_8053; // fadd.s ft0, ft1, ft2, rne
const BOX: u64 = 0xffff_ffff_0000_0000;
const NAN: u64 = 0x7fc0_0000;

/// Executes one instruction with ft1 = `a`, ft2 = `b`, t0 = `x`.
fn execute(word: u32, a: u64, b: u64, x: u64) -> Machine {
    let mut machine = Machine::new();
    machine.vars[riscv::F + 1] = a;
    machine.vars[riscv::F + 2] = b;
    machine.vars[5] = x;
    machine.write(0x1000, Size::Double, 0x1122_3344_8899_aabb);
    machine.run(&lift(ALL, &[word]));
    machine
}

/// ft0 after one instruction.
fn result(word: u32, a: u64, b: u64, x: u64) -> u64 {
    execute(word, a, b, x).vars[riscv::F]
}

#[test]
fn singles_are_taken_out_of_their_box_and_put_in_again() {
    let (one, two, three) = (1f32.to_bits().into(), 2f32.to_bits().into(), 3f32.to_bits().into());
    let (one, two, three): (u64, u64, u64) = (one, two, three);
    assert_eq!(result(FADD_S, BOX | one, BOX | two, 0), BOX | three);
    // What is not boxed is NaN.
    assert_eq!(result(FADD_S, one, BOX | two, 0), BOX | NAN);
    assert_eq!(result(0x0220_8053, 1f64.to_bits(), 2f64.to_bits(), 0), 3f64.to_bits());
    // From format to format: the operand's box is looked at, or the result is boxed.
    assert_eq!(result(0x4200_8053, BOX | one, 0, 0), 1f64.to_bits());
    assert_eq!(result(0x4200_8053, one, 0, 0), 0x7ff8_0000_0000_0000);
    assert_eq!(result(0x4010_8053, 2f64.to_bits(), 0, 0), BOX | two);
    // To and from integers: feq.s t1, ft1, ft2; fcvt.w.s t1, ft1; fcvt.s.w ft0, t0.
    assert_eq!(execute(0xa020_a353, BOX | two, BOX | two, 0).vars[6], 1);
    assert_eq!(execute(0xa020_a353, two, BOX | two, 0).vars[6], 0);
    assert_eq!(execute(0xc000_8353, BOX | (-3f32).to_bits() as u64, 0, 0).vars[6], -3i64 as u64);
    assert_eq!(result(0xd002_8053, 0, 0, 3), BOX | three);
}

#[test]
fn moves_do_not_look_at_boxes() {
    assert_eq!(result(0xf002_8053, 0, 0, 0x1_8000_0001), BOX | 0x8000_0001); // fmv.w.x ft0, t0
    assert_eq!(result(0xf202_8053, 0, 0, 0x1_8000_0001), 0x1_8000_0001); // fmv.d.x ft0, t0
    assert_eq!(execute(0xe000_8353, 0x1_8000_0001, 0, 0).vars[6], 0xffff_ffff_8000_0001); // fmv.x.w t1, ft1
    assert_eq!(execute(0xe200_8353, 0x1_8000_0001, 0, 0).vars[6], 0x1_8000_0001); // fmv.x.d t1, ft1
    assert_eq!(result(0x0002_a007, 0, 0, 0x1000), BOX | 0x8899_aabb); // flw ft0, 0(t0)
    assert_eq!(result(0x0002_b007, 0, 0, 0x1000), 0x1122_3344_8899_aabb); // fld ft0, 0(t0)
    let stored = execute(0x0012_a427, 0x1234_5678_9abc_def0, 0, 0x1000); // fsw ft1, 8(t0)
    assert_eq!(stored.read(0x1008, Size::Double), 0x9abc_def0);
    let stored = execute(0x0012_b427, 0x1234_5678_9abc_def0, 0, 0x1000); // fsd ft1, 8(t0)
    assert_eq!(stored.read(0x1008, Size::Double), 0x1234_5678_9abc_def0);
    assert_eq!(result(0xf018_0053, 0, 0, 0), BOX | u64::from(1f32.to_bits())); // fli.s ft0, 1.0
    assert_eq!(result(0xf210_8053, 0, 0, 0), f64::MIN_POSITIVE.to_bits()); // fli.d ft0, min
}

proptest! {
    #[test]
    fn signs_are_copied_negated_and_multiplied(a: u64, b: u64, boxed: bool) {
        let (sa, sb) = if boxed { (a | BOX, b | BOX) } else { (a, b) };
        let single = |x: u64| if x & BOX == BOX { x as u32 } else { NAN as u32 };
        let (ua, ub) = (f32::from_bits(single(sa)), f32::from_bits(single(sb)));
        let product = if ua.is_sign_negative() { -ub } else { ub };
        let expected = [ua.copysign(ub), ua.copysign(-ub), ua.copysign(product)];
        for (funct3, expected) in (0..).zip(expected) {
            let word = 0x2020_8053 | funct3 << 12;
            prop_assert_eq!(result(word, sa, sb, 0), BOX | u64::from(expected.to_bits()));
        }
        let (fa, fb) = (f64::from_bits(a), f64::from_bits(b));
        let product = if fa.is_sign_negative() { -fb } else { fb };
        let expected = [fa.copysign(fb), fa.copysign(-fb), fa.copysign(product)];
        for (funct3, expected) in (0..).zip(expected) {
            let word = 0x2220_8053 | funct3 << 12;
            prop_assert_eq!(result(word, a, b, 0), expected.to_bits());
        }
    }
}

#[test]
fn fused_operations_have_the_signs_of_the_specification() {
    // f?.d ft0, ft1, ft2, ft1 on 3 and 5: 15 and 3.
    let cases = [(0x43, 18.0), (0x47, 12.0), (0x4b, -12.0), (0x4f, -18.0)];
    for (opcode, expected) in cases {
        let word = 0x0a20_8000 | opcode;
        assert_eq!(f64::from_bits(result(word, 3f64.to_bits(), 5f64.to_bits(), 0)), expected);
    }
}

#[test]
fn the_rounding_mode_is_the_instructions() {
    let word = |rm: u32| 0x0220_8053 | rm << 12; // fadd.d
    for rm in [0, 1, 2, 3, 4, 7] {
        let block = lift(ALL, &[word(rm)]);
        let Inst::Float { op, rounding, .. } = block.insts[0] else {
            panic!("{:?}", block.insts);
        };
        assert_eq!(op, FloatOp { kind: FloatKind::Add, format: Format::Double });
        assert_eq!(u32::from(rounding), rm);
    }
    let reserved = Context { enables: Enables::all() - Enables::ROUNDING, ..ALL };
    for (rm, legal) in [(0, true), (4, true), (7, false)] {
        let block = lift(reserved, &[word(rm)]);
        assert_eq!(block.end != Terminator::Leave, legal);
    }
}

/// Instructions, and whether they change the floating-point state.
const ALL_KINDS: &[(u32, bool)] = &[
    (FADD_S, true),
    (0x0002_a007, true),  // flw ft0, 0(t0)
    (0x2108, true),       // c.fld fa0, 0(a0)
    (0xa020_a353, true),  // feq.s t1, ft1, ft2
    (0xc000_8353, true),  // fcvt.w.s t1, ft1, rne
    (0xd002_8053, true),  // fcvt.s.w ft0, t0, rne
    (0x2020_8053, true),  // fsgnj.s ft0, ft1, ft2
    (0xf002_8053, true),  // fmv.w.x ft0, t0
    (0xf018_0053, true),  // fli.s ft0, 1.0
    (0x0012_a427, false), // fsw ft1, 8(t0)
    (0xe000_8353, false), // fmv.x.w t1, ft1
];

#[test]
fn without_floating_point_all_are_illegal() {
    for &(word, _) in ALL_KINDS {
        let block = lift(Context { enables: !Enables::FLOAT, ..ALL }, &[word]);
        let nowhere = Var(Var::FIRST_TEMPORARY);
        let call = Inst::Call {
            function: Call::Illegal.number(),
            dst: nowhere,
            a: Value::Const(word as i32),
            b: Value::ZERO,
        };
        assert_eq!((&block.insts[..], block.end), (&[call][..], Terminator::Leave), "{word:#010x}");
    }
}

#[test]
fn a_change_makes_the_state_dirty_and_ends_the_block() {
    let clean = Context { enables: Enables::all() - Enables::FLOAT_DIRTY, ..ALL };
    for &(word, changes) in ALL_KINDS {
        let mut machine = Machine::new();
        let block = lift(clean, &[word, 0x0001]);
        machine.run(&block);
        assert_eq!(block.starts.len(), if changes { 1 } else { 2 }, "{word:#010x}");
        let expected: &[_] = if changes { &[(Call::FloatDirty.number(), 0, 0)] } else { &[] };
        assert_eq!(machine.calls, expected, "{word:#010x}");
        let dirty = lift(ALL, &[word, 0x0001]);
        assert_eq!(dirty.starts.len(), 2, "{word:#010x}");
    }
}
