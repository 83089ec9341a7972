//! Accesses to CSRs. Those of registers that are nothing but words, and of the bits of `sstatus` that only say whether
//! interrupts are enabled, are lifted; the others are the hart's matter, and whether they may be made, too.

use polyvisor_cell_abi::riscv::USER;

use super::Lifter;
use crate::ir::{BinaryOp, Terminator, Value, Var, Width};
use crate::riscv::csr::number::{SATP, SIE, SIP, SSTATUS};
use crate::riscv::csr::{Status, inert};
use crate::riscv::decode::{CsrOp, Source, X};
use crate::riscv::{Call, Enables, csr_number, words};

/// A register that the guest reads: the word that it is in, and which bits it shows.
#[derive(Debug, Clone, Copy)]
struct Shown {
    word: usize,
    bits: Value,
}

const ALL: Value = Value::Const(-1);

impl Lifter<'_> {
    pub(super) fn csr(&mut self, op: CsrOp, rd: X, source: Source) -> Option<Terminator> {
        let number = csr_number(self.word.into());
        let nothing = matches!(source, Source::X(X::ZERO) | Source::Imm(0));
        // Setting and clearing nothing is no write at all (Unprivileged ISA, "CSR Instructions").
        let change = if op != CsrOp::Write && nothing { None } else { Some(op) };
        // Bits 9:8 are the least mode that may (Privileged ISA, 2.1).
        if number == SSTATUS && self.context.mode != USER && self.enable(change, rd, source) {
            return None;
        }
        if self.context.mode >= u32::from(number >> 8 & 3)
            && let Some(shown) = self.shown(number)
            && let Some(new) = self.changed(number, shown, change, source)
        {
            self.read(shown, rd, new.map(|new| (shown.word, new)));
            return None;
        }
        let function = match change {
            None => Call::CsrRead,
            Some(CsrOp::Write) => Call::CsrWrite,
            Some(CsrOp::Set) => Call::CsrSet,
            Some(CsrOp::Clear) => Call::CsrClear,
        };
        let value = self.source(source);
        let old = self.x_result(rd);
        self.block.call(function.number(), old, value, self.encoding());
        if change.is_none() { None } else { self.resume() }
    }

    /// Where the register is, if reading it has no other effect.
    fn shown(&mut self, number: u16) -> Option<Shown> {
        let delegated = word(words::MIDELEG).into();
        let (word, bits) = match number {
            SSTATUS => (words::MSTATUS, self.block.operand(Status::SSTATUS.bits())),
            SIE => (words::MIE, delegated),
            SIP => (words::MIP, delegated),
            // `mstatus.TVM` is about both.
            SATP if self.may(Enables::SFENCE_VMA) => (words::SATP, ALL),
            _ => (inert(number)?.0, ALL),
        };
        Some(Shown { word, bits })
    }

    /// What the register's word is after the instruction: `Some(None)` if it stays what it is, `None` if something else follows
    /// from the change.
    fn changed(
        &mut self,
        number: u16,
        shown: Shown,
        change: Option<CsrOp>,
        source: Source,
    ) -> Option<Option<Value>> {
        let Some(op) = change else { return Some(None) };
        let old = word(shown.word);
        let (_, writable) = inert(number)?;
        let value = self.source(source);
        let value = match value.constant() {
            _ if writable == u64::MAX => value,
            Some(constant) => self.block.operand(constant & writable),
            None => {
                let writable = self.block.operand(writable);
                self.temporary_of(BinaryOp::And, value, writable)
            }
        };
        Some(Some(match op {
            CsrOp::Write => value,
            CsrOp::Set => self.temporary_of(BinaryOp::Or, old, value),
            CsrOp::Clear => self.temporary_of(BinaryOp::AndNot, old, value),
        }))
    }

    /// Sets or clears no bit of `sstatus` but the one that enables interrupts. `false`: that is not what it does. Whether the bits
    /// in a register are others only the guest knows, and whether an interrupt is waiting: then the instruction is left to the
    /// interpreter, if there is another back end.
    fn enable(&mut self, change: Option<CsrOp>, rd: X, source: Source) -> bool {
        const ENABLED: i32 = Status::SIE.bits() as i32;
        let (Some(op @ (CsrOp::Set | CsrOp::Clear)), value) = (change, self.source(source)) else {
            return false;
        };
        let other = match value {
            Value::Const(ENABLED) => None,
            Value::Const(_) => return false,
            value => Some(self.temporary_of(BinaryOp::And, value, Value::Const(!ENABLED))),
        };
        let waiting = op == CsrOp::Set;
        if (waiting || other.is_some()) && !self.context.enables.contains(Enables::MAY_DECLINE) {
            return false;
        }
        if let Some(other) = other {
            self.block.decline(other);
        }
        if waiting {
            let ready = self.temporary_of(BinaryOp::And, word(words::MIP), word(words::MIE).into());
            let ready = self.temporary_of(BinaryOp::And, ready, word(words::MIDELEG).into());
            self.block.decline(ready);
        }
        let old = word(words::MSTATUS);
        let bit = match other {
            None => Value::Const(ENABLED),
            Some(_) => self.temporary_of(BinaryOp::And, value, Value::Const(ENABLED)),
        };
        let new = self.temporary_of(if waiting { BinaryOp::Or } else { BinaryOp::AndNot }, old, bit);
        let shown = Shown { word: words::MSTATUS, bits: self.block.operand(Status::SSTATUS.bits()) };
        self.read(shown, rd, Some((words::MSTATUS, new)));
        true
    }

    /// `rd` = what is shown; then a word becomes something else.
    fn read(&mut self, shown: Shown, rd: X, new: Option<(usize, Value)>) {
        let old = word(shown.word);
        let old = match (rd, new) {
            (X::ZERO, _) => Value::ZERO,
            // `rd` may be an operand of what is new.
            (_, Some(_)) => self.temporary_of(BinaryOp::And, old, shown.bits),
            (rd, None) => {
                let rd = self.x_result(rd);
                return self.block.binary(BinaryOp::And, Width::W64, rd, old, shown.bits);
            }
        };
        if let Some((place, new)) = new {
            self.block.set(word(place), new);
        }
        if rd != X::ZERO {
            let rd = self.x_result(rd);
            self.block.set(rd, old);
        }
    }

    /// A temporary with `op(a, b)`.
    fn temporary_of(&mut self, op: BinaryOp, a: impl Into<Value>, b: Value) -> Value {
        let temporary = self.block.temporary();
        self.block.binary(op, Width::W64, temporary, a, b);
        temporary.into()
    }
}

/// The variable that is this word.
const fn word(index: usize) -> Var {
    Var(index as u8)
}
