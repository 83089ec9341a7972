//! What instructions operate on, and the ways of operation that several share.

/// A general-purpose register: 0..=30, or 31, which is zero or the stack pointer, depending on the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct X(u8);

impl X {
    /// Zero, where an operand is not a stack pointer.
    pub const ZR: Self = Self(31);
    /// The stack pointer, where an operand may be that.
    pub const SP: Self = Self(31);

    /// The register of this number, modulo 32.
    pub const fn new(number: u8) -> Self {
        Self(number & 31)
    }

    /// 0..=31.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A SIMD and floating-point register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V(u8);

impl V {
    /// The register of this number, modulo 32.
    pub const fn new(number: u8) -> Self {
        Self(number & 31)
    }

    /// 0..=31.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A register of either kind, in the fields that instructions have in common.
pub(super) trait Register: Copy {
    fn field(self) -> u32;

    /// `Rd` or `Rt`.
    fn d(self) -> u32 {
        self.field()
    }

    /// `Rn`.
    fn n(self) -> u32 {
        self.field() << 5
    }

    /// `Ra` or `Rt2`.
    fn a(self) -> u32 {
        self.field() << 10
    }

    /// `Rm` or `Rs`.
    fn m(self) -> u32 {
        self.field() << 16
    }
}

impl Register for X {
    fn field(self) -> u32 {
        u32::from(self.0)
    }
}

impl Register for V {
    fn field(self) -> u32 {
        u32::from(self.0)
    }
}

/// How wide an integer operation is. The narrow ones write zeros to the upper half of their destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

impl Bits {
    /// 32 or 64.
    pub const fn count(self) -> u8 {
        match self {
            Self::W32 => 32,
            Self::W64 => 64,
        }
    }

    /// The field `sf`, bit 31.
    pub(super) const fn sf(self) -> u32 {
        match self {
            Self::W32 => 0,
            Self::W64 => 1 << 31,
        }
    }

    /// `amount` as the shift of such an operand: modulo its width.
    pub(super) const fn amount(self, amount: u8) -> u32 {
        (amount & (self.count() - 1)) as u32
    }
}

/// How an operand is shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shift {
    /// To the left.
    Lsl = 0,
    /// To the right, with zeros from the left.
    Lsr = 1,
    /// To the right, with copies of the sign.
    Asr = 2,
    /// To the right, with what falls out.
    Ror = 3,
}

/// How the low bits of an operand are extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "zero or sign extension of a byte, half, word or doubleword, as in assembly")]
pub enum Extend {
    Uxtb = 0,
    Uxth = 1,
    Uxtw = 2,
    Uxtx = 3,
    Sxtb = 4,
    Sxth = 5,
    Sxtw = 6,
    Sxtx = 7,
}

/// A condition of the flags (C1.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cond {
    /// Equal.
    Eq = 0,
    /// Not equal.
    Ne = 1,
    /// Unsigned, higher or the same; carry set.
    Hs = 2,
    /// Unsigned, lower; carry clear.
    Lo = 3,
    /// Negative.
    Mi = 4,
    /// Positive or zero.
    Pl = 5,
    /// Overflow.
    Vs = 6,
    /// No overflow.
    Vc = 7,
    /// Unsigned, higher.
    Hi = 8,
    /// Unsigned, lower or the same.
    Ls = 9,
    /// Signed, greater or equal.
    Ge = 10,
    /// Signed, less.
    Lt = 11,
    /// Signed, greater.
    Gt = 12,
    /// Signed, less or equal.
    Le = 13,
}

impl Cond {
    /// The condition that holds where this one does not.
    #[must_use]
    pub const fn invert(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Hs => Self::Lo,
            Self::Lo => Self::Hs,
            Self::Mi => Self::Pl,
            Self::Pl => Self::Mi,
            Self::Vs => Self::Vc,
            Self::Vc => Self::Vs,
            Self::Hi => Self::Ls,
            Self::Ls => Self::Hi,
            Self::Ge => Self::Lt,
            Self::Lt => Self::Ge,
            Self::Gt => Self::Le,
            Self::Le => Self::Gt,
        }
    }

    pub(super) const fn field(self) -> u32 {
        self as u32
    }
}

/// An operation of the arithmetic and logical unit. Those that end in `s` set the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "as in assembly")]
pub enum Alu {
    Add,
    Adds,
    Sub,
    Subs,
    And,
    Ands,
    Orr,
    Eor,
    /// And not.
    Bic,
    Bics,
    /// Or not.
    Orn,
    /// Exclusive or not.
    Eon,
}

/// How an atomic access is ordered with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Not at all.
    Relaxed,
    /// The load comes before later accesses.
    Acquire,
    /// The store comes after earlier accesses.
    Release,
    /// Both.
    AcquireRelease,
}

impl Order {
    pub(super) const fn acquires(self) -> bool {
        matches!(self, Self::Acquire | Self::AcquireRelease)
    }

    pub(super) const fn releases(self) -> bool {
        matches!(self, Self::Release | Self::AcquireRelease)
    }
}

/// What an atomic access makes of the value in memory and its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rmw {
    /// The sum.
    Add = 0,
    /// The value without the bits of the operand.
    Clr = 1,
    /// The exclusive or.
    Eor = 2,
    /// The or.
    Set = 3,
    /// The signed maximum.
    Smax = 4,
    /// The signed minimum.
    Smin = 5,
    /// The unsigned maximum.
    Umax = 6,
    /// The unsigned minimum.
    Umin = 7,
    /// The operand.
    Swp = 8,
}
