//! What emits the steps of a trace, one after the other.

use super::exits::{Joint, PINNED, State, Way};
use super::extension::Facts;
use super::float::{Float, Needs};
use super::layout::{Layout, RETIRED, TEMPORARIES, WORDS};
use super::op::Op;
use super::registers::{Need, Registers};
use super::trace::{Step, Trace};
use super::{ExitKind, Features, Output};
use crate::a64::{Assembler, Barrier, Ext, Label, Mode};
use crate::ir::{BinaryOp, Inst, UnaryOp, Value, Width};
use crate::jit::cache::PAGE;
use crate::memory::Size;

/// How many instructions it takes to close a loop.
const CLOSING: u32 = 2;

/// The bit of the count of retired instructions that says that the hart is wanted.
pub const DUE: u8 = 63;

/// Emits a trace.
pub struct Emitter<'a> {
    pub layout: &'a Layout,
    pub features: Features,
    pub trace: &'a Trace,
    pub asm: &'a mut Assembler,
    pub output: &'a mut Output,
    /// `None` while it compiles an operation, and if there is none.
    pub float: Option<&'a mut Float>,
    /// Which slot of the table of far targets a target has.
    pub slot: &'a mut dyn FnMut(u64) -> Option<u32>,
    pub registers: Registers,
    pub facts: Facts,
    /// The one that is being emitted.
    pub step: &'a Step,
    /// The guest-virtual address of the page that the trace is on.
    pub page: u64,
    declined: bool,
}

impl<'a> Emitter<'a> {
    pub fn new(
        layout: &'a Layout,
        features: Features,
        trace: &'a Trace,
        asm: &'a mut Assembler,
        output: &'a mut Output,
        float: &'a mut Float,
        slot: &'a mut dyn FnMut(u64) -> Option<u32>,
    ) -> Self {
        let (registers, facts) = (Registers::new(), Facts::new());
        let float = trace.uses_float.then_some(float);
        let step = &Step::NOTHING;
        let page = trace.parts.first().map_or(0, |pc| pc & !(PAGE - 1));
        Self {
            layout,
            features,
            trace,
            asm,
            output,
            float,
            slot,
            registers,
            facts,
            step,
            page,
            declined: false,
        }
    }

    /// Emits all of it. `Err`: it must be tried again with at most so many guest instructions.
    pub fn run(mut self) -> Result<(), usize> {
        let pc = self.trace.parts.first().copied().unwrap_or(0);
        let attention = self.asm.label();
        self.asm.tbnz(RETIRED, DUE, attention);
        if let Some(float) = &mut self.float {
            float.start(pc);
        }
        let not_ready = self.check_float();
        self.joint(pc);
        let trace = self.trace;
        for step in trace.steps.iter().filter(|step| !matches!(step.op, Op::Nothing)) {
            self.step = step;
            self.note_start(self.guest() + 1);
            self.check_underflow();
            self.emit();
            self.tell_float();
            self.release();
            if self.declined {
                let most = trace.guests().saturating_sub(1);
                return Err(usize::from(step.place.retired).min(most));
            }
        }
        self.note_start(trace.guests());
        self.output.main = self.asm.here();
        self.emit_out_of_line();
        if let Some(float) = &mut self.float {
            float.out_of_line(self.asm);
        }
        self.asm.bind(attention);
        self.exit(None, ExitKind::Attention { pc });
        if let Some((at, label)) = not_ready {
            self.asm.bind(label);
            self.exit(None, ExitKind::Float { pc });
            self.require(at);
        }
        match self.asm.finish() {
            Ok(()) if self.output.is_complete() => Ok(()),
            _ => Err(trace.guests() / 2),
        }
    }

    /// If there is floating-point code: checks that it may run. Where, and what for if not.
    fn check_float(&mut self) -> Option<(usize, Label)> {
        if !self.trace.uses_float {
            return None;
        }
        let [temporary, ..] = TEMPORARIES;
        let offset = 8 * i64::from(self.layout.float_ready);
        self.asm.load(Mode::Normal, Size::Double, Ext::Zero, temporary, WORDS, offset);
        let (at, label) = (self.asm.here(), self.asm.label());
        self.asm.tbz(temporary, 0, label);
        Some((at, label))
    }

    /// What the check at word `at` has to ask is known now: it tests bit 0 so far.
    fn require(&mut self, at: usize) {
        const NEXT_BIT: u32 = 1 << 19;
        if self.float.as_ref().is_some_and(|float| float.needs() == Needs::Nearest)
            && let Some(&word) = self.asm.words().get(at)
        {
            self.asm.patch(at, word | NEXT_BIT);
        }
    }

    /// The checks that floating-point code has put off: before the guest's state may be seen. Floating-point operations see to
    /// that by themselves.
    fn check_underflow(&mut self) {
        let Some(float) = &self.float else { return };
        let may_show = self.step.effects.may_raise() && !matches!(self.step.op, Op::Float(_));
        if may_show && float.wants_check() {
            let x = self.claim();
            if let Some(float) = &mut self.float {
                float.check(self.asm, x);
            }
            self.release_claims();
        }
    }

    /// Tells it what has become of the step's result.
    fn tell_float(&mut self) {
        let Some(float) = &mut self.float else { return };
        let sum = match self.step.op {
            Op::Float(_) => return,
            Op::Inst(Inst::Binary {
                op: BinaryOp::Add,
                width: Width::W64,
                a: Value::Var(a),
                b: Value::Const(by),
                ..
            }) => Some((a, i64::from(by))),
            Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::W64, a: Value::Var(a), .. }) => {
                Some((a, 0))
            }
            _ => None,
        };
        if let Some(dst) = self.step.effects.dst {
            float.changed(dst, sum);
        }
    }

    /// The guest instruction cannot be translated after all: it and those behind it are for the interpreter.
    pub fn decline(&mut self) {
        self.declined = true;
    }

    /// The first so many guest instructions of the trace have begun: noted for a listing.
    #[inline]
    fn note_start(&mut self, guests: usize) {
        if !self.output.is_listed {
            return;
        }
        let (starts, here) = (&mut self.output.starts, self.asm.here() as u16);
        for _ in starts.len()..guests.min(self.trace.guests()) {
            starts.push(here);
        }
    }

    /// Which guest instruction of the trace the step is of.
    fn guest(&self) -> usize {
        let leaves = matches!(
            self.step.op,
            Op::Side { .. } | Op::Guard { .. } | Op::Jump { .. } | Op::Branch { .. } | Op::Indirect { .. }
        );
        usize::from(self.step.place.retired).saturating_sub(usize::from(leaves))
    }

    /// The guest-virtual address of the guest instruction that is not complete yet.
    pub fn pc(&self) -> u64 {
        self.page | u64::from(self.step.place.offset)
    }

    /// The highest one of those that are; behind the page if none is.
    pub fn highest(&self) -> u64 {
        self.page | u64::from(self.step.place.highest)
    }

    /// The trace is at its head again. If extensions are pending here, or boxes are not closed, the loop had better be closed here
    /// than at the head, where none may be; likewise if operands are known here to be in boxes that were looked into.
    #[inline(never)]
    fn again(&mut self) {
        let Some(&pc) = self.trace.parts.first() else { return };
        let rounds = self.trace.parts.iter().filter(|&&part| part == pc).count() as u32;
        // Closing takes two instructions, and bases are tested again, for all rounds or for all but the first.
        let (mut closing, mut saved) = (CLOSING, (self.facts.pending & PINNED).count_ones());
        if let Some(float) = &self.float {
            closing += float.tests();
            saved += float.saved_by_again();
        }
        if closing * rounds >= (closing + saved) * (rounds - 1) {
            return;
        }
        let x = self.claim();
        if let Some(float) = &mut self.float {
            float.again(self.asm, x);
        }
        self.release_claims();
        self.facts.forget_clean();
        self.forget_temporaries();
        self.registers.forget_constants();
        self.joint(pc);
    }

    /// From here on, code may also come from elsewhere in the trace that goes on at `pc`, in the state that is known now.
    fn joint(&mut self, pc: u64) {
        let label = self.asm.label();
        self.asm.bind(label);
        let State { facts, floats, boxed, retired, .. } = self.state();
        self.output.joints.push(Joint { pc, label, retired, facts, floats, boxed });
    }

    fn emit(&mut self) {
        match self.step.op {
            Op::Nothing => {}
            Op::Again => self.again(),
            Op::Inst(Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a }) => self.copy_value(dst, a),
            Op::Inst(Inst::Unary { op, width, dst, a }) => self.unary(op, width, dst, a),
            Op::Inst(Inst::Binary { op, width, dst, a, b }) => self.binary(op, width, dst, a, b),
            Op::Shifted { op, width, dst, a, b, shift, amount } => {
                self.shifted(op, width, dst, a, b, shift, amount);
            }
            Op::Extended { subtract, dst, a, b, low, amount } => {
                self.extended(subtract, dst, a, b, low, amount);
            }
            Op::Extract { dst, a, low, at } => self.extract(dst, a, low, at),
            Op::Insert { dst, a, low, to } => self.insert(dst, a, low, to),
            Op::MulAdd { subtract, width, dst, a, b, c } => self.multiply_add(subtract, width, dst, a, b, c),
            Op::Set { dst, test } => self.set_if(dst, test),
            Op::Select { dst, test, a, b } => self.select(dst, test, a, b),
            Op::Inst(Inst::Constant { dst, value }) => self.set(dst, value),
            Op::Inst(Inst::Load { size, signed, order, dst, base, offset }) => {
                self.load(size, signed, order, dst, base, offset);
            }
            Op::Inst(Inst::Store { size, order, base, offset, value }) => {
                self.store(size, order, base, offset, value);
            }
            Op::Inst(Inst::LoadReserved { size, order, dst, address }) => {
                self.load_reserved(size, order, dst, address);
            }
            Op::Inst(Inst::StoreConditional { size, order, dst, address, value }) => {
                self.store_conditional(size, order, dst, address, value);
            }
            Op::Inst(Inst::Atomic { op, size, order, dst, address, value }) => {
                self.atomic(op, size, order, dst, address, value);
            }
            Op::Inst(Inst::Fence) => self.asm.dmb(Barrier::Ish),
            Op::Inst(Inst::Decline { test }) => self.decline_if(test),
            Op::Float(operation) => self.float_operation(&operation),
            Op::Inst(Inst::Compare { .. } | Inst::Select { .. } | Inst::Float { .. } | Inst::Call { .. }) => {
                self.decline();
            }
            Op::Stop { pc } => self.leave(Way::Interpret(pc), &self.state()),
            Op::Side { test, target } => self.side(test, target),
            Op::Guard { target, masked, expected } => self.guard(target, masked, expected),
            Op::Jump { target } => self.leave(Way::To(target), &self.state()),
            Op::Branch { test, taken, otherwise } => self.branch(test, taken, otherwise),
            Op::Indirect { target, masked } => {
                let x = self.source(target.into(), Need::Full);
                self.leave(Way::Indirect { x, masked }, &self.state());
            }
        }
    }
}
