//! A trace as one list of steps.

use alloc::vec::Vec;

use super::float::Operation;
use super::layout::Layout;
use super::op::{Op, Test};
use crate::ir::{Block, Condition, Effects, Inst, Optimiser, Start, Terminator, UnaryOp, Value, Vars, Width};
use crate::jit::cache::{MAX_LENGTH, PAGE, pieces};

/// Where a step is in its trace.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// How many guest instructions are complete: before the step, or, if it leaves, with it.
    pub retired: u16,
    /// Where on the page the one lies that is not.
    pub offset: u16,
    /// Where the highest of those lies that are; behind the page if none is.
    pub highest: u16,
}

impl Place {
    /// Where no guest instruction is complete.
    const START: Self = Self { retired: 0, offset: 0, highest: u16::MAX };

    /// Behind the guest instruction that is not complete here.
    const fn next(self) -> Self {
        let highest = match self.retired {
            0 => self.offset,
            _ if self.highest > self.offset => self.highest,
            _ => self.offset,
        };
        Self { retired: self.retired + 1, offset: self.offset, highest }
    }
}

/// A step, and what is known of it.
// In this order a step that does nothing yet is written by a few stores.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What it has to do with variables.
    pub effects: Effects,
    /// Where in the trace it is.
    pub place: Place,
    /// How often the result is used before it is overwritten; 255 stands for all above.
    pub uses: u8,
    /// Whether the result may be seen otherwise: the guest's state is shown before it is overwritten.
    pub shown: bool,
    /// What to do.
    pub op: Op,
}

impl Step {
    /// Before all others.
    pub const NOTHING: Self = Self::new(Op::Nothing, Effects::NONE, Place::START);

    const fn new(op: Op, effects: Effects, place: Place) -> Self {
        Self { op, effects, place, uses: 0, shown: false }
    }

    /// Makes an [`Op::Inst`] what does the same and can be fused.
    fn express(&mut self) {
        match self.op {
            Op::Inst(Inst::Compare { condition, dst, a, b }) => {
                self.op = Op::Set { dst, test: Test::Compare { condition, a, b } };
            }
            Op::Inst(Inst::Select { dst, test, a, b }) => {
                let test = Test::Compare { condition: Condition::NotEqual, a: test.into(), b: Value::ZERO };
                self.replace(Op::Select { dst, test, a, b });
            }
            _ => {}
        }
    }

    /// Makes it do nothing.
    pub const fn drop(&mut self) {
        (self.effects, self.op) = (Effects::NONE, Op::Nothing);
    }

    /// Makes it do something else.
    pub fn replace(&mut self, op: Op) {
        (self.effects, self.op) = (op.effects(), op);
    }
}

/// The steps of a trace.
#[derive(Debug)]
pub struct Trace {
    optimiser: Optimiser,
    /// In order. The last one leaves.
    pub steps: Vec<Step>,
    /// Behind its last guest instruction.
    end: Place,
    /// The guest-virtual addresses of its parts, in order.
    pub parts: Vec<u64>,
    /// Whether there are floating-point operations.
    pub uses_float: bool,
    /// Which pieces of their page its instructions lie in ([`pieces`]).
    pub code: u64,
}

impl Trace {
    /// For guests whose state is where `layout` says.
    pub fn new(layout: &Layout) -> Self {
        Self {
            optimiser: Optimiser::new(layout.floats.clone(), layout.in_memory()),
            steps: Vec::new(),
            end: Place::START,
            parts: Vec::new(),
            uses_float: false,
            code: 0,
        }
    }

    /// Makes one list of `parts`, up to the first guest instruction that is not translated, or that is the one with the
    /// number `limit`.
    pub fn build(&mut self, parts: &[Block], limit: usize, layout: &Layout) {
        self.steps.clear();
        self.end = Place::START;
        self.parts.clear();
        self.uses_float = false;
        self.code = 0;
        self.parts.extend(parts.iter().map(|part| part.pc));
        let head = parts.first().map(|part| part.pc);
        let mut rounds = 0;
        self.optimiser.begin();
        for (index, part) in parts.iter().enumerate() {
            rounds += usize::from(Some(part.pc) == head);
            // Where the loop begins again for the first time.
            if rounds == 2 && Some(part.pc) == head {
                self.push(Op::Again);
                self.optimiser.begin();
            }
            // A debugger's breakpoint leaves without an instruction.
            let leaves = matches!(part.end, Terminator::Leave | Terminator::Resume { .. });
            let before = self.end.retired;
            let stop = self.instructions(part, limit, layout).err().or(leaves.then_some(part.pc));
            // Those of a part lie one behind the other.
            if self.end.retired != before {
                let last = part.pc & !(PAGE - 1) | u64::from(self.end.offset);
                self.code |= pieces(part.pc, part.pc..=last.saturating_add(MAX_LENGTH - 1));
            }
            if let Some(pc) = stop {
                return self.push(Op::Stop { pc });
            }
            let end = self.optimiser.improve_end(part.end);
            let Some(op) = self.link(end, parts.get(index + 1)) else { continue };
            self.push(op);
            if matches!(op, Op::Jump { .. } | Op::Branch { .. } | Op::Indirect { .. }) {
                return;
            }
        }
    }

    /// How many guest instructions it has.
    pub fn guests(&self) -> usize {
        self.end.retired.into()
    }

    fn push(&mut self, op: Op) {
        self.steps.push(Step::new(op, op.effects(), self.end));
    }

    /// Appends the steps of a part. `Err`: the interpreter takes over at this address.
    fn instructions(&mut self, part: &Block, limit: usize, layout: &Layout) -> Result<(), u64> {
        let address = |start: &Start| part.pc.wrapping_add(u64::from(start.offset));
        // The last one of such a part is for the interpreter.
        let leaves = matches!(part.end, Terminator::Leave | Terminator::Resume { .. });
        let whole = part.starts.len().saturating_sub(usize::from(leaves));
        let room = limit.min(MAX_INSTRUCTIONS).saturating_sub(self.guests());
        let fits = self.steps.len() + part.insts.len() <= MAX_STEPS;
        let most = if fits { whole.min(room) } else { 0 };

        let first = self.steps.len();
        let blank = Step::new(Op::Inst(Inst::Fence), Effects::NONE, self.end);
        self.steps.extend(part.insts.iter().map(|_| blank));
        let mut steps = self.steps.get_mut(first..).unwrap_or_default();
        let mut insts = part.insts.as_slice();
        for (index, start) in part.starts.iter().take(most).enumerate() {
            let end = part.starts.get(index + 1).map_or(part.insts.len(), |next| usize::from(next.inst));
            let count = end.saturating_sub(usize::from(start.inst)).min(insts.len());
            let (these, others) = steps.split_at_mut(count);
            let (sources, rest) = insts.split_at(count);
            self.end.offset = (address(start) % PAGE) as u16;
            match instruction(these, sources, &mut self.optimiser, layout, self.end) {
                Kind::Integer => {}
                Kind::Float => self.uses_float = true,
                Kind::Untranslated => {
                    let left = count + others.len();
                    self.steps.truncate(self.steps.len() - left);
                    return Err(address(start));
                }
            }
            (steps, insts) = (others, rest);
            self.end = self.end.next();
        }
        let left = insts.len();
        self.steps.truncate(self.steps.len() - left);
        match part.starts.get(most) {
            Some(start) => Err(address(start)),
            None => Ok(()),
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
        let mut shown = Vars::NONE;
        for step in self.steps.iter_mut().rev() {
            if let Some(dst) = step.effects.dst {
                let count = &mut uses[usize::from(dst.0)];
                step.uses = *count;
                step.shown = shown.contains(dst);
                let dead = step.uses == 0 && !step.shown || is_nothing(&step.op);
                if dead && step.effects.is_pure() {
                    step.drop();
                    continue;
                }
                *count = 0;
                shown.remove(dst);
            }
            if step.effects.may_raise() {
                shown = Vars::GLOBALS;
            }
            for var in step.effects.operands() {
                let count = &mut uses[usize::from(var.0)];
                *count = count.saturating_add(1);
            }
        }
    }
}

/// What a guest instruction is to the code generator.
enum Kind {
    Integer,
    Float,
    /// The interpreter executes it.
    Untranslated,
}

/// Makes `steps` what does the same as the `sources`, as many, of one guest instruction. If that is not translated, they have no
/// meaning.
#[inline]
fn instruction(
    steps: &mut [Step],
    sources: &[Inst],
    optimiser: &mut Optimiser,
    layout: &Layout,
    place: Place,
) -> Kind {
    let (mut floats, mut translates) = (false, true);
    for (step, source) in steps.iter_mut().zip(sources) {
        step.place = place;
        if let Op::Inst(inst) = &mut step.op {
            // By way of a step of its own, the copy would cost more than all else.
            *inst = *source;
            step.effects = optimiser.improve(inst);
            floats |= touches_float(&step.effects, layout);
            translates &= !step.effects.touches_globals() || is_translated(inst);
            step.express();
        }
    }
    match (floats, translates) {
        (true, _) => float_instruction(steps, layout),
        (false, true) => Kind::Integer,
        (false, false) => Kind::Untranslated,
    }
}

/// Makes `steps` the one operation that they are together, if they are one.
#[inline(never)]
fn float_instruction(steps: &mut [Step], layout: &Layout) -> Kind {
    // A constant, three operands that are taken out of their boxes, the operation, and the box of its result.
    let mut insts = [Inst::Fence; 6];
    for (inst, step) in insts.iter_mut().zip(&*steps) {
        if let Op::Inst(of_step) = step.op {
            *inst = of_step;
        }
    }
    let operation = insts.get(..steps.len()).and_then(|insts| Operation::of(&layout.floats, insts));
    match (operation, steps.split_first_mut()) {
        (Some(operation), Some((first, others))) => {
            first.replace(Op::Float(operation));
            others.iter_mut().for_each(|step| step.drop());
            Kind::Float
        }
        _ => Kind::Untranslated,
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
    effects.operands().chain(effects.dst).any(|var| layout.floats.contains(&var.0))
}

/// Whether the code generator knows an instruction that touches globals.
const fn is_translated(inst: &Inst) -> bool {
    !matches!(inst, Inst::Call { .. } | Inst::Float { .. })
}
