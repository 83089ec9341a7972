//! Instructions as assemblers write them, without aliases; `. + 8` is 8 bytes behind the instruction's own
//! address.

use core::fmt;

use super::{CboOp, CsrOp, Instruction, Rounding, SignOp, Source};
use crate::ir::{AtomicOp, Condition, FloatKind, FloatOp, Format, Integer, Order};
use crate::memory::Size;

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Lui { rd, imm } => write!(f, "lui {rd}, {:#x}", imm as u32 >> 12),
            Self::Auipc { rd, imm } => write!(f, "auipc {rd}, {:#x}", imm as u32 >> 12),
            Self::Jal { rd, offset } => write!(f, "jal {rd}, {}", Target(offset)),
            Self::Jalr { rd, rs1, offset } => write!(f, "jalr {rd}, {offset}({rs1})"),
            Self::Branch { condition, rs1, rs2, offset } => {
                write!(f, "{} {rs1}, {rs2}, {}", branch(condition), Target(offset))
            }
            Self::Load { size, signed, rd, rs1, offset } => {
                let unsigned = if signed { "" } else { "u" };
                write!(f, "l{}{unsigned} {rd}, {offset}({rs1})", letter(size))
            }
            Self::Store { size, rs1, rs2, offset } => write!(f, "s{} {rs2}, {offset}({rs1})", letter(size)),
            Self::Op { op, rd, rs1, source: Source::X(rs2) } => {
                write!(f, "{} {rd}, {rs1}, {rs2}", op.mnemonic())
            }
            Self::Op { op, rd, rs1, source: Source::Imm(imm) } => {
                write!(f, "{} {rd}, {rs1}, {imm}", op.immediate_mnemonic())
            }
            Self::Unary { op, rd, rs1 } => write!(f, "{} {rd}, {rs1}", op.mnemonic()),
            Self::LoadReserved { size, order, rd, rs1 } => {
                write!(f, "lr.{}{} {rd}, ({rs1})", letter(size), suffix(order))
            }
            Self::StoreConditional { size, order, rd, rs1, rs2 } => {
                write!(f, "sc.{}{} {rd}, {rs2}, ({rs1})", letter(size), suffix(order))
            }
            Self::Amo { op, size, order, rd, rs1, rs2 } => {
                write!(f, "amo{}.{}{} {rd}, {rs2}, ({rs1})", atomic(op), letter(size), suffix(order))
            }
            Self::Fence { before, after } => write!(f, "fence {}, {}", Set(before), Set(after)),
            Self::FenceI => f.write_str("fence.i"),
            Self::Ecall => f.write_str("ecall"),
            Self::Ebreak => f.write_str("ebreak"),
            Self::Mret => f.write_str("mret"),
            Self::Sret => f.write_str("sret"),
            Self::Wfi => f.write_str("wfi"),
            Self::Wrs { short: false } => f.write_str("wrs.nto"),
            Self::Wrs { short: true } => f.write_str("wrs.sto"),
            Self::SfenceVma { rs1, rs2 } => write!(f, "sfence.vma {rs1}, {rs2}"),
            Self::SinvalVma { rs1, rs2 } => write!(f, "sinval.vma {rs1}, {rs2}"),
            Self::SfenceWInval => f.write_str("sfence.w.inval"),
            Self::SfenceInvalIr => f.write_str("sfence.inval.ir"),
            Self::Csr { op, number, rd, source } => {
                let op = match op {
                    CsrOp::Write => "w",
                    CsrOp::Set => "s",
                    CsrOp::Clear => "c",
                };
                match source {
                    Source::X(rs1) => write!(f, "csrr{op} {rd}, {number:#x}, {rs1}"),
                    Source::Imm(imm) => write!(f, "csrr{op}i {rd}, {number:#x}, {imm}"),
                }
            }
            Self::Cbo { op, rs1 } => {
                let op = match op {
                    CboOp::Inval => "inval",
                    CboOp::Clean => "clean",
                    CboOp::Flush => "flush",
                    CboOp::Zero => "zero",
                };
                write!(f, "cbo.{op} ({rs1})")
            }
            Self::FloatLoad { format, rd, rs1, offset } => {
                write!(f, "fl{} {rd}, {offset}({rs1})", raw(format))
            }
            Self::FloatStore { format, rs1, rs2, offset } => {
                write!(f, "fs{} {rs2}, {offset}({rs1})", raw(format))
            }
            Self::FloatCompute { op, rounding, rd, sources } => {
                write!(f, "{} {rd}", Mnemonic(op))?;
                for source in sources.iter().take(operands(op.kind)) {
                    write!(f, ", {source}")?;
                }
                write!(f, "{}", RoundingOperand(op.kind, rounding))
            }
            Self::FloatToX { op, rounding, rd, sources } => {
                write!(f, "{} {rd}", Mnemonic(op))?;
                for source in sources.iter().take(operands(op.kind)) {
                    write!(f, ", {source}")?;
                }
                write!(f, "{}", RoundingOperand(op.kind, rounding))
            }
            Self::FloatFromX { op, rounding, rd, rs1 } => {
                write!(f, "{} {rd}, {rs1}{}", Mnemonic(op), RoundingOperand(op.kind, rounding))
            }
            Self::FloatSign { op, format, rd, rs1, rs2 } => {
                let op = match op {
                    SignOp::Copy => "",
                    SignOp::Negate => "n",
                    SignOp::Xor => "x",
                };
                write!(f, "fsgnj{op}.{} {rd}, {rs1}, {rs2}", typed(format))
            }
            Self::MoveToX { format, rd, rs1 } => write!(f, "fmv.x.{} {rd}, {rs1}", raw(format)),
            Self::MoveFromX { format, rd, rs1 } => write!(f, "fmv.{}.x {rd}, {rs1}", raw(format)),
            Self::FloatConstant { format, rd, index } => write!(f, "fli.{} {rd}, #{index}", typed(format)),
        }
    }
}

/// A place relative to the instruction.
struct Target(i32);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, ". {sign} {}", self.0.unsigned_abs())
    }
}

/// What a fence orders: device input and output, reads and writes of memory.
struct Set(u8);

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & 0xf == 0 {
            return f.write_str("0");
        }
        for (bit, letter) in [(8, "i"), (4, "o"), (2, "r"), (1, "w")] {
            if self.0 & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

struct Mnemonic(FloatOp);

impl fmt::Display for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FloatOp { kind, format } = self.0;
        let to = typed(format);
        let name = match kind {
            FloatKind::Add => "fadd",
            FloatKind::Sub => "fsub",
            FloatKind::Mul => "fmul",
            FloatKind::Div => "fdiv",
            FloatKind::Sqrt => "fsqrt",
            FloatKind::MulAdd => "fmadd",
            FloatKind::MulSub => "fmsub",
            FloatKind::NegMulAdd => "fnmsub",
            FloatKind::NegMulSub => "fnmadd",
            FloatKind::Min => "fmin",
            FloatKind::Max => "fmax",
            FloatKind::MinNan => "fminm",
            FloatKind::MaxNan => "fmaxm",
            FloatKind::Equal => "feq",
            FloatKind::Less => "flt",
            FloatKind::LessEqual => "fle",
            FloatKind::LessQuiet => "fltq",
            FloatKind::LessEqualQuiet => "fleq",
            FloatKind::Classify => "fclass",
            FloatKind::ToInteger(of) => return write!(f, "fcvt.{}.{to}", integer(of)),
            FloatKind::FromInteger(of) => return write!(f, "fcvt.{to}.{}", integer(of)),
            FloatKind::Convert => return f.write_str(if to == "s" { "fcvt.s.d" } else { "fcvt.d.s" }),
            FloatKind::Round => "fround",
            FloatKind::RoundExact => "froundnx",
            FloatKind::ToIntegerModulo => "fcvtmod.w",
        };
        write!(f, "{name}.{to}")
    }
}

/// The rounding mode as an operand: not written where it is the usual one, or where there is no choice.
struct RoundingOperand(FloatKind, Rounding);

impl fmt::Display for RoundingOperand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let never = matches!(
            self.0,
            FloatKind::Min
                | FloatKind::Max
                | FloatKind::MinNan
                | FloatKind::MaxNan
                | FloatKind::Equal
                | FloatKind::Less
                | FloatKind::LessEqual
                | FloatKind::LessQuiet
                | FloatKind::LessEqualQuiet
                | FloatKind::Classify
        );
        let name = match self.1.bits() {
            _ if never => return Ok(()),
            0 => "rne",
            1 => "rtz",
            2 => "rdn",
            3 => "rup",
            4 => "rmm",
            _ => return Ok(()),
        };
        write!(f, ", {name}")
    }
}

/// How many operands an operation has.
fn operands(kind: FloatKind) -> usize {
    match kind {
        FloatKind::MulAdd | FloatKind::MulSub | FloatKind::NegMulAdd | FloatKind::NegMulSub => 3,
        FloatKind::Sqrt
        | FloatKind::Classify
        | FloatKind::ToInteger(_)
        | FloatKind::FromInteger(_)
        | FloatKind::Convert
        | FloatKind::Round
        | FloatKind::RoundExact
        | FloatKind::ToIntegerModulo => 1,
        _ => 2,
    }
}

fn branch(condition: Condition) -> &'static str {
    match condition {
        Condition::Equal => "beq",
        Condition::NotEqual => "bne",
        Condition::Less => "blt",
        Condition::GreaterEqual => "bge",
        Condition::Below => "bltu",
        Condition::AboveEqual => "bgeu",
    }
}

fn letter(size: Size) -> &'static str {
    match size {
        Size::Byte => "b",
        Size::Half => "h",
        Size::Word => "w",
        Size::Double => "d",
    }
}

fn suffix(order: Order) -> &'static str {
    match order {
        Order::Relaxed => "",
        Order::Acquire => ".aq",
        Order::Release => ".rl",
        Order::AcquireRelease => ".aqrl",
    }
}

fn atomic(op: AtomicOp) -> &'static str {
    match op {
        AtomicOp::Swap => "swap",
        AtomicOp::Add => "add",
        AtomicOp::And => "and",
        AtomicOp::Or => "or",
        AtomicOp::Xor => "xor",
        AtomicOp::Min => "min",
        AtomicOp::MinUnsigned => "minu",
        AtomicOp::Max => "max",
        AtomicOp::MaxUnsigned => "maxu",
    }
}

/// The suffix of instructions that compute with a format.
fn typed(format: Format) -> &'static str {
    match format {
        Format::Single => "s",
        Format::Double => "d",
    }
}

/// The suffix of instructions that move a format's bits.
fn raw(format: Format) -> &'static str {
    match format {
        Format::Single => "w",
        Format::Double => "d",
    }
}

fn integer(of: Integer) -> &'static str {
    match of {
        Integer::I32 => "w",
        Integer::U32 => "wu",
        Integer::I64 => "l",
        Integer::U64 => "lu",
    }
}
