//! Data processing with an immediate (C4.1, "Data Processing -- Immediate").

use super::{Alu, Assembler, Bits, X, logical, operand::Register};

impl Assembler {
    /// `d` = `n` `op` `imm`; of the narrow operations, the low half of `imm` counts. `false` where that cannot be encoded.
    ///
    /// Sums take 12 bits, perhaps shifted left by 12, or the negative of such a number; others take what is a run of
    /// ones, rotated and repeated. Of sums, 31 as `n` is the stack pointer, as it is as `d` where the flags stay. Of
    /// others, it is the stack pointer only as `d` where the flags stay.
    pub fn alu_imm(&mut self, op: Alu, b: Bits, d: X, n: X, imm: u64) -> bool {
        let word = match op {
            Alu::Add => sum(0x1100_0000, b, imm),
            Alu::Adds => sum(0x3100_0000, b, imm),
            Alu::Sub => sum(0x5100_0000, b, imm),
            Alu::Subs => sum(0x7100_0000, b, imm),
            Alu::And => logic(0x1200_0000, b, imm),
            Alu::Orr => logic(0x3200_0000, b, imm),
            Alu::Eor => logic(0x5200_0000, b, imm),
            Alu::Ands => logic(0x7200_0000, b, imm),
            Alu::Bic => logic(0x1200_0000, b, !imm),
            Alu::Orn => logic(0x3200_0000, b, !imm),
            Alu::Eon => logic(0x5200_0000, b, !imm),
            Alu::Bics => logic(0x7200_0000, b, !imm),
        };
        let Some(word) = word else { return false };
        self.word(word | b.sf() | n.n() | d.d());
        true
    }

    /// Compares `n`, which may be the stack pointer, with `imm`: [`Assembler::alu_imm`] with [`Alu::Subs`].
    pub fn cmp_imm(&mut self, b: Bits, n: X, imm: u64) -> bool {
        self.alu_imm(Alu::Subs, b, X::ZR, n, imm)
    }

    /// Sets the flags as for the bits of `n` in `imm`: [`Assembler::alu_imm`] with [`Alu::Ands`].
    pub fn tst_imm(&mut self, b: Bits, n: X, imm: u64) -> bool {
        self.alu_imm(Alu::Ands, b, X::ZR, n, imm)
    }

    /// `d` = `imm` << `shift`, where `shift` is a multiple of 16.
    pub fn movz(&mut self, b: Bits, d: X, imm: u16, shift: u8) {
        self.move_wide(0x5280_0000, b, d, imm, shift);
    }

    /// `d` = !(`imm` << `shift`), where `shift` is a multiple of 16.
    pub fn movn(&mut self, b: Bits, d: X, imm: u16, shift: u8) {
        self.move_wide(0x1280_0000, b, d, imm, shift);
    }

    /// Replaces the 16 bits of `d` from `shift` on, a multiple of 16.
    pub fn movk(&mut self, b: Bits, d: X, imm: u16, shift: u8) {
        self.move_wide(0x7280_0000, b, d, imm, shift);
    }

    fn move_wide(&mut self, word: u32, b: Bits, d: X, imm: u16, shift: u8) {
        let hw = b.amount(shift) / 16;
        self.word(word | b.sf() | hw << 21 | u32::from(imm) << 5 | d.d());
    }

    /// `d` = `value`, by one or two instructions. Where they do not suffice, the value is kept behind the code.
    pub fn mov_imm(&mut self, d: X, value: u64) {
        if !self.mov_short(d, value) && !self.mov_two_halves(d, value) {
            self.ldr_literal(d, value);
        }
    }

    /// `d` = `value`, by one instruction. `false` where there is none that does.
    pub fn mov_short(&mut self, d: X, value: u64) -> bool {
        let narrow = u32::try_from(value).ok();
        if let Some((at, half)) = sole_half(value) {
            self.movz(Bits::W64, d, half, at);
        } else if let Some((at, half)) = sole_half(!value) {
            self.movn(Bits::W64, d, half, at);
        } else if let Some((at, half)) = narrow.and_then(|narrow| sole_half(u64::from(!narrow))) {
            self.movn(Bits::W32, d, half, at);
        } else {
            return self.mov_logical(Bits::W64, d, value)
                || narrow.is_some() && self.mov_logical(Bits::W32, d, value);
        }
        true
    }

    /// ORR (immediate), of which 31 as `d` would be the stack pointer.
    fn mov_logical(&mut self, b: Bits, d: X, value: u64) -> bool {
        d != X::ZR && self.alu_imm(Alu::Orr, b, d, X::ZR, value)
    }

    /// MOVZ or MOVN, and MOVK for what differs then: one piece.
    fn mov_two_halves(&mut self, d: X, value: u64) -> bool {
        let differ = |fill: u16| halves(value).filter(move |&(_, half)| half != fill);
        let fill = match (differ(0).count(), differ(u16::MAX).count()) {
            (2, _) => 0,
            (_, 2) => u16::MAX,
            _ => return false,
        };
        let mut rest = differ(fill);
        let Some((at, half)) = rest.next() else { return false };
        match fill {
            0 => self.movz(Bits::W64, d, half, at),
            _ => self.movn(Bits::W64, d, !half, at),
        }
        rest.for_each(|(at, half)| self.movk(Bits::W64, d, half, at));
        true
    }
}

/// The pieces of 16 bits of `value`, and where they are.
fn halves(value: u64) -> impl Iterator<Item = (u8, u16)> {
    [0, 16, 32, 48].into_iter().map(move |at| (at, (value >> at) as u16))
}

/// The only piece of 16 bits that is not 0, or the lowest one if there is none.
fn sole_half(value: u64) -> Option<(u8, u16)> {
    let at = value.trailing_zeros() as u8 & 0x30;
    let half = (value >> at) as u16;
    (u64::from(half) << at == value).then_some((at, half))
}

/// ADD, ADDS, SUB or SUBS (immediate), or the opposite one with the negative number. That sets the flags alike, since the
/// number is not 0: -n is then !n + 1 without a carry.
fn sum(word: u32, b: Bits, imm: u64) -> Option<u32> {
    const OPPOSITE: u32 = 1 << 30;
    let (imm, negative) = match b {
        Bits::W64 => (imm, imm.wrapping_neg()),
        Bits::W32 => (imm & 0xffff_ffff, imm.wrapping_neg() & 0xffff_ffff),
    };
    let field = |imm: u64| match imm {
        0..=0xfff => Some((imm as u32) << 10),
        0x1000..=0xff_f000 if imm & 0xfff == 0 => Some(1 << 22 | (imm as u32) >> 12 << 10),
        _ => None,
    };
    field(imm).map(|field| word | field).or_else(|| field(negative).map(|field| word ^ OPPOSITE | field))
}

fn logic(word: u32, b: Bits, imm: u64) -> Option<u32> {
    Some(word | logical::encode(b, imm)?)
}
