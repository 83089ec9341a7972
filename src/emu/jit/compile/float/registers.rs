//! Where operands are found, and what registers lack at times.

use super::T0;
use crate::a64::{Assembler, F, V, X};
use crate::ir::Var;

/// Temporaries: v29 to v31.
pub(super) const TEMPORARIES: [V; 3] = [V29, V30, V31];
pub(super) const V29: V = V::new(29);
pub(super) const V30: V = V::new(30);
pub(super) const V31: V = V::new(31);

/// What is above a binary32.
pub(super) const BOX: u64 = 0xffff_ffff;

/// A set of registers with this one only.
pub(super) const fn mask(v: V) -> u32 {
    1 << v.number()
}

/// What is still to be done to SIMD&FP registers before they hold what the guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// Registers whose upper 32 bits are to become ones.
    pub(super) boxes: u32,
    /// The register that each of the temporaries is to be moved to, plus one; 0 if none.
    pub(super) moves: [u8; 3],
}

impl Pending {
    /// Whether there is nothing to do.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// What there is to do more than in `other`, which has no moves.
    pub fn beyond(self, other: Self) -> Self {
        Self { boxes: self.boxes & !other.boxes, ..self }
    }

    /// As words, to be kept.
    pub fn to_words(self) -> [u32; 2] {
        let [a, b, c] = self.moves;
        [self.boxes, u32::from_le_bytes([a, b, c, 0])]
    }

    /// What [`Pending::to_words`] has made; `None` if that is none.
    pub fn from_words([boxes, moves]: [u32; 2]) -> Option<Self> {
        let [a, b, c, rest] = moves.to_le_bytes();
        let moves = [a, b, c];
        let is_sound = rest == 0 && moves.iter().all(|&to| to <= V31.number() + 1);
        is_sound.then_some(Self { boxes, moves })
    }

    fn moves(self) -> impl Iterator<Item = (V, V)> {
        TEMPORARIES
            .into_iter()
            .zip(self.moves)
            .filter(|(_, to)| *to != 0)
            .map(|(from, to)| (from, V::new(to - 1)))
    }

    /// Emits it. It changes v31, and neither general registers nor NZCV.
    #[inline]
    pub fn settle(self, asm: &mut Assembler) {
        if !self.is_nothing() {
            self.settle_some(asm);
        }
    }

    fn settle_some(self, asm: &mut Assembler) {
        for (from, to) in self.moves() {
            asm.fmov(F::D, to, from);
        }
        if self.boxes == 0 {
            return;
        }
        asm.movi_ones(V31);
        for home in (0..V29.number()).map(V::new).filter(|&home| self.boxes & mask(home) != 0) {
            asm.ins_s(home, 1, V31, 1);
        }
    }

    /// Does it to registers that have been saved: the low halves of v0 to v31.
    pub fn apply(self, v: &mut [u64; 32]) {
        for (from, to) in self.moves() {
            v[usize::from(to.number() & 31)] = v[usize::from(from.number() & 31)];
        }
        for (number, v) in v.iter_mut().enumerate().filter(|(number, _)| self.boxes >> number & 1 != 0) {
            debug_assert!(
                number < TEMPORARIES[0].number().into(),
                "temporaries hold no register of the guest's"
            );
            *v |= BOX << 32;
        }
    }
}

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
