//! The IR as text: one line an instruction, for people, tests and traces. `docs/ir.md` has an example.

use core::fmt::{self, Debug, Display, Formatter, Write};

use super::{Block, FloatKind, Format, Inst, Order, Terminator, Value, Var, Width};
use crate::memory::Size;

impl Display for Var {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.checked_sub(Self::FIRST_TEMPORARY) {
            None => write!(f, "g{}", self.0),
            Some(number) => write!(f, "t{number}"),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Var(var) => Display::fmt(&var, f),
            Self::Const(constant) => Display::fmt(&Constant(constant as u64), f),
        }
    }
}

/// A constant: what looks like a number in decimal.
struct Constant(u64);

impl Display for Constant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            small if small.wrapping_add(4096) < 8192 => write!(f, "{}", small.cast_signed()),
            constant => write!(f, "{constant:#x}"),
        }
    }
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(dst) = self.effects().dst {
            write!(f, "{dst} = ")?;
        }
        match *self {
            Self::Constant { value, .. } => write!(f, "move {}", Constant(value)),
            Self::Unary { op, width, a, .. } => write!(f, "{}{} {a}", Name(op), Suffix(width)),
            Self::Binary { op, width, a, b, .. } => write!(f, "{}{} {a}, {b}", Name(op), Suffix(width)),
            Self::Compare { condition, a, b, .. } => write!(f, "set.{} {a}, {b}", Name(condition)),
            Self::Select { test, a, b, .. } => write!(f, "select {test}, {a}, {b}"),
            Self::Load { size, signed, order, base, offset, .. } => {
                let sign = if signed { 's' } else { 'u' };
                write!(f, "load.{sign}{}{} [{base}{}]", bits(size), Suffix(order), Offset(offset))
            }
            Self::Store { size, order, base, offset, value } => {
                write!(f, "store.{}{} [{base}{}], {value}", bits(size), Suffix(order), Offset(offset))
            }
            Self::LoadReserved { size, order, address, .. } => {
                write!(f, "load_reserved.{}{} [{address}]", bits(size), Suffix(order))
            }
            Self::StoreConditional { size, order, address, value, .. } => {
                write!(f, "store_conditional.{}{} [{address}], {value}", bits(size), Suffix(order))
            }
            Self::Atomic { op, size, order, address, value, .. } => {
                write!(f, "atomic_{}.{}{} [{address}], {value}", Name(op), bits(size), Suffix(order))
            }
            Self::Fence => f.write_str("fence"),
            Self::Decline { test } => write!(f, "decline {test}"),
            Self::Float { op, rounding, a, b, c, .. } => {
                let format = if op.format == Format::Single { 32 } else { 64 };
                match op.kind {
                    FloatKind::ToInteger(to) => write!(f, "float_to_{}", Name(to))?,
                    FloatKind::FromInteger(from) => write!(f, "float_from_{}", Name(from))?,
                    kind => write!(f, "float_{}", Name(kind))?,
                }
                write!(f, ".f{format} {a}, {b}, {c}, rounding {rounding}")
            }
            Self::Call { function, a, b, .. } => write!(f, "call {function} {a}, {b}"),
        }
    }
}

impl Display for Terminator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Jump { target } => write!(f, "jump {target:#x}"),
            Self::Branch { condition, a, b, taken, otherwise } => {
                write!(f, "branch.{} {a}, {b}, {taken:#x}, else {otherwise:#x}", Name(condition))
            }
            Self::Indirect { target } => write!(f, "jump {target}"),
            Self::Leave => f.write_str("leave"),
            Self::Resume { target } => write!(f, "resume {target:#x}"),
        }
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "block {:#x}, {} bytes", self.pc, self.len)?;
        let mut starts = self.starts.iter().peekable();
        let mut begin = |f: &mut Formatter<'_>, index: usize| -> fmt::Result {
            while let Some(start) = starts.next_if(|start| usize::from(start.inst) <= index) {
                writeln!(f, "{:#x}:", self.pc.wrapping_add(u64::from(start.offset)))?;
            }
            Ok(())
        };
        for (index, inst) in self.insts.iter().enumerate() {
            begin(f, index)?;
            writeln!(f, "  {inst}")?;
        }
        begin(f, usize::MAX)?;
        writeln!(f, "  {}", self.end)
    }
}

fn bits(size: Size) -> u64 {
    8 * size.bytes()
}

/// A variant's name in lower case, with underscores.
struct Name<T>(T);

impl<T: Debug> Display for Name<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Lower { f, first: true }, "{:?}", self.0)
    }
}

struct Lower<'a, 'b> {
    f: &'a mut Formatter<'b>,
    first: bool,
}

impl Write for Lower<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if letter.is_ascii_uppercase() && !self.first {
                self.f.write_char('_')?;
            }
            self.f.write_char(letter.to_ascii_lowercase())?;
            self.first = false;
        }
        Ok(())
    }
}

/// What is appended to an operation's name, unless it is the usual.
struct Suffix<T>(T);

impl Display for Suffix<Width> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Width::W64 => "",
            Width::S32 => ".s32",
            Width::U32 => ".u32",
        })
    }
}

impl Display for Suffix<Order> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Order::Relaxed => Ok(()),
            order => write!(f, ".{}", Name(order)),
        }
    }
}

/// An offset from a base, with its sign.
struct Offset(i32);

impl Display for Offset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            offset if offset < 0 => write!(f, " - {}", offset.unsigned_abs()),
            offset => write!(f, " + {offset}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::ir::{AtomicOp, BinaryOp, Builder, Condition, FloatOp, Integer, UnaryOp};

    #[test]
    fn a_block_reads_well() {
        let (x1, x2) = (Var(1), Var(2));
        let mut block = Block::default();
        let mut builder = Builder::new(&mut block, 0x8000_0000);
        builder.instruction(4);
        let t0 = builder.temporary();
        builder.binary(BinaryOp::ShiftLeft, Width::S32, t0, x1, 3);
        builder.unary(UnaryOp::SignExtend8, Width::W64, x2, t0);
        builder.instruction(2);
        builder.instruction(4);
        builder.load(Size::Word, true, x1, x2, -8);
        builder.store(Size::Byte, 0x1000_0000, 0, -1);
        builder.atomic(AtomicOp::MinUnsigned, Size::Double, Order::AcquireRelease, x1, x2, x1);
        builder.push(Inst::LoadReserved {
            size: Size::Word,
            order: Order::Acquire,
            dst: x1,
            address: x2.into(),
        });
        builder.compare(Condition::Below, x1, x2, 5);
        builder.select(x1, x2, t0, 0);
        builder.push(Inst::Fence);
        let op = FloatOp { kind: FloatKind::ToInteger(Integer::U32), format: Format::Double };
        builder.float(op, 7, x1, [x1.into(), Value::ZERO, Value::ZERO]);
        builder.call(9, x1, x2, 0x123_4567);
        let (a, b) = (x1.into(), Value::ZERO);
        let end = Terminator::Branch {
            condition: Condition::AboveEqual,
            a,
            b,
            taken: 0x8000_0040,
            otherwise: 0x8000_000a,
        };
        let expected = "\
block 0x80000000, 10 bytes
0x80000000:
  t0 = shift_left.s32 g1, 3
  g2 = sign_extend8 t0
0x80000004:
0x80000006:
  g1 = load.s32 [g2 - 8]
  store.8 [0x10000000], -1
  g1 = atomic_min_unsigned.64.acquire_release [g2], g1
  g1 = load_reserved.32.acquire [g2]
  g1 = set.below g2, 5
  g1 = select g2, t0, 0
  fence
  g1 = float_to_u32.f64 g1, 0, 0, rounding 7
  g1 = call 9 g2, 0x1234567
  branch.above_equal g1, 0, 0x80000040, else 0x8000000a
";
        builder.finish(end);
        assert_eq!(block.to_string(), expected);
    }
}
