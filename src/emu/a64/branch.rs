//! Branches (C4.1, "Branches, Exception Generating and System instructions") and addresses of labels.

use super::{
    Assembler, Bits, Cond, Label, X,
    label::{Field, field},
    operand::Register,
};

const B: u32 = 0x1400_0000;

/// B from one word to another; `None` if it does not reach that far.
pub const fn branch(from_word: i64, to_word: i64) -> Option<u32> {
    match field(to_word.wrapping_sub(from_word), 26, 0) {
        Some(distance) => Some(B | distance),
        None => None,
    }
}

impl Assembler {
    /// Jumps; 128 MiB to either side.
    pub fn b(&mut self, l: Label) {
        self.refer(B, l, Field::Imm26);
    }

    /// Calls; 128 MiB to either side.
    pub fn bl(&mut self, l: Label) {
        self.refer(0x9400_0000, l, Field::Imm26);
    }

    /// Jumps if the condition holds; 1 MiB to either side.
    pub fn b_cond(&mut self, c: Cond, l: Label) {
        self.refer(0x5400_0000 | c.field(), l, Field::Imm19);
    }

    /// Jumps if `r` is 0; 1 MiB to either side.
    pub fn cbz(&mut self, b: Bits, r: X, l: Label) {
        self.refer(0x3400_0000 | b.sf() | r.d(), l, Field::Imm19);
    }

    /// Jumps if `r` is not 0; 1 MiB to either side.
    pub fn cbnz(&mut self, b: Bits, r: X, l: Label) {
        self.refer(0x3500_0000 | b.sf() | r.d(), l, Field::Imm19);
    }

    /// Jumps if `bit`, modulo 64, of `r` is 0; 32 KiB to either side.
    pub fn tbz(&mut self, r: X, bit: u8, l: Label) {
        self.refer(0x3600_0000 | tested(bit) | r.d(), l, Field::Imm14);
    }

    /// Jumps if `bit`, modulo 64, of `r` is 1; 32 KiB to either side.
    pub fn tbnz(&mut self, r: X, bit: u8, l: Label) {
        self.refer(0x3700_0000 | tested(bit) | r.d(), l, Field::Imm14);
    }

    /// Jumps to the address in `n`.
    pub fn br(&mut self, n: X) {
        self.word(0xd61f_0000 | n.n());
    }

    /// Calls the address in `n`.
    pub fn blr(&mut self, n: X) {
        self.word(0xd63f_0000 | n.n());
    }

    /// Returns to the address in `n`.
    pub fn ret(&mut self, n: X) {
        self.word(0xd65f_0000 | n.n());
    }

    /// `d` = the address of the label; 1 MiB to either side.
    pub fn adr(&mut self, d: X, l: Label) {
        self.refer(0x1000_0000 | d.d(), l, Field::Adr);
    }
}

/// `b5` and `b40` of TBZ.
fn tested(bit: u8) -> u32 {
    let bit = u32::from(bit & 63);
    bit >> 5 << 31 | (bit & 31) << 19
}
