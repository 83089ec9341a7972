//! C4.1, "Advanced SIMD": the instructions that the assembler has.

use super::{Simulator, Stop, Word};

impl Simulator {
    pub(super) fn vector(&mut self, word: Word) -> Result<(), Stop> {
        let (n, m) = (self.v[word.n() as usize], self.v[word.m() as usize]);
        let d = &mut self.v[word.d() as usize];
        // ORR, PMULL; CNT, ADDV; MOVI; UMOV, INS.
        match (word.0 & !0x001f_03ff, word.m()) {
            (0x4ea0_1c00, _) => *d = n | m,
            (0x0ee0_e000, _) => *d = carryless(n as u64, m as u64),
            (0x0e20_5800, 0b00000) => {
                *d = u64::from_le_bytes((n as u64).to_le_bytes().map(|byte| byte.count_ones() as u8)).into();
            }
            (0x0e20_b800, 0b10001) => {
                *d = (n as u64).to_le_bytes().into_iter().fold(0, u8::wrapping_add).into();
            }
            (0x6f00_e400, 0b00000) if word.n() == 0 => *d = 0,
            (0x6f00_e400, 0b00111) if word.n() == 31 => *d = u128::MAX,
            (0x0e00_3c00, lane) if lane & 0b111 == 0b100 => {
                self.set_x(word.d(), (n >> (32 * (lane >> 3))) as u32 as u64);
            }
            (0x4e00_3c00, lane) if lane & 0b1111 == 0b1000 => {
                self.set_x(word.d(), (n >> (64 * (lane >> 4))) as u64);
            }
            (0x6e00_0400 | 0x6e00_2400 | 0x6e00_4400 | 0x6e00_6400, lane) if lane & 0b11 == 0 => {
                return self.insert(word);
            }
            _ => return word.undefined(),
        }
        Ok(())
    }

    /// INS of 32 and 64 bits. The lowest one of `imm5` tells the size, the bits above, and as many of `imm4`, the elements.
    fn insert(&mut self, word: Word) -> Result<(), Stop> {
        let (imm5, imm4) = (word.m(), word.field(11, 4));
        let bytes = imm5 & imm5.wrapping_neg();
        if bytes != 4 && bytes != 8 {
            return word.undefined();
        }
        let (to, from) = (8 * (imm5 / (2 * bytes) * bytes), 8 * (imm4 / bytes * bytes));
        let mask = (1 << (8 * bytes)) - 1;
        let element = self.v[word.n() as usize] >> from & mask;
        let d = &mut self.v[word.d() as usize];
        *d = *d & !(mask << to) | element << to;
        Ok(())
    }
}

fn carryless(a: u64, b: u64) -> u128 {
    (0..64).filter(|&at| b >> at & 1 != 0).fold(0, |product, at| product ^ u128::from(a) << at)
}
