//! Guest code for reports about blocks.

use core::fmt;

use super::LAYOUT;
use super::context::Context;
use super::decode::{decode, length};
use super::lift::lift_block;
use crate::interp::Exception;
use crate::ir::Block;
use crate::jit::compile::Layout;
use crate::jit::report::Isa;

/// RISC-V.
pub struct Riscv;

impl Isa for Riscv {
    fn layout() -> &'static Layout {
        &LAYOUT
    }

    fn lift(
        context: u32,
        pc: u64,
        max: usize,
        block: &mut Block,
        code: &mut dyn FnMut(u64) -> Option<u16>,
    ) -> Option<()> {
        // Nobody takes it.
        let nothing = Exception { cause: 0, value: 0 };
        let context = Context::from_bits(context);
        lift_block(pc, max, context, block, |address| code(address).ok_or(nothing)).ok()
    }

    fn write(out: &mut dyn fmt::Write, pc: u64, code: &mut dyn FnMut(u64) -> Option<u16>) -> fmt::Result {
        let Some(low) = code(pc) else { return out.write_str("not there") };
        let high = if length(low) == 2 { 0 } else { code(pc.wrapping_add(2)).unwrap_or(0) };
        let word = u32::from(high) << 16 | u32::from(low);
        match decode(word) {
            Some(instruction) => write!(out, "{instruction}"),
            None => write!(out, "illegal {word:#x}"),
        }
    }
}
