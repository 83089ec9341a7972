//! From a trace of blocks to A64 code. `docs/jit-code.md` has the conventions on one page.
//!
//! | module | is about |
//! |---|---|
//! | [`layout`] | where the guest's state is |
//! | `op`, `trace`, `fuse` | the trace as one list of steps, of which some become one |
//! | `registers`, `constants`, `extension` | operands and results, and what is known of them |
//! | `emitter` | the steps, one after the other |
//! | `arithmetic`, `multiply`, `bits`, `compare`, `memory`, `atomics` | the code of each |
//! | `exits` | ways out |
//! | [`float`] | floating point |

mod arithmetic;
mod atomics;
mod bits;
mod compare;
mod constants;
mod emitter;
mod exits;
mod extension;
pub mod float;
mod fuse;
pub mod layout;
mod memory;
mod multiply;
mod op;
mod registers;
#[cfg(test)]
mod tests;
mod trace;

use alloc::vec::Vec;

pub use layout::{Home, Layout};

use crate::a64::Assembler;
use crate::bounded::Bounded;
use crate::ir::{Block, Var};
use emitter::Emitter;
use exits::{Joint, OutOfLine};
use float::{Float, Pending};
use trace::Trace;

/// What the CPU has beyond Armv8.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// FEAT_LSE: atomic accesses in one instruction.
    pub lse: bool,
    /// FEAT_PMULL: carry-less products of 64 bits.
    pub pmull: bool,
}

/// An instruction that may fault: what the guest's state is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Index of the instruction's word.
    pub word: u16,
    /// The guest instruction that it belongs to: its address on the page.
    pub offset: u16,
    /// How many guest instructions are complete that the count does not have yet.
    pub retired: u16,
    /// The general registers whose low 32 bits are to be sign-extended.
    pub pending: u32,
    /// What the SIMD&FP registers lack.
    pub floats: Pending,
}

/// A way out of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Index of the branch that may be made to lead to another block: a `b`. It leads to the stub yet.
    pub branch: Option<u16>,
    /// Index of the `bl` or `blr` by which the block is left; the word behind it is the number of the exit.
    pub stub: u16,
    /// Where it leads.
    pub kind: ExitKind,
}

/// Where a way out leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// To `target`, on the same page. `backward` ones are linked to the checked entry.
    Jump {
        /// The guest-virtual address.
        target: u64,
        /// Whether it is not above all that was executed before.
        backward: bool,
    },
    /// To `target` on another page, if the table's slot does not know it; `None`: if there is no slot, and the cache of
    /// indirect branches does not know it.
    FarMiss {
        /// The guest-virtual address.
        target: u64,
        /// The slot.
        slot: Option<u32>,
    },
    /// To the guest-virtual address in x16, if the cache of indirect branches does not know it.
    Indirect,
    /// The interpreter is to execute the instruction at `pc`.
    Interpret {
        /// Its guest-virtual address.
        pc: u64,
    },
    /// The hart is wanted.
    Attention {
        /// Where it is to go on.
        pc: u64,
    },
    /// The floating-point registers are not ready.
    Float {
        /// The guest-virtual address of the block.
        pc: u64,
    },
}

impl ExitKind {
    /// Whether it leaves by a call of the common exit, not by way of a table.
    pub const fn is_call(self) -> bool {
        !matches!(self, Self::FarMiss { slot: Some(_), .. })
    }
}

/// A compiled trace.
#[derive(Debug)]
pub struct Compiled<'a> {
    /// The code. Word 0 is the checked entry, word 1 the unchecked one.
    pub words: &'a [u32],
    /// Instructions that may fault, in order.
    pub faults: &'a [Fault],
    /// Ways out. Where they call the common exit, and the numbers behind, are all that depends on where the code lies.
    pub exits: &'a [Exit],
    /// How many guest instructions it stands for.
    pub guest_instructions: u32,
    /// Which pieces of their page they lie in ([`pieces`]).
    pub code: u64,
    /// For each of them, in the trace's order, the index of the first word that is its own. Only [`Compiler::list`] says.
    pub starts: &'a [u16],
    /// The index of the first word that is no instruction's own: what is out of line.
    pub main: usize,
    /// Whether it checks that the floating-point registers are ready.
    pub uses_float: bool,
}

/// What is collected beside the code.
#[derive(Debug)]
struct Output {
    faults: Bounded<Fault>,
    exits: Bounded<Exit>,
    joints: Vec<Joint>,
    out_of_line: Bounded<OutOfLine>,
    /// `starts` are wanted.
    is_listed: bool,
    /// For each guest instruction, the first word that is its own.
    starts: Vec<u16>,
    /// How many words come before those out of line.
    main: usize,
}

/// How many words a trace may have. Their indices have 16 bits, and TBZ does not reach farther.
const WORDS: usize = 1 << 13;
/// How many entries of each kind there may be beside the code.
const ROOM: usize = 1 << 11;

impl Output {
    fn new() -> Self {
        Self {
            faults: Bounded::new(ROOM),
            exits: Bounded::new(ROOM),
            joints: Vec::new(),
            out_of_line: Bounded::new(ROOM),
            is_listed: false,
            starts: Vec::new(),
            main: 0,
        }
    }

    /// Whether there was room for all.
    fn is_complete(&self) -> bool {
        self.faults.is_complete() && self.exits.is_complete() && self.out_of_line.is_complete()
    }

    fn clear(&mut self) {
        self.faults.clear();
        self.exits.clear();
        self.joints.clear();
        self.out_of_line.clear();
        self.starts.clear();
    }
}

/// Compiles traces. One is kept for its buffers.
#[derive(Debug)]
pub struct Compiler {
    layout: Layout,
    features: Features,
    trace: Trace,
    asm: Assembler,
    output: Output,
    float: Float,
}

impl Compiler {
    /// A compiler for guests whose state is where `layout` says, and for CPUs with `features`.
    pub fn new(layout: Layout, features: Features) -> Self {
        let float = Float::new(layout.floats.clone(), layout.float_flags, Var(layout.float_scratch));
        Self {
            trace: Trace::new(&layout),
            layout,
            features,
            asm: Assembler::with_room(WORDS),
            output: Output::new(),
            float,
        }
    }

    /// Compiles a trace: `parts` lie on one page of the guest, and the end of each but the last leads to the next one on one
    /// of its ways, and nothing has been taken away from them that is not seen. `slot` gives the table's slot for a target on another page. `None`: the first instruction is for the
    /// interpreter.
    pub fn compile(
        &mut self,
        parts: &[Block],
        slot: &mut dyn FnMut(u64) -> Option<u32>,
    ) -> Option<Compiled<'_>> {
        self.compile_as(false, parts, slot)
    }

    /// [`Compiler::compile`], for a listing: which code is which guest instruction's is found out, too.
    pub fn list(
        &mut self,
        parts: &[Block],
        slot: &mut dyn FnMut(u64) -> Option<u32>,
    ) -> Option<Compiled<'_>> {
        self.compile_as(true, parts, slot)
    }

    fn compile_as(
        &mut self,
        is_listed: bool,
        parts: &[Block],
        slot: &mut dyn FnMut(u64) -> Option<u32>,
    ) -> Option<Compiled<'_>> {
        self.output.is_listed = is_listed;
        let mut limit = usize::MAX;
        loop {
            self.trace.build(parts, limit, &self.layout);
            if self.trace.guests() == 0 {
                return None;
            }
            self.trace.count_uses();
            self.trace.fuse();
            self.asm.clear();
            self.output.clear();
            let emitter = Emitter::new(
                &self.layout,
                self.features,
                &self.trace,
                &mut self.asm,
                &mut self.output,
                &mut self.float,
                slot,
            );
            match emitter.run() {
                Ok(()) => break,
                Err(fewer) => limit = fewer,
            }
        }
        Some(Compiled {
            words: self.asm.words(),
            faults: &self.output.faults,
            exits: &self.output.exits,
            guest_instructions: self.trace.guests() as u32,
            code: self.trace.code,
            starts: &self.output.starts,
            main: self.output.main,
            uses_float: self.trace.uses_float,
        })
    }
}
