//! Floating-point instructions: F, D, Zfa.

use super::{Instruction, Rounding, SignOp, word::Word};
use crate::ir::{FloatKind, FloatOp, Format, Integer};

/// LOAD-FP.
pub(super) fn load(word: Word) -> Option<Instruction> {
    let format = width(word)?;
    Some(Instruction::FloatLoad { format, rd: word.fd(), rs1: word.rs1(), offset: word.imm_i() })
}

/// STORE-FP.
pub(super) fn store(word: Word) -> Option<Instruction> {
    let format = width(word)?;
    Some(Instruction::FloatStore { format, rs1: word.rs1(), rs2: word.fs2(), offset: word.imm_s() })
}

/// MADD, MSUB, NMSUB, NMADD. The specification's FNMADD is -(a * b) - c, its FNMSUB -(a * b) + c.
pub(super) fn fused(word: Word) -> Option<Instruction> {
    let kind = match word.opcode() & 0b11 {
        0b00 => FloatKind::MulAdd,
        0b01 => FloatKind::MulSub,
        0b10 => FloatKind::NegMulAdd,
        _ => FloatKind::NegMulSub,
    };
    compute(word, kind, rounding(word)?)
}

/// OP-FP.
pub(super) fn op(word: Word) -> Option<Instruction> {
    let format = format(word)?;
    let rm = word.funct3();
    match (word.bits(27, 5), word.bits(20, 5)) {
        (0b00000, _) => compute(word, FloatKind::Add, rounding(word)?),
        (0b00001, _) => compute(word, FloatKind::Sub, rounding(word)?),
        (0b00010, _) => compute(word, FloatKind::Mul, rounding(word)?),
        (0b00011, _) => compute(word, FloatKind::Div, rounding(word)?),
        (0b01011, 0) => compute(word, FloatKind::Sqrt, rounding(word)?),
        (0b00100, _) => {
            let op = match rm {
                0b000 => SignOp::Copy,
                0b001 => SignOp::Negate,
                0b010 => SignOp::Xor,
                _ => return None,
            };
            Some(Instruction::FloatSign { op, format, rd: word.fd(), rs1: word.fs1(), rs2: word.fs2() })
        }
        (0b00101, _) => {
            let kind = match rm {
                0b000 => FloatKind::Min,
                0b001 => FloatKind::Max,
                0b010 => FloatKind::MinNan,
                0b011 => FloatKind::MaxNan,
                _ => return None,
            };
            compute(word, kind, Rounding::NONE)
        }
        // From the format that is numbered like rs2.
        (0b01000, 0b00000) if format == Format::Double => compute(word, FloatKind::Convert, rounding(word)?),
        (0b01000, 0b00001) if format == Format::Single => compute(word, FloatKind::Convert, rounding(word)?),
        (0b01000, 0b00100) => compute(word, FloatKind::Round, rounding(word)?),
        (0b01000, 0b00101) => compute(word, FloatKind::RoundExact, rounding(word)?),
        (0b10100, _) => {
            let kind = match rm {
                0b000 => FloatKind::LessEqual,
                0b001 => FloatKind::Less,
                0b010 => FloatKind::Equal,
                0b100 => FloatKind::LessEqualQuiet,
                0b101 => FloatKind::LessQuiet,
                _ => return None,
            };
            to_x(word, kind, Rounding::NONE)
        }
        (0b11000, 0b01000) if format == Format::Double && rm == 0b001 => {
            to_x(word, FloatKind::ToIntegerModulo, Rounding::TOWARD_ZERO)
        }
        (0b11000, of) => to_x(word, FloatKind::ToInteger(integer(of)?), rounding(word)?),
        (0b11010, of) => {
            let op = FloatOp { kind: FloatKind::FromInteger(integer(of)?), format };
            Some(Instruction::FloatFromX { op, rounding: rounding(word)?, rd: word.fd(), rs1: word.rs1() })
        }
        (0b11100, 0) => match rm {
            0b000 => Some(Instruction::MoveToX { format, rd: word.rd(), rs1: word.fs1() }),
            0b001 => to_x(word, FloatKind::Classify, Rounding::NONE),
            _ => None,
        },
        (0b11110, 0) if rm == 0 => Some(Instruction::MoveFromX { format, rd: word.fd(), rs1: word.rs1() }),
        (0b11110, 1) if rm == 0 => {
            Some(Instruction::FloatConstant { format, rd: word.fd(), index: word.fs1().number() })
        }
        _ => None,
    }
}

/// The format in the field `width` of loads and stores; others are those of vectors, halves and quads.
fn width(word: Word) -> Option<Format> {
    match word.funct3() {
        0b010 => Some(Format::Single),
        0b011 => Some(Format::Double),
        _ => None,
    }
}

/// The format in the field `fmt`.
fn format(word: Word) -> Option<Format> {
    match word.bits(25, 2) {
        0b00 => Some(Format::Single),
        0b01 => Some(Format::Double),
        _ => None,
    }
}

fn rounding(word: Word) -> Option<Rounding> {
    Rounding::from_bits(word.funct3() as u8)
}

/// The integer that rs2 numbers in conversions.
fn integer(number: u32) -> Option<Integer> {
    match number {
        0 => Some(Integer::I32),
        1 => Some(Integer::U32),
        2 => Some(Integer::I64),
        3 => Some(Integer::U64),
        _ => None,
    }
}

fn compute(word: Word, kind: FloatKind, rounding: Rounding) -> Option<Instruction> {
    let op = FloatOp { kind, format: format(word)? };
    let sources = [word.fs1(), word.fs2(), word.fs3()];
    Some(Instruction::FloatCompute { op, rounding, rd: word.fd(), sources })
}

fn to_x(word: Word, kind: FloatKind, rounding: Rounding) -> Option<Instruction> {
    let op = FloatOp { kind, format: format(word)? };
    Some(Instruction::FloatToX { op, rounding, rd: word.rd(), sources: [word.fs1(), word.fs2()] })
}
