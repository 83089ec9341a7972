//! Data processing of general-purpose registers (C4.1, "Data Processing -- Register").

use super::{Alu, Assembler, Bits, Cond, Extend, Shift, X, operand::Register};

impl Alu {
    /// The instruction on shifted registers.
    const fn shifted(self) -> u32 {
        match self {
            Self::Add => 0x0b00_0000,
            Self::Adds => 0x2b00_0000,
            Self::Sub => 0x4b00_0000,
            Self::Subs => 0x6b00_0000,
            Self::And => 0x0a00_0000,
            Self::Orr => 0x2a00_0000,
            Self::Eor => 0x4a00_0000,
            Self::Ands => 0x6a00_0000,
            Self::Bic => 0x0a20_0000,
            Self::Orn => 0x2a20_0000,
            Self::Eon => 0x4a20_0000,
            Self::Bics => 0x6a20_0000,
        }
    }
}

/// Instructions of a width, with registers in the fields that are named.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident($($field:ident),*) = $word:literal;)*) => {
        impl Assembler {
            $($(#[$doc])*
            pub fn $name(&mut self, b: Bits, $($field: X),*) {
                self.word($word | b.sf() $(| $field.$field())*);
            })*
        }
    };
}

instructions! {
    /// `d` = `a` + `n` * `m`.
    madd(d, n, m, a) = 0x1b00_0000;
    /// `d` = `a` - `n` * `m`.
    msub(d, n, m, a) = 0x1b00_8000;
    /// `d` = `n` / `m`, unsigned, towards zero; 0 where `m` is 0.
    udiv(d, n, m) = 0x1ac0_0800;
    /// `d` = `n` / `m`, signed, towards zero; 0 where `m` is 0, and `n` where it does not fit.
    sdiv(d, n, m) = 0x1ac0_0c00;
    /// `d` = `n` with the bits in the opposite order.
    rbit(d, n) = 0x5ac0_0000;
    /// `d` = `n` with the bytes of each 16 bits in the opposite order.
    rev16(d, n) = 0x5ac0_0400;
    /// `d` = how many zeros `n` starts with.
    clz(d, n) = 0x5ac0_1000;
    /// `d` = how many copies of the sign follow it in `n`.
    cls(d, n) = 0x5ac0_1400;
}

/// Instructions that choose by a condition.
macro_rules! selects {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        impl Assembler {
            $($(#[$doc])*
            pub fn $name(&mut self, b: Bits, d: X, n: X, m: X, c: Cond) {
                self.word($word | b.sf() | m.m() | c.field() << 12 | n.n() | d.d());
            })*
        }
    };
}

selects! {
    /// `d` = `n` if the condition holds, else `m`.
    csel = 0x1a80_0000;
    /// `d` = `n` if the condition holds, else `m` + 1.
    csinc = 0x1a80_0400;
    /// `d` = `n` if the condition holds, else !`m`.
    csinv = 0x5a80_0000;
    /// `d` = `n` if the condition holds, else -`m`.
    csneg = 0x5a80_0400;
}

impl Assembler {
    /// `d` = `n` `op` `m`. 31 is zero.
    pub fn alu(&mut self, op: Alu, b: Bits, d: X, n: X, m: X) {
        self.alu_shift(op, b, d, n, m, Shift::Lsl, 0);
    }

    /// `d` = `n` `op` (`m` shifted by `amount`, modulo the width). 31 is zero. Sums have no [`Shift::Ror`].
    #[allow(clippy::too_many_arguments, reason = "as many operands as the instruction has")]
    pub fn alu_shift(&mut self, op: Alu, b: Bits, d: X, n: X, m: X, s: Shift, amount: u8) {
        let shift = (s as u32) << 22 | b.amount(amount) << 10;
        self.word(op.shifted() | shift | b.sf() | m.m() | n.n() | d.d());
    }

    /// `d` = `n` `op` (`m` extended, then shifted left by `amount`, 0..=4), where `op` is one of [`Alu::Add`],
    /// [`Alu::Adds`], [`Alu::Sub`] and [`Alu::Subs`]. 31 as `n` is the stack pointer, as it is as `d` where the flags stay.
    #[allow(clippy::too_many_arguments, reason = "as many operands as the instruction has")]
    pub fn alu_extend(&mut self, op: Alu, b: Bits, d: X, n: X, m: X, e: Extend, amount: u8) {
        let extend = 1 << 21 | (e as u32) << 13 | u32::from(amount & 7) << 10;
        self.word(op.shifted() | extend | b.sf() | m.m() | n.n() | d.d());
    }

    /// `d` = `n`. 31 is zero.
    pub fn mov(&mut self, b: Bits, d: X, n: X) {
        self.alu(Alu::Orr, b, d, X::ZR, n);
    }

    /// Compares `n` with `m`.
    pub fn cmp(&mut self, b: Bits, n: X, m: X) {
        self.alu(Alu::Subs, b, X::ZR, n, m);
    }

    /// Sets the flags as for the bits that `n` and `m` have in common.
    pub fn tst(&mut self, b: Bits, n: X, m: X) {
        self.alu(Alu::Ands, b, X::ZR, n, m);
    }

    /// `d` = `n` * `m`.
    pub fn mul(&mut self, b: Bits, d: X, n: X, m: X) {
        self.madd(b, d, n, m, X::ZR);
    }

    /// `d` = the upper 64 bits of the signed product of `n` and `m`.
    pub fn smulh(&mut self, d: X, n: X, m: X) {
        self.word(0x9b40_7c00 | m.m() | n.n() | d.d());
    }

    /// `d` = the upper 64 bits of the unsigned product of `n` and `m`.
    pub fn umulh(&mut self, d: X, n: X, m: X) {
        self.word(0x9bc0_7c00 | m.m() | n.n() | d.d());
    }

    /// `d` = `a` + the signed product of the low halves of `n` and `m`.
    pub fn smaddl(&mut self, d: X, n: X, m: X, a: X) {
        self.word(0x9b20_0000 | m.m() | a.a() | n.n() | d.d());
    }

    /// `d` = `a` + the unsigned product of the low halves of `n` and `m`.
    pub fn umaddl(&mut self, d: X, n: X, m: X, a: X) {
        self.word(0x9ba0_0000 | m.m() | a.a() | n.n() | d.d());
    }

    /// `d` = `n` with the bytes in the opposite order.
    pub fn rev(&mut self, b: Bits, d: X, n: X) {
        // The opcode tells the width, too.
        self.word(0x5ac0_0800 | b.sf() | b.sf() >> 21 | n.n() | d.d());
    }

    /// `d` = 1 if the condition holds, else 0.
    pub fn cset(&mut self, b: Bits, d: X, c: Cond) {
        self.csinc(b, d, X::ZR, X::ZR, c.invert());
    }

    /// Compares `n` with `m` if the condition holds, else sets the flags to `nzcv`, 4 bits of which V is the lowest.
    pub fn ccmp(&mut self, b: Bits, n: X, m: X, nzcv: u8, c: Cond) {
        self.word(0x7a40_0000 | b.sf() | m.m() | c.field() << 12 | n.n() | u32::from(nzcv & 15));
    }

    /// Compares `n` with `imm`, 0..=31, if the condition holds, else sets the flags to `nzcv`.
    pub fn ccmp_imm(&mut self, b: Bits, n: X, imm: u8, nzcv: u8, c: Cond) {
        let imm = u32::from(imm & 31) << 16;
        self.word(0x7a40_0800 | b.sf() | imm | c.field() << 12 | n.n() | u32::from(nzcv & 15));
    }
}
