//! From the intermediate representation to the interpreter's code.

use alloc::vec::Vec;

use super::code::{Code, Word};
use crate::ir::{BinaryOp, Block, FloatKind, Format, Inst, Order, Terminator, Value, Var, Width};
use crate::memory::Size;

/// A variable that is always 0.
pub const ZERO: u8 = u8::MAX;
/// The variables below [`ZERO`] that hold constants within a block.
const CONSTANTS: usize = (ZERO - Var::FIRST_SCRATCH) as usize;
/// Addresses on one page have these bits in common.
const PAGE: u64 = !0xfff;

/// What happens at the ends of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exits {
    /// It leads to the next block, which it is linked to.
    Linked,
    /// The same, but after [`HOT`](super::HOT) executions it leaves where it starts: another back end is to take over. Until
    /// then it is not worth being optimised.
    Counted,
    /// It leaves the inner loop, wherever it goes.
    Leaving,
}

/// Which guest instruction the words from `word` on belong to, for when one raises an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Index of the first word.
    pub word: u16,
    /// The guest instruction's address, in bytes from the block's.
    pub offset: u16,
    /// How many guest instructions are retired before it that no word has counted.
    pub retired: u8,
}

impl Mark {
    pub const fn pack(self) -> u64 {
        self.word as u64 | (self.offset as u64) << 16 | (self.retired as u64) << 32
    }

    pub const fn unpack(packed: u64) -> Self {
        Self { word: packed as u16, offset: (packed >> 16) as u16, retired: (packed >> 32) as u8 }
    }
}

/// Lowers blocks. One is kept for its buffers.
#[derive(Debug, Default)]
pub struct Lowering {
    /// The code.
    pub words: Vec<u64>,
    /// Where guest instructions start in it, in order.
    pub marks: Vec<Mark>,
    /// The constants in the scratch variables.
    constants: Vec<u64>,
    /// Which scratch variable is the next to get another constant when all are taken.
    victim: usize,
    /// How many guest instructions have begun.
    begun: usize,
    /// How many are counted by words so far.
    counted: usize,
}

impl Lowering {
    /// Lowers `block` into [`Lowering::words`] and [`Lowering::marks`]. `None` if it is too large to count in them.
    pub fn lower(&mut self, block: &Block, exits: Exits) -> Option<()> {
        self.words.clear();
        self.marks.clear();
        self.constants.clear();
        self.victim = 0;
        self.begun = 0;
        self.counted = 0;
        if block.starts.len() > usize::from(u8::MAX) {
            return None;
        }
        if exits == Exits::Counted {
            // The cache fills in which block it is.
            self.push(Code::Count, 0, 0, 0, 0);
        }
        let mut starts = block.starts.iter().peekable();
        for (index, inst) in block.insts.iter().enumerate() {
            while let Some(start) = starts.next_if(|start| usize::from(start.inst) <= index) {
                self.begin(start.offset);
            }
            self.inst(block, inst);
        }
        for start in starts {
            self.begin(start.offset);
        }
        self.end(block, exits);
        // The exits' targets and the marks count words in 16 bits.
        (self.words.len() <= usize::from(u16::MAX)).then_some(())
    }

    /// A guest instruction begins.
    fn begin(&mut self, offset: u16) {
        self.begun += 1;
        self.mark(offset, self.begun - 1 - self.counted);
    }

    fn mark(&mut self, offset: u16, retired: usize) {
        self.marks.push(Mark { word: self.words.len() as u16, offset, retired: retired as u8 });
    }

    fn push(&mut self, code: Code, d: u8, a: u8, b: u8, imm: i32) {
        self.words.push(Word::new(code, d, a, b, imm).0);
    }

    /// A variable with the value.
    fn operand(&mut self, value: Value) -> u8 {
        let constant = match value {
            Value::Var(var) => return var.0,
            Value::Const(0) => return ZERO,
            Value::Const(constant) => constant as u64,
        };
        let slot = if let Some(slot) = self.constants.iter().position(|&held| held == constant) {
            return Var::FIRST_SCRATCH + slot as u8;
        } else if self.constants.len() < CONSTANTS {
            self.constants.push(constant);
            self.constants.len() - 1
        } else {
            // In turn, so that no operand of one instruction replaces another.
            let slot = self.victim;
            self.victim = (slot + 1) % CONSTANTS;
            self.constants[slot] = constant;
            slot
        };
        let var = Var::FIRST_SCRATCH + slot as u8;
        self.constant(var, constant);
        var
    }

    fn constant(&mut self, d: u8, constant: u64) {
        match Value::of_constant(constant) {
            Some(Value::Const(imm)) => self.push(Code::Const, d, 0, 0, imm),
            _ => {
                self.push(Code::Const64, d, 0, 0, 0);
                self.words.push(constant);
            }
        }
    }

    fn inst(&mut self, block: &Block, inst: &Inst) {
        match *inst {
            Inst::Constant { dst, value } => self.constant(dst.0, value),
            Inst::Unary { op, width, dst, a } => {
                let a = self.operand(a);
                self.push(Code::unary(op, width), dst.0, a, 0, 0);
            }
            Inst::Binary { op, width, dst, a, b } => self.binary(op, width, dst, a, b),
            Inst::Compare { condition, dst, a, b } => {
                let a = self.operand(a);
                if let Some(imm) = immediate(b) {
                    self.push(Code::set_immediate(condition), dst.0, a, 0, imm);
                } else {
                    let b = self.operand(b);
                    self.push(Code::set(condition), dst.0, a, b, 0);
                }
            }
            Inst::Select { dst, test, a, b } => {
                let (a, b) = (self.operand(a), self.operand(b));
                self.push(Code::Select, dst.0, test.0, a, i32::from(b));
            }
            Inst::Load { size, signed, order, dst, base, offset } => {
                let base = self.operand(base);
                self.fence_before(order);
                self.push(load(size, signed), dst.0, base, 0, offset);
                self.fence_after(order);
            }
            Inst::Store { size, order, base, offset, value } => {
                let (base, value) = (self.operand(base), self.operand(value));
                self.fence_before(order);
                self.push(store(size), 0, base, value, offset);
                self.fence_after(order);
            }
            Inst::LoadReserved { size, order, dst, address } => {
                let address = self.operand(address);
                self.fence_before(order);
                self.push(Code::LoadReserved, dst.0, address, 0, size as i32);
                self.fence_after(order);
            }
            Inst::StoreConditional { size, order, dst, address, value } => {
                let (address, value) = (self.operand(address), self.operand(value));
                self.fence_before(order);
                self.push(Code::StoreConditional, dst.0, address, value, size as i32);
                self.fence_after(order);
            }
            // Always sequentially consistent: that is any order, and costs no more on A64.
            Inst::Atomic { op, size, order: _, dst, address, value } => {
                let (address, value) = (self.operand(address), self.operand(value));
                self.push(Code::Atomic, dst.0, address, value, size as i32 | (op as i32) << 8);
            }
            Inst::Fence => self.push(Code::Fence, 0, 0, 0, 0),
            // Lifted for others only.
            Inst::Decline { .. } => debug_assert!(false, "the interpreter cannot leave it to itself"),
            Inst::Float { op, rounding, dst, a, b, c } => {
                let (a, b, c) = (self.operand(a), self.operand(b), self.operand(c));
                let kind = FloatKind::ALL.iter().position(|&kind| kind == op.kind).unwrap_or(0) as u8;
                let double = u8::from(op.format == Format::Double);
                self.push(Code::Float, dst.0, a, b, i32::from_le_bytes([kind, double, rounding, c]));
            }
            Inst::Call { function, dst, a, b } => {
                let (a, b) = (self.operand(a), self.operand(b));
                let retired = self.begun.saturating_sub(1) - self.counted;
                let offset = self.marks.last().map_or(0, |mark| mark.offset);
                let imm = u32::from(function) | (retired as u32) << 16;
                self.push(Code::Call, dst.0, a, b, imm as i32);
                self.words.push(block.pc.wrapping_add(u64::from(offset)));
                self.counted += retired;
                self.mark(offset, 0);
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, width: Width, dst: Var, a: Value, b: Value) {
        let (op, b) = match (op, b) {
            (BinaryOp::Sub, Value::Const(b)) if b != i32::MIN => (BinaryOp::Add, Value::Const(-b)),
            other => other,
        };
        let a = self.operand(a);
        if let (Some(imm), Some(code)) = (immediate(b), Code::immediate(op, width)) {
            self.push(code, dst.0, a, 0, imm);
        } else {
            let b = self.operand(b);
            self.push(Code::binary(op, width), dst.0, a, b, 0);
        }
    }

    fn fence_before(&mut self, order: Order) {
        if matches!(order, Order::Release | Order::AcquireRelease) {
            self.push(Code::FenceRelease, 0, 0, 0, 0);
        }
    }

    fn fence_after(&mut self, order: Order) {
        if matches!(order, Order::Acquire | Order::AcquireRelease) {
            self.push(Code::FenceAcquire, 0, 0, 0, 0);
        }
    }

    fn end(&mut self, block: &Block, exits: Exits) {
        let retired = (self.begun - self.counted) as u8;
        match block.end {
            Terminator::Leave => self.push(Code::Leave, retired, 0, 0, 0),
            Terminator::Resume { target } => self.leave_to(retired, target),
            Terminator::Jump { target } if exits == Exits::Leaving => self.leave_to(retired, target),
            Terminator::Jump { target } if leaves_page(block, target) => {
                self.push(Code::Far, retired, 0, 0, 0);
                self.words.push(target);
            }
            Terminator::Jump { target } => {
                let exit = self.words.len();
                self.push(Code::Jump, retired, 0, 0, 0);
                self.exit(block, exits, exit, target);
            }
            Terminator::Indirect { target } if exits == Exits::Leaving => {
                self.push(Code::LeaveToVar, retired, target.0, 0, 0);
            }
            Terminator::Indirect { target } => self.push(Code::Indirect, retired, target.0, 0, 0),
            Terminator::Branch { condition, a, b, taken, otherwise } => {
                let (a, b) = (self.operand(a), self.operand(b));
                let exit = self.words.len();
                self.push(Code::branch(condition), retired, a, b, 0);
                // Not executed itself: the branch takes its target.
                self.push(Code::Jump, 0, 0, 0, 0);
                self.exit(block, exits, exit, taken);
                self.exit(block, exits, exit + 1, otherwise);
            }
        }
    }

    fn leave_to(&mut self, retired: u8, target: u64) {
        self.push(Code::LeaveTo, retired, 0, 0, 0);
        self.words.push(target);
    }

    /// Appends what leads to `target`, and makes the word at index `exit` go there.
    fn exit(&mut self, block: &Block, exits: Exits, exit: usize, target: u64) {
        let here = self.words.len();
        if let Some(word) = self.words.get_mut(exit) {
            *word = Word(*word).with_imm(distance(exit, here)).0;
        }
        match exits {
            Exits::Leaving => self.leave_to(0, target),
            Exits::Linked | Exits::Counted if leaves_page(block, target) => {
                self.push(Code::Far, 0, 0, 0, 0);
                self.words.push(target);
            }
            Exits::Linked | Exits::Counted => {
                self.push(Code::Unlinked, 0, 0, 0, distance(here, exit));
                self.words.push(target);
            }
        }
    }
}

/// The `imm` of the word at index `from` that stands for the word at index `to`.
pub fn distance(from: usize, to: usize) -> i32 {
    (to as i32).wrapping_sub(from as i32).wrapping_sub(1).wrapping_mul(8)
}

/// The constant, if an `imm` can hold it.
fn immediate(value: Value) -> Option<i32> {
    match value {
        Value::Const(constant) => Some(constant),
        Value::Var(_) => None,
    }
}

fn leaves_page(block: &Block, target: u64) -> bool {
    (block.pc ^ target) & PAGE != 0
}

const fn load(size: Size, signed: bool) -> Code {
    match (size, signed) {
        (Size::Byte, false) => Code::Load8,
        (Size::Half, false) => Code::Load16,
        (Size::Word, false) => Code::Load32,
        (Size::Double, _) => Code::Load64,
        (Size::Byte, true) => Code::LoadSigned8,
        (Size::Half, true) => Code::LoadSigned16,
        (Size::Word, true) => Code::LoadSigned32,
    }
}

const fn store(size: Size) -> Code {
    match size {
        Size::Byte => Code::Store8,
        Size::Half => Code::Store16,
        Size::Word => Code::Store32,
        Size::Double => Code::Store64,
    }
}
