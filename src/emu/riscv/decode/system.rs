//! SYSTEM and MISC-MEM: privileged instructions, CSRs, fences and cache blocks.

use super::{CboOp, CsrOp, Instruction, Source, X, word::Word};

/// MISC-MEM. Fields of fences that are reserved are to be ignored (Unprivileged ISA, "Memory Ordering
/// Instructions" and "Zifencei").
pub(super) fn misc_mem(word: Word) -> Option<Instruction> {
    match word.funct3() {
        0b000 => Some(Instruction::Fence { before: word.bits(24, 4) as u8, after: word.bits(20, 4) as u8 }),
        0b001 => Some(Instruction::FenceI),
        0b010 if word.rd() == X::ZERO => {
            let op = match word.funct12() {
                0 => CboOp::Inval,
                1 => CboOp::Clean,
                2 => CboOp::Flush,
                4 => CboOp::Zero,
                _ => return None,
            };
            Some(Instruction::Cbo { op, rs1: word.rs1() })
        }
        _ => None,
    }
}

/// SYSTEM.
pub(super) fn system(word: Word) -> Option<Instruction> {
    let funct3 = word.funct3();
    let op = match funct3 & 0b11 {
        0b01 => CsrOp::Write,
        0b10 => CsrOp::Set,
        0b11 => CsrOp::Clear,
        _ if funct3 == 0 && word.rd() == X::ZERO => return privileged(word),
        _ => return None,
    };
    let source = match funct3 & 0b100 {
        0 => Source::X(word.rs1()),
        _ => Source::Imm(i32::from(word.rs1().number())),
    };
    Some(Instruction::Csr { op, number: word.funct12() as u16, rd: word.rd(), source })
}

/// Instructions without operands, and those with two sources and no destination.
fn privileged(word: Word) -> Option<Instruction> {
    let (rs1, rs2) = (word.rs1(), word.rs2());
    match word.funct7() {
        0b000_1001 => return Some(Instruction::SfenceVma { rs1, rs2 }),
        0b000_1011 => return Some(Instruction::SinvalVma { rs1, rs2 }),
        _ if rs1 != X::ZERO => return None,
        _ => {}
    }
    match word.funct12() {
        0x000 => Some(Instruction::Ecall),
        0x001 => Some(Instruction::Ebreak),
        0x00d => Some(Instruction::Wrs { short: false }),
        0x01d => Some(Instruction::Wrs { short: true }),
        0x102 => Some(Instruction::Sret),
        0x105 => Some(Instruction::Wfi),
        0x180 => Some(Instruction::SfenceWInval),
        0x181 => Some(Instruction::SfenceInvalIr),
        0x302 => Some(Instruction::Mret),
        _ => None,
    }
}
