//! The intermediate representation: what guest instructions of every instruction set mean.
//!
//! A [`Block`] is a piece of guest code with one entry: instructions ([`Inst`]) in order, then one [`Terminator`]. It is
//! three-address code on 64-bit *variables*. Variables below [`Var::FIRST_TEMPORARY`] are *globals*: the guest's registers and
//! whatever else of its state a front end puts there; they live from block to block. The others are *temporaries*, which
//! live within one guest instruction. `docs/ir.md` is the reference on one page.
//!
//! - **Types.** An operation works on 64 bits, or on the low 32 bits of its operands, and then says how its result is
//!   extended to 64 ([`Width`]). Narrower registers (x86's AL, AX) are parts of variables: [`UnaryOp::SignExtend8`] and
//!   its like take them out, and shifts and masks put them in.
//! - **Flags.** There are none. A front end whose guest has flags keeps them in globals of their own, computed by
//!   [`Inst::Compare`] and ordinary operations; those that are overwritten before anybody looks are dead code.
//! - **Memory.** Every access names its size, its extension and its [`Order`]. It may be misaligned (atomic ones may not):
//!   the back end does what the instruction set demands, through [`interp::Guest`](crate::interp::Guest). A guest with total store order
//!   asks for [`Order::AcquireRelease`].
//! - **Precise exceptions.** An instruction that may raise an exception comes before any change of globals by the same guest
//!   instruction. [`Block::starts`] tells which guest instruction an [`Inst`] belongs to.

mod builder;
mod effects;
pub mod eval;
mod float_op;
mod optimise;
mod replace;
mod text;
mod vars;

use alloc::vec::Vec;

pub use builder::Builder;
pub use effects::{Effects, Operands};
pub use float_op::{FloatKind, FloatOp, Format, Integer};
pub use optimise::Optimiser;
pub use vars::Vars;

use crate::memory::Size;

/// A 64-bit variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub u8);

impl Var {
    /// The number of the first temporary.
    pub const FIRST_TEMPORARY: u8 = 128;
    /// The number of the first variable that a back end has for itself: a front end's temporaries end before.
    pub const FIRST_SCRATCH: u8 = 192;

    /// Whether it lives within one guest instruction only.
    pub const fn is_temporary(self) -> bool {
        self.0 >= Self::FIRST_TEMPORARY
    }
}

/// An operand.
// Small, in the order of C and aligned: moving it is one move, whatever it is.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// What a variable holds.
    Var(Var),
    /// A constant, sign-extended to 64 bits. [`Inst::Constant`] puts one that needs more bits into a variable.
    Const(i32),
}

impl Value {
    /// Zero.
    pub const ZERO: Self = Self::Const(0);

    /// The operand that is this constant; `None` if that needs more than 32 bits.
    pub fn of_constant(constant: u64) -> Option<Self> {
        i32::try_from(constant.cast_signed()).ok().map(Self::Const)
    }

    /// The constant that it is.
    pub const fn constant(self) -> Option<u64> {
        match self {
            Self::Var(_) => None,
            Self::Const(constant) => Some(constant as u64),
        }
    }
}

impl From<Var> for Value {
    fn from(var: Var) -> Self {
        Self::Var(var)
    }
}

impl From<i32> for Value {
    fn from(constant: i32) -> Self {
        Self::Const(constant)
    }
}

/// On how many bits an operation works, and how its result becomes 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// 64 bits.
    W64,
    /// The low 32 bits of the operands; the result is sign-extended.
    S32,
    /// The low 32 bits of the operands; the result is zero-extended.
    U32,
}

/// Operations on two operands. Shifts and rotations take their amount modulo the width (64 or 32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a & b.
    And,
    /// a | b.
    Or,
    /// a ^ b.
    Xor,
    /// a & !b.
    AndNot,
    /// a | !b.
    OrNot,
    /// !(a ^ b).
    XorNot,
    /// a << b.
    ShiftLeft,
    /// a >> b, filled with zeros.
    ShiftRight,
    /// a >> b, filled with the sign.
    ShiftRightSigned,
    /// a rotated right by b.
    RotateRight,
    /// The low half of a * b.
    Mul,
    /// The high half of signed a * signed b.
    MulHigh,
    /// The high half of signed a * unsigned b.
    MulHighSignedUnsigned,
    /// The high half of unsigned a * unsigned b.
    MulHighUnsigned,
    /// Signed a / b, towards zero; -1 if b is 0; a if the quotient does not fit.
    Div,
    /// Unsigned a / b; all ones if b is 0.
    DivUnsigned,
    /// The remainder of [`BinaryOp::Div`]: a if b is 0, 0 if the quotient does not fit.
    Rem,
    /// The remainder of [`BinaryOp::DivUnsigned`]: a if b is 0.
    RemUnsigned,
    /// The smaller one, signed.
    Min,
    /// The smaller one, unsigned.
    MinUnsigned,
    /// The larger one, signed.
    Max,
    /// The larger one, unsigned.
    MaxUnsigned,
    /// The low half of the carry-less product.
    CarrylessMul,
    /// The high half of the carry-less product.
    CarrylessMulHigh,
}

/// Operations on one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// The operand itself: with [`Width::S32`] and [`Width::U32`], its extended low 32 bits.
    Move,
    /// Leading zeros; the width if there is no one.
    LeadingZeros,
    /// Trailing zeros; the width if there is no one.
    TrailingZeros,
    /// Ones.
    CountOnes,
    /// The bytes in reverse order.
    SwapBytes,
    /// The bits of each byte in reverse order.
    ReverseBitsInBytes,
    /// Each byte becomes 0xff unless it is 0 (`orc.b`).
    SaturateBytes,
    /// The low 8 bits, sign-extended.
    SignExtend8,
    /// The low 16 bits, sign-extended.
    SignExtend16,
    /// The low 8 bits, zero-extended.
    ZeroExtend8,
    /// The low 16 bits, zero-extended.
    ZeroExtend16,
    /// The low 32 bits, with all ones above: a binary32 in its NaN box (RISC-V Unprivileged ISA 22.2).
    BoxSingle,
    /// The low 32 bits, zero-extended, if the high 32 are all ones; else the quiet NaN 0x7fc0_0000 (a NaN-boxed binary32,
    /// RISC-V Unprivileged ISA 22.2).
    UnboxSingle,
}

/// A comparison of two 64-bit values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// a == b.
    Equal,
    /// a != b.
    NotEqual,
    /// Signed a < b.
    Less,
    /// Signed a >= b.
    GreaterEqual,
    /// Unsigned a < b.
    Below,
    /// Unsigned a >= b.
    AboveEqual,
}

/// How an access to memory is ordered with others of the same hart, as other harts see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Not at all.
    Relaxed,
    /// Before all that follow.
    Acquire,
    /// After all that precede.
    Release,
    /// Both.
    AcquireRelease,
}

/// What an atomic access makes of the old value and the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AtomicOp {
    Swap,
    Add,
    And,
    Or,
    Xor,
    Min,
    MinUnsigned,
    Max,
    MaxUnsigned,
}

impl AtomicOp {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Swap,
        Self::Add,
        Self::And,
        Self::Or,
        Self::Xor,
        Self::Min,
        Self::MinUnsigned,
        Self::Max,
        Self::MaxUnsigned,
    ];
}

/// One step. Names of fields are the same throughout: `dst` gets the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the types and the enum's description say it")]
pub enum Inst {
    /// `dst = value`.
    Constant { dst: Var, value: u64 },
    /// `dst = op(a)`.
    Unary { op: UnaryOp, width: Width, dst: Var, a: Value },
    /// `dst = op(a, b)`.
    Binary { op: BinaryOp, width: Width, dst: Var, a: Value, b: Value },
    /// `dst = condition(a, b) ? 1 : 0`.
    Compare { condition: Condition, dst: Var, a: Value, b: Value },
    /// `dst = test != 0 ? a : b`.
    Select { dst: Var, test: Var, a: Value, b: Value },
    /// `dst` = memory at `base + offset`, extended to 64 bits.
    Load { size: Size, signed: bool, order: Order, dst: Var, base: Value, offset: i32 },
    /// Memory at `base + offset` = the low bytes of `value`.
    Store { size: Size, order: Order, base: Value, offset: i32, value: Value },
    /// `dst` = memory at `address`, sign-extended, which is then reserved ([`Size::Word`] or [`Size::Double`]).
    LoadReserved { size: Size, order: Order, dst: Var, address: Value },
    /// If the reservation holds, memory at `address` = `value` and `dst` = 0; else `dst` = 1. There is no reservation after it.
    StoreConditional { size: Size, order: Order, dst: Var, address: Value, value: Value },
    /// `dst` = memory at `address`, sign-extended; memory = op(memory, value); at once.
    Atomic { op: AtomicOp, size: Size, order: Order, dst: Var, address: Value, value: Value },
    /// All accesses before it come before all after it.
    Fence,
    /// The interpreter executes this guest instruction if `test` is not 0: it is the one that has none of these in its blocks
    /// ([`Guest::translation_context`](crate::interp::Guest::translation_context)).
    Decline { test: Value },
    /// `dst` = the floating-point operation on the bits of its operands. `rounding` is a rounding mode as the guest's
    /// instruction set numbers it, or says that a register has it. Adds to the guest's exception flags.
    Float { op: FloatOp, rounding: u8, dst: Var, a: Value, b: Value, c: Value },
    /// `dst` = what the front end's own `function` makes of `a` and `b` ([`interp::Guest::call`](crate::interp::Guest::call)): control registers, cache
    /// and TLB maintenance, returns from traps. It may read and write globals, and raise an exception. One that changes what
    /// code or addresses mean has the block end behind it, with [`Terminator::Leave`] or [`Terminator::Resume`].
    Call { function: u16, dst: Var, a: Value, b: Value },
}

/// How a block ends. Targets are guest-virtual addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the types and the enum's description say it")]
pub enum Terminator {
    /// On at a known address.
    Jump { target: u64 },
    /// To `taken` if the condition holds, else to `otherwise`.
    Branch { condition: Condition, a: Value, b: Value, taken: u64, otherwise: u64 },
    /// To where the variable says.
    Indirect { target: Var },
    /// The program counter has been set by a [`Inst::Call`]: everything else about how to go on may have changed.
    Leave,
    /// On at a known address, but everything else about how to go on may have changed.
    Resume { target: u64 },
}

/// Where in [`Block::insts`] a guest instruction starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Start {
    /// Index of its first [`Inst`]; it may have none.
    pub inst: u16,
    /// Its address, in bytes from the block's.
    pub offset: u16,
}

/// A piece of guest code.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The guest-virtual address of its first instruction.
    pub pc: u64,
    /// Bytes of guest code that it stands for.
    pub len: u16,
    /// Its guest instructions, in order.
    pub starts: Vec<Start>,
    /// What to do.
    pub insts: Vec<Inst>,
    /// What comes then.
    pub end: Terminator,
}

impl Default for Block {
    /// No code, at 0.
    fn default() -> Self {
        Self { pc: 0, len: 0, starts: Vec::new(), insts: Vec::new(), end: Terminator::Leave }
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        let mut clone = Self::default();
        clone.clone_from(self);
        clone
    }

    /// Keeps the buffers.
    fn clone_from(&mut self, source: &Self) {
        let Self { pc, len, starts, insts, end } = source;
        self.starts.clone_from(starts);
        self.insts.clone_from(insts);
        (self.pc, self.len, self.end) = (*pc, *len, *end);
    }
}
