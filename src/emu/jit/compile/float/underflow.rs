//! Underflow.
//!
//! RISC-V calls a result tiny if it still is after rounding (F, "Subnormal Arithmetic"), A64 if it was before
//! (DDI 0487, A1.5.4). They differ where a product, a fused product or a narrower number rounds up to the smallest normal
//! number. So FPSR.UFC, which is clear otherwise, only says that an operation has to be looked into. That is done out of
//! line: the operation is carried out once more with its result scaled by 2^64, where nothing underflows that is not tiny by
//! any account, and so rounded as if exponents had no bounds. If that is less than the smallest normal number, scaled
//! likewise, the guest's flag is set. UFC is cleared in any case.
//!
//! Whether UFC is set is asked late: before the block may be left, or an operand would be overwritten.

use super::compute::Arithmetic;
use super::registers::{Origin, TEMPORARIES, V29, V30, V31, mask, word};
use super::{Float, T0, T1, T3};
use crate::a64::{Alu, Assembler, Bits, Cond, Ext, F, Label, Mode, System, V, X};
use crate::float::Flags;
use crate::ir::Var;
use crate::memory::Size;

/// FPSR.UFC.
const UFC: u8 = 3;
/// The power of two by which results are scaled.
const SCALE: u64 = 64;

/// An operation that may underflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guarded {
    pub what: Arithmetic,
    /// Where its operands are.
    pub origins: [Origin; 3],
}

impl Guarded {
    /// The registers that its operands are in.
    pub fn registers(self) -> u32 {
        self.origins.into_iter().fold(0, |registers, origin| match origin {
            Origin::V(v) => registers | mask(v),
            _ => registers,
        })
    }

    /// Whether nothing but what writes SIMD&FP registers can change its operands.
    fn is_in_registers(self) -> bool {
        self.origins.into_iter().all(|origin| matches!(origin, Origin::V(_) | Origin::Bits(_)))
    }
}

/// A check: its code out of line, and where that goes back to.
#[derive(Debug)]
pub(super) struct Check {
    operations: core::ops::Range<usize>,
    at: Label,
    back: Label,
}

impl Float {
    /// The operation has just been emitted.
    pub(super) fn guard(&mut self, asm: &mut Assembler, operation: Guarded) {
        self.guarded.push(operation);
        if !operation.is_in_registers() {
            self.check(asm, T0);
        }
    }

    fn unchecked(&self) -> &[Guarded] {
        self.guarded.get(self.checked..).unwrap_or_default()
    }

    /// The registers that have operands of operations that are checked later.
    pub(super) fn checked_later(&self) -> u32 {
        self.unchecked().iter().fold(0, |registers, operation| registers | operation.registers())
    }

    /// Checks what has been put off: before the block may be left or an instruction may fault. `scratch` is a free register.
    pub fn check(&mut self, asm: &mut Assembler, scratch: X) {
        if self.unchecked().is_empty() {
            return;
        }
        let (at, back) = (asm.label(), asm.label());
        asm.mrs(scratch, System::Fpsr);
        asm.tbnz(scratch, UFC, at);
        asm.bind(back);
        self.checks.push(Check { operations: self.checked..self.guarded.len(), at, back });
        self.checked = self.guarded.len();
    }

    /// Emits what [`Self::check`] branches to.
    pub(super) fn checks_out_of_line(&mut self, asm: &mut Assembler) {
        if self.checks.is_empty() {
            return;
        }
        let spill = Spill { first: self.scratch };
        let decide = asm.label();
        for Check { operations, at, back } in self.checks.drain(..) {
            let operations = self.guarded.get(operations).unwrap_or_default();
            asm.bind(at);
            spill.save(asm);
            for &operation in operations {
                spill.look_into(asm, operation, operations.len() > 1, decide);
            }
            spill.restore(asm);
            asm.b(back);
        }
        asm.bind(decide);
        emit_decide(asm, self.flags);
    }
}

/// As many words as [`Spill`] takes.
pub(super) const SCRATCH_WORDS: u8 = Spill::GENERAL + TEMPORARIES.len() as u8;

/// Where code out of line keeps the registers that it uses: some of the hart's words.
#[derive(Clone, Copy)]
struct Spill {
    first: Var,
}

impl Spill {
    /// How many words come before those of the temporaries.
    const GENERAL: u8 = 3;

    /// Constants are brought by way of T0, which integer code may use when it asks for the check.
    fn general(self) -> [(X, i64); Self::GENERAL as usize] {
        let at = word(self.first);
        [(T0, at), (T1, at + 8), (T3, at + 16)]
    }

    fn temporaries(self) -> impl Iterator<Item = (V, Var)> {
        TEMPORARIES.into_iter().zip((self.first.0 + Self::GENERAL..).map(Var))
    }

    fn save(self, asm: &mut Assembler) {
        for (x, offset) in self.general() {
            asm.store(Mode::Normal, Size::Double, x, X::SP, offset);
        }
        for (v, at) in self.temporaries() {
            asm.fstore(F::D, v, X::SP, word(at));
        }
    }

    fn restore(self, asm: &mut Assembler) {
        for (x, offset) in self.general() {
            asm.load(Mode::Normal, Size::Double, Ext::Zero, x, X::SP, offset);
        }
        for (v, at) in self.temporaries() {
            asm.fload(F::D, v, X::SP, word(at));
        }
    }

    /// The register with an operand; `scratch`, if it is not in a register other than the temporaries.
    fn bring(self, asm: &mut Assembler, f: F, origin: Origin, scratch: V) -> V {
        let saved = self.temporaries().find(|&(v, _)| origin == Origin::V(v));
        saved.map_or(origin, |(_, at)| Origin::Word(at)).bring(asm, f, scratch)
    }

    /// Looks into an operation. `one_of_several`: it need not be the one that has underflowed.
    fn look_into(self, asm: &mut Assembler, operation: Guarded, one_of_several: bool, decide: Label) {
        let Guarded { what, origins: [n, m, a] } = operation;
        let f = what.source();
        let not_it = asm.label();
        if one_of_several {
            clear_underflow(asm);
            let n = self.bring(asm, f, n, V29);
            let m = self.bring(asm, f, m, V30);
            let a = self.bring(asm, f, a, V31);
            what.emit(asm, V29, [n, m, a]);
            asm.mrs(T1, System::Fpsr);
            asm.tbz(T1, UFC, not_it);
        }
        // The first operand and the addend are multiplied by 2^64. Neither overflows: see docs/jit-float.md.
        asm.mov_imm(T1, scale(f));
        asm.fmov_from_x(f, V29, T1);
        let n = self.bring(asm, f, n, V30);
        asm.fmul(f, V30, n, V29);
        if what.is_fused() {
            let a = self.bring(asm, f, a, V31);
            asm.fmul(f, V29, a, V29);
        }
        let m = self.bring(asm, f, m, V31);
        what.emit(asm, V30, [V30, m, V29]);
        // The exponent.
        asm.fmov_to_x(what.format(), T1, V30);
        match what.format() {
            F::S => asm.ubfx(Bits::W64, T1, T1, 23, 8),
            F::D => asm.ubfx(Bits::W64, T1, T1, 52, 11),
        }
        asm.bl(decide);
        asm.bind(not_it);
    }
}

/// 2^64.
const fn scale(f: F) -> u64 {
    match f {
        F::S => (127 + SCALE) << 23,
        F::D => (1023 + SCALE) << 52,
    }
}

fn clear_underflow(asm: &mut Assembler) {
    asm.mrs(T1, System::Fpsr);
    asm.alu_imm(Alu::And, Bits::W64, T1, T1, !(1 << UFC));
    asm.msr(System::Fpsr, T1);
}

/// The end of all: T1 is the exponent field of the scaled result, T3 where to go on.
fn emit_decide(asm: &mut Assembler, flags: Var) {
    let not_tiny = asm.label();
    // The smallest normal numbers have 1.
    asm.cmp_imm(Bits::W64, T1, 1 + SCALE);
    asm.b_cond(Cond::Hs, not_tiny);
    asm.load(Mode::Normal, Size::Double, Ext::Zero, T1, X::SP, word(flags));
    asm.alu_imm(Alu::Orr, Bits::W64, T1, T1, Flags::UF.bits().into());
    asm.store(Mode::Normal, Size::Double, T1, X::SP, word(flags));
    asm.bind(not_tiny);
    clear_underflow(asm);
    asm.ret(T3);
}
