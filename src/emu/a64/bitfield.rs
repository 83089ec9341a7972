//! Shifts, bit fields and extensions (C3.4.4 to C3.4.7, C3.5.5).

use super::{Assembler, Bits, Shift, X, operand::Register};

impl Assembler {
    /// `d` = `n` shifted by `amount`, modulo the width.
    pub fn shift_imm(&mut self, s: Shift, b: Bits, d: X, n: X, amount: u8) {
        let top = b.count() - 1;
        let amount = amount & top;
        match s {
            Shift::Lsl => self.ubfm(b, d, n, amount.wrapping_neg() & top, top - amount),
            Shift::Lsr => self.ubfm(b, d, n, amount, top),
            Shift::Asr => self.sbfm(b, d, n, amount, top),
            Shift::Ror => self.extr(b, d, n, n, amount),
        }
    }

    /// `d` = `n` shifted by `m`, modulo the width.
    pub fn shift(&mut self, s: Shift, b: Bits, d: X, n: X, m: X) {
        self.word(0x1ac0_2000 | (s as u32) << 10 | b.sf() | m.m() | n.n() | d.d());
    }

    /// Moves the low bits of `n` up, or bits of `n` down, to a `d` that is 0 elsewhere.
    pub fn ubfm(&mut self, b: Bits, d: X, n: X, immr: u8, imms: u8) {
        self.bitfield(0x5300_0000, b, d, n, immr, imms);
    }

    /// [`Assembler::ubfm`] with copies of the uppermost bit above.
    pub fn sbfm(&mut self, b: Bits, d: X, n: X, immr: u8, imms: u8) {
        self.bitfield(0x1300_0000, b, d, n, immr, imms);
    }

    /// [`Assembler::ubfm`] that leaves the other bits of `d` as they are.
    pub fn bfm(&mut self, b: Bits, d: X, n: X, immr: u8, imms: u8) {
        self.bitfield(0x3300_0000, b, d, n, immr, imms);
    }

    fn bitfield(&mut self, word: u32, b: Bits, d: X, n: X, immr: u8, imms: u8) {
        // `N`, bit 22, is as `sf`.
        let wide = b.sf() | b.sf() >> 9;
        self.word(word | wide | b.amount(immr) << 16 | b.amount(imms) << 10 | n.n() | d.d());
    }

    /// `d` = the `width` bits of `n` from `lsb` on, at least one.
    pub fn ubfx(&mut self, b: Bits, d: X, n: X, lsb: u8, width: u8) {
        self.ubfm(b, d, n, lsb, lsb.wrapping_add(width).wrapping_sub(1));
    }

    /// `d` = the `width` bits of `n` from `lsb` on, at least one, sign-extended.
    pub fn sbfx(&mut self, b: Bits, d: X, n: X, lsb: u8, width: u8) {
        self.sbfm(b, d, n, lsb, lsb.wrapping_add(width).wrapping_sub(1));
    }

    /// `d` = the low 8 bits of `n`, sign-extended to 64.
    pub fn sxtb(&mut self, d: X, n: X) {
        self.sbfm(Bits::W64, d, n, 0, 7);
    }

    /// `d` = the low 16 bits of `n`, sign-extended to 64.
    pub fn sxth(&mut self, d: X, n: X) {
        self.sbfm(Bits::W64, d, n, 0, 15);
    }

    /// `d` = the low 32 bits of `n`, sign-extended to 64.
    pub fn sxtw(&mut self, d: X, n: X) {
        self.sbfm(Bits::W64, d, n, 0, 31);
    }

    /// `d` = the low 8 bits of `n`.
    pub fn uxtb(&mut self, d: X, n: X) {
        self.ubfm(Bits::W32, d, n, 0, 7);
    }

    /// `d` = the low 16 bits of `n`.
    pub fn uxth(&mut self, d: X, n: X) {
        self.ubfm(Bits::W32, d, n, 0, 15);
    }

    /// `d` = the bits from `lsb` on of `n` followed by `m`, which has the lower ones.
    pub fn extr(&mut self, b: Bits, d: X, n: X, m: X, lsb: u8) {
        let wide = b.sf() | b.sf() >> 9;
        self.word(0x1380_0000 | wide | m.m() | b.amount(lsb) << 10 | n.n() | d.d());
    }
}
