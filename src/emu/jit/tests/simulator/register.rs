//! C4.1, "Data Processing -- Register".

use super::{Simulator, Stop, Word, add_with_carry, low, sign_extended};

impl Simulator {
    pub(super) fn processing_register(&mut self, word: Word) -> Result<(), Stop> {
        match (word.bit(28), word.field(21, 4)) {
            (false, 0b0000..=0b0111) => self.logical_shifted(word),
            (false, op) if op & 1 == 0 => self.sum_shifted(word),
            (false, 0b1001) => self.sum_extended(word),
            (true, 0b0010) => self.conditional_compare(word),
            (true, 0b0100) => self.conditional_select(word),
            (true, 0b0110) if word.bit(30) => self.one_source(word),
            (true, 0b0110) => self.two_sources(word),
            (true, 0b1000..=0b1111) => self.three_sources(word),
            _ => word.undefined(),
        }
    }

    /// `Rm`, shifted as bits 23 and 22 and `imm6` say.
    fn shifted(&self, word: Word) -> Result<u64, Stop> {
        let amount = word.field(10, 6);
        if amount >= word.width() {
            return word.undefined();
        }
        Ok(shift(word.width(), word.field(22, 2), self.x(word.m()), amount))
    }

    fn logical_shifted(&mut self, word: Word) -> Result<(), Stop> {
        let operand = self.shifted(word)?;
        let operand = if word.bit(21) { !operand } else { operand };
        let result = self.logic(word, self.x(word.n()), operand);
        self.set_x(word.d(), result);
        Ok(())
    }

    fn sum_shifted(&mut self, word: Word) -> Result<(), Stop> {
        if word.field(22, 2) == 0b11 {
            return word.undefined();
        }
        let operand = self.shifted(word)?;
        self.sum(word, self.x(word.n()), operand, false);
        Ok(())
    }

    fn sum_extended(&mut self, word: Word) -> Result<(), Stop> {
        let amount = word.field(10, 3);
        if amount > 4 {
            return word.undefined();
        }
        let operand = extend(word.field(13, 3), self.x(word.m())) << amount;
        self.sum(word, self.x_or_sp(word.n()), operand, true);
        Ok(())
    }

    /// CCMN and CCMP.
    fn conditional_compare(&mut self, word: Word) -> Result<(), Stop> {
        if !word.bit(29) || word.bit(10) || word.bit(4) {
            return word.undefined();
        }
        let operand = if word.bit(11) { u64::from(word.m()) } else { self.x(word.m()) };
        let compare = word.bit(30);
        let operand = if compare { !operand } else { operand };
        self.nzcv = if self.holds(word.field(12, 4)) {
            add_with_carry(word.width(), self.x(word.n()), operand, compare).1
        } else {
            word.field(0, 4) as u8
        };
        Ok(())
    }

    fn conditional_select(&mut self, word: Word) -> Result<(), Stop> {
        if word.bit(29) || word.bit(11) {
            return word.undefined();
        }
        let result = if self.holds(word.field(12, 4)) {
            self.x(word.n())
        } else {
            let other = self.x(word.m());
            let other = if word.bit(30) { !other } else { other };
            other.wrapping_add(word.field(10, 1).into())
        };
        self.set_x(word.d(), low(result, word.width()));
        Ok(())
    }

    fn one_source(&mut self, word: Word) -> Result<(), Stop> {
        if word.bit(29) || word.m() != 0 {
            return word.undefined();
        }
        let (width, operand) = (word.width(), self.x(word.n()));
        // As if the value were in the upper bits of 64.
        let upper = operand << (64 - width);
        let bytes = |count: u32| {
            let places = (0..width / 8).map(|byte| 8 * byte);
            places.map(|at| (operand >> at & 0xff) << (at ^ (8 * (count - 1)))).sum::<u64>()
        };
        let result = match word.field(10, 6) {
            0 => upper.reverse_bits(),
            1 => bytes(2),
            2 => bytes(4),
            3 if width == 64 => bytes(8),
            4 => u64::from(upper.leading_zeros().min(width)),
            5 => {
                let differ = (upper ^ (upper as i64 >> 63) as u64).leading_zeros();
                u64::from(differ.min(width)) - 1
            }
            _ => return word.undefined(),
        };
        self.set_x(word.d(), result);
        Ok(())
    }

    fn two_sources(&mut self, word: Word) -> Result<(), Stop> {
        if word.bit(29) {
            return word.undefined();
        }
        let width = word.width();
        let (a, b) = (low(self.x(word.n()), width), low(self.x(word.m()), width));
        let result = match word.field(10, 6) {
            2 => a.checked_div(b).unwrap_or(0),
            3 => {
                let (a, b) = (sign_extended(a, width) as i64, sign_extended(b, width) as i64);
                if b == 0 { 0 } else { a.wrapping_div(b) as u64 }
            }
            op @ 8..=11 => shift(width, op - 8, a, b as u32 % width),
            _ => return word.undefined(),
        };
        self.set_x(word.d(), low(result, width));
        Ok(())
    }

    fn three_sources(&mut self, word: Word) -> Result<(), Stop> {
        if word.field(29, 2) != 0 {
            return word.undefined();
        }
        let (a, n, m) = (self.x(word.a()), self.x(word.n()), self.x(word.m()));
        let add_or_subtract = |product: u64| {
            if word.bit(15) { a.wrapping_sub(product) } else { a.wrapping_add(product) }
        };
        let result = match (word.bit(31), word.field(21, 3), word.bit(15)) {
            (_, 0b000, _) => add_or_subtract(n.wrapping_mul(m)),
            (true, 0b001, _) => add_or_subtract(sign_extended(n, 32).wrapping_mul(sign_extended(m, 32))),
            (true, 0b101, _) => add_or_subtract(low(n, 32) * low(m, 32)),
            (true, 0b010, false) => ((i128::from(n as i64) * i128::from(m as i64)) >> 64) as u64,
            (true, 0b110, false) => ((u128::from(n) * u128::from(m)) >> 64) as u64,
            _ => return word.undefined(),
        };
        self.set_x(word.d(), low(result, word.width()));
        Ok(())
    }
}

/// `value` shifted by less than its `width`: LSL, LSR, ASR and ROR.
fn shift(width: u32, kind: u32, value: u64, amount: u32) -> u64 {
    let value = low(value, width);
    let result = match kind {
        0 => value << amount,
        1 => value >> amount,
        2 => (sign_extended(value, width) as i64 >> amount) as u64,
        _ => (u128::from(value) << width | u128::from(value)).wrapping_shr(amount) as u64,
    };
    low(result, width)
}

/// `value` extended as a field `option` says.
pub(super) const fn extend(option: u32, value: u64) -> u64 {
    let width = 8 << (option & 3);
    if option & 4 == 0 { low(value, width) } else { sign_extended(value, width) }
}
