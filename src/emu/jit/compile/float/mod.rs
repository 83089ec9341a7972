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
mod pool;
mod registers;
mod tail;
#[cfg(test)]
mod tests;
mod underflow;

use alloc::vec::Vec;
use core::ops::Range;

pub use memory::GUARD;
pub use operation::{Operand, Operation, Sign};
pub use registers::Pending;

use super::Home;
use crate::a64::{Assembler, Bits, F, Label, V, X};
use crate::ir::{Format, Value, Var};
use memory::Tested;
use tail::Tail;
use underflow::{Check, Guarded};

/// The general registers that are free; `T3` is saved before it is used.
const T0: X = X::new(16);
const T1: X = X::new(17);
const T3: X = X::new(30);

/// How many words [`Float::new`] wants.
pub const SCRATCH_WORDS: u8 = underflow::SCRATCH_WORDS;

/// How many instructions it takes to look into a box.
const LOOK: u32 = 3;

/// The format as A64 has it.
const fn format(format: Format) -> F {
    match format {
        Format::Single => F::S,
        Format::Double => F::D,
    }
}

/// What floating-point code needs of the compiler that it is part of.
///
/// x16 and x17 are free when a guest instruction is compiled; [`Float`] uses them as it likes. v29 to v31 are its own
/// throughout: other code that uses them calls [`Float::vacate`] before. And before it emits anything by which the block may be
/// left, or that may fault, it calls [`Float::check`]. An exit settles what [`Float::pending`] was where it branches off, a fault's
/// entry in the side table says it.
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

    /// The constant that a variable is known to hold.
    fn constant(&self, var: Var) -> Option<u64>;

    /// The next instruction may fault, while this is [`Float::pending`].
    fn may_fault(&mut self, pending: Pending);

    /// A label out of line where `pending` is settled and the block left for the interpreter, which executes the current guest
    /// instruction.
    fn interpret(&mut self, pending: Pending) -> Label;
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
    scratch: Var,
    needs: Needs,
    /// The registers, from the first one on, that are known to hold a binary32 in a box.
    boxed: u32,
    /// The homes of those whose boxes are not closed yet: upper bits that are not ones.
    boxes: u32,
    /// Who lives in each of the temporaries instead of its home.
    moved: [Option<(Var, V)>; 3],
    /// Registers that hold a number that is known otherwise, too.
    known: Vec<(Var, F, Value)>,
    tested: Tested,
    /// How many registers have been found to be in a box.
    looked: u32,
    /// Operations that may underflow; the first `checked` are checked.
    guarded: Vec<Guarded>,
    checked: usize,
    checks: Vec<Check>,
    tails: Vec<Tail>,
}

impl Float {
    /// `registers` are the globals that are floating-point registers, at most 32; `flags` is the one (in memory) with the
    /// guest's exception flags, as [`crate::float::Flags`] has them. `scratch` is the first of [`SCRATCH_WORDS`] words of the
    /// hart's that nobody else uses.
    pub const fn new(registers: Range<u8>, flags: Var, scratch: Var) -> Self {
        Self {
            registers,
            flags,
            scratch,
            needs: Needs::Nothing,
            boxed: 0,
            boxes: 0,
            moved: [None; 3],
            known: Vec::new(),
            tested: Tested::new(),
            looked: 0,
            guarded: Vec::new(),
            checked: 0,
            checks: Vec::new(),
            tails: Vec::new(),
        }
    }

    /// Starts another block at this address.
    pub fn start(&mut self, pc: u64) {
        self.needs = Needs::Nothing;
        self.boxed = 0;
        self.boxes = 0;
        self.moved = [None; 3];
        self.known.clear();
        self.tested.start(pc);
        self.looked = 0;
        self.guarded.clear();
        self.checked = 0;
        self.checks.clear();
        self.tails.clear();
    }

    /// Compiles a guest instruction. `false`: nothing has been emitted, the interpreter is to execute it.
    pub fn compile(&mut self, c: &mut impl Surroundings, operation: &Operation) -> bool {
        let needs = match *operation {
            Operation::Compute { op, rounding, .. } => compute::needs(op, rounding),
            Operation::Load { offset, .. } | Operation::Store { offset, .. } => {
                memory::is_near(offset).then_some(Needs::Ready)
            }
            _ => Some(Needs::Ready),
        };
        let Some(needs) = needs else { return false };
        self.needs = self.needs.max(needs);
        match *operation {
            Operation::Compute { op, rounding, dst, operands } => {
                self.compute(c, op, rounding, dst, operands.all());
            }
            Operation::Load { format: of, dst, base, offset } => self.load(c, format(of), dst, base, offset),
            Operation::Store { format: of, base, offset, value } => {
                self.store(c, format(of), base, offset, value);
            }
            Operation::Absolute { format: of, dst, a } => {
                self.change_sign(c, format(of), dst, a, Assembler::fabs);
            }
            Operation::Negate { format: of, dst, a } => {
                self.change_sign(c, format(of), dst, a, Assembler::fneg);
            }
            Operation::Sign { sign, format, dst, a, b } => self.sign(c, sign, format, dst, [a, b]),
            Operation::Move { format, dst, a } => self.move_to_float(c, format, dst, a),
            Operation::Constant { dst, value } => self.set(c, dst, value),
            Operation::MoveToInteger { format, dst, a } => self.move_to_integer(c, format, dst, a),
        }
        true
    }

    /// Whether [`Self::check`] would emit anything.
    pub fn wants_check(&self) -> bool {
        self.checked < self.guarded.len()
    }

    /// The guest changes a global that is not a floating-point register: to `Some` sum of what a variable was and a number. To be
    /// called when the code that does so has been emitted.
    pub fn changed(&mut self, var: Var, sum: Option<(Var, i64)>) {
        self.tested.changed(var, sum);
        self.known.retain(|&(_, _, value)| value != Value::Var(var));
    }

    /// The block goes on in a loop: all is forgotten but what [`Self::pending`] and [`Self::boxed`] say, and nobody lives in
    /// v29 to v31. `scratch` is a free register.
    pub fn again(&mut self, asm: &mut Assembler, scratch: X) {
        self.vacate(asm, scratch);
        self.known.clear();
        self.tested.forget();
    }

    /// The floating-point registers that are known to hold a binary32 in a box, though that may not be closed.
    pub fn boxed(&self) -> u32 {
        self.boxed
    }

    /// How many instructions a loop that goes on here takes less in each pass than one that goes on at the block's head: those that
    /// close boxes there and look into them.
    pub fn saved_by_again(&self) -> u32 {
        let closing = if self.boxes == 0 { 0 } else { 1 + self.boxes.count_ones() };
        closing + LOOK * self.looked
    }

    /// How many bases would have to be tested again in each pass of such a loop.
    pub fn tests(&self) -> u32 {
        self.tested.count()
    }

    /// Emits what has been put out of line, after the block's main part.
    pub fn out_of_line(&mut self, asm: &mut Assembler) {
        for tail in self.tails.drain(..) {
            tail.emit(asm);
        }
        self.checks_out_of_line(asm);
    }

    /// What the code needs.
    pub fn needs(&self) -> Needs {
        self.needs
    }
}
