//! A trace as one list of steps.

use alloc::vec::Vec;

use super::Features;
use super::float::Operation;
use super::layout::Layout;
use super::op::{Op, Test};
use crate::ir::{BinaryOp, Block, Condition, Inst, Terminator, UnaryOp, Value, Var, Width};
use crate::jit::cache::{MAX_LENGTH, pieces};

/// A step, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What to do.
    pub op: Op,
    /// How many guest instructions of the trace are complete: before the step, or, if it leaves, with it.
    pub retired: u16,
    /// How often the result is used before it is overwritten; 255 stands for all above.
    pub uses: u8,
    /// Whether the result may be seen otherwise: the guest's state is shown before it is overwritten.
    pub shown: bool,
}

impl Step {
    /// Before all others.
    pub const NOTHING: Self = Self { op: Op::Nothing, retired: 0, uses: 0, shown: false };
}

/// The steps of a trace.
#[derive(Debug, Default)]
pub struct Trace {
    features: Features,
    /// In order. The last one leaves.
    pub steps: Vec<Step>,
    /// The guest-virtual addresses of its instructions, in order.
    pub guests: Vec<u64>,
    /// For each of them, the highest address so far.
    pub highest: Vec<u64>,
    /// The guest-virtual addresses of its parts, in order.
    pub parts: Vec<u64>,
}

impl Trace {
    /// For CPUs with `features`.
    pub fn new(features: Features) -> Self {
        Self { features, ..Self::default() }
    }

    /// Makes one list of `parts`, up to the first guest instruction that is not translated, or that is the one with the
    /// number `limit`.
    pub fn build(&mut self, parts: &[Block], limit: usize, layout: &Layout) {
        self.steps.clear();
        self.guests.clear();
        self.highest.clear();
        self.parts.clear();
        self.parts.extend(parts.iter().map(|part| part.pc));
        let head = parts.first().map(|part| part.pc);
        let mut rounds = 0;
        for (index, part) in parts.iter().enumerate() {
            rounds += usize::from(Some(part.pc) == head);
            // Where the loop begins again for the first time.
            if rounds == 2 && Some(part.pc) == head {
                self.push(Op::Again);
            }
            // A debugger's breakpoint leaves without an instruction.
            let leaves = matches!(part.end, Terminator::Leave | Terminator::Resume { .. });
            let stop = self.instructions(part, limit, layout).err().or(leaves.then_some(part.pc));
            if let Some(pc) = stop {
                return self.push(Op::Stop { pc });
            }
            let Some(op) = self.link(part.end, parts.get(index + 1)) else { continue };
            self.push(op);
            if matches!(op, Op::Jump { .. } | Op::Branch { .. } | Op::Indirect { .. }) {
                return;
            }
        }
    }

    /// Which pieces of their page its instructions lie in ([`pieces`]).
    pub fn code(&self) -> u64 {
        let pieces_of = |pc: &u64| pieces(*pc, *pc..=pc.saturating_add(MAX_LENGTH - 1));
        self.guests.iter().fold(0, |pieces, pc| pieces | pieces_of(pc))
    }

    fn push(&mut self, op: Op) {
        self.steps.push(Step { op, retired: self.guests.len() as u16, uses: 0, shown: false });
    }

    /// Appends the steps of a part. `Err`: the interpreter takes over at this address.
    fn instructions(&mut self, part: &Block, limit: usize, layout: &Layout) -> Result<(), u64> {
        let leaves = matches!(part.end, Terminator::Leave | Terminator::Resume { .. });
        for (index, start) in part.starts.iter().enumerate() {
            let pc = part.pc.wrapping_add(u64::from(start.offset));
            let next = part.starts.get(index + 1);
            let end = next.map_or(part.insts.len(), |next| usize::from(next.inst));
            let insts = part.insts.get(usize::from(start.inst)..end).unwrap_or_default();
            let full = self.guests.len() >= limit.min(MAX_INSTRUCTIONS) || self.steps.len() > MAX_STEPS;
            if full || leaves && next.is_none() || !self.instruction(insts, layout) {
                return Err(pc);
            }
            self.guests.push(pc);
            self.highest.push(self.highest.last().map_or(pc, |&highest| highest.max(pc)));
        }
        Ok(())
    }

    /// Appends the steps of a guest instruction. `false`: nothing was appended, since it is not translated.
    fn instruction(&mut self, insts: &[Inst], layout: &Layout) -> bool {
        if insts.iter().any(|inst| touches_float(inst, layout)) {
            let operation = Operation::of(&layout.floats, insts);
            operation.into_iter().for_each(|operation| self.push(Op::Float(operation)));
            return operation.is_some();
        }
        let translates = insts.iter().all(|inst| is_translated(inst, self.features));
        if translates {
            insts.iter().for_each(|inst| self.append(inst));
        }
        translates
    }

    /// Appends a step of the intermediate representation.
    fn append(&mut self, inst: &Inst) {
        // Each kind is written where it belongs at once: it is large.
        match *inst {
            Inst::Compare { condition, dst, a, b } => {
                self.push(Op::Set { dst, test: Test::Compare { condition, a, b } });
            }
            Inst::Select { dst, test, a, b } => {
                let test = Test::Compare { condition: Condition::NotEqual, a: test.into(), b: Value::ZERO };
                self.push(Op::Select { dst, test, a, b });
            }
            _ => self.push(Op::Inst(*inst)),
        }
    }

    /// What there is to do between a part that ends with `end` and the next one: `None` if nothing.
    fn link(&self, end: Terminator, next: Option<&Block>) -> Option<Op> {
        let next = next.map(|next| next.pc);
        match end {
            Terminator::Jump { target } if next == Some(target) => None,
            Terminator::Branch { taken, otherwise, .. } if next == Some(taken) && taken == otherwise => None,
            Terminator::Branch { condition, a, b, taken, otherwise } => {
                let test = Test::Compare { condition, a, b };
                match next {
                    Some(next) if next == otherwise => Some(Op::Side { test, target: taken }),
                    Some(next) if next == taken => Some(Op::Side { test: test.invert(), target: otherwise }),
                    _ => Some(Op::Branch { test, taken, otherwise }),
                }
            }
            Terminator::Indirect { target } => Some(match next {
                Some(expected) => Op::Guard { target, masked: false, expected },
                None => Op::Indirect { target, masked: false },
            }),
            Terminator::Jump { target } | Terminator::Resume { target } => Some(Op::Jump { target }),
            // `instructions` has stopped before.
            Terminator::Leave => None,
        }
    }

    /// Counts the uses of each result, and removes what only computes something that nobody uses.
    pub fn count_uses(&mut self) {
        let mut uses = [0_u8; 256];
        let mut shown: u128 = 0;
        for step in self.steps.iter_mut().rev() {
            if let Some(dst) = step.op.dst() {
                let count = &mut uses[usize::from(dst.0)];
                let bit = if dst.is_temporary() { 0 } else { 1 << dst.0 };
                step.uses = *count;
                step.shown = shown & bit != 0;
                let dead = step.uses == 0 && !step.shown || is_nothing(&step.op);
                if dead && step.op.is_pure() {
                    step.op = Op::Nothing;
                    continue;
                }
                *count = 0;
                shown &= !bit;
            }
            if step.op.shows_state() {
                shown = u128::MAX;
            }
            step.op.visit_operands(|operand| {
                if let Value::Var(var) = operand {
                    let count = &mut uses[usize::from(var.0)];
                    *count = count.saturating_add(1);
                }
            });
        }
    }
}

/// How many guest instructions a trace has at most: as many as one ADD counts.
const MAX_INSTRUCTIONS: usize = 0xfff;

/// After how many steps it stops: [`Trace::fuse`] numbers them by 16 bits.
const MAX_STEPS: usize = 0x4000;

/// Whether it copies a variable to itself.
fn is_nothing(op: &Op) -> bool {
    matches!(op, Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a: Value::Var(a) }) if a == dst)
}

/// Whether it computes with floating-point numbers or moves them.
fn touches_float(inst: &Inst, layout: &Layout) -> bool {
    let is_float = |var: Var| layout.floats.contains(&var.0);
    let mut touches = matches!(inst, Inst::Float { .. }) || inst.dst().is_some_and(is_float);
    inst.visit_operands(|operand| touches |= matches!(operand, Value::Var(var) if is_float(var)));
    touches
}

/// Whether the code generator knows it.
fn is_translated(inst: &Inst, features: Features) -> bool {
    match inst {
        Inst::Call { .. } => false,
        Inst::Binary { op: BinaryOp::CarrylessMul | BinaryOp::CarrylessMulHigh, .. } => features.pmull,
        _ => true,
    }
}
