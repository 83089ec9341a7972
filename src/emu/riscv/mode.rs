//! Privilege modes.

use polyvisor_cell_abi::riscv;

/// A privilege mode (Privileged ISA, 1.2). The order is that of privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Mode {
    /// Applications.
    User = riscv::USER,
    /// Operating systems.
    Supervisor = riscv::SUPERVISOR,
    /// Firmware.
    Machine = riscv::MACHINE,
}

impl Mode {
    /// The mode that registers encode like this. 2 is none.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => Some(Self::User),
            1 => Some(Self::Supervisor),
            3 => Some(Self::Machine),
            _ => None,
        }
    }

    /// How registers encode it.
    pub const fn bits(self) -> u64 {
        self as u64
    }
}
