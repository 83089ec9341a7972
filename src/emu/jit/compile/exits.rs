//! Ways out of a trace, and back to its own parts.

use core::mem;

use super::compare::{Comparison, failing};
use super::emitter::{DUE, Emitter};
use super::extension::Facts;
use super::float::Pending;
use super::layout::{RETIRED, TABLES};
use super::op::Test;
use super::registers::Need;
use super::{Exit, ExitKind};
use crate::a64::{Alu, Bits, Cond, Ext, Extend, Index, Label, Mode, X, branch};
use crate::bounded::Bounded;
use crate::ir::{Value, Var};
use crate::jit::trace::may_straddle;
use crate::memory::Size;

/// The registers that guests' registers may live in.
pub const PINNED: u32 = 0x2ff8_ffff;
/// Addresses on one page have these bits in common.
const PAGE: u64 = !0xfff;

/// Where a way out leads.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// To this guest-virtual address.
    To(u64),
    /// To the one in a register; if `masked`, the lowest bit does not count.
    Indirect { x: X, masked: bool },
    /// The interpreter executes the instruction at this address.
    Interpret(u64),
}

/// What is so where a way out branches off.
#[derive(Debug, Clone, Copy)]
pub struct State {
    pub facts: Facts,
    /// What the SIMD&FP registers lack.
    pub floats: Pending,
    /// The floating-point registers that hold a binary32.
    pub boxed: u32,
    /// Guest instructions of the trace that are complete.
    pub retired: u16,
    /// The highest address of those. A jump to a higher one leads forwards: not even by way of what the trace has followed
    /// backwards can code get there again and again without any jump that looks whether the hart is due.
    pub highest: u64,
}

/// A place that code of the same trace may branch to.
#[derive(Debug, Clone, Copy)]
pub struct Joint {
    /// Where the guest is.
    pub pc: u64,
    pub label: Label,
    /// As many guest instructions are not counted yet.
    pub retired: u16,
    /// What must be so.
    pub facts: Facts,
    /// What SIMD&FP registers may lack: boxes only.
    pub floats: Pending,
    /// The floating-point registers that must hold a binary32.
    pub boxed: u32,
}

/// Code that lies behind that of the steps.
#[derive(Debug, Clone, Copy)]
pub enum OutOfLine {
    Leave {
        label: Label,
        way: Way,
        state: State,
    },
    /// What follows where [`Emitter::close`] has not gone on at the joint.
    Closed {
        joint: Joint,
        comparison: Comparison,
        otherwise: u64,
        highest: u64,
    },
    /// `x` = all ones, then on at `back`.
    Ones {
        label: Label,
        bits: Bits,
        x: X,
        back: Label,
    },
}

impl Emitter<'_> {
    /// What is so now.
    pub fn state(&self) -> State {
        State {
            facts: self.facts,
            floats: self.floats(),
            boxed: self.float.as_ref().map_or(0, |float| float.boxed()),
            retired: self.step.place.retired,
            highest: self.highest(),
        }
    }

    /// A label for a way out that branches off here.
    pub fn out_of_line(&mut self, way: Way) -> Label {
        self.out_of_line_from(way, self.state())
    }

    /// [`Emitter::out_of_line`] in another state than the current one.
    pub fn out_of_line_from(&mut self, way: Way, state: State) -> Label {
        let label = self.asm.label();
        self.output.out_of_line.push(OutOfLine::Leave { label, way, state });
        label
    }

    /// Emits what has been put out of line.
    pub fn emit_out_of_line(&mut self) {
        // Nothing is added meanwhile.
        let items = mem::replace(&mut self.output.out_of_line, Bounded::new(0));
        for item in &*items {
            match *item {
                OutOfLine::Leave { label, way, ref state } => {
                    self.asm.bind(label);
                    self.leave(way, state);
                }
                OutOfLine::Closed { joint, comparison, otherwise, highest } => {
                    self.closed(joint, comparison, otherwise, highest);
                }
                OutOfLine::Ones { label, bits, x, back } => {
                    self.asm.bind(label);
                    self.asm.movn(bits, x, 0, 0);
                    self.asm.b(back);
                }
            }
        }
        self.output.out_of_line = items;
    }

    /// Leaves on this way.
    #[inline(never)]
    pub fn leave(&mut self, way: Way, state: &State) {
        match way {
            Way::To(target) => {
                if let Some(joint) = self.find_joint(target, state) {
                    return self.join(joint, state);
                }
                self.settle(state);
                self.jump(target, state.highest);
            }
            Way::Indirect { x, masked } => {
                self.settle_registers(state, None);
                self.indirect(x, masked, state.retired, ExitKind::Indirect);
            }
            Way::Interpret(pc) => {
                self.settle(state);
                self.exit(None, ExitKind::Interpret { pc });
            }
        }
    }

    /// Makes the guest's state what the guest sees.
    fn settle(&mut self, state: &State) {
        self.settle_registers(state, None);
        self.count(state.retired.into());
    }

    /// Makes the guest's registers what the guest sees, but for what they may lack at `joint`.
    fn settle_registers(&mut self, state: &State, joint: Option<&Joint>) {
        let (pending, floats) =
            joint.map_or_else(Default::default, |joint| (joint.facts.pending, joint.floats));
        self.extend_all(state.facts.pending & !pending);
        state.floats.beyond(floats).settle(self.asm);
    }

    /// Counts guest instructions.
    fn count(&mut self, retired: i64) {
        if retired != 0 {
            self.asm.alu_imm(Alu::Add, Bits::W64, RETIRED, RETIRED, retired as u64);
        }
    }

    fn extend_all(&mut self, pending: u32) {
        let mut pending = pending & PINNED;
        while pending != 0 {
            let x = X::new(pending.trailing_zeros() as u8);
            pending &= pending - 1;
            self.asm.sxtw(x, x);
        }
    }

    /// The best place in this trace to go on at `target`.
    fn find_joint(&self, target: u64, state: &State) -> Option<Joint> {
        let fits = |joint: &&Joint| {
            joint.pc == target
                && joint.facts.narrow & !state.facts.narrow == 0
                && joint.facts.small & !state.facts.small == 0
                && joint.boxed & !state.boxed == 0
        };
        self.output.joints.iter().rev().find(fits).copied()
    }

    /// Goes on at a joint that lies behind, unless the hart is wanted.
    fn join(&mut self, joint: Joint, state: &State) {
        self.settle_registers(state, Some(&joint));
        self.count(i64::from(state.retired) - i64::from(joint.retired));
        self.asm.tbz(RETIRED, DUE, joint.label);
        self.attend(joint);
    }

    /// The hart is wanted where it would go on at a joint, in the joint's state.
    fn attend(&mut self, joint: Joint) {
        self.make_exact(joint);
        self.exit(None, ExitKind::Attention { pc: joint.pc });
    }

    /// From the state that a joint has to what the guest sees.
    fn make_exact(&mut self, joint: Joint) {
        self.extend_all(joint.facts.pending);
        joint.floats.settle(self.asm);
        self.count(joint.retired.into());
    }

    /// Goes on at a joint that lies behind if the comparison holds, unless the hart is wanted; else out to `otherwise`. The
    /// count, whose bit 63 says whether the hart is wanted, decides whether there is a comparison at all.
    fn close(&mut self, joint: Joint, comparison: Comparison, otherwise: u64) {
        let state = self.state();
        self.settle_registers(&state, Some(&joint));
        let retired = state.retired - joint.retired;
        self.asm.alu_imm(Alu::Adds, Bits::W64, RETIRED, RETIRED, retired.into());
        self.branch_if_positive_and(comparison, joint.label);
        // Code falls through to it.
        let highest = state.highest;
        self.output.out_of_line.push(OutOfLine::Closed { joint, comparison, otherwise, highest });
        self.output.out_of_line.rotate_right(1);
    }

    /// Out to `otherwise`, or, if the comparison holds, the hart is wanted at the joint.
    fn closed(&mut self, joint: Joint, comparison: Comparison, otherwise: u64, highest: u64) {
        let (wanted, out) = (self.asm.label(), self.asm.label());
        self.asm.tbnz(RETIRED, DUE, wanted);
        self.asm.bind(out);
        self.make_exact(joint);
        self.jump(otherwise, highest);
        self.asm.bind(wanted);
        self.branch_unless(comparison, out);
        self.attend(joint);
    }

    /// On at `target`, from code whose `highest` address is this one ([`State::highest`]).
    fn jump(&mut self, target: u64, highest: u64) {
        if target & PAGE == self.page && !may_straddle(target) {
            let at = self.asm.here();
            self.asm.word(branch(0, 1).unwrap_or(0));
            return self.exit(Some(at as u16), ExitKind::Jump { target, backward: target <= highest });
        }
        self.far_jump(target);
    }

    /// On at `target` on another page.
    #[inline(never)]
    fn far_jump(&mut self, target: u64) {
        let [x, ..] = super::layout::TEMPORARIES;
        match (self.slot)(target) {
            Some(slot)
                if self.asm.load(Mode::Normal, Size::Double, Ext::Zero, x, TABLES, 8 * i64::from(slot)) =>
            {
                let stub = self.asm.here();
                self.asm.blr(x);
                self.number_exit(None, stub, ExitKind::FarMiss { target, slot: Some(slot) });
            }
            _ => {
                self.asm.mov_imm(x, target);
                self.indirect(x, false, 0, ExitKind::FarMiss { target, slot: None });
            }
        }
    }

    /// Counts, then on at what the cache of indirect branches has for `x`; or out with that in x16, if it has nothing or the hart
    /// is wanted: the count, whose bit 63 says that, decides whether tags are compared at all.
    fn indirect(&mut self, x: X, masked: bool, retired: u16, kind: ExitKind) {
        let [target, entry, code] = super::layout::TEMPORARIES;
        let mut x = x;
        if x == entry || x == code {
            self.asm.mov(Bits::W64, target, x);
            x = target;
        }
        let miss = self.asm.label();
        self.asm.alu_imm(Alu::Adds, Bits::W64, RETIRED, RETIRED, retired.into());
        // The low 16 bits choose the entry: of two addresses, with 16 bytes.
        self.asm.alu_extend(Alu::Sub, Bits::W64, entry, TABLES, x, Extend::Uxth, 3);
        self.asm.ldp(entry, code, entry, -16, Index::Offset);
        self.asm.ccmp(Bits::W64, entry, x, failing(Cond::Eq), Cond::Pl);
        self.asm.b_cond(Cond::Ne, miss);
        self.asm.br(code);
        self.asm.bind(miss);
        if masked {
            self.asm.alu_imm(Alu::And, Bits::W64, target, x, !1);
        } else if x != target {
            self.asm.mov(Bits::W64, target, x);
        }
        self.exit(None, kind);
    }

    /// Out, by a call of the common exit.
    pub fn exit(&mut self, branch: Option<u16>, kind: ExitKind) {
        const CALL: u32 = 0x9400_0000;
        let stub = self.asm.here();
        self.asm.word(CALL);
        self.number_exit(branch, stub, kind);
    }

    fn number_exit(&mut self, branch: Option<u16>, stub: usize, kind: ExitKind) {
        self.asm.word(self.output.exits.len() as u32);
        self.output.exits.push(Exit { branch, stub: stub as u16, kind });
    }

    /// Out to `target` if the test holds.
    pub fn side(&mut self, test: Test, target: u64) {
        // What the decision extends needs no extension out of line.
        let decision = self.decide(test);
        let label = self.out_of_line(Way::To(target));
        self.branch_if(decision, label);
    }

    /// The end of a trace with two ways.
    #[inline(never)]
    pub fn branch(&mut self, test: Test, taken: u64, otherwise: u64) {
        let state = self.state();
        let (test, out, on) = match self.find_joint(taken, &state) {
            Some(joint) => {
                if let Some(comparison) = self.comparison(test)
                    && joint.retired < state.retired
                    && self.find_joint(otherwise, &state).is_none()
                {
                    return self.close(joint, comparison, otherwise);
                }
                // A loop stays in line.
                (test.invert(), otherwise, taken)
            }
            None => (test, taken, otherwise),
        };
        self.side(test, out);
        self.leave(Way::To(on), &self.state());
    }

    /// Leaves the guest instruction to the interpreter if `test` is not 0.
    pub fn decline_if(&mut self, test: Value) {
        let x = self.source(test, Need::Full);
        let way = self.out_of_line(Way::Interpret(self.pc()));
        self.asm.cbnz(Bits::W64, x, way);
    }

    /// Out unless the target is the expected one, where the trace goes on.
    #[inline(never)]
    pub fn guard(&mut self, target: Var, masked: bool, expected: u64) {
        let x = self.source(target.into(), Need::Full);
        if self.known_constant(target.into()) == Some(expected) {
            return;
        }
        let way = self.out_of_line(Way::Indirect { x, masked });
        let expected = self.constant(expected, Need::Full);
        self.asm.cmp(Bits::W64, x, expected);
        self.asm.b_cond(Cond::Ne, way);
    }
}
