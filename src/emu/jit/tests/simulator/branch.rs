//! C4.1, "Branches, Exception Generating and System instructions".

use super::{Simulator, Step, Stop, Word, low};

impl Simulator {
    pub(super) fn branch(&mut self, word: Word) -> Step {
        let to = |taken: bool, offset: i64| Ok(taken.then(|| self.pc.wrapping_add_signed(4 * offset)));
        match (word.field(29, 3), word.field(24, 5)) {
            (0b000 | 0b100, 0b10100..=0b10111) => {
                let target = to(true, word.signed(0, 26));
                self.link(word.bit(31));
                target
            }
            // CBZ and CBNZ.
            (0b001 | 0b101, 0b10100 | 0b10101) => {
                let zero = low(self.x(word.d()), word.width()) == 0;
                to(zero != word.bit(24), word.signed(5, 19))
            }
            // TBZ and TBNZ.
            (0b001 | 0b101, 0b10110 | 0b10111) => {
                let bit = word.field(31, 1) << 5 | word.field(19, 5);
                let set = self.x(word.d()) >> bit & 1 != 0;
                to(set == word.bit(24), word.signed(5, 14))
            }
            (0b010, 0b10100) if !word.bit(4) => to(self.holds(word.field(0, 4)), word.signed(5, 19)),
            (0b110, 0b10100) => exception(word),
            (0b110, 0b10101) => self.system(word),
            (0b110, 0b10110) => self.branch_to_register(word),
            _ => word.undefined(),
        }
    }

    fn link(&mut self, link: bool) {
        if link {
            self.set_x(30, self.pc.wrapping_add(4));
        }
    }

    /// BR, BLR and RET.
    fn branch_to_register(&mut self, word: Word) -> Step {
        if !word.is(0xff9f_fc1f, 0xd61f_0000) || word.field(21, 2) == 0b11 {
            return word.undefined();
        }
        let target = self.x(word.n());
        self.link(word.field(21, 2) == 0b01);
        Ok(Some(target))
    }

    fn system(&mut self, word: Word) -> Step {
        // Hints and barriers: nobody else accesses memory.
        if word.is(0xffff_f01f, 0xd503_201f) || word.is(0xffff_f01f, 0xd503_301f) {
            return Ok(None);
        }
        // MSR and MRS: from bit 5 on, o0, op1, CRn, CRm and op2.
        if !word.is(0xffd0_0000, 0xd510_0000) {
            return word.undefined();
        }
        let (read, t) = (word.bit(21), word.d());
        match (word.field(19, 1), word.field(16, 3), word.field(12, 4), word.field(8, 4), word.field(5, 3)) {
            (1, 3, 4, 2, 0) if read => self.set_x(t, u64::from(self.nzcv) << 28),
            (1, 3, 4, 2, 0) => self.nzcv = (self.x(t) >> 28 & 15) as u8,
            (1, 3, 4, 4, 0) if read => self.set_x(t, self.fpcr),
            (1, 3, 4, 4, 0) => self.fpcr = self.x(t),
            (1, 3, 4, 4, 1) if read => self.set_x(t, self.fpsr),
            (1, 3, 4, 4, 1) => self.fpsr = self.x(t),
            _ => return word.undefined(),
        }
        Ok(None)
    }
}

const fn exception(word: Word) -> Step {
    let imm = word.field(5, 16) as u16;
    Err(match (word.field(21, 3), word.field(0, 5)) {
        (0b000, 0b00010) => Stop::HypervisorCall(imm),
        (0b001, 0b00000) => Stop::Break(imm),
        _ => Stop::Undefined(word.0),
    })
}
