//! An evaluator of guest instructions, one at a time.

use crate::ir::{Block, Inst, Terminator, Value, Var, eval};
use crate::jit::tests::simulator::{Memory, Regions};
use crate::memory::Size;
use crate::riscv::layout::layout;

/// A guest instruction could not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised;

/// The guest, as the definition of the intermediate representation has it.
pub struct Reference<'a> {
    pub vars: [u64; 256],
    pub memory: Regions,
    pub pc: u64,
    pub retired: u64,
    pub blocks: &'a [Block],
}

impl<'a> Reference<'a> {
    /// Executes one guest instruction. On an exception, nothing has changed.
    pub fn step(&mut self) -> Result<(), Raised> {
        let (block, index) = self.find().expect("the guest is in its code");
        let start = block.starts[index];
        let end = block.starts.get(index + 1).map_or(block.insts.len(), |next| usize::from(next.inst));
        let (vars, memory) = (self.vars, self.memory.clone());
        for &inst in &block.insts[usize::from(start.inst)..end] {
            if self.inst(inst).is_err() {
                (self.vars, self.memory) = (vars, memory);
                return Err(Raised);
            }
        }
        self.retired += 1;
        self.pc = match block.starts.get(index + 1) {
            Some(next) => block.pc + u64::from(next.offset),
            None => self.end(block.end),
        };
        Ok(())
    }

    fn find(&self) -> Option<(&'a Block, usize)> {
        self.blocks.iter().find_map(|block| {
            let offset = self.pc.wrapping_sub(block.pc);
            let index = block.starts.iter().position(|start| u64::from(start.offset) == offset)?;
            Some((block, index))
        })
    }

    fn end(&self, end: Terminator) -> u64 {
        match end {
            Terminator::Jump { target } | Terminator::Resume { target } => target,
            Terminator::Branch { condition, a, b, taken, otherwise } => {
                if eval::compare(condition, self.value(a), self.value(b)) { taken } else { otherwise }
            }
            Terminator::Indirect { target } => self.value(target.into()),
            Terminator::Leave => self.pc,
        }
    }

    fn value(&self, value: Value) -> u64 {
        match value {
            Value::Var(var) => self.vars[usize::from(var.0)],
            Value::Const(constant) => constant as u64,
        }
    }

    fn load(&mut self, address: u64, size: Size, signed: bool) -> Result<u64, Raised> {
        let value = self.memory.load(address, size, true).map_err(|_| Raised)?;
        Ok(if signed { sign_extend(value, size) } else { value })
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), Raised> {
        self.memory.store(address, size, true, value).map_err(|_| Raised)
    }

    fn inst(&mut self, inst: Inst) -> Result<(), Raised> {
        let result = match inst {
            Inst::Constant { value, .. } => value,
            Inst::Unary { op, width, a, .. } => eval::unary(op, width, self.value(a)),
            Inst::Binary { op, width, a, b, .. } => eval::binary(op, width, self.value(a), self.value(b)),
            Inst::Compare { condition, a, b, .. } => {
                u64::from(eval::compare(condition, self.value(a), self.value(b)))
            }
            Inst::Select { test, a, b, .. } => self.value(if self.value(test.into()) != 0 { a } else { b }),
            Inst::Load { size, signed, base, offset, .. } => {
                self.load(self.value(base).wrapping_add(offset as u64), size, signed)?
            }
            Inst::Store { size, base, offset, value, .. } => {
                self.store(self.value(base).wrapping_add(offset as u64), size, self.value(value))?;
                0
            }
            Inst::LoadReserved { size, address, .. } => {
                let address = aligned(self.value(address), size)?;
                let value = self.load(address, size, true)?;
                let [place, read] = layout(0, 0).reservation;
                self.set(place, address | size as u64);
                self.set(read, value);
                value
            }
            Inst::StoreConditional { size, address, value, .. } => {
                let address = self.value(address);
                let [place, read] = layout(0, 0).reservation;
                let mut failed = self.vars[usize::from(place.0)] != address | size as u64;
                if !failed {
                    let address = aligned(address, size)?;
                    let old = self.load(address, size, true)?;
                    failed = truncate(old, size) != truncate(self.vars[usize::from(read.0)], size);
                    if !failed {
                        self.store(address, size, self.value(value))?;
                    }
                }
                self.set(place, u64::MAX);
                u64::from(failed)
            }
            Inst::Atomic { op, size, address, value, .. } => {
                let address = aligned(self.value(address), size)?;
                let old = self.load(address, size, true)?;
                self.store(address, size, eval::atomic(op, size, old, self.value(value)))?;
                old
            }
            Inst::Decline { test } if self.value(test) != 0 => return Err(Raised),
            Inst::Fence | Inst::Decline { .. } => 0,
            Inst::Float { .. } | Inst::Call { .. } => panic!("not of this evaluator"),
        };
        if let Some(dst) = inst.effects().dst {
            self.set(dst, result);
        }
        Ok(())
    }

    fn set(&mut self, var: Var, value: u64) {
        self.vars[usize::from(var.0)] = value;
    }
}

fn aligned(address: u64, size: Size) -> Result<u64, Raised> {
    if address.is_multiple_of(size.bytes()) { Ok(address) } else { Err(Raised) }
}

fn sign_extend(value: u64, size: Size) -> u64 {
    let unused = 64 - 8 * size.bytes() as u32;
    ((value << unused) as i64 >> unused) as u64
}

fn truncate(value: u64, size: Size) -> u64 {
    let unused = 64 - 8 * size.bytes() as u32;
    value << unused >> unused
}
