//! The fields of an instruction word (Unprivileged ISA, "Immediate Encoding Variants").

use super::{F, X};

/// An instruction of 32 bits.
#[derive(Clone, Copy)]
pub(super) struct Word(pub u32);

impl Word {
    /// Bits `from` and up, `count` of them.
    pub const fn bits(self, from: u32, count: u32) -> u32 {
        self.0 >> from & ((1 << count) - 1)
    }

    /// Sign-extended bits `from` to 31.
    const fn signed_from(self, from: u32) -> i32 {
        self.0 as i32 >> from
    }

    /// The major opcode without the two ones below.
    pub const fn opcode(self) -> u32 {
        self.bits(2, 5)
    }

    pub const fn funct3(self) -> u32 {
        self.bits(12, 3)
    }

    pub const fn funct7(self) -> u32 {
        self.bits(25, 7)
    }

    /// Bits 20 to 31.
    pub const fn funct12(self) -> u32 {
        self.bits(20, 12)
    }

    pub const fn rd(self) -> X {
        X::new(self.bits(7, 5) as u8)
    }

    pub const fn rs1(self) -> X {
        X::new(self.bits(15, 5) as u8)
    }

    pub const fn rs2(self) -> X {
        X::new(self.bits(20, 5) as u8)
    }

    pub const fn fd(self) -> F {
        F::new(self.bits(7, 5) as u8)
    }

    pub const fn fs1(self) -> F {
        F::new(self.bits(15, 5) as u8)
    }

    pub const fn fs2(self) -> F {
        F::new(self.bits(20, 5) as u8)
    }

    pub const fn fs3(self) -> F {
        F::new(self.bits(27, 5) as u8)
    }

    pub const fn imm_i(self) -> i32 {
        self.signed_from(20)
    }

    pub const fn imm_s(self) -> i32 {
        self.signed_from(25) << 5 | self.bits(7, 5) as i32
    }

    pub const fn imm_b(self) -> i32 {
        self.signed_from(31) << 12
            | (self.bits(7, 1) << 11 | self.bits(25, 6) << 5 | self.bits(8, 4) << 1) as i32
    }

    pub const fn imm_u(self) -> i32 {
        self.signed_from(12) << 12
    }

    pub const fn imm_j(self) -> i32 {
        self.signed_from(31) << 20
            | (self.bits(12, 8) << 12 | self.bits(20, 1) << 11 | self.bits(21, 10) << 1) as i32
    }
}
