//! `mstatus` and `sstatus` (Privileged ISA, 3.1.6 and 12.1.1).

use bitflags::bitflags;

use crate::riscv::mode::Mode;

bitflags! {
    /// `mstatus`. UBE, SBE and MBE are zero: memory is little-endian. VS and XS are zero.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Status: u64 {
        const SIE = 1 << 1;
        const MIE = 1 << 3;
        const SPIE = 1 << 5;
        const MPIE = 1 << 7;
        const SPP = 1 << 8;
        const MPP = 3 << 11;
        /// Dirty, if both bits are set; Off, if none is.
        const FS = 3 << 13;
        const MPRV = 1 << 17;
        const SUM = 1 << 18;
        const MXR = 1 << 19;
        const TVM = 1 << 20;
        const TW = 1 << 21;
        const TSR = 1 << 22;
        /// UXL and SXL: both 64 bits.
        const XLEN = 2 << 32 | 2 << 34;
        /// Set if FS is Dirty.
        const SD = 1 << 63;
    }
}

impl Status {
    /// What can be changed through `sstatus`.
    const SUPERVISOR: Self =
        Self::SIE.union(Self::SPIE).union(Self::SPP).union(Self::FS).union(Self::SUM).union(Self::MXR);
    /// What can be changed at all.
    const WRITABLE: Self = Self::XLEN.union(Self::SD).complement();
    /// What `sstatus` shows.
    pub const SSTATUS: Self = Self::SUPERVISOR.union(Self::SD).union(Self::from_bits_retain(2 << 32));

    /// After a reset: floating point is Off, the mode before is user mode.
    pub const RESET: Self = Self::XLEN;

    /// What the register is after `value` was written.
    pub fn written(self, value: u64) -> Self {
        let mut new = Self::from_bits_truncate(value) & Self::WRITABLE;
        if Mode::from_bits((new & Self::MPP).bits() >> Self::MPP_SHIFT).is_none() {
            new = new & !Self::MPP | self & Self::MPP;
        }
        new.with_consequences()
    }

    /// What the register is after `value` was written to `sstatus`.
    pub fn supervisor_written(self, value: u64) -> Self {
        (self & !Self::SUPERVISOR | Self::from_bits_truncate(value) & Self::SUPERVISOR).with_consequences()
    }

    /// `sstatus`.
    pub fn supervisor(self) -> u64 {
        (self & Self::SSTATUS).bits()
    }

    /// The same with floating-point state that is Dirty.
    pub fn float_dirty(self) -> Self {
        (self | Self::FS).with_consequences()
    }

    fn with_consequences(mut self) -> Self {
        self.insert(Self::XLEN);
        self.set(Self::SD, self.contains(Self::FS));
        self
    }

    const MPP_SHIFT: u32 = 11;

    /// The mode that MRET returns to.
    pub fn machine_previous(self) -> Mode {
        Mode::from_bits((self & Self::MPP).bits() >> Self::MPP_SHIFT).unwrap_or(Mode::User)
    }

    /// The mode that SRET returns to.
    pub fn supervisor_previous(self) -> Mode {
        if self.contains(Self::SPP) { Mode::Supervisor } else { Mode::User }
    }

    /// The same as it is in a trap from `mode` to machine mode (3.1.6.1).
    pub fn machine_trap(mut self, mode: Mode) -> Self {
        self.set(Self::MPIE, self.contains(Self::MIE));
        self.remove(Self::MIE | Self::MPP);
        self | Self::from_bits_retain(mode.bits() << Self::MPP_SHIFT)
    }

    /// The same as it is in a trap from `mode` to supervisor mode.
    pub fn supervisor_trap(mut self, mode: Mode) -> Self {
        self.set(Self::SPIE, self.contains(Self::SIE));
        self.remove(Self::SIE);
        self.set(Self::SPP, mode == Mode::Supervisor);
        self
    }

    /// The same behind MRET.
    pub fn machine_return(mut self) -> Self {
        if self.machine_previous() != Mode::Machine {
            self.remove(Self::MPRV);
        }
        self.set(Self::MIE, self.contains(Self::MPIE));
        self.insert(Self::MPIE);
        self.remove(Self::MPP);
        self
    }

    /// The same behind SRET.
    pub fn supervisor_return(mut self) -> Self {
        self.set(Self::SIE, self.contains(Self::SPIE));
        self.insert(Self::SPIE);
        self.remove(Self::SPP | Self::MPRV);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_keep_what_is_legal() {
        let all = Status::RESET.written(u64::MAX);
        assert_eq!(all.bits(), 0x8000_000a_007e_79aa);
        assert_eq!(Status::RESET.written(0).bits(), 0xa_0000_0000);
        // MPP = 2 is no mode: the field stays as it was.
        assert_eq!(all.written(2 << 11).machine_previous(), Mode::Machine);
        assert_eq!(Status::RESET.supervisor_written(u64::MAX).bits(), 0x8000_000a_000c_6122);
        assert_eq!(all.supervisor(), 0x8000_0002_000c_6122);
        assert_eq!(all.supervisor_written(0).bits(), 0xa_0072_1888);
    }

    #[test]
    fn traps_and_returns_are_inverse() {
        let before = Status::RESET | Status::SIE | Status::MIE | Status::MPRV;
        let trapped = before.machine_trap(Mode::Supervisor);
        assert_eq!(
            trapped,
            Status::RESET | Status::SIE | Status::MPIE | Status::MPRV | Status::from_bits_retain(1 << 11)
        );
        assert_eq!(trapped.machine_return(), before & !Status::MPRV | Status::MPIE);
        let trapped = before.supervisor_trap(Mode::User);
        assert_eq!(trapped, Status::RESET | Status::MIE | Status::MPRV | Status::SPIE);
        assert_eq!(trapped.supervisor_return(), before & !Status::MPRV | Status::SPIE);
        assert!(before.machine_trap(Mode::Machine).machine_return().contains(Status::MPRV));
    }
}
