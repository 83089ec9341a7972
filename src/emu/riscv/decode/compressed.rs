//! Instructions of 16 bits: what they stand for (Unprivileged ISA, "C" Extension for Compressed Instructions;
//! its "RVC Instruction Set Listings" is the table).

use super::{F, Instruction, Op, Source, X};
use crate::ir::{Condition, Format};
use crate::memory::Size;

/// The instruction that `parcel`, whose low two bits are not both ones, stands for. `None`: it is illegal.
pub(super) fn decode(parcel: u16) -> Option<Instruction> {
    let parcel = Parcel(parcel);
    match parcel.bits(0, 2) {
        0b00 => quadrant_0(parcel),
        0b01 => quadrant_1(parcel),
        _ => quadrant_2(parcel),
    }
}

fn quadrant_0(parcel: Parcel) -> Option<Instruction> {
    let (base, data) = (parcel.short_x(7), parcel.short_x(2));
    let (word, double) = (parcel.offset_word(), parcel.offset_double());
    Some(match parcel.funct3() {
        // C.ADDI4SPN; all zeros is the one defined illegal instruction.
        0b000 => {
            let imm = parcel.scatter(&[(5, 1, 3), (6, 1, 2), (7, 4, 6), (11, 2, 4)]);
            op_imm(Op::Add, data, X::SP, nonzero(imm)?)
        }
        0b001 => Instruction::FloatLoad {
            format: Format::Double,
            rd: parcel.short_f(2),
            rs1: base,
            offset: double,
        },
        0b010 => load(Size::Word, data, base, word),
        0b011 => load(Size::Double, data, base, double),
        0b101 => Instruction::FloatStore {
            format: Format::Double,
            rs1: base,
            rs2: parcel.short_f(2),
            offset: double,
        },
        0b110 => store(Size::Word, base, data, word),
        0b111 => store(Size::Double, base, data, double),
        _ => return None,
    })
}

fn quadrant_1(parcel: Parcel) -> Option<Instruction> {
    let (rd, imm) = (parcel.x(7), parcel.imm());
    Some(match parcel.funct3() {
        0b000 => op_imm(Op::Add, rd, rd, imm),
        0b001 if rd == X::ZERO => return None,
        0b001 => op_imm(Op::Addw, rd, rd, imm),
        0b010 => op_imm(Op::Add, rd, X::ZERO, imm),
        // C.ADDI16SP.
        0b011 if rd == X::SP => {
            let low = parcel.scatter(&[(2, 1, 5), (3, 2, 7), (5, 1, 6), (6, 1, 4)]);
            op_imm(Op::Add, X::SP, X::SP, nonzero(low | parcel.sign(12, 9))?)
        }
        // C.LUI.
        0b011 => Instruction::Lui { rd, imm: nonzero(imm)? << 12 },
        0b100 => return arithmetic(parcel),
        0b101 => {
            let low = parcel.scatter(&[
                (2, 1, 5),
                (3, 3, 1),
                (6, 1, 7),
                (7, 1, 6),
                (8, 1, 10),
                (9, 2, 8),
                (11, 1, 4),
            ]);
            Instruction::Jal { rd: X::ZERO, offset: low | parcel.sign(12, 11) }
        }
        zero_or_not => {
            let low = parcel.scatter(&[(2, 1, 5), (3, 2, 1), (5, 2, 6), (10, 2, 3)]);
            Instruction::Branch {
                condition: if zero_or_not == 0b110 { Condition::Equal } else { Condition::NotEqual },
                rs1: parcel.short_x(7),
                rs2: X::ZERO,
                offset: low | parcel.sign(12, 8),
            }
        }
    })
}

/// The MISC-ALU group of quadrant 1.
fn arithmetic(parcel: Parcel) -> Option<Instruction> {
    let rd = parcel.short_x(7);
    let op = match (parcel.bits(10, 2), parcel.bits(12, 1), parcel.bits(5, 2)) {
        (0b00, ..) => return Some(op_imm(Op::Srl, rd, rd, parcel.shift())),
        (0b01, ..) => return Some(op_imm(Op::Sra, rd, rd, parcel.shift())),
        (0b10, ..) => return Some(op_imm(Op::And, rd, rd, parcel.imm())),
        (_, 0, 0b00) => Op::Sub,
        (_, 0, 0b01) => Op::Xor,
        (_, 0, 0b10) => Op::Or,
        (_, 0, _) => Op::And,
        (_, _, 0b00) => Op::Subw,
        (_, _, 0b01) => Op::Addw,
        _ => return None,
    };
    Some(Instruction::Op { op, rd, rs1: rd, source: Source::X(parcel.short_x(2)) })
}

fn quadrant_2(parcel: Parcel) -> Option<Instruction> {
    let (rd, rs2) = (parcel.x(7), parcel.x(2));
    let load_double = parcel.scatter(&[(2, 3, 6), (5, 2, 3), (12, 1, 5)]);
    let store_double = parcel.scatter(&[(7, 3, 6), (10, 3, 3)]);
    Some(match parcel.funct3() {
        0b000 => op_imm(Op::Sll, rd, rd, parcel.shift()),
        0b001 => Instruction::FloatLoad {
            format: Format::Double,
            rd: F::new(rd.number()),
            rs1: X::SP,
            offset: load_double,
        },
        0b010 | 0b011 if rd == X::ZERO => return None,
        0b010 => load(Size::Word, rd, X::SP, parcel.scatter(&[(2, 2, 6), (4, 3, 2), (12, 1, 5)])),
        0b011 => load(Size::Double, rd, X::SP, load_double),
        0b100 => match (parcel.bits(12, 1), rd, rs2) {
            (0, X::ZERO, X::ZERO) => return None,
            (0, rs1, X::ZERO) => Instruction::Jalr { rd: X::ZERO, rs1, offset: 0 },
            (0, ..) => Instruction::Op { op: Op::Add, rd, rs1: X::ZERO, source: Source::X(rs2) },
            (_, X::ZERO, X::ZERO) => Instruction::Ebreak,
            (_, rs1, X::ZERO) => Instruction::Jalr { rd: X::RA, rs1, offset: 0 },
            _ => Instruction::Op { op: Op::Add, rd, rs1: rd, source: Source::X(rs2) },
        },
        0b101 => Instruction::FloatStore {
            format: Format::Double,
            rs1: X::SP,
            rs2: F::new(rs2.number()),
            offset: store_double,
        },
        0b110 => store(Size::Word, X::SP, rs2, parcel.scatter(&[(7, 2, 6), (9, 4, 2)])),
        _ => store(Size::Double, X::SP, rs2, store_double),
    })
}

fn op_imm(op: Op, rd: X, rs1: X, imm: i32) -> Instruction {
    Instruction::Op { op, rd, rs1, source: Source::Imm(imm) }
}

fn load(size: Size, rd: X, rs1: X, offset: i32) -> Instruction {
    Instruction::Load { size, signed: true, rd, rs1, offset }
}

fn store(size: Size, rs1: X, rs2: X, offset: i32) -> Instruction {
    Instruction::Store { size, rs1, rs2, offset }
}

/// Zero is reserved where an immediate is called `nzimm`.
fn nonzero(imm: i32) -> Option<i32> {
    (imm != 0).then_some(imm)
}

/// An instruction of 16 bits.
#[derive(Clone, Copy)]
struct Parcel(u16);

impl Parcel {
    /// Bits `from` and up, `count` of them.
    const fn bits(self, from: u32, count: u32) -> u32 {
        (self.0 as u32) >> from & ((1 << count) - 1)
    }

    const fn funct3(self) -> u32 {
        self.bits(13, 3)
    }

    /// The integer register whose number is in bits `from` and up.
    const fn x(self, from: u32) -> X {
        X::new(self.bits(from, 5) as u8)
    }

    /// The integer register whose number, of three bits, is in bits `from` and up: x8 to x15.
    const fn short_x(self, from: u32) -> X {
        X::new(8 + self.bits(from, 3) as u8)
    }

    /// The floating-point register whose number, of three bits, is in bits `from` and up: f8 to f15.
    const fn short_f(self, from: u32) -> F {
        F::new(8 + self.bits(from, 3) as u8)
    }

    /// An immediate in pieces: of each its first bit here, how many bits it has, and its first bit in the
    /// immediate.
    fn scatter(self, pieces: &[(u32, u32, u32)]) -> i32 {
        pieces.iter().fold(0, |imm, &(from, count, to)| imm | (self.bits(from, count) << to) as i32)
    }

    /// Bit `from` as the sign of an immediate, whose bit `to` it is.
    const fn sign(self, from: u32, to: u32) -> i32 {
        -(self.bits(from, 1) as i32) << to
    }

    /// The immediate of six bits, sign-extended.
    fn imm(self) -> i32 {
        self.bits(2, 5) as i32 | self.sign(12, 5)
    }

    /// The amount of a shift.
    fn shift(self) -> i32 {
        self.imm() & 63
    }

    /// The offset of C.LW and C.SW.
    fn offset_word(self) -> i32 {
        self.scatter(&[(5, 1, 6), (6, 1, 2), (10, 3, 3)])
    }

    /// The offset of C.LD, C.SD, C.FLD and C.FSD.
    fn offset_double(self) -> i32 {
        self.scatter(&[(5, 2, 6), (10, 3, 3)])
    }
}
