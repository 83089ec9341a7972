//! Floating point. A guest instruction that computes with, loads, stores or moves floating-point registers is one
//! [`Operation`], made by [`Operation::of`] from all of its steps; [`Float::compile`] emits its code. `docs/jit-float.md` says
//! why the code is what it is.
//!
//! What the runtime keeps while translated code with floating point runs: `FPCR.DN` = 1, `FZ` = 0, `AH` = 0, `RMode` = the
//! guest's `frm` (which is not RMM, for which A64 has no mode: such code is then not entered), and `FPSR.UFC` = 0 at every
//! entry. The other flags of FPSR accumulate.

mod compute;
mod memory;
mod moves;
mod operation;
mod registers;
mod tail;
#[cfg(test)]
mod tests;
mod underflow;

use alloc::vec::Vec;
use core::ops::Range;

pub use memory::GUARD;
pub use operation::{Operand, Operation, Sign};

use super::Home;
use crate::a64::{Assembler, Bits, F, Label, X};
use crate::ir::{Format, Value, Var};
use memory::Tested;
use registers::Origin;
use tail::Tail;
use underflow::Underflow;

/// The general registers that are free.
const T0: X = X::new(16);
const T1: X = X::new(17);
const T2: X = X::new(29);
const T3: X = X::new(30);

/// The format as A64 has it.
const fn format(format: Format) -> F {
    match format {
        Format::Single => F::S,
        Format::Double => F::D,
    }
}

/// What floating-point code needs of the compiler that it is part of. Registers x16, x17, x29 and x30 and v29 to v31 are
/// free between guest instructions; [`Float`] uses them as it likes within one.
pub trait Surroundings {
    /// Where code goes.
    fn asm(&mut self) -> &mut Assembler;

    /// Where a global lives.
    fn home(&self, var: Var) -> Home;

    /// A general register with an integer operand: a global's own, or `scratch` with what had to be put there. With
    /// [`Bits::W64`] all 64 bits are right (a sign extension that is pending is done first), with [`Bits::W32`] the low 32.
    /// Not for variables that live in SIMD&FP registers.
    fn source(&mut self, value: Value, bits: Bits, scratch: X) -> X;

    /// A general register to compute an integer result in: the global's own, or `scratch`.
    fn target(&mut self, dst: Var, scratch: X) -> X;

    /// `dst` has been computed in `register`, which [`Self::target`] has said. `bits` is [`Bits::W32`] if it is the low 32
    /// bits of `register`, sign-extended, whatever the high ones are now.
    fn computed(&mut self, dst: Var, register: X, bits: Bits);

    /// The next instruction may fault, while this is [`Float::pending`].
    fn may_fault(&mut self, pending: u32);

    /// A label out of line where the block is left for the interpreter, which executes the current guest instruction, and
    /// before that [`Float::settle`] is called for `pending`.
    fn interpret(&mut self, pending: u32) -> Label;
}

/// What must hold for a block's floating-point code to be entered: to be checked at its entry, and not by branches back to
/// its own head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing: there is none.
    Nothing,
    /// The guest's registers are in v0 and on, and FPCR is set.
    Ready,
    /// The same, and the guest's rounding mode is to the nearest (even), which an instruction asks for by itself.
    Nearest,
}

/// The floating-point part of a compilation.
#[derive(Debug)]
pub struct Float {
    registers: Range<u8>,
    flags: Var,
    needs: Needs,
    /// The registers, from the first one on, that are known to hold a binary32 in a box.
    boxed: u32,
    /// See [`Self::pending`].
    pending: u32,
    tested: Tested,
    underflows: Vec<Underflow>,
    tails: Vec<Tail>,
}

impl Float {
    /// `registers` are the globals that are floating-point registers, at most 32; `flags` is the one (in memory) with the
    /// guest's exception flags, as [`crate::float::Flags`] has them.
    pub const fn new(registers: Range<u8>, flags: Var) -> Self {
        Self {
            registers,
            flags,
            needs: Needs::Nothing,
            boxed: 0,
            pending: 0,
            tested: Tested::new(),
            underflows: Vec::new(),
            tails: Vec::new(),
        }
    }

    /// Starts another block at this address.
    pub fn start(&mut self, pc: u64) {
        self.needs = Needs::Nothing;
        self.boxed = 0;
        self.pending = 0;
        self.tested.start(pc);
        self.underflows.clear();
        self.tails.clear();
    }

    /// Compiles a guest instruction. `false`: nothing has been emitted, the interpreter is to execute it.
    pub fn compile(&mut self, c: &mut impl Surroundings, operation: &Operation) -> bool {
        self.needs = self.needs.max(Needs::Ready);
        match *operation {
            Operation::Compute { op, rounding, dst, operands } => {
                return self.compute(c, op, rounding, dst, operands);
            }
            Operation::Load { format, dst, base, offset } => return self.load(c, format, dst, base, offset),
            Operation::Store { format, base, offset, value } => {
                return self.store(c, format, base, offset, value);
            }
            Operation::Absolute { format: of, dst, a } => {
                self.change_sign(c, format(of), dst, a, Assembler::fabs);
            }
            Operation::Negate { format: of, dst, a } => {
                self.change_sign(c, format(of), dst, a, Assembler::fneg);
            }
            Operation::Sign { sign, format, dst, a, b } => self.sign(c, sign, format, dst, [a, b]),
            Operation::Move { format, dst, a } => self.move_to_float(c, format, dst, a),
            Operation::MoveToInteger { format, dst, a } => self.move_to_integer(c, format, dst, a),
        }
        true
    }

    /// The guest changes a global that is not a floating-point register: to what it was plus `Some` number.
    pub fn changed(&mut self, var: Var, by: Option<i64>) {
        self.tested.changed(var, by);
    }

    /// The SIMD&FP registers (bit n: Vn) whose upper 32 bits are to become ones before anybody sees them: an exit out of line
    /// calls [`Self::settle`] with what this was where it branches off, a fault's entry in the side table says it.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// [`Self::settle`] in line, before the end of the block. Nothing is pending then.
    pub fn settle_all(&mut self, asm: &mut Assembler) {
        Self::settle(asm, core::mem::take(&mut self.pending));
    }

    /// Emits what has been put out of line, after the block's main part.
    pub fn out_of_line(&mut self, asm: &mut Assembler) {
        for tail in self.tails.drain(..) {
            tail.emit(asm);
        }
        self.underflows_out_of_line(asm);
    }

    /// What the code needs.
    pub fn needs(&self) -> Needs {
        self.needs
    }
}
