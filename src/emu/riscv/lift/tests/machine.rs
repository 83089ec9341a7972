//! A plain evaluator of blocks.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::float;
use crate::ir::{Block, Inst, Terminator, UnaryOp, Value, Var, Width, eval};
use crate::memory::Size;

/// Variables, and the memory that has been written.
pub(super) struct Machine {
    pub(super) vars: [u64; 256],
    pub(super) memory: BTreeMap<u64, u8>,
    /// The calls, with their operands.
    pub(super) calls: Vec<(u16, u64, u64)>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { vars: [0; 256], memory: BTreeMap::new(), calls: Vec::new() }
    }

    /// Executes a block; each call returns 0xca11. Returns where execution goes on, if the block says so.
    pub(super) fn run(&mut self, block: &Block) -> Option<u64> {
        for &inst in &block.insts {
            self.step(inst);
        }
        match block.end {
            Terminator::Jump { target } | Terminator::Resume { target } => Some(target),
            Terminator::Branch { condition, a, b, taken, otherwise } => {
                Some(if eval::compare(condition, self.value(a), self.value(b)) { taken } else { otherwise })
            }
            Terminator::Indirect { target } => Some(self.value(target.into())),
            Terminator::Leave => None,
        }
    }

    fn step(&mut self, inst: Inst) {
        match inst {
            Inst::Constant { dst, value } => self.set(dst, value),
            Inst::Unary { op, width, dst, a } => self.set(dst, eval::unary(op, width, self.value(a))),
            Inst::Binary { op, width, dst, a, b } => {
                self.set(dst, eval::binary(op, width, self.value(a), self.value(b)));
            }
            Inst::Compare { condition, dst, a, b } => {
                self.set(dst, eval::compare(condition, self.value(a), self.value(b)).into());
            }
            Inst::Select { dst, test, a, b } => {
                let value = if self.value(test.into()) != 0 { a } else { b };
                self.set(dst, self.value(value));
            }
            Inst::Load { size, signed, order: _, dst, base, offset } => {
                let value = self.read(self.value(base).wrapping_add(offset as i64 as u64), size);
                self.set(dst, if signed { sign_extend(size, value) } else { value });
            }
            Inst::Store { size, order: _, base, offset, value } => {
                let address = self.value(base).wrapping_add(offset as i64 as u64);
                self.write(address, size, self.value(value));
            }
            Inst::LoadReserved { size, order: _, dst, address } => {
                let value = self.read(self.value(address), size);
                self.set(dst, sign_extend(size, value));
            }
            Inst::StoreConditional { size, order: _, dst, address, value } => {
                self.write(self.value(address), size, self.value(value));
                self.set(dst, 0);
            }
            Inst::Atomic { op, size, order: _, dst, address, value } => {
                let (address, value) = (self.value(address), self.value(value));
                let old = sign_extend(size, self.read(address, size));
                self.write(address, size, eval::atomic(op, size, old, value));
                self.set(dst, old);
            }
            Inst::Fence | Inst::Decline { .. } => {}
            Inst::Float { op, rounding, dst, a, b, c } => {
                assert_eq!(rounding, 0, "not of this evaluator");
                let mut context =
                    float::Context::new(float::Rounding::NearestEven, float::NanRule::Canonical);
                self.set(dst, context.execute(op, [a, b, c].map(|operand| self.value(operand))));
            }
            Inst::Call { function, dst, a, b } => {
                self.calls.push((function, self.value(a), self.value(b)));
                self.set(dst, 0xca11);
            }
        }
    }

    fn value(&self, value: Value) -> u64 {
        match value {
            Value::Var(var) => self.vars[usize::from(var.0)],
            Value::Const(constant) => constant as u64,
        }
    }

    fn set(&mut self, var: Var, value: u64) {
        self.vars[usize::from(var.0)] = value;
    }

    pub(super) fn read(&self, address: u64, size: Size) -> u64 {
        let byte = |at: u64| u64::from(self.memory.get(&address.wrapping_add(at)).copied().unwrap_or(0));
        (0..size.bytes()).map(|at| byte(at) << (8 * at)).sum()
    }

    pub(super) fn write(&mut self, address: u64, size: Size, value: u64) {
        for at in 0..size.bytes() {
            self.memory.insert(address.wrapping_add(at), (value >> (8 * at)) as u8);
        }
    }
}

fn sign_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::Byte => eval::unary(UnaryOp::SignExtend8, Width::W64, value),
        Size::Half => eval::unary(UnaryOp::SignExtend16, Width::W64, value),
        Size::Word => eval::unary(UnaryOp::Move, Width::S32, value),
        Size::Double => value,
    }
}
