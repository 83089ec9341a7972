//! Atomic accesses. There are none with the rights of EL0, so the address is checked first. A misaligned one faults.

use super::emitter::Emitter;
use super::exits::Way;
use super::extension::Shape;
use super::memory::{acquires, releases};
use super::registers::Need;
use crate::a64::{self, Alu, Barrier, Bits, Cond, Ext, Mode, Rmw, X};
use crate::ir::{AtomicOp, Order, Value, Var};
use crate::memory::Size;

const fn order(order: Order) -> a64::Order {
    match order {
        Order::Relaxed => a64::Order::Relaxed,
        Order::Acquire => a64::Order::Acquire,
        Order::Release => a64::Order::Release,
        Order::AcquireRelease => a64::Order::AcquireRelease,
    }
}

const fn width(size: Size) -> (Bits, Need, Shape) {
    match size {
        Size::Double => (Bits::W64, Need::Full, Shape::Wide),
        _ => (Bits::W32, Need::Low, Shape::Low),
    }
}

impl Emitter<'_> {
    /// `dst` = memory at `address`, sign-extended; memory = op(memory, value).
    pub fn atomic(&mut self, op: AtomicOp, size: Size, order: Order, dst: Var, address: Value, value: Value) {
        if !matches!(size, Size::Word | Size::Double) {
            return self.decline();
        }
        let base = self.source(address, Need::Full);
        let base = self.not_stack_pointer(base);
        let value = self.source(value, width(size).1);
        self.check_address(base);
        if self.features.lse {
            self.atomic_at_once(op, size, order, dst, base, value);
        } else {
            self.atomic_loop(op, size, order, dst, base, value);
        }
    }

    /// Register 31 would be the stack pointer.
    fn not_stack_pointer(&mut self, base: X) -> X {
        if base != X::ZR {
            return base;
        }
        let zero = self.claim();
        self.asm.movz(Bits::W64, zero, 0, 0);
        zero
    }

    fn atomic_at_once(&mut self, op: AtomicOp, size: Size, access: Order, dst: Var, base: X, value: X) {
        let (bits, _, shape) = width(size);
        let mut value = value;
        let rmw = match op {
            AtomicOp::Swap => Rmw::Swp,
            AtomicOp::Add => Rmw::Add,
            AtomicOp::Or => Rmw::Set,
            AtomicOp::Xor => Rmw::Eor,
            AtomicOp::Min => Rmw::Smin,
            AtomicOp::MinUnsigned => Rmw::Umin,
            AtomicOp::Max => Rmw::Smax,
            AtomicOp::MaxUnsigned => Rmw::Umax,
            AtomicOp::And => {
                let inverted = self.claim();
                self.asm.alu(Alu::Orn, bits, inverted, X::ZR, value);
                value = inverted;
                Rmw::Clr
            }
        };
        let d = self.target(dst);
        self.may_fault();
        self.asm.rmw(rmw, size, order(access), value, d, base);
        self.finish(dst, d, shape);
    }

    fn atomic_loop(&mut self, op: AtomicOp, size: Size, access: Order, dst: Var, base: X, value: X) {
        let (bits, ..) = width(size);
        let old = self.claim();
        let new = if op == AtomicOp::Swap { value } else { self.claim() };
        let failed = self.claim();
        let again = self.asm.label();
        self.asm.bind(again);
        self.may_fault();
        self.asm.load_exclusive(size, acquires(access), old, base);
        match op {
            AtomicOp::Swap => {}
            AtomicOp::Add => self.asm.alu(Alu::Add, bits, new, old, value),
            AtomicOp::And => self.asm.alu(Alu::And, bits, new, old, value),
            AtomicOp::Or => self.asm.alu(Alu::Orr, bits, new, old, value),
            AtomicOp::Xor => self.asm.alu(Alu::Eor, bits, new, old, value),
            AtomicOp::Min => self.one_of(Cond::Lt, bits, new, old, value),
            AtomicOp::MinUnsigned => self.one_of(Cond::Lo, bits, new, old, value),
            AtomicOp::Max => self.one_of(Cond::Gt, bits, new, old, value),
            AtomicOp::MaxUnsigned => self.one_of(Cond::Hi, bits, new, old, value),
        }
        self.may_fault();
        self.asm.store_exclusive(size, releases(access), failed, new, base);
        self.asm.cbnz(Bits::W32, failed, again);
        self.give(size, dst, old);
    }

    /// `new` = `old` if the condition holds of it and `value`, else `value`.
    fn one_of(&mut self, cond: Cond, bits: Bits, new: X, old: X, value: X) {
        self.asm.cmp(bits, old, value);
        self.asm.csel(bits, new, old, value, cond);
    }

    /// `dst` = `x`, which was loaded with zeros above.
    fn give(&mut self, size: Size, dst: Var, x: X) {
        if dst.is_temporary() && self.step.uses == 0 {
            return;
        }
        let d = self.target(dst);
        if size == Size::Double {
            self.asm.mov(Bits::W64, d, x);
            self.finish(dst, d, Shape::Wide);
        } else {
            self.asm.sxtw(d, x);
            self.finish(dst, d, Shape::Narrow);
        }
    }

    /// `dst` = memory at `address`, sign-extended, which is then reserved. All that a reservation is, is in memory: what
    /// was read, and where.
    pub fn load_reserved(&mut self, size: Size, access: Order, dst: Var, address: Value) {
        if !matches!(size, Size::Word | Size::Double) {
            return self.decline();
        }
        let base = self.source(address, Need::Full);
        let base = self.not_stack_pointer(base);
        if access == Order::Relaxed {
            let way = self.out_of_line(Way::Interpret(self.pc()));
            // An ordinary load does, but would not fault if misaligned.
            self.asm.tst_imm(Bits::W64, base, size.bytes() - 1);
            self.asm.b_cond(Cond::Ne, way);
        } else {
            self.check_address(base);
        }
        let reserved = self.claim();
        self.asm.alu_imm(Alu::Orr, Bits::W64, reserved, base, size as u64);
        if releases(access) {
            self.asm.dmb(Barrier::Ish);
        }
        let d = self.target(dst);
        self.may_fault();
        if access == Order::Relaxed {
            self.asm.load(Mode::Unprivileged, size, Ext::SignTo64, d, base, 0);
        } else {
            self.asm.load_acquire(size, d, base);
            if size != Size::Double {
                self.asm.sxtw(d, d);
            }
        }
        let [place, value] = self.layout.reservation;
        self.store_word(reserved, place);
        self.store_word(d, value);
        self.finish(dst, d, if size == Size::Double { Shape::Wide } else { Shape::Narrow });
    }

    /// If the reservation holds, memory at `address` = `value` and `dst` = 0; else `dst` = 1. No reservation is left. Without
    /// one for this address the interpreter says what happens: the address may raise an exception all the same.
    pub fn store_conditional(&mut self, size: Size, access: Order, dst: Var, address: Value, value: Value) {
        if !matches!(size, Size::Word | Size::Double) {
            return self.decline();
        }
        let (bits, need, _) = width(size);
        let base = self.source(address, Need::Full);
        let base = self.not_stack_pointer(base);
        let value = self.source(value, need);
        self.check_address(base);
        let [place, read] = self.layout.reservation;
        let (expected, found) = (self.claim(), self.claim());
        self.load_word(expected, place);
        self.asm.alu_imm(Alu::Orr, Bits::W64, found, base, size as u64);
        self.asm.cmp(Bits::W64, expected, found);
        self.load_word(expected, read);
        let otherwise = self.out_of_line(Way::Interpret(self.pc()));
        self.asm.b_cond(Cond::Ne, otherwise);
        // From here on, the flags say whether it has been stored.
        let done = self.asm.label();
        if self.features.lse {
            self.asm.mov(Bits::W64, found, expected);
            self.may_fault();
            self.asm.cas(size, order(access), found, value, base);
            self.asm.cmp(bits, found, expected);
        } else {
            let again = self.asm.label();
            self.asm.bind(again);
            self.may_fault();
            self.asm.load_exclusive(size, acquires(access), found, base);
            self.asm.cmp(bits, found, expected);
            self.asm.b_cond(Cond::Ne, done);
            self.may_fault();
            self.asm.store_exclusive(size, releases(access), found, value, base);
            self.asm.cbnz(Bits::W32, found, again);
        }
        self.asm.bind(done);
        self.asm.movn(Bits::W64, found, 0, 0);
        self.store_word(found, place);
        let unused = dst.is_temporary() && self.step.uses == 0;
        if !unused {
            let d = self.target(dst);
            self.asm.cset(Bits::W32, d, Cond::Ne);
            self.finish(dst, d, Shape::Small);
        }
    }
}
