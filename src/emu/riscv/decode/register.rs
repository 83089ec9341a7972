//! Registers and their names.

use core::fmt;

/// An integer register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct X(u8);

/// A floating-point register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct F(u8);

impl X {
    /// x0, which is always zero.
    pub const ZERO: Self = Self(0);
    /// x1, the return address.
    pub const RA: Self = Self(1);
    /// x2, the stack pointer.
    pub const SP: Self = Self(2);

    /// The register of this number modulo 32.
    pub const fn new(number: u8) -> Self {
        Self(number & 31)
    }

    /// Its number: below 32.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl F {
    /// The register of this number modulo 32.
    pub const fn new(number: u8) -> Self {
        Self(number & 31)
    }

    /// Its number: below 32.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Names in the ABI (RISC-V ABIs Specification, register convention).
impl fmt::Display for X {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("zero"),
            1 => f.write_str("ra"),
            2 => f.write_str("sp"),
            3 => f.write_str("gp"),
            4 => f.write_str("tp"),
            number @ 5..8 => write!(f, "t{}", number - 5),
            number @ 8..10 => write!(f, "s{}", number - 8),
            number @ 10..18 => write!(f, "a{}", number - 10),
            number @ 18..28 => write!(f, "s{}", number - 16),
            number => write!(f, "t{}", number - 25),
        }
    }
}

/// Names in the ABI.
impl fmt::Display for F {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number @ 0..8 => write!(f, "ft{number}"),
            number @ 8..10 => write!(f, "fs{}", number - 8),
            number @ 10..18 => write!(f, "fa{}", number - 10),
            number @ 18..28 => write!(f, "fs{}", number - 16),
            number => write!(f, "ft{}", number - 20),
        }
    }
}
