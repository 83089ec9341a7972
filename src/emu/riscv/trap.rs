//! Traps and the returns from them (Privileged ISA, 3.1.6.1, 3.1.7, 3.3.2 and 12.1.2).

use super::hart::Hart;
use super::mode::Mode;
use super::platform::Platform;
use super::words::{
    MCAUSE, MEDELEG, MEPC, MIDELEG, MODE, MSTATUS, MTVAL, MTVEC, PC, SCAUSE, SEPC, STVAL, STVEC,
};

/// The bit of `mcause` and `scause` that says that the number is an interrupt's.
const INTERRUPT: u64 = 1 << 63;
/// The mode of `mtvec` and `stvec` in which interrupts have entries of their own.
const VECTORED: u64 = 1;

impl<P: Platform> Hart<P> {
    /// Takes the interrupt of this number.
    pub(super) fn interrupt(&mut self, number: u64) {
        self.trap(INTERRUPT | number, 0, self.words[MIDELEG]);
    }

    /// Takes the exception.
    pub(super) fn exception(&mut self, cause: u64, value: u64) {
        self.trap(cause, value, self.words[MEDELEG]);
    }

    fn trap(&mut self, cause: u64, value: u64, delegation: u64) {
        let mode = self.mode();
        let delegated = delegation & 1 << (cause % 64) != 0;
        // Never from a more privileged mode to a less privileged one.
        let (to, status, vector, registers) = if delegated && mode < Mode::Machine {
            (Mode::Supervisor, self.status().supervisor_trap(mode), self.words[STVEC], [SEPC, SCAUSE, STVAL])
        } else {
            (Mode::Machine, self.status().machine_trap(mode), self.words[MTVEC], [MEPC, MCAUSE, MTVAL])
        };
        for (register, value) in registers.into_iter().zip([self.words[PC], cause, value]) {
            self.words[register] = value;
        }
        self.words[MSTATUS] = status.bits();
        self.words[MODE] = to.bits();
        let base = vector & !0x3;
        let entry =
            if cause & INTERRUPT != 0 && vector & 0x3 == VECTORED { 4 * (cause & !INTERRUPT) } else { 0 };
        self.words[PC] = base.wrapping_add(entry);
        // What the trap's handler does must not make an SC succeed.
        self.drop_reservation();
        self.refresh();
    }

    /// MRET.
    pub(super) fn machine_return(&mut self) {
        let status = self.status();
        self.words[MODE] = status.machine_previous().bits();
        self.words[MSTATUS] = status.machine_return().bits();
        self.words[PC] = self.words[MEPC];
        self.refresh();
    }

    /// SRET.
    pub(super) fn supervisor_return(&mut self) {
        let status = self.status();
        self.words[MODE] = status.supervisor_previous().bits();
        self.words[MSTATUS] = status.supervisor_return().bits();
        self.words[PC] = self.words[SEPC];
        self.refresh();
    }
}
