//! What is known of the values in host registers, so that 32-bit results need not be extended at once.
//!
//! RISC-V's 32-bit operations sign-extend their results, A64's zero-extend them. So the extension is left *pending*: the
//! register holds the low 32 bits, and whoever wants all 64 extends it first. Many never do.

use crate::a64::X;

/// What an instruction has made of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A value of 64 bits.
    Wide,
    /// A value of 64 bits which is the sign extension of its low 32.
    Narrow,
    /// A value below 2^31.
    Small,
    /// The low 32 bits of a value that is their sign extension; above are zeros.
    Low,
    /// The same, but above is anything.
    LowDirty,
}

/// Facts about the host's registers, a bit for each. The values are those that the guest sees, which pending registers do
/// not hold yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The register's low 32 bits must still be sign-extended.
    pub pending: u32,
    /// Of pending ones: above the low 32 bits are zeros.
    pub clean: u32,
    /// The value is the sign extension of its low 32 bits.
    pub narrow: u32,
    /// The value is below 2^31.
    pub small: u32,
}

/// A set of registers with this one only.
pub const fn bit(x: X) -> u32 {
    1 << (x.number() & 31)
}

impl Facts {
    /// Nothing but of the zero register, which is number 31.
    pub const fn new() -> Self {
        let zero = bit(X::ZR);
        Self { pending: 0, clean: 0, narrow: zero, small: zero }
    }

    /// `x` has a new value.
    pub const fn set(&mut self, x: X, shape: Shape) {
        let bit = bit(x);
        self.pending &= !bit;
        self.clean &= !bit;
        self.narrow &= !bit;
        self.small &= !bit;
        match shape {
            Shape::Wide => {}
            Shape::Narrow => self.narrow |= bit,
            Shape::Small => {
                self.narrow |= bit;
                self.small |= bit;
            }
            Shape::Low => {
                self.narrow |= bit;
                self.pending |= bit;
                self.clean |= bit;
            }
            Shape::LowDirty => {
                self.narrow |= bit;
                self.pending |= bit;
            }
        }
    }

    /// `x` holds the same value, now extended.
    pub const fn extended(&mut self, x: X) {
        self.pending &= !bit(x);
        self.clean &= !bit(x);
    }

    /// Above the low 32 bits of pending registers may be anything.
    pub const fn forget_clean(&mut self) {
        self.clean = 0;
    }

    /// What `x` holds.
    pub const fn shape(&self, x: X) -> Shape {
        match (self.is_pending(x), self.is_clean(x)) {
            (true, true) => Shape::Low,
            (true, false) => Shape::LowDirty,
            _ if self.is_small(x) => Shape::Small,
            _ if self.is_narrow(x) => Shape::Narrow,
            _ => Shape::Wide,
        }
    }

    /// Whether `x` must still be sign-extended.
    pub const fn is_pending(&self, x: X) -> bool {
        self.pending & bit(x) != 0
    }

    /// Whether `x` is pending, with zeros above the low 32 bits.
    pub const fn is_clean(&self, x: X) -> bool {
        self.clean & bit(x) != 0
    }

    /// Whether the value of `x` is the sign extension of its low 32 bits.
    pub const fn is_narrow(&self, x: X) -> bool {
        self.narrow & bit(x) != 0
    }

    /// Whether the value of `x` is below 2^31.
    pub const fn is_small(&self, x: X) -> bool {
        self.small & bit(x) != 0
    }
}
