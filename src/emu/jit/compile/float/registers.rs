//! Where operands come from and results go, and NaN boxes.
//!
//! A binary32 in a floating-point register has ones above it. What computes or loads one leaves zeros there; they become
//! ones only when somebody may look ([`Float::settle`]). Within a block most registers are so known to hold a binary32, and
//! need no look at their box either.

use super::{Float, Home, Operand, Surroundings, T0};
use crate::a64::{Alu, Assembler, Bits, Cond, Ext, F, Mode, V, X};
use crate::ir::{Value, Var};
use crate::memory::Size;

/// Temporaries.
pub(super) const V29: V = V::new(29);
pub(super) const V30: V = V::new(30);
pub(super) const V31: V = V::new(31);

/// What is above a binary32.
const BOX: u64 = 0xffff_ffff;

/// Where an operand can be found again as long as the guest instruction has not written its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the register that it lives in.
    V(V),
    /// In a general register.
    X(X),
    /// Among the hart's words.
    Word(Var),
    /// It is a constant.
    Bits(u64),
}

impl Origin {
    /// Where a floating-point register is.
    pub(super) fn of(c: &impl Surroundings, var: Var) -> Self {
        match c.home(var) {
            Home::V(v) => Self::V(v),
            _ => Self::Word(var),
        }
    }

    /// The register with the operand; `scratch`, if it has to be brought.
    pub(super) fn bring(self, asm: &mut Assembler, f: F, scratch: V) -> V {
        match self {
            Self::V(v) => return v,
            Self::X(x) => asm.fmov_from_x(f, scratch, x),
            Self::Word(var) => {
                asm.fload(f, scratch, X::SP, word(var));
            }
            Self::Bits(bits) => constant(asm, f, scratch, bits),
        }
        scratch
    }
}

/// How far a global's word is from the stack pointer.
pub(super) const fn word(var: Var) -> i64 {
    8 * var.0 as i64
}

/// `v` = the number of these bits.
pub(super) fn constant(asm: &mut Assembler, f: F, v: V, bits: u64) {
    if bits == 0 {
        asm.movi_zero(v);
    } else if let Some(imm) = immediate(f, bits) {
        asm.fmov_imm(f, v, imm);
    } else {
        asm.mov_imm(T0, bits);
        asm.fmov_from_x(f, v, T0);
    }
}

/// A number as FMOV's immediate: 16 to 31 sixteenths, times a power of two from 2^-3 to 2^4 (DDI 0487, C2.2.3).
fn immediate(f: F, bits: u64) -> Option<u8> {
    // Sign, six bits that are the opposite of the exponent's first (as is one more, which is the immediate's), four of the
    // fraction; then zeros.
    let (fraction, copies) = match f {
        F::S => (23, 5),
        F::D => (52, 8),
    };
    let low = bits & ((1 << (fraction - 4)) - 1);
    let field = bits >> (fraction - 4);
    let middle = field >> 6 & ((1 << (copies + 1)) - 1);
    let high = (1 << copies) - 1;
    let sign = (field >> (7 + copies)) as u8 & 1;
    let six = (field & 0x3f) as u8;
    match middle {
        _ if low != 0 => None,
        m if m == high => Some(sign << 7 | 1 << 6 | six),
        m if m == 1 << copies => Some(sign << 7 | six),
        _ => None,
    }
}

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

    /// Where an operand is. A binary32 that is not known to be in a box is looked at: the interpreter takes what is not.
    pub(super) fn find(&mut self, c: &mut impl Surroundings, operand: Operand) -> Origin {
        let var = match operand.value {
            Value::Const(bits) => return Origin::Bits(bits),
            Value::Var(var) => var,
        };
        if !self.is_register(var) {
            return match c.home(var) {
                Home::Memory => Origin::Word(var),
                _ => Origin::X(c.source(var.into(), Bits::W64, T0)),
            };
        }
        if !operand.boxed {
            return self.whole(c, var);
        }
        let origin = Origin::of(c, var);
        if !self.is_boxed(var) {
            let not_boxed = c.interpret(self.pending);
            let asm = c.asm();
            match origin {
                Origin::V(v) => asm.umov_s(T0, v, 1),
                _ => {
                    asm.load(Mode::Normal, Size::Word, Ext::Zero, T0, X::SP, word(var) + 4);
                }
            }
            asm.alu_imm(Alu::Adds, Bits::W32, X::ZR, T0, 1);
            asm.b_cond(Cond::Ne, not_boxed);
            self.set_boxed(var, true);
        }
        origin
    }

    /// Makes all 64 bits of a register right, and says where they are.
    pub(super) fn whole(&mut self, c: &mut impl Surroundings, var: Var) -> Origin {
        let origin = Origin::of(c, var);
        if let Origin::V(v) = origin {
            Self::settle(c.asm(), self.pending & 1 << v.number());
            self.pending &= !(1 << v.number());
        }
        origin
    }

    /// The register to compute the result for `dst` in: its home, or a temporary.
    pub(super) fn result(c: &impl Surroundings, dst: Var, scratch: V) -> V {
        match c.home(dst) {
            Home::V(v) => v,
            _ => scratch,
        }
    }

    /// The result for `dst` is in `v`: its home or another register.
    pub(super) fn put(&mut self, c: &mut impl Surroundings, f: F, dst: Var, v: V) {
        match c.home(dst) {
            Home::V(home) => {
                if home != v {
                    c.asm().fmov(f, home, v);
                }
                self.pending &= !(1 << home.number());
                if f == F::S {
                    self.pending |= 1 << home.number();
                }
            }
            _ => {
                if f == F::S && !self.is_boxed(dst) {
                    c.asm().mov_imm(T0, BOX);
                    c.asm().store(Mode::Normal, Size::Word, T0, X::SP, word(dst) + 4);
                }
                c.asm().fstore(f, v, X::SP, word(dst));
            }
        }
        self.set_boxed(dst, f == F::S);
    }

    /// Emits what the registers of a [`Self::pending`] lack. It changes v31, and neither general registers nor NZCV.
    pub fn settle(asm: &mut Assembler, pending: u32) {
        if pending != 0 {
            asm.movi_ones(V31);
        }
        for number in (0..V29.number()).filter(|number| pending >> number & 1 != 0) {
            asm.ins_s(V::new(number), 1, V31, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediates_are_those_of_fmov() {
        let all: std::vec::Vec<u64> = (0..=255u32)
            .map(|imm| {
                // VFPExpandImm (DDI 0487, J1).
                let exponent = if imm >> 6 & 1 == 0 { 0x400 } else { 0x3fc } | imm >> 4 & 3;
                u64::from(imm >> 7) << 63 | u64::from(exponent) << 52 | u64::from(imm & 15) << 48
            })
            .collect();
        for (imm, &bits) in (0..=255u8).zip(&all) {
            assert_eq!(immediate(F::D, bits), Some(imm), "{bits:#x}");
            let single = (f64::from_bits(bits) as f32).to_bits();
            assert_eq!(immediate(F::S, single.into()), Some(imm), "{single:#x}");
            for wrong in [1, 1 << 47, 1 << 54, 1 << 58, 1 << 61] {
                assert!(
                    all.contains(&(bits ^ wrong)) || immediate(F::D, bits ^ wrong).is_none(),
                    "{bits:#x}"
                );
            }
        }
        assert_eq!((immediate(F::D, 0), immediate(F::S, 0)), (None, None));
    }
}
