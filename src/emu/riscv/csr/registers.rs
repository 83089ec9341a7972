//! What each control and status register holds, and what a write makes of it.

use super::number::*;
use super::{Counter, Environment, Status};
use crate::riscv::hart::Hart;
use crate::riscv::interrupt::Interrupts;
use crate::riscv::mmu::Satp;
use crate::riscv::platform::Platform;
use crate::riscv::pmp;
use crate::riscv::words;

/// `misa`: RV64 with the extensions A, B, C, D, F, I, M, S and U. It cannot be written.
const MISA_VALUE: u64 = 2 << 62 | extensions(b"ABCDFIMSU");

const fn extensions(letters: &[u8]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < letters.len() {
        bits |= 1 << (letters[at] - b'A');
        at += 1;
    }
    bits
}

/// What can be delegated: all but the environment call from machine mode, and what is reserved (Privileged
/// ISA, 3.1.8).
pub const DELEGABLE: u64 = 0xb3ff;
/// The counters that can be read at all, as `mcounteren` and `scounteren` enable them: `cycle`, `time`,
/// `instret`.
const COUNTERS: u64 = 0x7;

/// A register that is a word in which some bits can be written.
struct Plain {
    word: usize,
    writable: u64,
}

impl Plain {
    /// The register of this number, if it is one of these.
    const fn of(number: u16) -> Option<Self> {
        let (word, writable) = match number {
            STVEC => (words::STVEC, VECTOR),
            SCOUNTEREN => (words::SCOUNTEREN, COUNTERS),
            SSCRATCH => (words::SSCRATCH, u64::MAX),
            SEPC => (words::SEPC, CODE),
            SCAUSE => (words::SCAUSE, u64::MAX),
            STVAL => (words::STVAL, u64::MAX),
            STIMECMP => (words::STIMECMP, u64::MAX),
            MEDELEG => (words::MEDELEG, DELEGABLE),
            MIDELEG => (words::MIDELEG, Interrupts::SUPERVISOR.bits()),
            MIE => (words::MIE, Interrupts::all().bits()),
            MTVEC => (words::MTVEC, VECTOR),
            MCOUNTEREN => (words::MCOUNTEREN, COUNTERS),
            MSCRATCH => (words::MSCRATCH, u64::MAX),
            MEPC => (words::MEPC, CODE),
            MCAUSE => (words::MCAUSE, u64::MAX),
            MTVAL => (words::MTVAL, u64::MAX),
            FFLAGS => (words::FFLAGS, 0x1f),
            FRM => (words::FRM, 0x7),
            _ => return None,
        };
        Some(Self { word, writable })
    }
}

/// The word that the register is, and the bits of it that can be written, if that is all there is to it: who may access registers
/// of its mode may access this one, and nothing follows from what it holds but what later traps do.
pub const fn inert(number: u16) -> Option<(usize, u64)> {
    match (number, Plain::of(number)) {
        (
            STVEC | SSCRATCH | SEPC | SCAUSE | STVAL | MTVEC | MSCRATCH | MEPC | MCAUSE | MTVAL,
            Some(Plain { word, writable }),
        ) => Some((word, writable)),
        _ => None,
    }
}

/// Direct or vectored, and an address that is a multiple of 4.
const VECTOR: u64 = !0x2;
/// The address of an instruction.
const CODE: u64 = !0x1;

impl<P: Platform> Hart<P> {
    /// What the register holds; `None` if there is none of this number.
    pub(super) fn read_register(&self, number: u16) -> Option<u64> {
        if let Some(plain) = Plain::of(number) {
            return Some(self.words[plain.word]);
        }
        Some(match number {
            FCSR => self.words[words::FRM] << 5 | self.words[words::FFLAGS],
            SSTATUS => self.status().supervisor(),
            SIE => self.words[words::MIE] & self.words[words::MIDELEG],
            SIP => self.words[words::MIP] & self.words[words::MIDELEG],
            SENVCFG => self.words[words::SENVCFG],
            SATP => self.words[words::SATP],
            MSTATUS => self.words[words::MSTATUS],
            MISA => MISA_VALUE,
            MIP => self.words[words::MIP],
            MENVCFG => self.words[words::MENVCFG],
            MCOUNTINHIBIT => self.words[words::MCOUNTINHIBIT],
            // RV64 has the even ones only. Entries that are not there are off.
            PMPCFG0..=PMPCFG14 if number.is_multiple_of(2) => match (number - PMPCFG0) / 2 {
                register @ 0..2 => self.words[words::PMPCFG + usize::from(register)],
                _ => 0,
            },
            PMPADDR0..=PMPADDR63 => match usize::from(number - PMPADDR0) {
                index @ 0..pmp::ENTRIES => self.words[words::PMPADDR + index],
                _ => 0,
            },
            CYCLE | MCYCLE => self.count(Counter::Cycle),
            INSTRET | MINSTRET => self.count(Counter::Retired),
            TIME => self.bus.platform().time(),
            MHARTID => self.bus.index() as u64,
            MVENDORID | MARCHID | MIMPID | MCONFIGPTR => 0,
            // Counters that count nothing.
            MHPMEVENT3..=MHPMEVENT31 | MHPMCOUNTER3..=MHPMCOUNTER31 | CYCLE..=HPMCOUNTER31 => 0,
            _ => return None,
        })
    }

    /// What an instruction that sets or clears bits of the register starts from, where that is not what it
    /// reads: of `mip`, the lines of devices are not software's (Privileged ISA, 3.1.9).
    pub(super) fn modified_register(&self, number: u16) -> Option<u64> {
        matches!(number, MIP | SIP).then(|| self.words[words::MIP_WRITTEN])
    }

    /// Writes to the register, as far as it takes the value.
    pub(super) fn write_register(&mut self, number: u16, value: u64) {
        if let Some(plain) = Plain::of(number) {
            let word = &mut self.words[plain.word];
            *word = *word & !plain.writable | value & plain.writable;
        }
        match number {
            FFLAGS | FRM => self.float_changed(),
            FCSR => {
                self.words[words::FRM] = value >> 5 & 0x7;
                self.words[words::FFLAGS] = value & 0x1f;
                self.float_changed();
            }
            SSTATUS => self.set_status(self.status().supervisor_written(value)),
            MSTATUS => self.set_status(self.status().written(value)),
            SIE => self.write_masked(words::MIE, value, self.words[words::MIDELEG]),
            SIP => {
                let delegated = Interrupts::from_bits_truncate(self.words[words::MIDELEG]);
                self.write_pending(value, delegated & Interrupts::SUPERVISOR_SOFTWARE);
            }
            MIP => self.write_pending(value, self.software_interrupts()),
            STIMECMP => self.find_interrupts(),
            MENVCFG => {
                self.write_environment(words::MENVCFG, value, Environment::MACHINE);
                self.find_interrupts();
            }
            SENVCFG => self.write_environment(words::SENVCFG, value, Environment::SUPERVISOR),
            SATP => self.set_satp(value),
            PMPCFG0..=PMPCFG14 => {
                let register = usize::from((number - PMPCFG0) / 2);
                if register < pmp::ENTRIES / 8 {
                    pmp::write_config(&mut self.words, register, value);
                    self.pmp_changed();
                }
            }
            PMPADDR0..=PMPADDR63 => {
                let index = usize::from(number - PMPADDR0);
                if index < pmp::ENTRIES {
                    pmp::write_address(&mut self.words, index, value);
                    self.pmp_changed();
                }
            }
            MCOUNTINHIBIT => self.set_inhibited(value),
            // The instruction that writes is retired before the value counts (Privileged ISA, 3.1.10).
            MCYCLE => self.set_count(Counter::Cycle, value, self.words[words::INSTRET].wrapping_add(1)),
            MINSTRET => self.set_count(Counter::Retired, value, self.words[words::INSTRET].wrapping_add(1)),
            _ => {}
        }
        self.refresh();
    }

    /// Makes all registers what they could be after writes, whatever they are.
    pub(in crate::riscv) fn make_registers_legal(&mut self) {
        for plain in (0..1 << 12).filter_map(Plain::of) {
            self.words[plain.word] &= plain.writable;
        }
        self.words[words::MSTATUS] = Status::RESET.written(self.words[words::MSTATUS]).bits();
        let bits = self.bus.platform().virtual_bits();
        self.words[words::SATP] = Satp(0).written(self.words[words::SATP], bits).0;
        for (word, fields) in
            [(words::MENVCFG, Environment::MACHINE), (words::SENVCFG, Environment::SUPERVISOR)]
        {
            self.words[word] = Environment::empty().written(self.words[word], fields).bits();
        }
    }

    /// Changes `mstatus`. MXR changes what every page that has been translated may be read for, so they are
    /// forgotten.
    fn set_status(&mut self, status: Status) {
        if (status ^ self.status()).contains(Status::MXR) {
            self.forget_all();
        }
        self.words[words::MSTATUS] = status.bits();
    }

    /// Floating-point registers have been changed by a write to a control register.
    fn float_changed(&mut self) {
        self.words[words::MSTATUS] = self.status().float_dirty().bits();
    }

    /// Changes the address space. What is known of others stays known (Privileged ISA, 12.1.11).
    fn set_satp(&mut self, value: u64) {
        let bits = self.bus.platform().virtual_bits();
        self.words[words::SATP] = Satp(self.words[words::SATP]).written(value, bits).0;
        self.drop_reservation();
    }

    fn write_masked(&mut self, word: usize, value: u64, mask: u64) {
        let word = &mut self.words[word];
        *word = *word & !mask | value & mask;
    }

    fn write_pending(&mut self, value: u64, writable: Interrupts) {
        self.write_masked(words::MIP_WRITTEN, value, writable.bits());
        self.find_interrupts();
    }

    fn write_environment(&mut self, word: usize, value: u64, fields: Environment) {
        self.words[word] = Environment::from_bits_retain(self.words[word]).written(value, fields).bits();
    }
}
