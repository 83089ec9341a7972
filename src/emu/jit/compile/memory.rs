//! Loads and stores of the guest's memory, with the rights of EL0.

use super::Fault;
use super::emitter::Emitter;
use super::exits::Way;
use super::extension::Shape;
use super::float::{Operation, Pending, Surroundings};
use super::registers::Need;
use crate::a64::{Assembler, Barrier, Bits, Cond, Ext, Label, Mode, X};
use crate::ir::{Order, Value, Var};
use crate::memory::Size;

/// Addresses of the guest are the sign extension of as many bits.
const ADDRESS_BITS: u8 = 48;

pub const fn acquires(order: Order) -> bool {
    matches!(order, Order::Acquire | Order::AcquireRelease)
}

pub const fn releases(order: Order) -> bool {
    matches!(order, Order::Release | Order::AcquireRelease)
}

impl Emitter<'_> {
    /// What the SIMD&FP registers lack.
    pub fn floats(&self) -> Pending {
        self.float.as_ref().map_or_else(Pending::default, |float| float.pending())
    }

    /// The next instruction may fault.
    pub fn may_fault(&mut self) {
        self.may_fault_with(self.floats());
    }

    fn may_fault_with(&mut self, floats: Pending) {
        self.output.faults.push(Fault {
            word: self.asm.here() as u16,
            offset: self.step.place.offset,
            retired: self.step.place.retired,
            pending: self.facts.pending & super::exits::PINNED,
            floats,
        });
    }

    pub fn load(&mut self, size: Size, signed: bool, order: Order, dst: Var, base: Value, offset: i32) {
        let (base, offset) = self.address(base, i64::from(offset));
        if releases(order) {
            self.asm.dmb(Barrier::Ish);
        }
        let (ext, shape) = match (signed, size) {
            (_, Size::Double) => (Ext::Zero, Shape::Wide),
            (true, _) => (Ext::SignTo64, Shape::Narrow),
            (false, Size::Word) => (Ext::Zero, Shape::Wide),
            (false, _) => (Ext::Zero, Shape::Small),
        };
        // Nobody wants it, but it may fault.
        let unused = dst.is_temporary() && self.step.uses == 0;
        let d = if unused { X::ZR } else { self.target(dst) };
        self.may_fault();
        self.asm.load(Mode::Unprivileged, size, ext, d, base, offset);
        if !unused {
            self.finish(dst, d, shape);
        }
        if acquires(order) {
            self.asm.dmb(Barrier::IshLd);
        }
    }

    pub fn store(&mut self, size: Size, order: Order, base: Value, offset: i32, value: Value) {
        let (base, offset) = self.address(base, i64::from(offset));
        let value = self.source(value, if size == Size::Double { Need::Full } else { Need::Low });
        if releases(order) {
            self.asm.dmb(Barrier::Ish);
        }
        self.may_fault();
        self.asm.store(Mode::Unprivileged, size, value, base, offset);
        if acquires(order) {
            self.asm.dmb(Barrier::Ish);
        }
    }

    /// Leaves for the interpreter if `address` is not the guest's: a privileged access there might reach the engine.
    pub fn check_address(&mut self, address: X) {
        let way = self.out_of_line(Way::Interpret(self.pc()));
        let canonical = self.claim();
        self.asm.sbfx(Bits::W64, canonical, address, 0, ADDRESS_BITS);
        self.asm.cmp(Bits::W64, canonical, address);
        self.asm.b_cond(Cond::Ne, way);
        self.unclaim(canonical);
    }

    /// A guest instruction of floating point.
    #[inline(never)]
    pub fn float_operation(&mut self, operation: &Operation) {
        self.forget_temporaries();
        // It is part of the surroundings that it is given.
        let mut float = self.float.take();
        let compiled = float.as_mut().is_some_and(|float| float.compile(self, operation));
        self.float = float;
        self.forget_temporaries();
        if !compiled {
            self.decline();
        }
    }
}

impl Surroundings for Emitter<'_> {
    fn asm(&mut self) -> &mut Assembler {
        self.asm
    }

    fn home(&self, var: Var) -> super::Home {
        self.layout.home(var)
    }

    fn source(&mut self, value: Value, bits: Bits, scratch: X) -> X {
        match value {
            Value::Const(constant) => self.asm.mov_imm(scratch, constant as u64),
            Value::Var(var) => match Emitter::home(self, var) {
                Some(x) => {
                    if bits == Bits::W64 {
                        self.extend(x);
                    }
                    return x;
                }
                None => self.load_word(scratch, var),
            },
        }
        scratch
    }

    fn target(&mut self, dst: Var, scratch: X) -> X {
        Emitter::home(self, dst).unwrap_or(scratch)
    }

    fn computed(&mut self, dst: Var, register: X, bits: Bits) {
        let shape = if bits == Bits::W32 { Shape::LowDirty } else { Shape::Wide };
        if dst.is_temporary() {
            return;
        }
        self.finish(dst, register, shape);
    }

    fn constant(&self, var: Var) -> Option<u64> {
        self.known_constant(var.into())
    }

    fn may_fault(&mut self, pending: Pending) {
        self.may_fault_with(pending);
    }

    fn interpret(&mut self, pending: Pending) -> Label {
        let mut state = self.state();
        state.floats = pending;
        self.out_of_line_from(Way::Interpret(self.pc()), state)
    }
}
