//! Random RISC-V code: the steps that the front end makes of it, and those that the optimiser leaves.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::machine::{DATA, Run, check};
use super::programs::{START, constant};
use super::random::features;
use crate::interp::Exception;
use crate::ir::{Block, Terminator};
use crate::jit::compile::Features;
use crate::riscv::lift::lift_block;
use crate::riscv::{Context, Enables};

const CONTEXT: Context = Context { mode: 0, enables: Enables::all() };
/// Registers: some in memory. sp points to data, and is not written; so does gp, to which little is added.
const REGISTERS: [u32; 10] = [0, 1, 5, 8, 10, 11, 14, 15, 30, 31];
const SP: u32 = 2;

fn register() -> impl Strategy<Value = u32> {
    prop_oneof![3 => prop::sample::select(&REGISTERS[3..8]), 1 => prop::sample::select(&REGISTERS)]
}

/// Format R.
fn r_type() -> impl Strategy<Value = u32> {
    // funct7, funct3, opcode.
    let ops = [
        (0x00, 0, 0x33),
        (0x20, 0, 0x33),
        (0x00, 1, 0x33),
        (0x00, 2, 0x33),
        (0x00, 3, 0x33),
        (0x00, 4, 0x33),
        (0x00, 5, 0x33),
        (0x20, 5, 0x33),
        (0x00, 6, 0x33),
        (0x00, 7, 0x33),
        (0x01, 0, 0x33),
        (0x01, 1, 0x33),
        (0x01, 2, 0x33),
        (0x01, 4, 0x33),
        (0x01, 7, 0x33),
        (0x00, 0, 0x3b),
        (0x20, 0, 0x3b),
        (0x00, 1, 0x3b),
        (0x00, 5, 0x3b),
        (0x20, 5, 0x3b),
        (0x01, 0, 0x3b),
        (0x01, 4, 0x3b),
        (0x01, 6, 0x3b),
        // Zba, Zbb, Zbs, Zicond, Zbc.
        (0x10, 2, 0x33),
        (0x10, 6, 0x3b),
        (0x04, 0, 0x3b),
        (0x20, 7, 0x33),
        (0x05, 4, 0x33),
        (0x05, 7, 0x33),
        (0x30, 1, 0x33),
        (0x30, 5, 0x3b),
        (0x24, 5, 0x33),
        (0x07, 5, 0x33),
        (0x05, 1, 0x33),
    ];
    (prop::sample::select(ops.to_vec()), register(), register(), register()).prop_map(
        |((funct7, funct3, opcode), rd, rs1, rs2)| {
            funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
        },
    )
}

fn i_type(imm: i32, rs1: u32, funct3: u32, rd: u32, opcode: u32) -> u32 {
    (imm as u32 & 0xfff) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

/// Operations with an immediate.
fn immediate() -> impl Strategy<Value = u32> {
    let imm = prop_oneof![-3..4_i32, -2048..2048_i32, Just(255), Just(-1)];
    prop_oneof![
        4 => (prop::sample::select(&[0_u32, 2, 3, 4, 6, 7]), imm.clone(), register(), register())
            .prop_map(|(funct3, imm, rs1, rd)| i_type(imm, rs1, funct3, rd, 0x13)),
        2 => (imm, register(), register()).prop_map(|(imm, rs1, rd)| i_type(imm, rs1, 0, rd, 0x1b)),
        1 => (any::<u32>(), register()).prop_map(|(imm, rd)| imm << 12 | rd << 7 | 0x37),
        1 => (any::<u32>(), register()).prop_map(|(imm, rd)| imm << 12 | rd << 7 | 0x17),
    ]
}

/// A shift by a constant: SLLI, SRLI, SRAI, or those of 32 bits.
fn shift(kind: usize, narrow: bool, amount: i32, rs1: u32, rd: u32) -> u32 {
    let (top, funct3) = [(0, 1), (0, 5), (0x400, 5)][kind];
    let (amount, opcode) = if narrow { (amount & 31, 0x1b) } else { (amount & 63, 0x13) };
    i_type(top | amount, rs1, funct3, rd, opcode)
}

/// Instructions that belong together.
fn group() -> impl Strategy<Value = Vec<u32>> {
    let amount = prop_oneof![Just(32), Just(48), Just(56), Just(16), Just(24), 0..64_i32].boxed();
    let one_shift = (0..3_usize, any::<bool>(), amount.clone(), register(), register()).boxed();
    let load = (prop::sample::select(&[0_u32, 1, 2, 3, 4, 5, 6]), -300..2047_i32, register());
    let store = (0..4_u32, -300..2047_i32, register());
    let atomic =
        (prop::sample::select(&[2_u32, 3]), prop::sample::select(&[0_u32, 1, 4, 8, 12, 16, 20, 24, 28]));
    prop_oneof![
        6 => r_type().prop_map(|word| vec![word]),
        6 => immediate().prop_map(|word| vec![word]),
        3 => one_shift.clone().prop_map(|(kind, narrow, amount, rs1, rd)| {
            vec![shift(kind, narrow, amount, rs1, rd)]
        }),
        // Two shifts, of which the second overwrites the first one's result; perhaps a sum of that.
        4 => (one_shift, 1..3_usize, amount, 0..3_u32, register()).prop_map(
            |((_, narrow, left, rs1, rd), kind, right, then, other)| {
                let mut words =
                    vec![shift(0, narrow, left, rs1, rd), shift(kind, narrow, right, rd, rd)];
                if then > 0 {
                    words.push((then - 1) << 30 | other << 20 | rd << 15 | rd << 7 | 0x33);
                }
                words
            }
        ),
        4 => load.prop_map(|(funct3, offset, rd)| vec![i_type(offset, SP, funct3, rd, 0x03)]),
        3 => store.prop_map(|(funct3, offset, rs2)| {
            let imm = offset as u32 & 0xfff;
            vec![imm >> 5 << 25 | rs2 << 20 | SP << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23]
        }),
        // LR, then something, then SC; or another atomic one.
        1 => (atomic, register(), register(), register(), any::<[bool; 2]>()).prop_map(
            |((funct3, op), rd, rs2, other, [aq, rl])| {
                let word = |op: u32, rs2: u32, rd: u32| {
                    op << 27 | u32::from(aq) << 26 | u32::from(rl) << 25 | rs2 << 20 | SP << 15 | funct3 << 12
                        | rd << 7 | 0x2f
                };
                if op == 0 { vec![word(2, 0, rd), word(3, rs2, other)] } else { vec![word(op & !3, rs2, rd)] }
            }
        ),
    ]
}

/// What code does between groups.
#[derive(Debug, Clone, Copy)]
enum Flow {
    On,
    /// funct3, the registers, and how many instructions on or back.
    Branch(u32, u32, u32, i32),
    /// The link register, and how many instructions on.
    Jump(u32, i32),
    /// The link register, and that of the target.
    Indirect(u32, u32),
}

fn flow() -> impl Strategy<Value = Flow> {
    let funct3 = prop::sample::select(&[0_u32, 1, 4, 5, 6, 7]);
    prop_oneof![
        6 => Just(Flow::On),
        3 => (funct3, register(), register(), -12..12_i32)
            .prop_map(|(funct3, rs1, rs2, to)| Flow::Branch(funct3, rs1, rs2, to)),
        1 => (0..2_u32, 1..12_i32).prop_map(|(rd, to)| Flow::Jump(rd, to)),
        1 => (0..2_u32, register()).prop_map(|(rd, rs1)| Flow::Indirect(rd, rs1)),
    ]
}

/// A conditional branch, by as many instructions.
fn branch(funct3: u32, rs1: u32, rs2: u32, to: i32) -> u32 {
    let imm = (4 * to) as u32;
    let high = (imm >> 12 & 1) << 31 | (imm >> 5 & 0x3f) << 25;
    let low = (imm >> 1 & 15) << 8 | (imm >> 11 & 1) << 7;
    high | rs2 << 20 | rs1 << 15 | funct3 << 12 | low | 0x63
}

/// Code that ends with a branch to its start.
fn loop_code() -> impl Strategy<Value = Vec<u32>> {
    let end = (prop::sample::select(&[0_u32, 1, 4, 5, 6, 7]), register(), register());
    (prop::collection::vec(group(), 1..8), end).prop_map(|(groups, (funct3, rs1, rs2))| {
        let mut code = groups.concat();
        code.push(branch(funct3, rs1, rs2, -(code.len() as i32)));
        code
    })
}

fn code() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec((group(), flow()), 1..10).prop_map(|groups| {
        let mut code = Vec::new();
        for (group, flow) in groups {
            code.extend(group);
            let here = code.len() as i32;
            code.push(match flow {
                Flow::On => continue,
                Flow::Branch(funct3, rs1, rs2, to) => branch(funct3, rs1, rs2, to.max(-here)),
                Flow::Jump(rd, to) => ((4 * to) as u32 >> 1 & 0x3ff) << 21 | rd << 7 | 0x6f,
                Flow::Indirect(rd, rs1) => i_type(4, rs1, 0, rd, 0x67),
            });
        }
        code
    })
}

fn lift(code: &[u32], pc: u64, max: usize) -> Option<Block> {
    let parcels = |address: u64| {
        let offset = address.wrapping_sub(START);
        let word = code.get(offset as usize / 4).copied().ok_or(Exception { cause: 0, value: 0 })?;
        Ok(if offset.is_multiple_of(4) { word as u16 } else { (word >> 16) as u16 })
    };
    let mut block = Block::default();
    lift_block(pc, max, CONTEXT, &mut block, parcels).ok()?;
    Some(block)
}

/// A trace that takes each branch as the next of `choices` says.
fn trace(code: &[u32], choices: &[bool]) -> Vec<Block> {
    let mut parts = Vec::new();
    let (mut choices, mut at) = (choices.iter(), START);
    while let Some(part) = lift(code, at, 64) {
        let next = match (part.end, choices.next()) {
            (Terminator::Jump { target }, Some(_)) => Some(target),
            (Terminator::Branch { taken, otherwise, .. }, Some(&choice)) => {
                Some(if choice { taken } else { otherwise })
            }
            (Terminator::Indirect { .. }, Some(true)) => Some(part.pc + u64::from(part.len)),
            _ => None,
        };
        parts.push(part);
        let Some(next) = next else { break };
        at = next;
    }
    parts
}

/// Compares what a trace of the code does with what the code's instructions do one by one.
fn compare(
    code: &[u32],
    trace: &[Block],
    registers: &[u64],
    features: Features,
    due: bool,
) -> Result<(), TestCaseError> {
    let mut vars = [0; 256];
    vars[1..32].copy_from_slice(&registers[1..]);
    vars[SP as usize] = DATA + 0x100;
    vars[69] = u64::MAX;
    let single: Vec<Block> =
        (0..code.len()).filter_map(|index| lift(code, START + 4 * index as u64, 1)).collect();
    check(trace, &single, vars, Run { features, due, retired: 0 })?;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn traces_do_what_the_front_end_says(
        code in code(),
        choices in prop::collection::vec(any::<bool>(), 0..8),
        registers in prop::collection::vec(constant(), 32),
        features in features(),
        due in prop::bool::weighted(0.2),
    ) {
        compare(&code, &trace(&code, &choices), &registers, features, due)?;
    }

    #[test]
    fn loops_do_what_the_front_end_says(
        code in loop_code(),
        rounds in 1..6_usize,
        registers in prop::collection::vec(constant(), 32),
        features in features(),
        due in prop::bool::weighted(0.3),
    ) {
        let round = lift(&code, START, 64);
        let trace: Vec<Block> = round.into_iter().cycle().take(rounds).collect();
        compare(&code, &trace, &registers, features, due)?;
    }
}
