//! Exceptions, barriers and system registers (C4.1, "Branches, Exception Generating and System instructions").

use super::{Assembler, X, operand::Register};

/// A barrier among the accesses of the inner shareable domain. The value is the field `CRm` (C6.2, DMB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Barrier {
    /// All accesses before it, before all after it.
    Ish = 0b1011,
    /// Loads before it, before all accesses after it.
    IshLd = 0b1001,
    /// Stores before it, before stores after it.
    IshSt = 0b1010,
}

/// A system register that code at any exception level uses (C5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// The flags, in bits 31 to 28.
    Nzcv,
    /// How floating-point operations are done.
    Fpcr,
    /// What floating-point operations have raised.
    Fpsr,
}

impl System {
    /// `o0`, `op1`, `CRn`, `CRm` and `op2`, where MSR and MRS have them.
    const fn field(self) -> u32 {
        match self {
            Self::Nzcv => 0xb_4200,
            Self::Fpcr => 0xb_4400,
            Self::Fpsr => 0xb_4420,
        }
    }
}

impl Assembler {
    /// A breakpoint.
    pub fn brk(&mut self, imm: u16) {
        self.word(0xd420_0000 | u32::from(imm) << 5);
    }

    /// Calls the hypervisor.
    pub fn hvc(&mut self, imm: u16) {
        self.word(0xd400_0002 | u32::from(imm) << 5);
    }

    /// Does nothing.
    pub fn nop(&mut self) {
        self.word(0xd503_201f);
    }

    /// Orders memory accesses.
    pub fn dmb(&mut self, barrier: Barrier) {
        self.word(0xd503_30bf | (barrier as u32) << 8);
    }

    /// Later instructions see the effects of earlier ones on the machine's state.
    pub fn isb(&mut self) {
        self.word(0xd503_3fdf);
    }

    /// `t` = `register`.
    pub fn mrs(&mut self, t: X, register: System) {
        self.word(0xd530_0000 | register.field() | t.d());
    }

    /// `register` = `t`.
    pub fn msr(&mut self, register: System, t: X) {
        self.word(0xd510_0000 | register.field() | t.d());
    }
}
