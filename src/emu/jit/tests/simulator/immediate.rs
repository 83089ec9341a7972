//! C4.1, "Data Processing -- Immediate".

use super::{Simulator, Stop, Word, add_with_carry, flags, low, sign_extended};

impl Simulator {
    pub(super) fn processing_immediate(&mut self, word: Word) -> Result<(), Stop> {
        match word.field(23, 3) {
            0b000 | 0b001 => self.address(word),
            0b010 => self.sum_immediate(word),
            0b100 => return self.logical_immediate(word),
            0b101 => return self.move_wide(word),
            0b110 => return self.bitfield(word),
            0b111 => return self.extract(word),
            _ => return word.undefined(),
        }
        Ok(())
    }

    /// ADR and ADRP.
    fn address(&mut self, word: Word) {
        let offset = word.signed(5, 19) << 2 | i64::from(word.field(29, 2));
        let address = if word.bit(31) {
            (self.pc & !0xfff).wrapping_add_signed(offset << 12)
        } else {
            self.pc.wrapping_add_signed(offset)
        };
        self.set_x(word.d(), address);
    }

    fn sum_immediate(&mut self, word: Word) {
        let imm = u64::from(word.field(10, 12)) << if word.bit(22) { 12 } else { 0 };
        self.sum(word, self.x_or_sp(word.n()), imm, true);
    }

    /// Adds or subtracts and sets the flags, as bits 30 and 29 say. `sp`: 31 is the stack pointer if the flags stay.
    pub(super) fn sum(&mut self, word: Word, a: u64, b: u64, sp: bool) {
        let (subtract, set_flags) = (word.bit(30), word.bit(29));
        let (result, nzcv) = add_with_carry(word.width(), a, if subtract { !b } else { b }, subtract);
        if set_flags {
            self.nzcv = nzcv;
        }
        if sp && !set_flags {
            self.set_x_or_sp(word.d(), result);
        } else {
            self.set_x(word.d(), result);
        }
    }

    fn logical_immediate(&mut self, word: Word) -> Result<(), Stop> {
        let Some(imm) = bitmask(word) else { return word.undefined() };
        let result = self.logic(word, self.x(word.n()), imm);
        if word.field(29, 2) == 0b11 {
            self.set_x(word.d(), result);
        } else {
            self.set_x_or_sp(word.d(), result);
        }
        Ok(())
    }

    /// What the logical operation of bits 30 and 29 makes of `a` and `b`. The last one, ANDS, sets the flags.
    pub(super) fn logic(&mut self, word: Word, a: u64, b: u64) -> u64 {
        let result = match word.field(29, 2) {
            0b01 => a | b,
            0b10 => a ^ b,
            _ => a & b,
        };
        let result = low(result, word.width());
        if word.field(29, 2) == 0b11 {
            self.nzcv = flags(word.width(), result);
        }
        result
    }

    fn move_wide(&mut self, word: Word) -> Result<(), Stop> {
        let shift = 16 * word.field(21, 2);
        if shift >= word.width() {
            return word.undefined();
        }
        let imm = u64::from(word.field(5, 16)) << shift;
        let result = match word.field(29, 2) {
            0b00 => !imm,
            0b10 => imm,
            0b11 => self.x(word.d()) & !(0xffff << shift) | imm,
            _ => return word.undefined(),
        };
        self.set_x(word.d(), low(result, word.width()));
        Ok(())
    }

    /// SBFM, BFM and UBFM: a run of bits of the source goes to another place in the destination.
    fn bitfield(&mut self, word: Word) -> Result<(), Stop> {
        let (width, r, s) = (word.width(), word.field(16, 6), word.field(10, 6));
        if word.bit(22) != word.bit(31) || r >= width || s >= width {
            return word.undefined();
        }
        let source = self.x(word.n());
        let (run, ones, at) = if s >= r { (source >> r, s - r + 1, 0) } else { (source, s + 1, width - r) };
        let result = match word.field(29, 2) {
            0b00 => sign_extended(run, ones) << at,
            0b01 => self.x(word.d()) & !(low(u64::MAX, ones) << at) | low(run, ones) << at,
            0b10 => low(run, ones) << at,
            _ => return word.undefined(),
        };
        self.set_x(word.d(), low(result, width));
        Ok(())
    }

    /// EXTR.
    fn extract(&mut self, word: Word) -> Result<(), Stop> {
        let (width, lsb) = (word.width(), word.field(10, 6));
        if word.field(29, 2) != 0 || word.bit(21) || word.bit(22) != word.bit(31) || lsb >= width {
            return word.undefined();
        }
        let both = u128::from(self.x(word.n())) << width | u128::from(low(self.x(word.m()), width));
        self.set_x(word.d(), low((both >> lsb) as u64, width));
        Ok(())
    }
}

/// The immediate of a logical instruction (J1.1, `DecodeBitMasks`).
fn bitmask(word: Word) -> Option<u64> {
    let (n, immr, imms) = (word.field(22, 1), word.field(16, 6), word.field(10, 6));
    let length = (n << 6 | !imms & 0x3f).checked_ilog2()?;
    let size = 1 << length;
    let (ones, rotation) = (imms % size + 1, immr % size);
    if length == 0 || ones == size || n != 0 && !word.bit(31) {
        return None;
    }
    // Bit i of the element comes from bit i + rotation of the run.
    let element = |at: u32| u64::from((at % size + rotation) % size < ones);
    Some((0..word.width()).map(|at| element(at) << at).sum())
}
