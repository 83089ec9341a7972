//! What RISC-V instructions mean, in the intermediate representation.
//!
//! [`lift_block`] turns code into a [`Block`]. The meaning of each instruction is written here and nowhere
//! else; what goes beyond registers, memory and arithmetic is a [`Call`] of the hart.
//!
//! - Globals are the registers as [`polyvisor_cell_abi::riscv`] lays them out. x0 is the constant zero
//!   wherever it is
//!   read, and never written.
//! - A block ends where control may go elsewhere than to the next instruction, and where an instruction may
//!   change the
//!   [`Context`], what is mapped, or whether an interrupt is due.
//! - The code of a block lies in one page, so that one translation says whether it is still there. An
//!   instruction that
//!   straddles two pages is a block of its own.

mod control;
mod csr;
mod float;
mod integer;
mod memory;
mod system;
#[cfg(test)]
mod tests;

use polyvisor_cell_abi::riscv::{self, MACHINE};

use super::decode::{F, Instruction, Source, X, decode, length};
use super::{Call, Context, Enables};
use crate::interp::Exception;
use crate::ir::{Block, Builder, Terminator, Value, Var};

const PAGE: u64 = 4096;

/// Lifts the code at `pc` into `block`: at most `max` instructions, and at least one. `code` reads the 16 bits at an even
/// address, or says which exception their fetch raises. What the block was is forgotten, but for its buffers.
///
/// # Errors The exception that the fetch of the first instruction raises. One of a later instruction ends the
/// block before it.
pub fn lift_block(
    pc: u64,
    max: usize,
    context: Context,
    block: &mut Block,
    mut code: impl FnMut(u64) -> Result<u16, Exception>,
) -> Result<(), Exception> {
    let mut lifter = Lifter { block: Builder::new(block, pc), word: 0, context, upper: None };
    let mut left = PAGE - pc % PAGE;
    // Only the first one may go on on the next page.
    let mut next = read(pc, 4, &mut code)?;
    while let Some((word, len)) = next {
        if let Some(end) = lifter.instruction(word, len) {
            lifter.block.finish(end);
            return Ok(());
        }
        left = left.saturating_sub(len);
        if lifter.block.is_full(max) {
            break;
        }
        next = read(lifter.block.next_pc(), left, &mut code).unwrap_or(None);
    }
    let target = lifter.block.next_pc();
    lifter.block.finish(Terminator::Jump { target });
    Ok(())
}

/// The instruction at `address`, and how many bytes it has; `None` if these are more than `room`.
#[inline(always)]
fn read(
    address: u64,
    room: u64,
    code: &mut impl FnMut(u64) -> Result<u16, Exception>,
) -> Result<Option<(u32, u64)>, Exception> {
    if room == 0 {
        return Ok(None);
    }
    let parcel = code(address)?;
    if length(parcel) == 2 {
        return Ok(Some((parcel.into(), 2)));
    }
    if room < 4 {
        return Ok(None);
    }
    let upper = code(address.wrapping_add(2))?;
    Ok(Some((u32::from(upper) << 16 | u32::from(parcel), 4)))
}

/// A block in the making. What lifts an instruction returns how the block ends with it, or `None` if it goes
/// on.
struct Lifter<'a> {
    block: Builder<'a>,
    /// The instruction that is being lifted; a compressed one in the low half.
    word: u32,
    context: Context,
    /// What the last AUIPC has put where, and the address behind it.
    upper: Option<(X, u64, u64)>,
}

impl Lifter<'_> {
    #[inline(always)]
    fn instruction(&mut self, word: u32, len: u64) -> Option<Terminator> {
        self.word = word;
        self.block.instruction(len);
        let Some(instruction) = &decode(word) else {
            return self.illegal();
        };
        // Only what is needed is copied of it.
        match *instruction {
            Instruction::Lui { rd, imm } => self.constant(rd, extend(imm)),
            Instruction::Auipc { rd, imm } => {
                let value = self.block.pc().wrapping_add(extend(imm));
                self.upper = (rd != X::ZERO).then_some((rd, value, self.block.next_pc()));
                self.constant(rd, value)
            }
            Instruction::Jal { rd, offset } => self.jal(rd, offset),
            Instruction::Jalr { rd, rs1, offset } => self.jalr(rd, rs1, offset),
            Instruction::Branch { condition, rs1, rs2, offset } => self.branch(condition, rs1, rs2, offset),
            Instruction::Load { size, signed, rd, rs1, offset } => self.load(size, signed, rd, rs1, offset),
            Instruction::Store { size, rs1, rs2, offset } => self.store(size, rs1, rs2, offset),
            Instruction::Op { op, rd, rs1, source } => self.op(op, rd, rs1, source),
            Instruction::Unary { op, rd, rs1 } => self.unary(op, rd, rs1),
            Instruction::LoadReserved { size, order, rd, rs1 } => self.load_reserved(size, order, rd, rs1),
            Instruction::StoreConditional { size, order, rd, rs1, rs2 } => {
                self.store_conditional(size, order, rd, rs1, rs2)
            }
            Instruction::Amo { op, size, order, rd, rs1, rs2 } => self.amo(op, size, order, rd, rs1, rs2),
            Instruction::Fence { before, after } => self.fence(before, after),
            Instruction::FenceI => self.call_and_resume(Call::FenceCode, Value::ZERO, Value::ZERO),
            Instruction::Ecall => self.call_and_leave(Call::Ecall),
            Instruction::Ebreak => self.call_and_leave(Call::Ebreak),
            Instruction::Mret => self.mret(),
            Instruction::Sret => self.sret(),
            Instruction::Wfi => self.wfi(),
            Instruction::Wrs { short: _ } => {
                self.call_and_resume(Call::WaitReservation, Value::ZERO, Value::ZERO)
            }
            // What SINVAL.VMA invalidates is invalid at once, so the fences around it have nothing left to
            // order.
            Instruction::SfenceVma { rs1, rs2 } | Instruction::SinvalVma { rs1, rs2 } => {
                self.sfence_vma(rs1, rs2)
            }
            Instruction::SfenceWInval | Instruction::SfenceInvalIr => self.sfence_of_svinval(),
            Instruction::Csr { op, number: _, rd, source } => self.csr(op, rd, source),
            Instruction::Cbo { op, rs1 } => self.cbo(op, rs1),
            Instruction::FloatLoad { .. }
            | Instruction::FloatStore { .. }
            | Instruction::FloatCompute { .. }
            | Instruction::FloatToX { .. }
            | Instruction::FloatFromX { .. }
            | Instruction::FloatSign { .. }
            | Instruction::MoveToX { .. }
            | Instruction::MoveFromX { .. }
            | Instruction::FloatConstant { .. } => self.float(*instruction),
        }
    }

    /// What an integer register holds.
    #[inline]
    fn x(&self, register: X) -> Value {
        match register {
            X::ZERO => Value::ZERO,
            register => Value::Var(global(riscv::X, register.number())),
        }
    }

    /// Where a result goes that is for an integer register: for x0, nowhere.
    fn x_result(&mut self, register: X) -> Var {
        match register {
            X::ZERO => self.block.temporary(),
            register => global(riscv::X, register.number()),
        }
    }

    fn source(&self, source: Source) -> Value {
        match source {
            Source::X(register) => self.x(register),
            Source::Imm(imm) => Value::Const(imm),
        }
    }

    fn constant(&mut self, rd: X, value: u64) -> Option<Terminator> {
        if rd != X::ZERO {
            let rd = self.x_result(rd);
            self.block.constant(rd, value);
        }
        None
    }

    /// The instruction, for a call that may find it illegal.
    const fn encoding(&self) -> Value {
        Value::Const(self.word as i32)
    }

    fn illegal(&mut self) -> Option<Terminator> {
        let nowhere = self.block.temporary();
        self.block.call(Call::Illegal.number(), nowhere, self.encoding(), 0);
        Some(Terminator::Leave)
    }

    /// Calls a function that sets the program counter or raises an exception.
    fn call_and_leave(&mut self, function: Call) -> Option<Terminator> {
        let nowhere = self.block.temporary();
        self.block.call(function.number(), nowhere, 0, 0);
        Some(Terminator::Leave)
    }

    /// Calls a function after which everything may be different, but goes on behind the instruction.
    fn call_and_resume(&mut self, function: Call, a: Value, b: Value) -> Option<Terminator> {
        let nowhere = self.block.temporary();
        self.block.call(function.number(), nowhere, a, b);
        self.resume()
    }

    fn resume(&self) -> Option<Terminator> {
        Some(Terminator::Resume { target: self.block.next_pc() })
    }

    /// Whether an instruction is legal which machine mode may always execute.
    fn may(&self, what: Enables) -> bool {
        self.context.mode == MACHINE || self.context.enables.contains(what)
    }
}

/// The global of a register: `first` is the index of register 0 of its kind.
fn global(first: usize, number: u8) -> Var {
    Var(first as u8 + number)
}

/// The floating-point register.
fn f(register: F) -> Var {
    global(riscv::F, register.number())
}

/// A sign-extended immediate.
const fn extend(imm: i32) -> u64 {
    imm as i64 as u64
}
