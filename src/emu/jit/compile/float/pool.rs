//! Which register each of the guest's is in, and what is known of its contents.
//!
//! - **Boxes.** A binary32 in a floating-point register has ones above it. What computes or loads one leaves zeros there;
//!   they become ones only when somebody may look. Within a block most registers are so known to hold a binary32, and need
//!   no look at their box either.
//! - **Moves.** A result is not computed in its home while what is there is still needed for a check for underflow, but in a
//!   temporary, where the guest's register then lives until it is written again.

use super::registers::{BOX, Origin, Pending, TEMPORARIES, V31, mask, word};
use super::{Float, Home, Operand, Surroundings, T0};
use crate::a64::{Alu, Assembler, Bits, Cond, Ext, F, Mode, V, X};
use crate::ir::{Value, Var};
use crate::memory::Size;

impl Float {
    /// The bit of a floating-point register in [`Self::boxed`].
    fn bit(&self, var: Var) -> u32 {
        1u32.checked_shl(u32::from(var.0.wrapping_sub(self.registers.start))).unwrap_or(0)
    }

    pub(super) fn is_register(&self, var: Var) -> bool {
        self.registers.contains(&var.0)
    }

    /// Whether a register is known to hold a binary32.
    pub(super) fn is_boxed(&self, var: Var) -> bool {
        self.boxed & self.bit(var) != 0
    }

    /// Says whether a register is known to hold a binary32.
    fn set_boxed(&mut self, var: Var, boxed: bool) {
        self.boxed = self.boxed & !self.bit(var) | if boxed { self.bit(var) } else { 0 };
    }

    /// Where a floating-point register is.
    pub(super) fn origin(&self, c: &impl Surroundings, var: Var) -> Origin {
        let moved =
            TEMPORARIES.into_iter().zip(self.moved).find(|(_, moved)| moved.is_some_and(|(of, _)| of == var));
        match (moved, c.home(var)) {
            (Some((temporary, _)), _) => Origin::V(temporary),
            (None, Home::V(v)) => Origin::V(v),
            _ => Origin::Word(var),
        }
    }

    /// Where operands are, for an operation with a result for `dst`. A binary32 that is not known to be in a box is looked at:
    /// the interpreter takes what is not. If any of all these is not in a register, the temporaries are free.
    pub(super) fn find<const N: usize>(
        &mut self,
        c: &mut impl Surroundings,
        f: F,
        operands: [Operand; N],
        dst: Option<Var>,
    ) -> [Origin; N] {
        let in_register = |var| self.is_register(var) && c.home(var) != Home::Memory;
        let all = dst.is_none_or(in_register)
            && operands.iter().all(|operand| match operand.value {
                Value::Var(var) if in_register(var) => true,
                value => self.known_as(f, value).is_some(),
            });
        if !all {
            self.vacate(c.asm(), T0);
        }
        for operand in operands {
            match operand.value {
                Value::Var(var) if self.is_register(var) => self.prepare(c, var, operand.boxed),
                _ => {}
            }
        }
        operands.map(|operand| match (operand.value, self.known_as(f, operand.value)) {
            (_, Some(register)) => self.origin(c, register),
            (Value::Const(bits), None) => Origin::Bits(bits as u64),
            (Value::Var(var), None) if self.is_register(var) => self.origin(c, var),
            (Value::Var(var), None) if c.home(var) == Home::Memory => Origin::Word(var),
            (Value::Var(_), None) => Origin::X(c.source(operand.value, Bits::W64, T0)),
        })
    }

    /// The floating-point register that is known to hold a value.
    fn known_as(&self, f: F, value: Value) -> Option<Var> {
        self.known.iter().find(|&&(_, of, known)| of == f && known == value).map(|&(register, ..)| register)
    }

    /// Makes a register right as an operand: one that is to be taken out of a box, or all of it.
    fn prepare(&mut self, c: &mut impl Surroundings, var: Var, boxed: bool) {
        if !boxed {
            self.whole(c, var);
        } else if !self.is_boxed(var) {
            self.look_into_box(c, var);
        }
    }

    fn look_into_box(&mut self, c: &mut impl Surroundings, var: Var) {
        self.check(c.asm(), T0);
        let (not_boxed, origin) = (c.interpret(self.pending()), self.origin(c, var));
        self.compare_box(c.asm(), var, origin);
        c.asm().b_cond(Cond::Ne, not_boxed);
        self.set_boxed(var, true);
        self.looked += 1;
    }

    /// Sets the flags to "equal" if the register at `origin` is a box.
    fn compare_box(&self, asm: &mut Assembler, var: Var, origin: Origin) {
        match origin {
            Origin::V(v) => asm.umov_s(T0, v, 1),
            _ => {
                asm.load(Mode::Normal, Size::Word, Ext::Zero, T0, X::SP, word(var) + 4);
            }
        }
        asm.alu_imm(Alu::Adds, Bits::W32, X::ZR, T0, 1);
    }

    /// Makes all 64 bits of a register right, and says where they are.
    pub(super) fn whole(&mut self, c: &mut impl Surroundings, var: Var) -> Origin {
        let origin = self.origin(c, var);
        if let (Home::V(home), Origin::V(v)) = (c.home(var), origin)
            && self.boxes & mask(home) != 0
        {
            let ones = self.temporary(c.asm(), mask(v));
            c.asm().movi_ones(ones);
            c.asm().ins_s(v, 1, ones, 1);
            self.boxes &= !mask(home);
        }
        origin
    }

    /// A temporary that nobody lives in and that no check needs, and which is not one of `busy`, if there is one.
    fn free_temporary(&self, busy: u32) -> Option<V> {
        let taken = busy | self.checked_later();
        TEMPORARIES
            .into_iter()
            .zip(self.moved)
            .find_map(|(v, moved)| (moved.is_none() && taken & mask(v) == 0).then_some(v))
    }

    /// A temporary that nobody lives in and that no check needs, and which is not one of `busy`: at most two.
    pub(super) fn temporary(&mut self, asm: &mut Assembler, busy: u32) -> V {
        if let Some(free) = self.free_temporary(busy) {
            return free;
        }
        self.check(asm, T0);
        if let Some(free) = self.free_temporary(busy) {
            return free;
        }
        // Somebody goes home.
        for (v, moved) in TEMPORARIES.into_iter().zip(&mut self.moved).rev() {
            if busy & mask(v) == 0
                && let Some((_, home)) = moved.take()
            {
                asm.fmov(F::D, home, v);
                return v;
            }
        }
        V31
    }

    /// A register for the result for `dst`, which is none of `busy`, the operands; `scratch` if its home is in memory.
    pub(super) fn result(&mut self, c: &mut impl Surroundings, dst: Var, busy: u32, scratch: V) -> V {
        let Home::V(home) = c.home(dst) else { return scratch };
        if busy & mask(home) != 0 {
            // So `dst` is an operand there, and not all of the temporaries are.
            return self.temporary(c.asm(), busy);
        }
        if self.checked_later() & mask(home) != 0 {
            if let Some(free) = self.free_temporary(busy) {
                return free;
            }
            self.check(c.asm(), T0);
        }
        home
    }

    /// The result for `dst` is in `v`, which [`Self::result`] has said.
    pub(super) fn put(&mut self, c: &mut impl Surroundings, f: F, dst: Var, v: V) {
        match c.home(dst) {
            Home::V(home) => {
                for (temporary, moved) in TEMPORARIES.into_iter().zip(&mut self.moved) {
                    if temporary == v {
                        *moved = Some((dst, home));
                    } else if moved.is_some_and(|(of, _)| of == dst) {
                        *moved = None;
                    }
                }
                self.boxes &= !mask(home);
                if f == F::S {
                    self.boxes |= mask(home);
                }
            }
            _ => {
                self.check(c.asm(), T0);
                let asm = c.asm();
                if f == F::S && !self.is_boxed(dst) {
                    asm.mov_imm(T0, BOX);
                    asm.store(Mode::Normal, Size::Word, T0, X::SP, word(dst) + 4);
                }
                asm.fstore(f, v, X::SP, word(dst));
            }
        }
        self.set_boxed(dst, f == F::S);
        self.known.retain(|&(register, ..)| register != dst);
    }

    /// `dst` has just been set to `value`.
    pub(super) fn remember(&mut self, c: &impl Surroundings, f: F, dst: Var, value: Value) {
        if c.home(dst) != Home::Memory {
            self.known.push((dst, f, value));
        }
    }

    /// What the registers lack now.
    pub fn pending(&self) -> Pending {
        Pending {
            boxes: self.boxes,
            moves: self.moved.map(|moved| moved.map_or(0, |(_, home)| home.number() + 1)),
        }
    }

    /// Moves home what lives in v29 to v31: before other code uses these. `scratch` is a free register.
    pub fn vacate(&mut self, asm: &mut Assembler, scratch: X) {
        self.check(asm, scratch);
        for (v, moved) in TEMPORARIES.into_iter().zip(&mut self.moved) {
            if let Some((_, home)) = moved.take() {
                asm.fmov(F::D, home, v);
            }
        }
    }
}
