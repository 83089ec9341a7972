//! What must not be forgotten, or remembered, from one instruction to a later one.

use super::operations::{Random, encode};
use super::*;
use crate::ir::{FloatKind, FloatOp, Format, Integer};

const FMV_D_X: u32 = 0xf200_0053;

fn double(kind: FloatKind, registers: [u32; 4]) -> u32 {
    encode(FloatOp { kind, format: Format::Double }, 1, registers) | 7 << 12
}

/// x10 becomes an integer.
fn change_x10() -> u32 {
    encode(FloatOp { kind: FloatKind::ToInteger(Integer::I64), format: Format::Double }, 1, [10, 14, 0, 0])
}

#[test]
fn an_integer_register_that_has_changed_is_another_operand() {
    // The second move makes f11 what x10 is then; f10 is still what it was.
    let moves = [FMV_D_X | 10 << 15 | 10 << 7, change_x10(), FMV_D_X | 10 << 15 | 11 << 7];
    let block = lift(0x1000, &[moves[0], moves[1], moves[2], double(FloatKind::Add, [12, 10, 11, 0])]);
    let code = compile(&block);
    let mut guest = Guest::new(0);
    guest.vars[10] = 3f64.to_bits();
    guest.vars[32 + 14] = 5e18f64.to_bits();
    assert_eq!(check(&block, &code, &guest), 4);
}

#[test]
fn an_operand_in_an_integer_register_is_checked_before_that_changes() {
    // f30 lives in memory, so that the product's operand is x10.
    let words = [FMV_D_X | 10 << 15 | 30 << 7, double(FloatKind::Mul, [12, 30, 11, 0]), change_x10()];
    let block = lift(0x1000, &words);
    let code = compile(&block);
    let mut random = Random(1);
    for _ in 0..1000 {
        let mut guest = Guest::new(0);
        [guest.vars[10], guest.vars[32 + 11], _] = random.small(Format::Double);
        guest.vars[32 + 14] = 1e18f64.to_bits();
        assert_eq!(check(&block, &code, &guest), 3);
    }
}

#[test]
fn what_the_engine_may_have_is_not_accessed() {
    const ENGINE: u64 = 1 << 47;
    let load = |offset: u32| offset << 20 | 5 << 15 | 3 << 12 | 10 << 7 | 0x07;
    for (pc, base, goes) in [
        (0x1000, ENGINE, false),
        (0x1000, ENGINE + (1 << 40), false),
        (0x1000, DATA, true),
        // The same test would let nothing of a kernel pass.
        (1 << 63, ENGINE, false),
        (1 << 63, DATA, false),
    ] {
        let block = lift(pc, &[load(8)]);
        let mut guest = Guest::new(0);
        guest.vars[5] = base;
        assert_eq!(check(&block, &compile(&block), &guest), usize::from(goes), "{pc:#x} {base:#x}");
    }
}

#[test]
fn a_base_is_tested_once_until_it_has_gone_far() {
    let load = 8 << 20 | 5 << 15 | 3 << 12 | 10 << 7 | 0x07;
    let add = |by: i32| (by as u32) << 20 | 5 << 15 | 5 << 7 | 0x13;
    let tests = |words: &[u32]| {
        let code = compile(&lift(0x1000, words));
        code.words[..code.main].iter().filter(|&word| word & 0x7f00_0000 == 0x3700_0000).count()
    };
    assert_eq!(tests(&[load, add(8), load, add(8), load]), 1);
    assert_eq!(tests(&[load, add(2040), add(2040), add(2040), add(2040), load]), 1);
    assert_eq!(tests(&[load, add(2040), add(2040), add(2040), add(2040), add(2040), load]), 2);
    assert_eq!(
        tests(&[load, double(FloatKind::ToInteger(Integer::I64), [5, 10, 0, 0]) & !(6 << 12), load]),
        2
    );
    // A constant need not be tested: x5 = 0x1000 << shift.
    let constant =
        |shift: u32| tests(&[1 << 12 | 5 << 7 | 0x37, shift << 20 | 5 << 15 | 1 << 12 | 5 << 7 | 0x13, load]);
    assert_eq!([28, 35, 36].map(constant), [0, 1, 0]);
}
