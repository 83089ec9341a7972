//! A trace as one list of steps.

use alloc::vec::Vec;

use super::Features;
use super::float::Operation;
use super::layout::Layout;
use super::op::{Op, Test};
use crate::ir::{BinaryOp, Block, Condition, Effects, Inst, Terminator, UnaryOp, Value, Width};
use crate::jit::cache::{MAX_LENGTH, pieces};

/// A step, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What to do.
    pub op: Op,
    /// What that has to do with variables.
    pub effects: Effects,
    /// How many guest instructions of the trace are complete: before the step, or, if it leaves, with it.
    pub retired: u16,
    /// How often the result is used before it is overwritten; 255 stands for all above.
    pub uses: u8,
    /// Whether the result may be seen otherwise: the guest's state is shown before it is overwritten.
    pub shown: bool,
}

impl Step {
    /// Before all others.
    pub const NOTHING: Self = Self::new(Op::Nothing, Effects::NONE, 0);

    const fn new(op: Op, effects: Effects, retired: u16) -> Self {
        Self { op, effects, retired, uses: 0, shown: false }
    }

    /// Makes an [`Op::Inst`] what does the same as `inst`, where it is: copies by way of others would cost more than all else.
    fn express(&mut self, inst: &Inst) {
        match *inst {
            Inst::Compare { condition, dst, a, b } => {
                self.op = Op::Set { dst, test: Test::Compare { condition, a, b } };
            }
            Inst::Select { dst, test, a, b } => {
                let test = Test::Compare { condition: Condition::NotEqual, a: test.into(), b: Value::ZERO };
                self.replace(Op::Select { dst, test, a, b });
            }
            _ => {
                if let Op::Inst(place) = &mut self.op {
                    *place = *inst;
                }
            }
        }
    }

    /// Makes it do something else.
    pub fn replace(&mut self, op: Op) {
        (self.effects, self.op) = (op.effects(), op);
    }
}

/// A guest instruction of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// Its guest-virtual address.
    pub pc: u64,
    /// The highest address so far.
    pub highest: u64,
}

/// The steps of a trace.
#[derive(Debug, Default)]
pub struct Trace {
    features: Features,
    /// In order. The last one leaves.
    pub steps: Vec<Step>,
    /// Its instructions, in order.
    pub guests: Vec<Guest>,
    /// The guest-virtual addresses of its parts, in order.
    pub parts: Vec<u64>,
    /// Whether there are floating-point operations.
    pub uses_float: bool,
    /// Which pieces of their page its instructions lie in ([`pieces`]).
    pub code: u64,
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
        self.parts.clear();
        self.uses_float = false;
        self.code = 0;
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
            let before = self.guests.len();
            let stop = self.instructions(part, limit, layout).err().or(leaves.then_some(part.pc));
            // Those of a part lie one behind the other.
            if let Some(last) = self.guests.get(before..).and_then(<[Guest]>::last) {
                self.code |= pieces(part.pc, part.pc..=last.pc.saturating_add(MAX_LENGTH - 1));
            }
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

    fn push(&mut self, op: Op) {
        self.steps.push(Step::new(op, op.effects(), self.guests.len() as u16));
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
            let highest = self.guests.last().map_or(pc, |guest| guest.highest.max(pc));
            self.guests.push(Guest { pc, highest });
        }
        Ok(())
    }

    /// Appends the steps of a guest instruction. `false`: nothing was appended, since it is not translated.
    fn instruction(&mut self, insts: &[Inst], layout: &Layout) -> bool {
        let (first, retired) = (self.steps.len(), self.guests.len() as u16);
        let (mut floats, mut translates) = (false, true);
        let blank = |_: &Inst| Step::new(Op::Inst(Inst::Fence), Effects::NONE, retired);
        self.steps.extend(insts.iter().map(blank));
        for (step, inst) in self.steps.iter_mut().skip(first).zip(insts) {
            step.effects = inst.effects();
            step.express(inst);
            floats |= touches_float(&step.effects, layout);
            translates &= is_translated(inst, self.features);
        }
        if !floats && translates {
            return true;
        }
        self.steps.truncate(first);
        let operation = if floats { Operation::of(&layout.floats, insts) } else { None };
        if let Some(operation) = operation {
            self.uses_float = true;
            self.push(Op::Float(operation));
        }
        operation.is_some()
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
            if let Some(dst) = step.effects.dst {
                let count = &mut uses[usize::from(dst.0)];
                let bit = if dst.is_temporary() { 0 } else { 1 << dst.0 };
                step.uses = *count;
                step.shown = shown & bit != 0;
                let dead = step.uses == 0 && !step.shown || is_nothing(&step.op);
                if dead && step.effects.is_pure() {
                    step.replace(Op::Nothing);
                    continue;
                }
                *count = 0;
                shown &= !bit;
            }
            if step.effects.may_raise() {
                shown = u128::MAX;
            }
            for var in step.effects.operands() {
                let count = &mut uses[usize::from(var.0)];
                *count = count.saturating_add(1);
            }
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

/// Whether it computes with floating-point registers or moves them.
fn touches_float(effects: &Effects, layout: &Layout) -> bool {
    effects.dst.iter().chain(effects.operands()).any(|var| layout.floats.contains(&var.0))
}

/// Whether the code generator knows it.
const fn is_translated(inst: &Inst, features: Features) -> bool {
    match inst {
        Inst::Call { .. } | Inst::Float { .. } => false,
        Inst::Binary { op: BinaryOp::CarrylessMul | BinaryOp::CarrylessMulHigh, .. } => features.pmull,
        _ => true,
    }
}
