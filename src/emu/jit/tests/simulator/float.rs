//! C4.1, "Data Processing -- Scalar Floating-Point": by the exact arithmetic of [`crate::float`], which knows another
//! instruction set. What differs in Arm's (A1.5, J1.1.3 "shared/functions/float") is here.

use core::cmp::Ordering;

use super::{Simulator, Stop, Word, low, sign_extended};
use crate::float::{Context, Double, Flags, Format, NanRule, Negate, Rounding, Single};

impl Simulator {
    pub(super) fn scalar_float(&mut self, word: Word) -> Result<(), Stop> {
        match word.field(22, 2) {
            0b00 => self.in_format::<Single>(word),
            0b01 => self.in_format::<Double>(word),
            _ => word.undefined(),
        }
    }

    fn in_format<F: Format>(&mut self, word: Word) -> Result<(), Stop> {
        if word.bit(24) {
            return self.fused::<F>(word);
        }
        match (word.bit(21), word.field(10, 6)) {
            (true, 0b000000) => return self.with_integer::<F>(word),
            _ if !word.bit(21) || word.bit(31) => return word.undefined(),
            (_, 0b010000 | 0b110000) => return self.one_number::<F>(word),
            (_, 0b001000) => return self.comparison::<F>(word),
            (_, op) if op & 0b111 == 0b100 && word.n() == 0 => {
                self.set_number::<F>(word.d(), immediate::<F>(word.field(13, 8)));
            }
            (_, op) if op & 0b11 == 0b10 => return self.two_numbers::<F>(word),
            (_, op) if op & 0b11 == 0b11 => {
                let chosen = if self.holds(word.field(12, 4)) { word.n() } else { word.m() };
                self.set_number::<F>(word.d(), self.number::<F>(chosen));
            }
            _ => return word.undefined(),
        }
        Ok(())
    }

    fn number<F: Format>(&self, n: u32) -> F::Bits {
        F::encoding(self.v[n as usize] as u64)
    }

    fn set_number<F: Format>(&mut self, d: u32, value: F::Bits) {
        self.v[d as usize] = u128::from(value.into());
    }

    /// FPCR.RMode. Of all else, only what [`Simulator::new`] sets is simulated.
    fn rounding(&self) -> Rounding {
        assert_eq!(self.fpcr & !(3 << 22), 1 << 25, "FPCR: DN set, and nothing else but RMode");
        [Rounding::NearestEven, Rounding::Up, Rounding::Down, Rounding::TowardZero]
            [(self.fpcr >> 22 & 3) as usize]
    }

    /// Adds to FPSR: IOC, DZC, OFC, UFC and IXC from bit 0 on.
    fn raise(&mut self, flags: Flags) {
        let order = [Flags::NV, Flags::DZ, Flags::OF, Flags::UF, Flags::NX];
        for (bit, flag) in order.into_iter().enumerate() {
            self.fpsr |= u64::from(flags.contains(flag)) << bit;
        }
    }

    /// What `operation` computes, rounded in this direction.
    fn rounded<T>(&mut self, rounding: Rounding, operation: impl FnOnce(&mut Context) -> T) -> T {
        let mut context = Context::new(rounding, NanRule::Canonical);
        let result = operation(&mut context);
        self.raise(context.flags);
        result
    }

    /// What `operation` computes, whose result may underflow. As FPCR.AH is 0, it does if it is tiny before it is rounded,
    /// which it is if what is left by truncation has no normal exponent (`FPRoundBase`).
    fn arithmetic<F: Format>(&mut self, operation: impl Fn(&mut Context) -> F::Bits) -> F::Bits {
        let mut context = Context::new(self.rounding(), NanRule::Canonical);
        let result = operation(&mut context);
        let truncated = operation(&mut Context::new(Rounding::TowardZero, NanRule::Canonical));
        let tiny = F::split(truncated).1 <= F::FRACTION_MASK;
        context.flags.set(Flags::UF, tiny && context.flags.contains(Flags::NX));
        self.raise(context.flags);
        result
    }

    /// FMADD, FMSUB, FNMADD and FNMSUB.
    fn fused<F: Format>(&mut self, word: Word) -> Result<(), Stop> {
        if word.bit(31) {
            return word.undefined();
        }
        let [n, m, a] = [word.n(), word.m(), word.a()].map(|register| self.number::<F>(register));
        let negate = Negate { product: word.bit(21) != word.bit(15), addend: word.bit(21) };
        let result = self.arithmetic::<F>(|context| context.mul_add::<F>(n, m, a, negate));
        self.set_number::<F>(word.d(), result);
        Ok(())
    }

    fn two_numbers<F: Format>(&mut self, word: Word) -> Result<(), Stop> {
        let (n, m) = (self.number::<F>(word.n()), self.number::<F>(word.m()));
        let result = match word.field(12, 4) {
            0b0000 => self.arithmetic::<F>(|context| context.mul::<F>(n, m)),
            0b0001 => self.arithmetic::<F>(|context| context.div::<F>(n, m)),
            0b0010 => self.arithmetic::<F>(|context| context.add::<F>(n, m)),
            0b0011 => self.arithmetic::<F>(|context| context.sub::<F>(n, m)),
            0b0100 => self.rounded(Rounding::NearestEven, |context| context.maximum::<F>(n, m)),
            0b0101 => self.rounded(Rounding::NearestEven, |context| context.minimum::<F>(n, m)),
            0b0110 | 0b0111 if is_quiet_nan::<F>(n) && !F::is_nan(m) => m,
            0b0110 | 0b0111 if is_quiet_nan::<F>(m) && !F::is_nan(n) => n,
            0b0110 => self.rounded(Rounding::NearestEven, |context| context.maximum::<F>(n, m)),
            0b0111 => self.rounded(Rounding::NearestEven, |context| context.minimum::<F>(n, m)),
            // FNMUL negates what has been rounded, NaNs as well.
            0b1000 => {
                let product = self.arithmetic::<F>(|context| context.mul::<F>(n, m));
                F::encoding(product.into() ^ F::SIGN)
            }
            _ => return word.undefined(),
        };
        self.set_number::<F>(word.d(), result);
        Ok(())
    }

    fn one_number<F: Format>(&mut self, word: Word) -> Result<(), Stop> {
        let n = self.number::<F>(word.n());
        let encoding: u64 = n.into();
        let result = match word.field(15, 6) {
            0b000000 => n,
            0b000001 => F::encoding(encoding & !F::SIGN),
            0b000010 => F::encoding(encoding ^ F::SIGN),
            0b000011 => self.arithmetic::<F>(|context| context.sqrt::<F>(n)),
            0b000100 if F::FRACTION != Single::FRACTION => return self.convert::<F, Single>(word),
            0b000101 if F::FRACTION != Double::FRACTION => return self.convert::<F, Double>(word),
            op @ (0b001000..=0b001100 | 0b001111) => {
                let rounding = match op {
                    0b001111 => self.rounding(),
                    _ => rounding_mode(op & 7),
                };
                self.rounded(rounding, |context| context.round_to_integral::<F>(n))
            }
            0b001110 => self.rounded(self.rounding(), |context| context.round_to_integral_exact::<F>(n)),
            _ => return word.undefined(),
        };
        self.set_number::<F>(word.d(), result);
        Ok(())
    }

    /// FCVT.
    fn convert<F: Format, G: Format>(&mut self, word: Word) -> Result<(), Stop> {
        let n = self.number::<F>(word.n());
        let result = self.arithmetic::<G>(|context| context.convert::<F, G>(n));
        self.set_number::<G>(word.d(), result);
        Ok(())
    }

    /// FCMP and FCMPE.
    fn comparison<F: Format>(&mut self, word: Word) -> Result<(), Stop> {
        if word.field(0, 3) != 0 || word.bit(3) && word.m() != 0 {
            return word.undefined();
        }
        let a = self.number::<F>(word.n());
        let b = if word.bit(3) { F::encoding(0) } else { self.number::<F>(word.m()) };
        let ordering = self.rounded(Rounding::NearestEven, |context| {
            if word.bit(4) { context.compare_signalling::<F>(a, b) } else { context.compare_quiet::<F>(a, b) }
        });
        self.nzcv = match ordering {
            Some(Ordering::Equal) => 0b0110,
            Some(Ordering::Less) => 0b1000,
            Some(Ordering::Greater) => 0b0010,
            None => 0b0011,
        };
        Ok(())
    }

    /// FMOV, SCVTF and UCVTF, and FCVTNS to FCVTAU.
    fn with_integer<F: Format>(&mut self, word: Word) -> Result<(), Stop> {
        let (width, rmode, opcode) = (word.width(), word.field(19, 2), word.field(16, 3));
        let signed = opcode & 1 == 0;
        match (rmode, opcode) {
            (0, 0b110) if width == 1 + F::FRACTION + F::EXPONENT => {
                let encoding = self.number::<F>(word.n()).into();
                self.set_x(word.d(), encoding);
            }
            (0, 0b111) if width == 1 + F::FRACTION + F::EXPONENT => {
                self.set_number::<F>(word.d(), F::encoding(self.x(word.n())));
            }
            (0, 0b010 | 0b011) => {
                let n = self.x(word.n());
                let integer = if signed {
                    i128::from(sign_extended(n, width) as i64)
                } else {
                    i128::from(low(n, width))
                };
                let result = self.arithmetic::<F>(|context| context.from_integer::<F>(integer));
                self.set_number::<F>(word.d(), result);
            }
            (_, 0b000 | 0b001) => self.convert_to_integer::<F>(word, rounding_mode(rmode), signed),
            (0, 0b100 | 0b101) => self.convert_to_integer::<F>(word, Rounding::NearestAway, signed),
            _ => return word.undefined(),
        }
        Ok(())
    }

    fn convert_to_integer<F: Format>(&mut self, word: Word, rounding: Rounding, signed: bool) {
        let n = self.number::<F>(word.n());
        let integer = self.rounded(rounding, |context| match (word.width(), signed) {
            (32, true) => context.to_integer::<F, i32>(n) as u32 as u64,
            (32, false) => context.to_integer::<F, u32>(n).into(),
            (_, true) => context.to_integer::<F, i64>(n) as u64,
            (_, false) => context.to_integer::<F, u64>(n),
        });
        self.set_x(word.d(), if F::is_nan(n) { 0 } else { integer });
    }
}

/// The order of `FPRounding`: ties to even, up, down, towards zero, ties away.
const fn rounding_mode(field: u32) -> Rounding {
    match field {
        0 => Rounding::NearestEven,
        1 => Rounding::Up,
        2 => Rounding::Down,
        3 => Rounding::TowardZero,
        _ => Rounding::NearestAway,
    }
}

fn is_quiet_nan<F: Format>(a: F::Bits) -> bool {
    F::is_nan(a) && !F::is_signalling(a)
}

/// `VFPExpandImm`: a sign, an exponent of -3..=4, and four bits of the fraction.
fn immediate<F: Format>(imm8: u32) -> F::Bits {
    let exponent = i64::from(imm8 >> 4 & 7 ^ 4) - 3;
    let field = (exponent + i64::from(F::MAX_EXPONENT)) as u64;
    F::signed(imm8 & 0x80 != 0, field << F::FRACTION | u64::from(imm8 & 15) << (F::FRACTION - 4))
}
