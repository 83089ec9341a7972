//! Stops for the debugger.
//!
//! While breakpoints are set, code is lifted so that each of them is the start of a block, and that block
//! only says that the hart has come there. The count of changes of the breakpoints is part of the context
//! that code is lifted in.

use alloc::vec;

use polyvisor_cell_abi::{Requests, StopReason};

use super::hart::Hart;
use super::platform::Platform;
use super::words::{MODE, PC, X};
use crate::interp::Exception;
use crate::ir::{Block, Inst, Terminator, Value, Var};

/// The function that the block of a breakpoint calls.
const BREAKPOINT: u16 = u16::MAX;
/// Up to how many bytes behind its start a block may reach:
/// [`Builder::MAX_INSTRUCTIONS`](crate::ir::Builder::MAX_INSTRUCTIONS) of four.
const REACH: u64 = 4 * crate::ir::Builder::MAX_INSTRUCTIONS as u64;

/// What a hart knows of its debugger.
#[derive(Debug, Default)]
pub struct Debugger {
    /// The count of changes of the breakpoints; 0 as long as there have not been any.
    generation: u32,
    /// The hart has come to a breakpoint.
    reached: bool,
    /// The hart is to execute one instruction and stop.
    step: bool,
    /// It has been let go to do so.
    stepped: bool,
    /// The next instruction is executed though there is a breakpoint: the hart has stopped there already.
    over: Option<u64>,
}

impl Debugger {
    /// Where [`Context`](super::Context) has nothing.
    const CONTEXT_SHIFT: u32 = 16;

    /// What is added to the context of code.
    pub const fn context_bits(&self) -> u32 {
        self.generation << Self::CONTEXT_SHIFT
    }
}

impl<P: Platform> Hart<P> {
    /// Stops, if that is to be done.
    pub(super) fn stop_for_debugger(&mut self) {
        let requests = self.bus.platform().take_requests();
        self.debugger.step |= requests & Requests::STEP != 0;
        let reason = if core::mem::take(&mut self.debugger.reached) {
            StopReason::Breakpoint
        } else if core::mem::take(&mut self.debugger.stepped) {
            StopReason::Stepped
        } else if requests & Requests::STOP != 0 {
            StopReason::Asked
        } else {
            return self.note_breakpoints();
        };
        // The debugger reads and writes the registers behind the compiler's back: from here on it must not think that
        // it alone knows what they are.
        core::hint::black_box(&mut self.words);
        self.park(|platform| platform.stopped(reason));
        self.make_legal();
        let platform = self.bus.platform();
        let pc = self.words[PC];
        self.debugger.step = platform.take_requests() & Requests::STEP != 0;
        self.debugger.over = platform.is_breakpoint(pc).then_some(pc);
        self.note_breakpoints();
    }

    /// Whether the hart is to step, which WFI does not hold up (it may end at any time; Privileged ISA,
    /// 3.3.3).
    pub(super) const fn is_to_step(&self) -> bool {
        self.debugger.step
    }

    /// How the hart, which is awake, goes on: with one instruction, before which no interrupt is taken, as
    /// the debugger's user wants to see the one that is shown; or with many.
    pub(super) fn start_step(&mut self) -> bool {
        self.debugger.stepped = core::mem::take(&mut self.debugger.step);
        self.debugger.stepped || self.debugger.over == Some(self.words[PC])
    }

    fn note_breakpoints(&mut self) {
        let generation = self.bus.platform().breakpoint_generation();
        if generation != self.debugger.generation {
            self.debugger.generation = generation;
            self.refresh();
        }
    }

    /// Gives the registers, which the debugger may have changed, values that the hart can have.
    fn make_legal(&mut self) {
        self.words[X] = 0;
        self.words[PC] &= !1;
        self.words[MODE] = self.mode().bits();
        self.make_registers_legal();
        self.pmp_changed();
        self.find_interrupts();
        self.refresh();
    }

    /// The block at `pc` if there is a breakpoint; else how many of `max` instructions a block may have.
    pub(super) fn debugged(&mut self, pc: u64, max: usize) -> Result<usize, Block> {
        let platform = self.bus.platform();
        let over = self.debugger.over.take();
        if self.debugger.generation == 0 {
            return Ok(max);
        }
        if platform.is_breakpoint(pc) && over != Some(pc) {
            let call = Inst::Call {
                function: BREAKPOINT,
                dst: Var(Var::FIRST_TEMPORARY),
                a: Value::ZERO,
                b: Value::ZERO,
            };
            return Err(Block { pc, len: 2, starts: vec![], insts: vec![call], end: Terminator::Leave });
        }
        let behind = (2..REACH).step_by(2).any(|offset| platform.is_breakpoint(pc.wrapping_add(offset)));
        Ok(if behind { 1 } else { max })
    }

    /// The function of this number, which is none of [`Call`]'s.
    pub(super) fn call_of_debugger(&mut self, function: u16) -> Result<u64, Exception> {
        if function == BREAKPOINT {
            self.debugger.reached = true;
            self.bus.platform().make_due();
        }
        Ok(0)
    }
}
