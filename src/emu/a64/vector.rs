//! The few instructions on vectors that scalar code has a use for (C7.2).

use super::{Assembler, V, X, operand::Register};

impl Assembler {
    /// All bits of `d` = 1.
    pub fn movi_ones(&mut self, d: V) {
        self.word(0x6f07_e7e0 | d.d());
    }

    /// `d` = lane `lane` (0..=3) of `n`, of 32 bits, zero-extended.
    pub fn umov_s(&mut self, d: X, n: V, lane: u8) {
        self.word(0x0e00_3c00 | (u32::from(lane & 3) << 3 | 4) << 16 | n.n() | d.d());
    }

    /// `d` = 0, all 128 bits (MOVI).
    pub fn movi_zero(&mut self, d: V) {
        self.word(0x6f00_e400 | d.d());
    }

    /// The 64 bits of `d` of the number `lane`, 0 or 1, = those of `n` of the number `from` (INS).
    pub fn ins_d(&mut self, d: V, lane: u8, n: V, from: u8) {
        let (lane, from) = (u32::from(lane & 1), u32::from(from & 1));
        self.word(0x6e00_0400 | (lane << 4 | 8) << 16 | from << 14 | n.n() | d.d());
    }

    /// The 32 bits of `d` of the number `lane`, 0..=3, = those of `n` of the number `from` (INS).
    pub fn ins_s(&mut self, d: V, lane: u8, n: V, from: u8) {
        let (lane, from) = (u32::from(lane & 3), u32::from(from & 3));
        self.word(0x6e00_0400 | (lane << 3 | 4) << 16 | from << 13 | n.n() | d.d());
    }

    /// `d` = the 64 bits of `n` of the number `lane`, 0 or 1 (UMOV).
    pub fn umov_d(&mut self, d: X, n: V, lane: u8) {
        self.word(0x4e00_3c00 | (u32::from(lane & 1) << 4 | 8) << 16 | n.n() | d.d());
    }

    /// The 8 low bytes of `d` = how many ones those of `n` have (CNT).
    pub fn cnt_8b(&mut self, d: V, n: V) {
        self.word(0x0e20_5800 | n.n() | d.d());
    }

    /// `d` = the sum, modulo 256, of the 8 low bytes of `n` (ADDV).
    pub fn addv_8b(&mut self, d: V, n: V) {
        self.word(0x0e31_b800 | n.n() | d.d());
    }

    /// `d` = `n` | `m`, all 128 bits (ORR).
    pub fn orr_16b(&mut self, d: V, n: V, m: V) {
        self.word(0x4ea0_1c00 | m.m() | n.n() | d.d());
    }

    /// `d` = the 128 bits of the carry-less product of the low 64 bits of `n` and `m` (FEAT_PMULL).
    pub fn pmull(&mut self, d: V, n: V, m: V) {
        self.word(0x0ee0_e000 | m.m() | n.n() | d.d());
    }
}
