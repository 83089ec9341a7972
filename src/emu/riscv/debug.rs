//! Stops for the debugger.
//!
//! While breakpoints are set, code is lifted so that each of them is the start of a block, and that block
//! only says that the hart has come there. The count of changes of the breakpoints is part of the context
//! that code is lifted in. As with breakpoint registers, a hart does not get past one until it is taken away.

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
}

impl Debugger {
    /// Where [`Context`](super::Context) has nothing. The count has the other bits to itself, so that a million changes pass
    /// before it is one that it was before.
    const CONTEXT_SHIFT: u32 = 12;

    /// What is added to the context of code.
    pub const fn context_bits(&self) -> u32 {
        self.generation << Self::CONTEXT_SHIFT
    }
}

impl<P: Platform> Hart<P> {
    /// Stops, if that is to be done. Then there is all to look at anew.
    pub(super) fn stop_for_debugger(&mut self) -> bool {
        let requests = self.bus.platform().take_requests();
        self.debugger.step |= requests & Requests::STEP != 0;
        let reason = if self.debugger.reached {
            StopReason::Breakpoint
        } else if self.debugger.stepped {
            StopReason::Stepped
        } else if requests & Requests::STOP != 0 {
            StopReason::Asked
        } else {
            self.note_breakpoints();
            return false;
        };
        // Whatever else it was to stop for, it has stopped.
        self.debugger = Debugger { generation: self.debugger.generation, ..Debugger::default() };
        // The debugger reads and writes the registers behind the compiler's back: from here on it must not think that it
        // alone knows what they are.
        core::hint::black_box(&mut self.words);
        self.park(|platform| platform.stopped(reason));
        self.make_legal();
        true
    }

    /// How the hart goes on: with one instruction, before which no interrupt is taken, as the debugger's user wants to see
    /// the one that is shown; or with many. A hart that executes none has made its step by staying where it is.
    pub(super) fn start_step(&mut self) -> bool {
        self.debugger.stepped = core::mem::take(&mut self.debugger.step);
        self.debugger.stepped
    }

    /// Whether the hart is to step, which WFI does not hold up (it may end at any time; Privileged ISA,
    /// 3.3.3).
    pub(super) const fn is_to_step(&self) -> bool {
        self.debugger.step
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
        if self.debugger.generation == 0 {
            return Ok(max);
        }
        if platform.is_breakpoint(pc) {
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
