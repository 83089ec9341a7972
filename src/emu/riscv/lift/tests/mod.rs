//! Tests: lifted blocks are executed by a plain evaluator of the intermediate representation, and compared
//! with what the specification says of the instructions.

mod block;
mod float;
mod integer;
mod machine;
mod memory;
mod system;

use alloc::vec::Vec;

use polyvisor_cell_abi::riscv::MACHINE;

use super::*;
use crate::interp::Exception;

/// Where test code lies.
const PC: u64 = 0x8000_1000;
/// What a fetch beyond the test's code raises.
const FETCH: Exception = Exception { cause: 1, value: 0 };
/// Machine mode with everything on.
const ALL: Context = Context { mode: MACHINE, enables: Enables::all() };

/// Lifts instructions that lie at `pc`, each in as many bytes as it has.
fn lift_at(pc: u64, max: usize, context: Context, words: &[u32]) -> Result<Block, Exception> {
    let mut parcels = Vec::new();
    for &word in words {
        parcels.push(word as u16);
        if length(word as u16) == 4 {
            parcels.push((word >> 16) as u16);
        }
    }
    let mut block = Block::default();
    lift_block(pc, max, context, &mut block, |address: u64| {
        let index = address.wrapping_sub(pc) / 2;
        parcels.get(index as usize).copied().ok_or(Exception { value: address, ..FETCH })
    })?;
    Ok(block)
}

/// Lifts instructions at [`PC`].
fn lift(context: Context, words: &[u32]) -> Block {
    lift_at(PC, usize::MAX, context, words).unwrap()
}

/// An instruction of format R; the opcode's lowest bits are implied.
fn r_type(funct7: u32, rs2: u32, rs1: u32, funct3: u32, rd: u32, opcode: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode << 2 | 3
}

/// An instruction of format I.
fn i_type(imm: i32, rs1: u32, funct3: u32, rd: u32, opcode: u32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode << 2 | 3
}
