//! RISC-V programs for tests: an assembler of as many instructions as they need (Unprivileged ISA, "RV32/64G Instruction Set
//! Listings"), with labels.

use alloc::{vec, vec::Vec};

/// An integer register.
pub type X = u32;
pub const ZERO: X = 0;
pub const RA: X = 1;
pub const SP: X = 2;
pub const T0: X = 5;
pub const T1: X = 6;
pub const T2: X = 7;
pub const S0: X = 8;
pub const S1: X = 9;
pub const A0: X = 10;
pub const A1: X = 11;
pub const A2: X = 12;

/// A floating-point register.
pub type F = u32;

const fn i(imm: i32, rs1: X, funct3: u32, rd: X, opcode: u32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub const fn r(funct7: u32, rs2: X, rs1: X, funct3: u32, rd: X, opcode: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn s(imm: i32, rs2: X, rs1: X, funct3: u32) -> u32 {
    let imm = imm as u32;
    r(imm >> 5 & 0x7f, rs2, rs1, funct3, imm & 31, 0x23)
}

pub const NOP: u32 = addi(ZERO, ZERO, 0);
pub const FENCE_I: u32 = 0x100f;
pub const MRET: u32 = 0x3020_0073;
pub const SRET: u32 = 0x1020_0073;
pub const ECALL: u32 = 0x73;
pub const EBREAK: u32 = 0x0010_0073;
pub const SFENCE_VMA: u32 = 0x1200_0073;

pub const fn addi(rd: X, rs1: X, imm: i32) -> u32 {
    i(imm, rs1, 0, rd, 0x13)
}

pub const fn andi(rd: X, rs1: X, imm: i32) -> u32 {
    i(imm, rs1, 7, rd, 0x13)
}

pub const fn slli(rd: X, rs1: X, amount: i32) -> u32 {
    i(amount, rs1, 1, rd, 0x13)
}

pub const fn srli(rd: X, rs1: X, amount: i32) -> u32 {
    i(amount, rs1, 5, rd, 0x13)
}

pub const fn ori(rd: X, rs1: X, imm: i32) -> u32 {
    i(imm, rs1, 6, rd, 0x13)
}

pub const fn add(rd: X, rs1: X, rs2: X) -> u32 {
    r(0, rs2, rs1, 0, rd, 0x33)
}

pub const fn sub(rd: X, rs1: X, rs2: X) -> u32 {
    r(0x20, rs2, rs1, 0, rd, 0x33)
}

pub const fn addw(rd: X, rs1: X, rs2: X) -> u32 {
    r(0, rs2, rs1, 0, rd, 0x3b)
}

pub const fn xor(rd: X, rs1: X, rs2: X) -> u32 {
    r(0, rs2, rs1, 4, rd, 0x33)
}

/// LB, LH, LW, LD, LBU, LHU, LWU: by `funct3`.
pub const fn load(funct3: u32, rd: X, rs1: X, imm: i32) -> u32 {
    i(imm, rs1, funct3, rd, 0x03)
}

/// SB, SH, SW, SD: by `funct3`.
pub const fn store(funct3: u32, rs2: X, rs1: X, imm: i32) -> u32 {
    s(imm, rs2, rs1, funct3)
}

pub const fn ld(rd: X, rs1: X, imm: i32) -> u32 {
    load(3, rd, rs1, imm)
}

pub const fn lw(rd: X, rs1: X, imm: i32) -> u32 {
    load(2, rd, rs1, imm)
}

pub const fn sd(rs2: X, rs1: X, imm: i32) -> u32 {
    store(3, rs2, rs1, imm)
}

pub const fn sw(rs2: X, rs1: X, imm: i32) -> u32 {
    store(2, rs2, rs1, imm)
}

pub const fn sb(rs2: X, rs1: X, imm: i32) -> u32 {
    store(0, rs2, rs1, imm)
}

pub const fn jalr(rd: X, rs1: X, imm: i32) -> u32 {
    i(imm, rs1, 0, rd, 0x67)
}

pub const RET: u32 = jalr(ZERO, RA, 0);

/// CSRRW.
pub const fn csrrw(rd: X, csr: u32, rs1: X) -> u32 {
    i(csr as i32, rs1, 1, rd, 0x73)
}

/// CSRRS.
pub const fn csrrs(rd: X, csr: u32, rs1: X) -> u32 {
    i(csr as i32, rs1, 2, rd, 0x73)
}

/// CSRRC.
pub const fn csrrc(rd: X, csr: u32, rs1: X) -> u32 {
    i(csr as i32, rs1, 3, rd, 0x73)
}

/// AMOADD.D and its like: by `funct5`.
pub const fn amo(funct5: u32, size: u32, rd: X, rs1: X, rs2: X) -> u32 {
    r(funct5 << 2, rs2, rs1, size, rd, 0x2f)
}

/// Floating point of 64 bits, with the dynamic rounding mode: FADD.D, FMUL.D.
pub const fn fadd(rd: F, rs1: F, rs2: F) -> u32 {
    r(0x01, rs2, rs1, 7, rd, 0x53)
}

pub const fn fmul(rd: F, rs1: F, rs2: F) -> u32 {
    r(0x09, rs2, rs1, 7, rd, 0x53)
}

/// FMV.D.X.
pub const fn fmv_to_float(rd: F, rs1: X) -> u32 {
    r(0x79, 0, rs1, 0, rd, 0x53)
}

/// FMV.X.D.
pub const fn fmv_to_integer(rd: X, rs1: F) -> u32 {
    r(0x71, 0, rs1, 0, rd, 0x53)
}

/// FLD.
pub const fn fld(rd: F, rs1: X, imm: i32) -> u32 {
    i(imm, rs1, 3, rd, 0x07)
}

/// FSD.
pub const fn fsd(rs2: F, rs1: X, imm: i32) -> u32 {
    s(imm, rs2, rs1, 3) | 4
}

/// Conditions of branches: `funct3`.
pub const EQ: u32 = 0;
pub const NE: u32 = 1;
pub const LT: u32 = 4;
pub const GEU: u32 = 7;

/// A place in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

#[derive(Debug, Clone, Copy)]
enum Fixup {
    Branch,
    Jump,
    /// AUIPC and ADDI.
    Address,
}

/// A program at an address.
#[derive(Debug, Clone)]
pub struct Program {
    base: u64,
    bytes: Vec<u8>,
    labels: Vec<Option<u64>>,
    fixups: Vec<(usize, Label, Fixup)>,
}

impl Program {
    pub const fn new(base: u64) -> Self {
        Self { base, bytes: vec![], labels: vec![], fixups: vec![] }
    }

    /// The address of what comes next.
    pub fn here(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub fn bind(&mut self, label: Label) -> &mut Self {
        self.labels[label.0] = Some(self.here());
        self
    }

    /// A label for what comes next.
    pub fn bound(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// Where a label is.
    pub fn address(&self, label: Label) -> u64 {
        self.labels[label.0].unwrap()
    }

    /// Goes on at a later address.
    pub fn skip_to(&mut self, address: u64) {
        let len = address.checked_sub(self.base).unwrap() as usize;
        assert!(len >= self.bytes.len());
        self.bytes.resize(len, 0);
    }

    pub fn half(&mut self, parcel: u16) -> &mut Self {
        self.bytes.extend(parcel.to_le_bytes());
        self
    }

    pub fn word(&mut self, word: u32) -> &mut Self {
        self.bytes.extend(word.to_le_bytes());
        self
    }

    pub fn words(&mut self, words: &[u32]) -> &mut Self {
        for &word in words {
            self.word(word);
        }
        self
    }

    fn fixup(&mut self, label: Label, fixup: Fixup) {
        self.fixups.push((self.bytes.len(), label, fixup));
    }

    pub fn branch(&mut self, condition: u32, rs1: X, rs2: X, to: Label) -> &mut Self {
        self.fixup(to, Fixup::Branch);
        self.word(r(0, rs2, rs1, condition, 0, 0x63))
    }

    pub fn jal(&mut self, rd: X, to: Label) -> &mut Self {
        self.fixup(to, Fixup::Jump);
        self.word(rd << 7 | 0x6f)
    }

    pub fn jump(&mut self, to: Label) -> &mut Self {
        self.jal(ZERO, to)
    }

    /// `rd` = the address of a label.
    pub fn la(&mut self, rd: X, to: Label) -> &mut Self {
        self.fixup(to, Fixup::Address);
        self.word(rd << 7 | 0x17).word(addi(rd, rd, 0))
    }

    /// `rd` = any number.
    pub fn li(&mut self, rd: X, value: u64) -> &mut Self {
        let value = value.cast_signed();
        let low = (value << 52 >> 52) as i32;
        if i64::from(value as i32) == value {
            let high = (value as i32).wrapping_sub(low) as u32;
            if high == 0 {
                return self.word(addi(rd, ZERO, low));
            }
            // LUI and ADDIW.
            return self.word(high | rd << 7 | 0x37).word(i(low, rd, 0, rd, 0x1b));
        }
        self.li(rd, (value.wrapping_sub(low.into()) >> 12).cast_unsigned());
        self.word(slli(rd, rd, 12)).word(addi(rd, rd, low))
    }

    /// Its bytes.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for &(at, label, fixup) in &self.fixups {
            let distance = self.address(label).wrapping_sub(self.base + at as u64) as i32;
            let d = distance as u32;
            let mut add = |at: usize, bits: u32| {
                let word: &mut [u8; 4] = (&mut bytes[at..at + 4]).try_into().unwrap();
                *word = (u32::from_le_bytes(*word) | bits).to_le_bytes();
            };
            match fixup {
                Fixup::Branch => {
                    assert!((-4096..4096).contains(&distance));
                    add(
                        at,
                        (d >> 12 & 1) << 31 | (d >> 5 & 63) << 25 | (d >> 1 & 15) << 8 | (d >> 11 & 1) << 7,
                    );
                }
                Fixup::Jump => {
                    assert!((-1 << 20..1 << 20).contains(&distance));
                    let high = (d >> 20 & 1) << 31 | (d >> 1 & 0x3ff) << 21;
                    add(at, high | (d >> 11 & 1) << 20 | (d >> 12 & 0xff) << 12);
                }
                Fixup::Address => {
                    let low = distance << 20 >> 20;
                    add(at, distance.wrapping_sub(low) as u32);
                    add(at + 4, (low as u32) << 20);
                }
            }
        }
        bytes
    }
}
