//! Integer instructions: RV64IMA, Zba, Zbb, Zbc, Zbs, Zicond.

use super::{Instruction, Op, Source, Unary, X, word::Word};
use crate::ir::{AtomicOp, Condition, Order};
use crate::memory::Size;

/// LOAD.
pub(super) fn load(word: Word) -> Option<Instruction> {
    let (size, signed) = match word.funct3() {
        0b000 => (Size::Byte, true),
        0b001 => (Size::Half, true),
        0b010 => (Size::Word, true),
        0b011 => (Size::Double, true),
        0b100 => (Size::Byte, false),
        0b101 => (Size::Half, false),
        0b110 => (Size::Word, false),
        _ => return None,
    };
    Some(Instruction::Load { size, signed, rd: word.rd(), rs1: word.rs1(), offset: word.imm_i() })
}

/// STORE.
pub(super) fn store(word: Word) -> Option<Instruction> {
    let size = match word.funct3() {
        0b000 => Size::Byte,
        0b001 => Size::Half,
        0b010 => Size::Word,
        0b011 => Size::Double,
        _ => return None,
    };
    Some(Instruction::Store { size, rs1: word.rs1(), rs2: word.rs2(), offset: word.imm_s() })
}

/// BRANCH.
pub(super) fn branch(word: Word) -> Option<Instruction> {
    let condition = match word.funct3() {
        0b000 => Condition::Equal,
        0b001 => Condition::NotEqual,
        0b100 => Condition::Less,
        0b101 => Condition::GreaterEqual,
        0b110 => Condition::Below,
        0b111 => Condition::AboveEqual,
        _ => return None,
    };
    Some(Instruction::Branch { condition, rs1: word.rs1(), rs2: word.rs2(), offset: word.imm_b() })
}

/// OP.
pub(super) fn op(word: Word) -> Option<Instruction> {
    let op = match (word.funct7(), word.funct3()) {
        (0b000_0000, 0b000) => Op::Add,
        (0b000_0000, 0b001) => Op::Sll,
        (0b000_0000, 0b010) => Op::Slt,
        (0b000_0000, 0b011) => Op::Sltu,
        (0b000_0000, 0b100) => Op::Xor,
        (0b000_0000, 0b101) => Op::Srl,
        (0b000_0000, 0b110) => Op::Or,
        (0b000_0000, 0b111) => Op::And,
        (0b000_0001, 0b000) => Op::Mul,
        (0b000_0001, 0b001) => Op::Mulh,
        (0b000_0001, 0b010) => Op::Mulhsu,
        (0b000_0001, 0b011) => Op::Mulhu,
        (0b000_0001, 0b100) => Op::Div,
        (0b000_0001, 0b101) => Op::Divu,
        (0b000_0001, 0b110) => Op::Rem,
        (0b000_0001, 0b111) => Op::Remu,
        (0b000_0101, 0b001) => Op::Clmul,
        (0b000_0101, 0b010) => Op::Clmulr,
        (0b000_0101, 0b011) => Op::Clmulh,
        (0b000_0101, 0b100) => Op::Min,
        (0b000_0101, 0b101) => Op::Minu,
        (0b000_0101, 0b110) => Op::Max,
        (0b000_0101, 0b111) => Op::Maxu,
        (0b000_0111, 0b101) => Op::CzeroEqz,
        (0b000_0111, 0b111) => Op::CzeroNez,
        (0b001_0000, 0b010) => Op::Sh1add,
        (0b001_0000, 0b100) => Op::Sh2add,
        (0b001_0000, 0b110) => Op::Sh3add,
        (0b001_0100, 0b001) => Op::Bset,
        (0b010_0000, 0b000) => Op::Sub,
        (0b010_0000, 0b100) => Op::Xnor,
        (0b010_0000, 0b101) => Op::Sra,
        (0b010_0000, 0b110) => Op::Orn,
        (0b010_0000, 0b111) => Op::Andn,
        (0b010_0100, 0b001) => Op::Bclr,
        (0b010_0100, 0b101) => Op::Bext,
        (0b011_0000, 0b001) => Op::Rol,
        (0b011_0000, 0b101) => Op::Ror,
        (0b011_0100, 0b001) => Op::Binv,
        _ => return None,
    };
    Some(registers(op, word))
}

/// OP-32.
pub(super) fn op_32(word: Word) -> Option<Instruction> {
    let op = match (word.funct7(), word.funct3()) {
        (0b000_0000, 0b000) => Op::Addw,
        (0b000_0000, 0b001) => Op::Sllw,
        (0b000_0000, 0b101) => Op::Srlw,
        (0b000_0001, 0b000) => Op::Mulw,
        (0b000_0001, 0b100) => Op::Divw,
        (0b000_0001, 0b101) => Op::Divuw,
        (0b000_0001, 0b110) => Op::Remw,
        (0b000_0001, 0b111) => Op::Remuw,
        (0b000_0100, 0b000) => Op::AddUw,
        (0b000_0100, 0b100) if word.rs2() == X::ZERO => return Some(unary(Unary::ZextH, word)),
        (0b001_0000, 0b010) => Op::Sh1addUw,
        (0b001_0000, 0b100) => Op::Sh2addUw,
        (0b001_0000, 0b110) => Op::Sh3addUw,
        (0b010_0000, 0b000) => Op::Subw,
        (0b010_0000, 0b101) => Op::Sraw,
        (0b011_0000, 0b001) => Op::Rolw,
        (0b011_0000, 0b101) => Op::Rorw,
        _ => return None,
    };
    Some(registers(op, word))
}

/// OP-IMM.
pub(super) fn op_imm(word: Word) -> Option<Instruction> {
    // Shifts have 6 bits of immediate, and a function above them.
    let shift = word.bits(20, 6) as i32;
    let (op, imm) = match (word.funct3(), word.bits(26, 6)) {
        (0b000, _) => (Op::Add, word.imm_i()),
        (0b010, _) => (Op::Slt, word.imm_i()),
        (0b011, _) => (Op::Sltu, word.imm_i()),
        (0b100, _) => (Op::Xor, word.imm_i()),
        (0b110, _) => (Op::Or, word.imm_i()),
        (0b111, _) => (Op::And, word.imm_i()),
        (0b001, 0b00_0000) => (Op::Sll, shift),
        (0b001, 0b00_1010) => (Op::Bset, shift),
        (0b001, 0b01_0010) => (Op::Bclr, shift),
        (0b001, 0b01_1010) => (Op::Binv, shift),
        (0b101, 0b00_0000) => (Op::Srl, shift),
        (0b101, 0b01_0000) => (Op::Sra, shift),
        (0b101, 0b01_0010) => (Op::Bext, shift),
        (0b101, 0b01_1000) => (Op::Ror, shift),
        (funct3, _) => {
            let op = match (funct3, word.funct7(), word.rs2().number()) {
                (0b001, 0b011_0000, 0) => Unary::Clz,
                (0b001, 0b011_0000, 1) => Unary::Ctz,
                (0b001, 0b011_0000, 2) => Unary::Cpop,
                (0b001, 0b011_0000, 4) => Unary::SextB,
                (0b001, 0b011_0000, 5) => Unary::SextH,
                (0b101, 0b001_0100, 7) => Unary::OrcB,
                (0b101, 0b011_0101, 24) => Unary::Rev8,
                _ => return None,
            };
            return Some(unary(op, word));
        }
    };
    Some(immediate(op, word, imm))
}

/// OP-IMM-32.
pub(super) fn op_imm_32(word: Word) -> Option<Instruction> {
    let shift = word.bits(20, 5) as i32;
    let (op, imm) = match (word.funct3(), word.funct7()) {
        (0b000, _) => (Op::Addw, word.imm_i()),
        (0b001, 0b000_0000) => (Op::Sllw, shift),
        (0b001, 0b000_0100 | 0b000_0101) => (Op::SllUw, word.bits(20, 6) as i32),
        (0b101, 0b000_0000) => (Op::Srlw, shift),
        (0b101, 0b010_0000) => (Op::Sraw, shift),
        (0b101, 0b011_0000) => (Op::Rorw, shift),
        (0b001, 0b011_0000) => {
            let op = match shift {
                0 => Unary::Clzw,
                1 => Unary::Ctzw,
                2 => Unary::Cpopw,
                _ => return None,
            };
            return Some(unary(op, word));
        }
        _ => return None,
    };
    Some(immediate(op, word, imm))
}

/// AMO.
pub(super) fn amo(word: Word) -> Option<Instruction> {
    let size = match word.funct3() {
        0b010 => Size::Word,
        0b011 => Size::Double,
        _ => return None,
    };
    let order = match word.bits(25, 2) {
        0b00 => Order::Relaxed,
        0b01 => Order::Release,
        0b10 => Order::Acquire,
        _ => Order::AcquireRelease,
    };
    let (rd, rs1, rs2) = (word.rd(), word.rs1(), word.rs2());
    let op = match word.bits(27, 5) {
        0b00000 => AtomicOp::Add,
        0b00001 => AtomicOp::Swap,
        0b00010 if rs2 == X::ZERO => return Some(Instruction::LoadReserved { size, order, rd, rs1 }),
        0b00011 => return Some(Instruction::StoreConditional { size, order, rd, rs1, rs2 }),
        0b00100 => AtomicOp::Xor,
        0b01000 => AtomicOp::Or,
        0b01100 => AtomicOp::And,
        0b10000 => AtomicOp::Min,
        0b10100 => AtomicOp::Max,
        0b11000 => AtomicOp::MinUnsigned,
        0b11100 => AtomicOp::MaxUnsigned,
        _ => return None,
    };
    Some(Instruction::Amo { op, size, order, rd, rs1, rs2 })
}

fn registers(op: Op, word: Word) -> Instruction {
    Instruction::Op { op, rd: word.rd(), rs1: word.rs1(), source: Source::X(word.rs2()) }
}

fn immediate(op: Op, word: Word, imm: i32) -> Instruction {
    Instruction::Op { op, rd: word.rd(), rs1: word.rs1(), source: Source::Imm(imm) }
}

fn unary(op: Unary, word: Word) -> Instruction {
    Instruction::Unary { op, rd: word.rd(), rs1: word.rs1() }
}
