//! Integer operations against a model in plain Rust.

use proptest::prelude::*;

use super::machine::Machine;
use super::{ALL, i_type, lift, r_type};

const OP: u32 = 0b01100;
const OP_32: u32 = 0b01110;
const OP_IMM: u32 = 0b00100;
const OP_IMM_32: u32 = 0b00110;

/// funct7, funct3, opcode, and the meaning, of each operation on two registers.
type Model = (u32, u32, u32, fn(u64, u64) -> u64);

const REGISTER: &[Model] = &[
    // RV64I.
    (0x00, 0, OP, |a, b| a.wrapping_add(b)),
    (0x20, 0, OP, |a, b| a.wrapping_sub(b)),
    (0x00, 1, OP, |a, b| a << (b % 64)),
    (0x00, 2, OP, |a, b| u64::from((a as i64) < b as i64)),
    (0x00, 3, OP, |a, b| u64::from(a < b)),
    (0x00, 4, OP, |a, b| a ^ b),
    (0x00, 5, OP, |a, b| a >> (b % 64)),
    (0x20, 5, OP, |a, b| (a as i64 >> (b % 64)) as u64),
    (0x00, 6, OP, |a, b| a | b),
    (0x00, 7, OP, |a, b| a & b),
    (0x00, 0, OP_32, |a, b| extend((a as u32).wrapping_add(b as u32))),
    (0x20, 0, OP_32, |a, b| extend((a as u32).wrapping_sub(b as u32))),
    (0x00, 1, OP_32, |a, b| extend((a as u32) << (b % 32))),
    (0x00, 5, OP_32, |a, b| extend(a as u32 >> (b % 32))),
    (0x20, 5, OP_32, |a, b| extend((a as i32 >> (b % 32)) as u32)),
    // M.
    (0x01, 0, OP, |a, b| (u128::from(a) * u128::from(b)) as u64),
    (0x01, 1, OP, |a, b| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
    (0x01, 2, OP, |a, b| ((i128::from(a as i64) * b as i128) >> 64) as u64),
    (0x01, 3, OP, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64),
    (0x01, 4, OP, |a, b| div(a as i64 as i128, b as i64 as i128) as u64),
    (0x01, 5, OP, |a, b| a.checked_div(b).unwrap_or(u64::MAX)),
    (0x01, 6, OP, |a, b| rem(a as i64 as i128, b as i64 as i128) as u64),
    (0x01, 7, OP, |a, b| a.checked_rem(b).unwrap_or(a)),
    (0x01, 0, OP_32, |a, b| extend((a as u32).wrapping_mul(b as u32))),
    (0x01, 4, OP_32, |a, b| extend(div(i128::from(a as i32), i128::from(b as i32)) as u32)),
    (0x01, 5, OP_32, |a, b| extend((a as u32).checked_div(b as u32).unwrap_or(u32::MAX))),
    (0x01, 6, OP_32, |a, b| extend(rem(i128::from(a as i32), i128::from(b as i32)) as u32)),
    (0x01, 7, OP_32, |a, b| extend((a as u32).checked_rem(b as u32).unwrap_or(a as u32))),
    // Zba.
    (0x04, 0, OP_32, |a, b| (a % (1 << 32)).wrapping_add(b)),
    (0x10, 2, OP, |a, b| a.wrapping_mul(2).wrapping_add(b)),
    (0x10, 4, OP, |a, b| a.wrapping_mul(4).wrapping_add(b)),
    (0x10, 6, OP, |a, b| a.wrapping_mul(8).wrapping_add(b)),
    (0x10, 2, OP_32, |a, b| (a % (1 << 32) * 2).wrapping_add(b)),
    (0x10, 4, OP_32, |a, b| (a % (1 << 32) * 4).wrapping_add(b)),
    (0x10, 6, OP_32, |a, b| (a % (1 << 32) * 8).wrapping_add(b)),
    // Zbb.
    (0x20, 7, OP, |a, b| a & !b),
    (0x20, 6, OP, |a, b| a | !b),
    (0x20, 4, OP, |a, b| !(a ^ b)),
    (0x05, 4, OP, |a, b| (a as i64).min(b as i64) as u64),
    (0x05, 5, OP, |a, b| a.min(b)),
    (0x05, 6, OP, |a, b| (a as i64).max(b as i64) as u64),
    (0x05, 7, OP, |a, b| a.max(b)),
    (0x30, 1, OP, |a, b| a.rotate_left((b % 64) as u32)),
    (0x30, 5, OP, |a, b| a.rotate_right((b % 64) as u32)),
    (0x30, 1, OP_32, |a, b| extend((a as u32).rotate_left((b % 32) as u32))),
    (0x30, 5, OP_32, |a, b| extend((a as u32).rotate_right((b % 32) as u32))),
    // Zbc.
    (0x05, 1, OP, |a, b| carryless(a, b) as u64),
    (0x05, 2, OP, |a, b| (carryless(a, b) >> 63) as u64),
    (0x05, 3, OP, |a, b| (carryless(a, b) >> 64) as u64),
    // Zbs.
    (0x24, 1, OP, |a, b| a & !(1 << (b % 64))),
    (0x24, 5, OP, |a, b| a >> (b % 64) & 1),
    (0x34, 1, OP, |a, b| a ^ 1 << (b % 64)),
    (0x14, 1, OP, |a, b| a | 1 << (b % 64)),
    // Zicond.
    (0x07, 5, OP, |a, b| if b == 0 { 0 } else { a }),
    (0x07, 7, OP, |a, b| if b == 0 { a } else { 0 }),
];

/// Immediate bits that are given, of which the mask tells which are free, funct3, opcode, and the meaning.
type ImmediateModel = (i32, i32, u32, u32, fn(u64, u64) -> u64);

const IMMEDIATE: &[ImmediateModel] = &[
    (0, 0xfff, 0, OP_IMM, |a, b| a.wrapping_add(b)),
    (0, 0xfff, 2, OP_IMM, |a, b| u64::from((a as i64) < b as i64)),
    (0, 0xfff, 3, OP_IMM, |a, b| u64::from(a < b)),
    (0, 0xfff, 4, OP_IMM, |a, b| a ^ b),
    (0, 0xfff, 6, OP_IMM, |a, b| a | b),
    (0, 0xfff, 7, OP_IMM, |a, b| a & b),
    (0x000, 63, 1, OP_IMM, |a, b| a << (b % 64)),
    (0x000, 63, 5, OP_IMM, |a, b| a >> (b % 64)),
    (0x400, 63, 5, OP_IMM, |a, b| (a as i64 >> (b % 64)) as u64),
    (0x600, 63, 5, OP_IMM, |a, b| a.rotate_right((b % 64) as u32)),
    (0x280, 63, 1, OP_IMM, |a, b| a | 1 << (b % 64)),
    (0x480, 63, 1, OP_IMM, |a, b| a & !(1 << (b % 64))),
    (0x680, 63, 1, OP_IMM, |a, b| a ^ 1 << (b % 64)),
    (0x480, 63, 5, OP_IMM, |a, b| a >> (b % 64) & 1),
    (0, 0xfff, 0, OP_IMM_32, |a, b| extend((a as u32).wrapping_add(b as u32))),
    (0x000, 31, 1, OP_IMM_32, |a, b| extend((a as u32) << (b % 32))),
    (0x000, 31, 5, OP_IMM_32, |a, b| extend(a as u32 >> (b % 32))),
    (0x400, 31, 5, OP_IMM_32, |a, b| extend((a as i32 >> (b % 32)) as u32)),
    (0x600, 31, 5, OP_IMM_32, |a, b| extend((a as u32).rotate_right((b % 32) as u32))),
    (0x080, 63, 1, OP_IMM_32, |a, b| (a % (1 << 32)) << (b % 64)),
];

/// The whole immediate, funct3, opcode, and the meaning.
type UnaryModel = (i32, u32, u32, fn(u64) -> u64);

const UNARY: &[UnaryModel] = &[
    (0x600, 1, OP_IMM, |a| (0..64).take_while(|bit| a << bit >> 63 == 0).count() as u64),
    (0x601, 1, OP_IMM, |a| (0..64).take_while(|bit| a >> bit & 1 == 0).count() as u64),
    (0x602, 1, OP_IMM, |a| (0..64).map(|bit| a >> bit & 1).sum()),
    (0x604, 1, OP_IMM, |a| a as i8 as u64),
    (0x605, 1, OP_IMM, |a| a as i16 as u64),
    (0x287, 5, OP_IMM, |a| u64::from_le_bytes(a.to_le_bytes().map(|byte| if byte == 0 { 0 } else { 0xff }))),
    (0x6b8, 5, OP_IMM, |a| u64::from_be_bytes(a.to_le_bytes())),
    (0x600, 1, OP_IMM_32, |a| (0..32).take_while(|bit| (a as u32) << bit >> 31 == 0).count() as u64),
    (0x601, 1, OP_IMM_32, |a| (0..32).take_while(|bit| a >> bit & 1 == 0).count() as u64),
    (0x602, 1, OP_IMM_32, |a| (0..32).map(|bit| a >> bit & 1).sum()),
    (0x080, 4, OP_32, |a| u64::from(a as u16)),
];

fn extend(value: u32) -> u64 {
    value as i32 as u64
}

/// In a type in which the quotient fits.
fn div(a: i128, b: i128) -> i128 {
    a.checked_div(b).unwrap_or(-1)
}

fn rem(a: i128, b: i128) -> i128 {
    a.checked_rem(b).unwrap_or(a)
}

fn carryless(a: u64, b: u64) -> u128 {
    (0..64).filter(|bit| b >> bit & 1 == 1).fold(0, |sum, bit| sum ^ u128::from(a) << bit)
}

fn operand() -> impl Strategy<Value = u64> {
    let corner = prop::sample::select(alloc::vec![
        0,
        1,
        u64::MAX,
        i64::MIN as u64,
        i64::MAX as u64,
        i32::MIN as u64,
        i32::MAX as u64,
        u64::from(u32::MAX),
        0x8000_0000,
        31,
        32,
        33,
        63,
        64,
        65,
        0x7fff,
        0x8000,
        0x80,
        0xff00_ff00_00ff_00ff,
    ]);
    prop_oneof![any::<u64>(), corner, any::<i8>().prop_map(|small| small as u64)]
}

/// A register: x0, or one of few, so that instructions name one twice.
fn register() -> impl Strategy<Value = u32> {
    prop::sample::select(alloc::vec![0, 5, 18, 31])
}

/// Executes one instruction, and says what it has done to the integer registers: nothing, but for `rd`.
fn execute(word: u32, rd: u32, registers: [u64; 32]) -> u64 {
    let mut machine = Machine::new();
    machine.vars[..32].copy_from_slice(&registers);
    let next = machine.run(&lift(ALL, &[word]));
    assert_eq!(next, Some(super::PC + 4));
    for (number, &before) in registers.iter().enumerate() {
        if number != rd as usize {
            assert_eq!(machine.vars[number], before, "x{number}");
        }
    }
    machine.vars[rd as usize]
}

proptest! {
    #[test]
    fn operations_on_registers_are_the_models(
        (a, b) in (operand(), operand()),
        (rd, rs1, rs2) in (register(), register(), register()),
    ) {
        for &(funct7, funct3, opcode, model) in REGISTER {
            let word = r_type(funct7, rs2, rs1, funct3, rd, opcode);
            let mut registers = [0; 32];
            registers[rs1 as usize] = a;
            registers[rs2 as usize] = b;
            registers[0] = 0;
            let (a, b) = (registers[rs1 as usize], registers[rs2 as usize]);
            let expected = if rd == 0 { 0 } else { model(a, b) };
            prop_assert_eq!(execute(word, rd, registers), expected, "{:#010x} on {:#x}, {:#x}", word, a, b);
        }
    }

    #[test]
    fn operations_on_immediates_are_the_models(
        (a, imm) in (operand(), -2048..2048),
        (rd, rs1) in (register(), register()),
    ) {
        for &(fixed, free, funct3, opcode, model) in IMMEDIATE {
            let word = i_type(fixed | imm & free, rs1, funct3, rd, opcode);
            let b = if free == 0xfff { imm } else { imm & free };
            let mut registers = [0; 32];
            registers[rs1 as usize] = if rs1 == 0 { 0 } else { a };
            let expected = if rd == 0 { 0 } else { model(registers[rs1 as usize], b as u64) };
            prop_assert_eq!(execute(word, rd, registers), expected, "{:#010x} on {:#x}", word, a);
        }
    }

    #[test]
    fn operations_on_one_register_are_the_models(a in operand(), (rd, rs1) in (register(), register())) {
        for &(imm, funct3, opcode, model) in UNARY {
            let word = i_type(imm, rs1, funct3, rd, opcode);
            let mut registers = [0; 32];
            registers[rs1 as usize] = if rs1 == 0 { 0 } else { a };
            let expected = if rd == 0 { 0 } else { model(registers[rs1 as usize]) };
            prop_assert_eq!(execute(word, rd, registers), expected, "{:#010x} on {:#x}", word, a);
        }
    }
}

#[test]
fn upper_immediates_are_sign_extended_and_relative_to_the_instruction() {
    assert_eq!(execute(0x8000_02b7, 5, [0; 32]), 0xffff_ffff_8000_0000); // lui t0, 0x80000
    assert_eq!(execute(0xffff_f297, 5, [0; 32]), super::PC - 0x1000); // auipc t0, 0xfffff
}
