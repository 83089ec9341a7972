//! Who may access which control and status register.

use super::Environment;
use super::Status;
use super::number::{CYCLE, FCSR, FFLAGS, FRM, HPMCOUNTER31, SATP, STIMECMP, TIME};
use crate::riscv::hart::Hart;
use crate::riscv::mode::Mode;
use crate::riscv::platform::Platform;
use crate::riscv::words::{MCOUNTEREN, MENVCFG, SCOUNTEREN};

/// How an instruction changes a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It becomes this.
    Write(u64),
    /// These bits are set.
    Set(u64),
    /// These bits are cleared.
    Clear(u64),
}

impl Change {
    /// What is written where `old` was.
    pub const fn apply(self, old: u64) -> u64 {
        match self {
            Self::Write(value) => value,
            Self::Set(bits) => old | bits,
            Self::Clear(bits) => old & !bits,
        }
    }
}

impl<P: Platform> Hart<P> {
    /// Reads the register `number` for the guest; `None` if that is illegal.
    pub(in crate::riscv) fn csr_read(&self, number: u16) -> Option<u64> {
        if self.may_read(number) { self.read_register(number) } else { None }
    }

    /// Changes the register `number` for the guest, and returns what it was; `None` if that is illegal.
    pub(in crate::riscv) fn csr_change(&mut self, number: u16, change: Change) -> Option<u64> {
        // Numbers whose two highest bits are set are read-only (2.1).
        if number >> 10 & 3 == 3 || !self.may_read(number) {
            return None;
        }
        let old = self.read_register(number)?;
        let value = change.apply(self.modified_register(number).unwrap_or(old));
        self.write_register(number, value);
        Some(old)
    }

    /// Whether the current mode may access the register, if it exists.
    fn may_read(&self, number: u16) -> bool {
        let mode = self.mode();
        // Bits 9:8 are the least mode that may (2.1). 2 is the hypervisor's, which is not there.
        if Mode::from_bits(u64::from(number >> 8 & 3)).is_none_or(|least| mode < least) {
            return false;
        }
        match number {
            FFLAGS | FRM | FCSR => self.status().intersects(Status::FS),
            SATP => mode == Mode::Machine || !self.status().contains(Status::TVM),
            STIMECMP => mode == Mode::Machine || self.may_use_supervisor_timer(),
            CYCLE..=HPMCOUNTER31 => self.may_count(mode, number - CYCLE),
            _ => true,
        }
    }

    /// Sstc: supervisor mode needs both to have its own timer and to see the time.
    fn may_use_supervisor_timer(&self) -> bool {
        let enabled = Environment::from_bits_retain(self.words[MENVCFG]).contains(Environment::STCE);
        enabled && self.words[MCOUNTEREN] & 1 << (TIME - CYCLE) != 0
    }

    /// Whether the counter may be read (3.1.11, 12.1.5).
    fn may_count(&self, mode: Mode, counter: u16) -> bool {
        let enables = match mode {
            Mode::Machine => u64::MAX,
            Mode::Supervisor => self.words[MCOUNTEREN],
            Mode::User => self.words[MCOUNTEREN] & self.words[SCOUNTEREN],
        };
        enables & 1 << (counter % 64) != 0
    }
}
