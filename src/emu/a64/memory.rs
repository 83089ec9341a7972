//! Loads and stores (C4.1, "Loads and Stores"). 31 as the base `n` is the stack pointer, as all else it is zero.

use super::{Assembler, Extend, F, V, X, label::field, operand::Register};
use crate::memory::Size;

/// How a load extends what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ext {
    /// With zeros.
    Zero,
    /// With the sign to 32 bits, and with zeros above.
    SignTo32,
    /// With the sign.
    SignTo64,
}

/// With whose rights an access is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Those of the exception level.
    Normal,
    /// Those of EL0.
    Unprivileged,
}

/// How the base register of a pair of accesses and the immediate are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Index {
    /// Their sum is the address.
    Offset,
    /// Their sum is the address and becomes the base.
    Pre,
    /// The base is the address, and their sum becomes the base.
    Post,
}

impl Index {
    /// Bits 23 and 24.
    const fn field(self) -> u32 {
        match self {
            Self::Offset => 2 << 23,
            Self::Pre => 3 << 23,
            Self::Post => 1 << 23,
        }
    }
}

/// `V`: the register is a SIMD and floating-point one.
const VECTOR: u32 = 1 << 26;
/// `opc` of a load that extends with zeros.
const LOAD: u32 = 1 << 22;

pub(super) const fn size_field(size: Size) -> u32 {
    (size as u32) << 30
}

/// `opc` of a load.
const fn opc(size: Size, ext: Ext) -> u32 {
    match (size, ext) {
        (Size::Double, _) | (_, Ext::Zero) | (Size::Word, Ext::SignTo32) => LOAD,
        (_, Ext::SignTo64) => 2 << 22,
        (_, Ext::SignTo32) => 3 << 22,
    }
}

/// The fields for an address of a register and `imm`, and the class of instructions that has them.
fn immediate(mode: Mode, size: Size, imm: i64) -> Option<u32> {
    const UNSCALED: u32 = 0x3800_0000;
    const UNPRIVILEGED: u32 = 0x3800_0800;
    const UNSIGNED: u32 = 0x3900_0000;
    let bytes = size.bytes() as i64;
    match mode {
        Mode::Normal if imm % bytes == 0 && (0..=0xfff).contains(&(imm / bytes)) => {
            Some(UNSIGNED | ((imm / bytes) as u32) << 10)
        }
        Mode::Normal => field(imm, 9, 12).map(|imm| UNSCALED | imm),
        Mode::Unprivileged => field(imm, 9, 12).map(|imm| UNPRIVILEGED | imm),
    }
}

impl Assembler {
    /// `t` = what is at `n` + `imm`. `false` if `imm` cannot be encoded: it is in -256..=255, or, if the mode is normal,
    /// 0..=4095 times the size.
    pub fn load(&mut self, mode: Mode, size: Size, ext: Ext, t: X, n: X, imm: i64) -> bool {
        self.access(opc(size, ext), mode, size, t, n, imm)
    }

    /// What is at `n` + `imm` = `t`. `imm` is as for [`Assembler::load`].
    pub fn store(&mut self, mode: Mode, size: Size, t: X, n: X, imm: i64) -> bool {
        self.access(0, mode, size, t, n, imm)
    }

    /// `t` = the number at `n` + `imm`, and 0 in the bits above. `imm` is as for a normal [`Assembler::load`].
    pub fn fload(&mut self, f: F, t: V, n: X, imm: i64) -> bool {
        self.access(VECTOR | LOAD, Mode::Normal, f.size(), t, n, imm)
    }

    /// The number at `n` + `imm` = `t`. `imm` is as for a normal [`Assembler::load`].
    pub fn fstore(&mut self, f: F, t: V, n: X, imm: i64) -> bool {
        self.access(VECTOR, Mode::Normal, f.size(), t, n, imm)
    }

    fn access(&mut self, kind: u32, mode: Mode, size: Size, t: impl Register, n: X, imm: i64) -> bool {
        let Some(word) = immediate(mode, size, imm) else { return false };
        self.word(word | kind | size_field(size) | n.n() | t.d());
        true
    }

    /// `t` = what is at `n` + `m`, where `m` is extended from 32 or 64 bits, and multiplied by the size if `scaled`.
    #[allow(clippy::too_many_arguments, reason = "as many operands as the instruction has")]
    pub fn load_reg(&mut self, size: Size, ext: Ext, t: X, n: X, m: X, extend: Extend, scaled: bool) {
        self.indexed(opc(size, ext), size, t, n, m, extend, scaled);
    }

    /// What is at `n` + `m` = `t`, where `m` is as for [`Assembler::load_reg`].
    pub fn store_reg(&mut self, size: Size, t: X, n: X, m: X, extend: Extend, scaled: bool) {
        self.indexed(0, size, t, n, m, extend, scaled);
    }

    #[allow(clippy::too_many_arguments, reason = "as many operands as the instruction has")]
    fn indexed(&mut self, opc: u32, size: Size, t: X, n: X, m: X, extend: Extend, scaled: bool) {
        let index = m.m() | (extend as u32) << 13 | u32::from(scaled) << 12;
        self.word(0x3820_0800 | opc | size_field(size) | index | n.n() | t.d());
    }

    /// `t1`, `t2` = the 64 bits at the address, and those behind. `false` if `imm` cannot be encoded: it is a multiple of
    /// 8 in -512..=504.
    pub fn ldp(&mut self, t1: X, t2: X, n: X, imm: i64, index: Index) -> bool {
        self.pair(0xa800_0000 | LOAD, t1, t2, n, imm, index)
    }

    /// The 64 bits at the address, and those behind, = `t1`, `t2`. `imm` is as for [`Assembler::ldp`].
    pub fn stp(&mut self, t1: X, t2: X, n: X, imm: i64, index: Index) -> bool {
        self.pair(0xa800_0000, t1, t2, n, imm, index)
    }

    /// [`Assembler::ldp`] of numbers of 64 bits.
    pub fn fldp(&mut self, t1: V, t2: V, n: X, imm: i64, index: Index) -> bool {
        self.pair(0x6c00_0000 | LOAD, t1, t2, n, imm, index)
    }

    /// [`Assembler::stp`] of numbers of 64 bits.
    pub fn fstp(&mut self, t1: V, t2: V, n: X, imm: i64, index: Index) -> bool {
        self.pair(0x6c00_0000, t1, t2, n, imm, index)
    }

    fn pair<R: Register>(&mut self, word: u32, t1: R, t2: R, n: X, imm: i64, index: Index) -> bool {
        if imm % 8 != 0 {
            return false;
        }
        let Some(imm) = field(imm / 8, 7, 15) else { return false };
        self.word(word | index.field() | imm | t2.a() | n.n() | t1.d());
        true
    }
}
