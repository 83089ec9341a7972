//! Loads, stores, atomics, cache blocks.

use super::machine::Machine;
use super::*;
use crate::ir::{AtomicOp, Inst, Order};
use crate::memory::Size;

const LOAD: u32 = 0b00000;
const AMO: u32 = 0b01011;
const ADDRESS: u64 = 0x1000;
const BYTES: u64 = 0xf0e1_d2c3_b4a5_9687;

/// Executes one instruction with t0 = [`ADDRESS`], where [`BYTES`] are, and t1 = `value`.
fn execute(word: u32, value: u64) -> Machine {
    let mut machine = Machine::new();
    machine.write(ADDRESS, Size::Double, BYTES);
    machine.vars[5] = ADDRESS;
    machine.vars[6] = value;
    machine.run(&lift(ALL, &[word]));
    machine
}

#[test]
fn loads_extend() {
    let expected = [
        0xffff_ffff_ffff_ff87,
        0xffff_ffff_ffff_9687,
        0xffff_ffff_b4a5_9687,
        BYTES,
        0x87,
        0x9687,
        0xb4a5_9687,
    ];
    for (funct3, expected) in (0..).zip(expected) {
        assert_eq!(execute(i_type(0, 5, funct3, 7, LOAD), 0).vars[7], expected, "function {funct3}");
        // Over the base register.
        assert_eq!(execute(i_type(0, 5, funct3, 5, LOAD), 0).vars[5], expected, "function {funct3}");
    }
    assert_eq!(execute(i_type(7, 5, 4, 7, LOAD), 0).vars[7], 0xf0);
}

#[test]
fn a_load_to_x0_is_carried_out() {
    let block = lift(ALL, &[i_type(-8, 5, 3, 0, LOAD)]);
    let [Inst::Load { size: Size::Double, offset: -8, dst, .. }] = block.insts[..] else {
        panic!("{:?}", block.insts);
    };
    assert!(dst.is_temporary());
}

#[test]
fn stores_keep_what_is_around() {
    let expected =
        [0xf0e1_d2c3_b4a5_9611, 0xf0e1_d2c3_b4a5_2211, 0xf0e1_d2c3_4433_2211, 0x8877_6655_4433_2211];
    for (funct3, expected) in (0..).zip(expected) {
        let word = 0x0062_8023 | funct3 << 12; // s? t1, 0(t0)
        let machine = execute(word, 0x8877_6655_4433_2211);
        assert_eq!(machine.read(ADDRESS, Size::Double), expected, "function {funct3}");
    }
    let negative = execute(0xfe62_8c23, 0xab); // sb t1, -8(t0)
    assert_eq!(negative.read(ADDRESS - 8, Size::Byte), 0xab);
    assert_eq!(execute(0x0002_b023, 0).read(ADDRESS, Size::Double), 0); // sd zero, 0(t0)
}

#[test]
fn atomic_operations_return_the_old_value() {
    type Model = fn(i64, i64) -> i64;
    let cases: &[(u32, Model)] = &[
        (0b00000, i64::wrapping_add),
        (0b00001, |_, b| b),
        (0b00100, |a, b| a ^ b),
        (0b01000, |a, b| a | b),
        (0b01100, |a, b| a & b),
        (0b10000, |a, b| a.min(b)),
        (0b10100, |a, b| a.max(b)),
        (0b11000, |a, b| (a as u64).min(b as u64) as i64),
        (0b11100, |a, b| (a as u64).max(b as u64) as i64),
    ];
    for value in [0x7000_0000_1234_5678, u64::MAX] {
        for &(function, model) in cases {
            let double = execute(r_type(function << 2, 6, 5, 3, 7, AMO), value);
            assert_eq!(double.vars[7], BYTES);
            assert_eq!(double.read(ADDRESS, Size::Double), model(BYTES as i64, value as i64) as u64);
            let word = execute(r_type(function << 2, 6, 5, 2, 7, AMO), value);
            assert_eq!(word.vars[7], BYTES as i32 as u64);
            let expected = model((BYTES as i32).into(), (value as i32).into()) as u32;
            assert_eq!(word.read(ADDRESS, Size::Word), expected.into(), "function {function:#b}");
            assert_eq!(word.read(ADDRESS + 4, Size::Word), BYTES >> 32);
        }
    }
}

#[test]
fn acquire_and_release_are_told() {
    for (bits, order) in (0..).zip([Order::Relaxed, Order::Release, Order::Acquire, Order::AcquireRelease]) {
        let [base, value] = [5, 6].map(|number| Value::Var(Var(number)));
        let amo = lift(ALL, &[r_type(bits, 6, 5, 3, 7, AMO)]);
        let expected =
            Inst::Atomic { op: AtomicOp::Add, size: Size::Double, order, dst: Var(7), address: base, value };
        assert_eq!(amo.insts, [expected]);
        let lr = lift(ALL, &[r_type(0b00010 << 2 | bits, 0, 5, 2, 7, AMO)]);
        assert_eq!(lr.insts, [Inst::LoadReserved { size: Size::Word, order, dst: Var(7), address: base }]);
        let sc = lift(ALL, &[r_type(0b00011 << 2 | bits, 6, 5, 3, 7, AMO)]);
        let expected =
            Inst::StoreConditional { size: Size::Double, order, dst: Var(7), address: base, value };
        assert_eq!(sc.insts, [expected]);
    }
}

#[test]
fn fences_order_unless_one_side_is_empty() {
    assert_eq!(lift(ALL, &[0x0ff0_000f]).insts, [Inst::Fence]); // fence iorw, iorw
    assert_eq!(lift(ALL, &[0x8330_000f]).insts, [Inst::Fence]); // fence.tso
    assert_eq!(lift(ALL, &[0x0100_000f]).insts, []); // pause
    assert_eq!(lift(ALL, &[0x0010_000f]).insts, []); // fence 0, w
}

#[test]
fn cbo_zero_clears_the_block_around_the_address() {
    let mut machine = Machine::new();
    for at in 0..256 {
        machine.write(ADDRESS + at, Size::Byte, 0xee);
    }
    machine.vars[5] = ADDRESS + 64 + 13;
    let block = lift(ALL, &[0x0042_a00f]);
    machine.run(&block);
    let cleared: Vec<u64> = (0..256).filter(|at| machine.read(ADDRESS + at, Size::Byte) == 0).collect();
    assert_eq!(cleared, (64..128).collect::<Vec<_>>());
    // What raises an exception does so for the guest's very address.
    assert!(matches!(block.insts[0], Inst::Store { base: Value::Var(Var(5)), offset: 0, .. }));
}
