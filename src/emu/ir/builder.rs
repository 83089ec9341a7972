//! How a front end writes a block down.

use super::{
    AtomicOp, BinaryOp, Block, Condition, FloatOp, Inst, Order, Start, Terminator, UnaryOp, Value, Var, Width,
};
use crate::memory::Size;

/// A [`Block`] in the making.
#[derive(Debug)]
pub struct Builder<'a> {
    block: &'a mut Block,
    at: u64,
    next: u64,
    temporaries: u8,
}

impl<'a> Builder<'a> {
    /// How many guest instructions a block may have.
    pub const MAX_INSTRUCTIONS: usize = 64;
    /// After how many steps a block must end: no guest instruction takes more than 64.
    const MAX_INSTS: usize = 512;

    /// Makes `block` one at `pc`. What it was is forgotten, but for its buffers.
    pub fn new(block: &'a mut Block, pc: u64) -> Self {
        block.pc = pc;
        block.starts.clear();
        block.insts.clear();
        Self { block, at: pc, next: pc, temporaries: 0 }
    }

    /// The address of the guest instruction that is being lifted.
    pub fn pc(&self) -> u64 {
        self.at
    }

    /// The address of the one behind it.
    pub fn next_pc(&self) -> u64 {
        self.next
    }

    /// Whether the block should end before another guest instruction, if it is to have `max` at most.
    pub fn is_full(&self, max: usize) -> bool {
        self.block.starts.len() >= max.min(Self::MAX_INSTRUCTIONS)
            || self.block.insts.len() >= Self::MAX_INSTS
    }

    /// Whether nothing has been lifted yet.
    pub fn is_empty(&self) -> bool {
        self.block.starts.is_empty()
    }

    /// From here on it is about the next guest instruction, which is `len` bytes long.
    pub fn instruction(&mut self, len: u64) {
        self.at = self.next;
        self.next = self.at.wrapping_add(len);
        self.temporaries = 0;
        let offset = self.at.wrapping_sub(self.block.pc) as u16;
        self.block.starts.push(Start { inst: self.block.insts.len() as u16, offset });
    }

    /// A temporary for this guest instruction. One that needs more than 64 gets the last one again.
    pub fn temporary(&mut self) -> Var {
        let var = Var(Var::FIRST_TEMPORARY + self.temporaries);
        self.temporaries = (self.temporaries + 1).min(63);
        var
    }

    /// Adds a step.
    pub fn push(&mut self, inst: Inst) {
        self.block.insts.push(inst);
    }

    /// `dst = src`.
    pub fn set(&mut self, dst: Var, src: impl Into<Value>) {
        match src.into() {
            Value::Const(value) => self.constant(dst, value as u64),
            a => self.push(Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a }),
        }
    }

    /// `dst = value`.
    pub fn constant(&mut self, dst: Var, value: u64) {
        self.push(Inst::Constant { dst, value });
    }

    /// The operand that is this constant: in a temporary if it is too large for an operand.
    pub fn operand(&mut self, constant: u64) -> Value {
        Value::of_constant(constant).unwrap_or_else(|| {
            let temporary = self.temporary();
            self.constant(temporary, constant);
            temporary.into()
        })
    }

    /// `dst = op(a)`.
    pub fn unary(&mut self, op: UnaryOp, width: Width, dst: Var, a: impl Into<Value>) {
        self.push(Inst::Unary { op, width, dst, a: a.into() });
    }

    /// `dst = op(a, b)`.
    pub fn binary(&mut self, op: BinaryOp, width: Width, dst: Var, a: impl Into<Value>, b: impl Into<Value>) {
        self.push(Inst::Binary { op, width, dst, a: a.into(), b: b.into() });
    }

    /// `dst = condition(a, b) ? 1 : 0`.
    pub fn compare(&mut self, condition: Condition, dst: Var, a: impl Into<Value>, b: impl Into<Value>) {
        self.push(Inst::Compare { condition, dst, a: a.into(), b: b.into() });
    }

    /// `dst = test != 0 ? a : b`.
    pub fn select(&mut self, dst: Var, test: Var, a: impl Into<Value>, b: impl Into<Value>) {
        self.push(Inst::Select { dst, test, a: a.into(), b: b.into() });
    }

    /// An ordinary load.
    pub fn load(&mut self, size: Size, signed: bool, dst: Var, base: impl Into<Value>, offset: i32) {
        self.push(Inst::Load { size, signed, order: Order::Relaxed, dst, base: base.into(), offset });
    }

    /// An ordinary store.
    pub fn store(&mut self, size: Size, base: impl Into<Value>, offset: i32, value: impl Into<Value>) {
        self.push(Inst::Store {
            size,
            order: Order::Relaxed,
            base: base.into(),
            offset,
            value: value.into(),
        });
    }

    /// An atomic access.
    pub fn atomic(
        &mut self,
        op: AtomicOp,
        size: Size,
        order: Order,
        dst: Var,
        address: impl Into<Value>,
        value: impl Into<Value>,
    ) {
        self.push(Inst::Atomic { op, size, order, dst, address: address.into(), value: value.into() });
    }

    /// A floating-point operation.
    pub fn float(&mut self, op: FloatOp, rounding: u8, dst: Var, [a, b, c]: [Value; 3]) {
        self.push(Inst::Float { op, rounding, dst, a, b, c });
    }

    /// The front end's own `function`.
    pub fn call(&mut self, function: u16, dst: Var, a: impl Into<Value>, b: impl Into<Value>) {
        self.push(Inst::Call { function, dst, a: a.into(), b: b.into() });
    }

    /// The interpreter executes this guest instruction if `test` is not 0.
    pub fn decline(&mut self, test: impl Into<Value>) {
        self.push(Inst::Decline { test: test.into() });
    }

    /// The block ends like this.
    pub fn finish(self, end: Terminator) {
        self.block.len = self.next.wrapping_sub(self.block.pc) as u16;
        self.block.end = end;
    }
}
