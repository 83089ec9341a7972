//! What RISC-V instructions are: RV64GC, Zba, Zbb, Zbc, Zbs, Zicond, Zicbom, Zicbop, Zicboz, Zawrs, Zfa,
//! Svinval, and the hints Zihintntl and Zihintpause.
//!
//! [`decode`] takes a word apart into an [`Instruction`]; what that does is the lifter's matter. Instructions
//! that do the same to different formats or operands are one variant. Encodings are those of the RISC-V
//! Unprivileged ISA 20240411, "RV32/64G Instruction Set Listings" and the chapters of the extensions, and of
//! the Privileged ISA. Reserved encodings are no instructions; hints are the instructions that they are
//! encoded as.

mod base;
mod compressed;
mod float;
mod names;
mod register;
mod system;
#[cfg(test)]
mod tests;
mod text;
mod word;

pub use names::{Op, Unary};
pub use register::{F, X};

use crate::ir::{AtomicOp, Condition, FloatOp, Format, Order};
use crate::memory::Size;
use word::Word;

/// An instruction. Immediates are as they are used: shifted and sign-extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named as in the specification")]
pub enum Instruction {
    Lui {
        rd: X,
        imm: i32,
    },
    Auipc {
        rd: X,
        imm: i32,
    },
    Jal {
        rd: X,
        offset: i32,
    },
    Jalr {
        rd: X,
        rs1: X,
        offset: i32,
    },
    /// BEQ, BNE, BLT, BGE, BLTU, BGEU.
    Branch {
        condition: Condition,
        rs1: X,
        rs2: X,
        offset: i32,
    },
    /// LB, LH, LW, LD, LBU, LHU, LWU.
    Load {
        size: Size,
        signed: bool,
        rd: X,
        rs1: X,
        offset: i32,
    },
    /// SB, SH, SW, SD.
    Store {
        size: Size,
        rs1: X,
        rs2: X,
        offset: i32,
    },
    /// An integer operation on two operands.
    Op {
        op: Op,
        rd: X,
        rs1: X,
        source: Source,
    },
    /// An integer operation on one operand.
    Unary {
        op: Unary,
        rd: X,
        rs1: X,
    },
    /// LR.W, LR.D.
    LoadReserved {
        size: Size,
        order: Order,
        rd: X,
        rs1: X,
    },
    /// SC.W, SC.D.
    StoreConditional {
        size: Size,
        order: Order,
        rd: X,
        rs1: X,
        rs2: X,
    },
    /// AMOSWAP and its like.
    Amo {
        op: AtomicOp,
        size: Size,
        order: Order,
        rd: X,
        rs1: X,
        rs2: X,
    },
    /// FENCE, whatever it says of I and O; with an empty set on one side it is a hint.
    Fence {
        before: u8,
        after: u8,
    },
    FenceI,
    Ecall,
    Ebreak,
    Mret,
    Sret,
    Wfi,
    /// WRS.NTO and WRS.STO.
    Wrs {
        short: bool,
    },
    SfenceVma {
        rs1: X,
        rs2: X,
    },
    SinvalVma {
        rs1: X,
        rs2: X,
    },
    SfenceWInval,
    SfenceInvalIr,
    /// CSRRW and its like; their number is the CSR's.
    Csr {
        op: CsrOp,
        number: u16,
        rd: X,
        source: Source,
    },
    Cbo {
        op: CboOp,
        rs1: X,
    },
    /// FLW, FLD.
    FloatLoad {
        format: Format,
        rd: F,
        rs1: X,
        offset: i32,
    },
    /// FSW, FSD.
    FloatStore {
        format: Format,
        rs1: X,
        rs2: F,
        offset: i32,
    },
    /// From floating-point registers to one; of the sources, as many count as the operation has operands.
    FloatCompute {
        op: FloatOp,
        rounding: Rounding,
        rd: F,
        sources: [F; 3],
    },
    /// Conversions to integers, comparisons and FCLASS: from floating-point registers to an integer register.
    FloatToX {
        op: FloatOp,
        rounding: Rounding,
        rd: X,
        sources: [F; 2],
    },
    /// Conversions from integers.
    FloatFromX {
        op: FloatOp,
        rounding: Rounding,
        rd: F,
        rs1: X,
    },
    /// FSGNJ, FSGNJN, FSGNJX.
    FloatSign {
        op: SignOp,
        format: Format,
        rd: F,
        rs1: F,
        rs2: F,
    },
    /// FMV.X.W, FMV.X.D.
    MoveToX {
        format: Format,
        rd: X,
        rs1: F,
    },
    /// FMV.W.X, FMV.D.X.
    MoveFromX {
        format: Format,
        rd: F,
        rs1: X,
    },
    /// FLI.S, FLI.D; the index is below 32.
    FloatConstant {
        format: Format,
        rd: F,
        index: u8,
    },
}

/// The second operand of an integer operation, or what a CSR is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A register.
    X(X),
    /// A constant.
    Imm(i32),
}

/// What a CSR instruction does with its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CsrOp {
    Write,
    Set,
    Clear,
}

/// What happens to a cache block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CboOp {
    Inval,
    Clean,
    Flush,
    Zero,
}

/// Where the sign of FSGNJ's result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOp {
    /// FSGNJ: of the second operand.
    Copy,
    /// FSGNJN: the opposite of that.
    Negate,
    /// FSGNJX: both operands', by exclusive or.
    Xor,
}

/// A rounding mode as instructions encode it (Unprivileged ISA, "Floating-Point Control and Status
/// Register"); never a reserved one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounding(u8);

impl Rounding {
    /// That of operations which do not round.
    pub const NONE: Self = Self(0);
    /// Towards zero.
    pub const TOWARD_ZERO: Self = Self(1);
    /// The register `frm` has it.
    pub const DYNAMIC: Self = Self(7);

    /// The encoding: at most 7.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// `None`: the encoding is reserved.
    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0..=4 | 7 => Some(Self(bits)),
            _ => None,
        }
    }
}

/// How many bytes the instruction has that begins with these 16 bits: 2 or 4. What encodes a longer one
/// counts as 4, as no longer ones exist here.
pub const fn length(parcel: u16) -> u64 {
    if parcel & 3 == 3 { 4 } else { 2 }
}

/// The instruction in the low 16 bits of `word`, or in all of them, as [`length`] says. `None`: it is
/// illegal.
pub fn decode(word: u32) -> Option<Instruction> {
    match length(word as u16) {
        2 => compressed::decode(word as u16),
        _ => decode_full(Word(word)),
    }
}

/// An instruction of 32 bits: by its major opcode (Unprivileged ISA, "RISC-V base opcode map").
fn decode_full(word: Word) -> Option<Instruction> {
    match word.opcode() {
        0b00_000 => base::load(word),
        0b00_001 => float::load(word),
        0b00_011 => system::misc_mem(word),
        0b00_100 => base::op_imm(word),
        0b00_101 => Some(Instruction::Auipc { rd: word.rd(), imm: word.imm_u() }),
        0b00_110 => base::op_imm_32(word),
        0b01_000 => base::store(word),
        0b01_001 => float::store(word),
        0b01_011 => base::amo(word),
        0b01_100 => base::op(word),
        0b01_101 => Some(Instruction::Lui { rd: word.rd(), imm: word.imm_u() }),
        0b01_110 => base::op_32(word),
        0b10_000..=0b10_011 => float::fused(word),
        0b10_100 => float::op(word),
        0b11_000 => base::branch(word),
        0b11_001 if word.funct3() == 0 => {
            Some(Instruction::Jalr { rd: word.rd(), rs1: word.rs1(), offset: word.imm_i() })
        }
        0b11_011 => Some(Instruction::Jal { rd: word.rd(), offset: word.imm_j() }),
        0b11_100 => system::system(word),
        _ => None,
    }
}
