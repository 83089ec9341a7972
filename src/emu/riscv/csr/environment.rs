//! `menvcfg` and `senvcfg` (Privileged ISA, 3.1.18 and 12.1.10).

use bitflags::bitflags;

bitflags! {
    /// What modes below are permitted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Environment: u64 {
        /// Fences of device accesses order memory too: all fences do.
        const FIOM = 1 << 0;
        /// CBO.INVAL: 0 is no; 1 and 3 are the same, as nothing is ever lost; 2 is reserved.
        const CBIE = 3 << 4;
        /// CBO.CLEAN and CBO.FLUSH.
        const CBCFE = 1 << 6;
        /// CBO.ZERO.
        const CBZE = 1 << 7;
        /// `stimecmp`, in `menvcfg` only.
        const STCE = 1 << 63;
    }
}

impl Environment {
    /// All that there is.
    pub const MACHINE: Self = Self::all();
    /// What `senvcfg` has of it.
    pub const SUPERVISOR: Self = Self::all().difference(Self::STCE);

    /// What the register is after `value` was written; it has the fields `fields`.
    pub fn written(self, value: u64, fields: Self) -> Self {
        let new = Self::from_bits_truncate(value) & fields;
        let reserved = new & Self::CBIE == Self::from_bits_retain(2 << 4);
        if reserved { new & !Self::CBIE | self & Self::CBIE } else { new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_keep_what_is_legal() {
        let none = Environment::empty();
        assert_eq!(none.written(u64::MAX, Environment::MACHINE).bits(), 0x8000_0000_0000_00f1);
        assert_eq!(none.written(u64::MAX, Environment::SUPERVISOR).bits(), 0xf1);
        let flush = none.written(0x10, Environment::SUPERVISOR);
        assert_eq!(flush.written(0x60, Environment::SUPERVISOR).bits(), 0x50);
    }
}
