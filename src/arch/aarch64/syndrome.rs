//! `ESR_EL2`: why the CPU took an exception, and `ESR_EL1`: why a guest is told that it did.
//!
//! Field layouts are those of DDI 0487, D24.2 "ESR_EL1" and "ESR_EL2"; names follow the manual. Every type
//! here is a view of the raw register value, so that decoding costs the bit-field extraction of what is asked
//! for and no more.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use core::fmt;

use bitflags::bitflags;

use crate::devices::bus::Width;

/// EC is bits \[31:26\].
const EC_SHIFT: u32 = 26;
/// IL, bit 25: the instruction was 32 bits long.
const IL: u64 = 1 << 25;
/// ISS is bits \[24:0\].
const ISS_MASK: u64 = IL - 1;

/// The `width` bits of `value` from bit `low` up.
const fn field(value: u32, low: u32, width: u32) -> u8 {
    ((value >> low) & ((1 << width) - 1)) as u8
}

/// Whether bit `index` of `value` is set.
const fn bit(value: u32, index: u32) -> bool {
    (value >> index) & 1 != 0
}

/// `ESR_ELx.EC`, the exception class.
///
/// Match it against the associated constants. It is not an `enum`, so that taking it from the register is one
/// `ubfx` and a `match` one jump, and the codes that the architecture has not allocated yet need no case of
/// their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExceptionClass(u8);

macro_rules! exception_classes {
    ($($name:ident = $code:literal: $words:literal,)*) => {
        impl ExceptionClass {
            $(
                #[doc = concat!("EC ", stringify!($code), ": ", $words, ".")]
                pub const $name: Self = Self($code);
            )*

            /// The class in words, or `None` for a code that is not allocated.
            pub const fn words(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($words),)*
                    _ => None,
                }
            }
        }
    };
}

exception_classes! {
    UNKNOWN = 0x00: "unknown reason (undefined instruction)",
    WFX = 0x01: "trapped WFI, WFE, WFIT or WFET",
    CP15_MCR_MRC = 0x03: "trapped AArch32 MCR or MRC of coprocessor 15",
    CP15_MCRR_MRRC = 0x04: "trapped AArch32 MCRR or MRRC of coprocessor 15",
    CP14_MCR_MRC = 0x05: "trapped AArch32 MCR or MRC of coprocessor 14",
    CP14_LDC_STC = 0x06: "trapped AArch32 LDC or STC of coprocessor 14",
    FP_ASIMD = 0x07: "trapped floating-point or Advanced SIMD access",
    CP10_VMRS = 0x08: "trapped AArch32 VMRS",
    PAUTH = 0x09: "trapped pointer authentication instruction or key access",
    OTHER_INSTRUCTION = 0x0a: "trapped LD64B, ST64B or other instruction without a class of its own",
    CP14_MRRC = 0x0c: "trapped AArch32 MRRC of coprocessor 14",
    BTI = 0x0d: "branch target exception",
    ILLEGAL_STATE = 0x0e: "illegal execution state",
    SVC32 = 0x11: "AArch32 SVC",
    HVC32 = 0x12: "AArch32 HVC",
    SMC32 = 0x13: "trapped AArch32 SMC",
    SYSREG128 = 0x14: "trapped MSRR, MRRS or 128-bit system instruction",
    SVC64 = 0x15: "SVC",
    HVC64 = 0x16: "HVC",
    SMC64 = 0x17: "trapped SMC",
    SYSREG = 0x18: "trapped MSR, MRS or system instruction",
    SVE = 0x19: "trapped SVE access",
    ERET = 0x1a: "trapped ERET",
    TSTART = 0x1b: "trapped TSTART",
    FPAC = 0x1c: "pointer authentication failure",
    SME = 0x1d: "trapped SME access",
    GRANULE_PROTECTION = 0x1e: "granule protection check",
    INSTRUCTION_ABORT_LOWER = 0x20: "instruction abort from a lower exception level",
    INSTRUCTION_ABORT_CURRENT = 0x21: "instruction abort from the current exception level",
    PC_ALIGNMENT = 0x22: "misaligned program counter",
    DATA_ABORT_LOWER = 0x24: "data abort from a lower exception level",
    DATA_ABORT_CURRENT = 0x25: "data abort from the current exception level",
    SP_ALIGNMENT = 0x26: "misaligned stack pointer",
    MOPS = 0x27: "memory copy or set exception",
    FP_EXCEPTION32 = 0x28: "trapped AArch32 floating-point exception",
    FP_EXCEPTION64 = 0x2c: "trapped floating-point exception",
    GCS = 0x2d: "guarded control stack exception",
    SERROR = 0x2f: "SError",
    BREAKPOINT_LOWER = 0x30: "breakpoint from a lower exception level",
    BREAKPOINT_CURRENT = 0x31: "breakpoint from the current exception level",
    SOFTWARE_STEP_LOWER = 0x32: "software step from a lower exception level",
    SOFTWARE_STEP_CURRENT = 0x33: "software step from the current exception level",
    WATCHPOINT_LOWER = 0x34: "watchpoint from a lower exception level",
    WATCHPOINT_CURRENT = 0x35: "watchpoint from the current exception level",
    BKPT32 = 0x38: "AArch32 BKPT",
    VECTOR_CATCH32 = 0x3a: "AArch32 vector catch",
    BRK64 = 0x3c: "BRK",
    PMU = 0x3d: "profiling exception",
}

impl ExceptionClass {
    /// The six bits as the register holds them.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ExceptionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Some(words) => f.write_str(words),
            None => write!(f, "unallocated exception class {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for ExceptionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExceptionClass({:#04x}: {self})", self.0)
    }
}

/// A value of `ESR_EL2`, or one for `ESR_EL1`. `Display` says in a sentence what it means.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Syndrome(pub u64);

impl Syndrome {
    /// A syndrome with IL set, as every one has that this module makes.
    const fn new(class: ExceptionClass, iss: u32) -> Self {
        Self((class.0 as u64) << EC_SHIFT | IL | (iss as u64 & ISS_MASK))
    }

    /// Which kind of exception it was.
    #[inline]
    pub const fn class(self) -> ExceptionClass {
        ExceptionClass(field(self.0 as u32, EC_SHIFT, 6))
    }

    /// The 25 bits whose meaning depends on the class.
    #[inline]
    pub const fn iss(self) -> u32 {
        (self.0 & ISS_MASK) as u32
    }

    /// The length of the trapped instruction in bytes, 4 or (T32 only) 2: how far to step over it.
    #[inline]
    pub const fn instruction_length(self) -> u64 {
        if self.0 & IL != 0 { 4 } else { 2 }
    }

    /// The immediate of a `HVC`, `SMC`, `SVC` or `BRK`.
    #[inline]
    pub const fn imm16(self) -> u16 {
        self.0 as u16
    }

    /// The syndrome as that of a data abort (classes `DATA_ABORT_*`).
    #[inline]
    pub const fn data_abort(self) -> DataAbort {
        DataAbort(self.iss())
    }

    /// The syndrome as that of an instruction abort (classes `INSTRUCTION_ABORT_*`).
    #[inline]
    pub const fn instruction_abort(self) -> InstructionAbort {
        InstructionAbort(self.iss())
    }

    /// The syndrome as that of a system register access (class `SYSREG`).
    #[inline]
    pub const fn sysreg_trap(self) -> SysRegTrap {
        SysRegTrap(self.iss())
    }

    /// Which wait a trap of class `WFX` is about.
    #[inline]
    pub const fn wait(self) -> Wait {
        match self.iss() & 0b11 {
            0b00 => Wait::Wfi,
            0b01 => Wait::Wfe,
            0b10 => Wait::Wfit,
            _ => Wait::Wfet,
        }
    }

    /// The register that holds the timeout (`CNTVCT_EL0` ticks) of a trapped `WFIT` or `WFET`; `None` where
    /// the syndrome does not say (RV clear).
    pub const fn wait_timeout_register(self) -> Option<u8> {
        let iss = self.iss();
        if bit(iss, 2) { Some(field(iss, 5, 5)) } else { None }
    }

    /// For `ESR_EL1`: an undefined instruction.
    pub const fn undefined() -> Self {
        Self::new(ExceptionClass::UNKNOWN, 0)
    }

    /// For `ESR_EL1`: a data abort. ISV stays clear, as it is for every abort that EL1 takes (D24.2 "ISV").
    pub const fn new_data_abort(from: Origin, status: FaultStatus, flags: AbortFlags) -> Self {
        let class = match from {
            Origin::LowerLevel => ExceptionClass::DATA_ABORT_LOWER,
            Origin::SameLevel => ExceptionClass::DATA_ABORT_CURRENT,
        };
        Self::new(class, flags.bits() | status.0 as u32)
    }

    /// For `ESR_EL1`: an instruction abort. CM and WNR do not exist there and are dropped from `flags`.
    pub const fn new_instruction_abort(from: Origin, status: FaultStatus, flags: AbortFlags) -> Self {
        let class = match from {
            Origin::LowerLevel => ExceptionClass::INSTRUCTION_ABORT_LOWER,
            Origin::SameLevel => ExceptionClass::INSTRUCTION_ABORT_CURRENT,
        };
        let flags = flags.difference(AbortFlags::CM.union(AbortFlags::WNR));
        Self::new(class, flags.bits() | status.0 as u32)
    }
}

/// Where the guest was when the exception that EL1 is given arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// At EL0.
    LowerLevel,
    /// At EL1.
    SameLevel,
}

/// The four instructions that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Wait for interrupt.
    Wfi,
    /// Wait for event.
    Wfe,
    /// Wait for interrupt, with a timeout.
    Wfit,
    /// Wait for event, with a timeout.
    Wfet,
}

bitflags! {
    /// The single-bit fields that the syndromes of instruction and data aborts share.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct AbortFlags: u32 {
        /// FnV: `FAR_ELx` does not hold the faulting address.
        const FNV = 1 << 10;
        /// EA: IMPLEMENTATION DEFINED class of an external abort.
        const EA = 1 << 9;
        /// CM: a cache maintenance or address translation instruction faulted (data aborts only).
        const CM = 1 << 8;
        /// S1PTW: Stage 2 faulted the walk of the Stage 1 tables.
        const S1PTW = 1 << 7;
        /// WnR: a write faulted (data aborts only).
        const WNR = 1 << 6;
    }
}

/// The syndrome of a data abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataAbort(u32);

impl DataAbort {
    /// What the instruction was about to do, where the hardware says so (ISV set). Loads and stores with
    /// write-back, of pairs, or of SIMD&FP registers, exclusives and atomics come without: see
    /// [`super::insn`].
    #[inline]
    pub const fn access(self) -> Option<DataAccess> {
        if bit(self.0, 24) { Some(DataAccess(self.0)) } else { None }
    }

    /// VNCR: the access was redirected to memory by `VNCR_EL2` (nested virtualization).
    pub const fn is_vncr(self) -> bool {
        bit(self.0, 13)
    }

    /// The single-bit fields.
    #[inline]
    pub const fn flags(self) -> AbortFlags {
        AbortFlags::from_bits_truncate(self.0)
    }

    /// WnR: whether the access was a write. Set also for cache maintenance, which is told apart by
    /// [`AbortFlags::CM`].
    #[inline]
    pub const fn is_write(self) -> bool {
        self.flags().contains(AbortFlags::WNR)
    }

    /// Whether the fault came of the hardware's own walk of the guest's Stage 1 tables.
    #[inline]
    pub const fn is_stage1_walk(self) -> bool {
        self.flags().contains(AbortFlags::S1PTW)
    }

    /// DFSC.
    #[inline]
    pub const fn status(self) -> FaultStatus {
        FaultStatus::from_bits(self.0)
    }
}

/// The part of a data abort's syndrome that is valid only with ISV: a load or store of one general-purpose
/// register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataAccess(u32);

impl DataAccess {
    /// SAS: how many bytes.
    #[inline]
    pub const fn width(self) -> Width {
        match field(self.0, 22, 2) {
            0 => Width::Byte,
            1 => Width::Half,
            2 => Width::Word,
            _ => Width::Double,
        }
    }

    /// SRT: the register that is loaded or stored; 31 is the zero register.
    #[inline]
    pub const fn register(self) -> u8 {
        field(self.0, 16, 5)
    }

    /// AR: whether the access has acquire or release semantics.
    pub const fn is_acquire_release(self) -> bool {
        bit(self.0, 14)
    }

    /// What a load that read `raw` puts in the 64-bit register (SSE and SF applied). `raw` has no bits above
    /// the width, as the bus guarantees.
    #[inline]
    pub const fn loaded(self, raw: u64) -> u64 {
        if !bit(self.0, 21) {
            return raw;
        }
        let extension = if bit(self.0, 15) { Extension::SignTo64 } else { Extension::SignTo32 };
        extension.apply(raw, self.width())
    }
}

/// How a load widens what it read to the 64 bits of its register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Zeroes above.
    Zero,
    /// The sign as far as bit 31, zeroes above (`LDRSB Wt`, `LDRSH Wt`).
    SignTo32,
    /// The sign all the way up (`LDRSB Xt`, `LDRSH Xt`, `LDRSW`).
    SignTo64,
}

impl Extension {
    /// Widens `raw`, whose bits above `width` are ignored.
    #[inline]
    pub const fn apply(self, raw: u64, width: Width) -> u64 {
        match self {
            Self::Zero => width.truncate(raw),
            Self::SignTo32 => width.sign_extend(raw) as u32 as u64,
            Self::SignTo64 => width.sign_extend(raw),
        }
    }
}

/// The syndrome of an instruction abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionAbort(u32);

impl InstructionAbort {
    /// The single-bit fields; CM and WNR are never among them.
    pub const fn flags(self) -> AbortFlags {
        AbortFlags::from_bits_truncate(self.0).difference(AbortFlags::CM.union(AbortFlags::WNR))
    }

    /// Whether the fault came of the hardware's own walk of the guest's Stage 1 tables.
    pub const fn is_stage1_walk(self) -> bool {
        self.flags().contains(AbortFlags::S1PTW)
    }

    /// IFSC.
    pub const fn status(self) -> FaultStatus {
        FaultStatus::from_bits(self.0)
    }
}

/// A fault status code, DFSC or IFSC.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultStatus(u8);

impl FaultStatus {
    /// A synchronous external abort that is not of a table walk.
    pub const EXTERNAL_ABORT: Self = Self(0b01_0000);
    /// A misaligned access.
    pub const ALIGNMENT: Self = Self(0b10_0001);
    /// An exclusive or atomic access to a location that does not support it.
    pub const UNSUPPORTED_EXCLUSIVE: Self = Self(0b11_0101);

    /// The code in the low six bits of an abort's ISS.
    const fn from_bits(iss: u32) -> Self {
        Self(field(iss, 0, 6))
    }

    /// A synchronous external abort of the table walk at `level`, 0 to 3 (higher values wrap).
    pub const fn external_abort_on_walk(level: u8) -> Self {
        Self(0b01_0100 | level & 0b11)
    }

    /// A translation fault at `level`, 0 to 3 (higher values wrap).
    pub const fn translation(level: u8) -> Self {
        Self(0b00_0100 | level & 0b11)
    }

    /// The six bits as the register holds them.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// What kind of fault it is (D24.2 "DFSC", "IFSC").
    #[inline]
    pub const fn kind(self) -> FaultKind {
        match self.0 {
            0b00_0000..=0b00_0011 | 0b10_1001 | 0b10_1100 => FaultKind::AddressSize,
            0b00_0100..=0b00_0111 | 0b10_1010 | 0b10_1011 => FaultKind::Translation,
            0b00_1000..=0b00_1011 => FaultKind::AccessFlag,
            0b00_1100..=0b00_1111 => FaultKind::Permission,
            0b01_0000 => FaultKind::External,
            0b01_0001 => FaultKind::TagCheck,
            0b01_0010..=0b01_0111 => FaultKind::ExternalOnWalk,
            0b01_1000 => FaultKind::Parity,
            0b01_1010..=0b01_1111 => FaultKind::ParityOnWalk,
            0b10_0001 => FaultKind::Alignment,
            0b10_0010..=0b10_0111 => FaultKind::GranuleProtectionOnWalk,
            0b10_1000 => FaultKind::GranuleProtection,
            0b11_0000 => FaultKind::TlbConflict,
            0b11_0001 => FaultKind::UnsupportedAtomicUpdate,
            0b11_0100 => FaultKind::Lockdown,
            0b11_0101 => FaultKind::UnsupportedExclusive,
            _ => FaultKind::Unallocated,
        }
    }

    /// The level of the table walk at which it arose, -2 to 3; `None` for a fault that has none. The negative
    /// ones come with FEAT_LPA2 and FEAT_D128 and are not encoded in a row.
    pub const fn level(self) -> Option<i8> {
        match self.0 {
            0b00_0000..=0b00_1111 | 0b01_0100..=0b01_0111 | 0b01_1100..=0b01_1111 | 0b10_0100..=0b10_0111 => {
                Some((self.0 & 0b11) as i8)
            }
            0b01_0011 | 0b01_1011 | 0b10_0011 | 0b10_1001 | 0b10_1011 => Some(-1),
            0b01_0010 | 0b01_1010 | 0b10_0010 | 0b10_1010 | 0b10_1100 => Some(-2),
            _ => None,
        }
    }
}

impl fmt::Display for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind(), self.level()) {
            (FaultKind::Unallocated, _) => write!(f, "unallocated fault status {:#04x}", self.0),
            (kind, Some(level)) => write!(f, "{} at level {level}", kind.words()),
            (kind, None) => f.write_str(kind.words()),
        }
    }
}

impl fmt::Debug for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStatus({:#04x}: {self})", self.0)
    }
}

/// The kinds of fault that a fault status code tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// An output address or a base register beyond the physical address size.
    AddressSize,
    /// No translation.
    Translation,
    /// The access flag is clear and hardware does not manage it.
    AccessFlag,
    /// The translation forbids the access.
    Permission,
    /// Synchronous external abort.
    External,
    /// Synchronous external abort of a table walk.
    ExternalOnWalk,
    /// Synchronous tag check fault (FEAT_MTE2).
    TagCheck,
    /// Synchronous parity or ECC error.
    Parity,
    /// Synchronous parity or ECC error of a table walk.
    ParityOnWalk,
    /// Misaligned access.
    Alignment,
    /// Granule protection fault (FEAT_RME).
    GranuleProtection,
    /// Granule protection fault of a table walk (FEAT_RME).
    GranuleProtectionOnWalk,
    /// Two TLB entries match.
    TlbConflict,
    /// The tables are in memory where hardware cannot update them atomically (FEAT_HAFDBS).
    UnsupportedAtomicUpdate,
    /// IMPLEMENTATION DEFINED: lockdown.
    Lockdown,
    /// IMPLEMENTATION DEFINED: exclusive or atomic access where none is supported.
    UnsupportedExclusive,
    /// A code that is not allocated.
    Unallocated,
}

impl FaultKind {
    const fn words(self) -> &'static str {
        match self {
            Self::AddressSize => "address size fault",
            Self::Translation => "translation fault",
            Self::AccessFlag => "access flag fault",
            Self::Permission => "permission fault",
            Self::External => "external abort",
            Self::ExternalOnWalk => "external abort of a table walk",
            Self::TagCheck => "tag check fault",
            Self::Parity => "parity or ECC error",
            Self::ParityOnWalk => "parity or ECC error of a table walk",
            Self::Alignment => "alignment fault",
            Self::GranuleProtection => "granule protection fault",
            Self::GranuleProtectionOnWalk => "granule protection fault of a table walk",
            Self::TlbConflict => "TLB conflict",
            Self::UnsupportedAtomicUpdate => "unsupported atomic hardware update",
            Self::Lockdown => "lockdown fault",
            Self::UnsupportedExclusive => "unsupported exclusive or atomic access",
            Self::Unallocated => "unallocated fault status",
        }
    }
}

/// The name of a system register or instruction, as `MSR`, `MRS` and `SYS` encode it.
///
/// Make the registers that are emulated constants, and `match` a trap's [`SysRegTrap::register`] against
/// them: the value is held in the place of the fields in the syndrome, so that comparing costs one mask.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SysReg(u32);

impl SysReg {
    /// Op0, Op2, Op1, CRn and CRm in the ISS of class `SYSREG`.
    const MASK: u32 = 0x3f_fc1e;

    /// `S<op0>_<op1>_<CRn>_<CRm>_<op2>`, the order in which assemblers write it. Each field is cut to the
    /// bits that it has (2, 3, 4, 4, 3).
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self(
            (op0 as u32 & 0b11) << 20
                | (op2 as u32 & 0b111) << 17
                | (op1 as u32 & 0b111) << 14
                | (crn as u32 & 0b1111) << 10
                | (crm as u32 & 0b1111) << 1,
        )
    }

    /// Op0, 0 to 3. Registers have 2 (debug) or 3, instructions 1.
    #[inline]
    pub const fn op0(self) -> u8 {
        field(self.0, 20, 2)
    }

    /// Op1, 0 to 7.
    #[inline]
    pub const fn op1(self) -> u8 {
        field(self.0, 14, 3)
    }

    /// CRn, 0 to 15.
    #[inline]
    pub const fn crn(self) -> u8 {
        field(self.0, 10, 4)
    }

    /// CRm, 0 to 15.
    #[inline]
    pub const fn crm(self) -> u8 {
        field(self.0, 1, 4)
    }

    /// Op2, 0 to 7.
    #[inline]
    pub const fn op2(self) -> u8 {
        field(self.0, 17, 3)
    }
}

impl fmt::Display for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}_{}_C{}_C{}_{}", self.op0(), self.op1(), self.crn(), self.crm(), self.op2())
    }
}

impl fmt::Debug for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The syndrome of a trapped `MSR`, `MRS` or system instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SysRegTrap(u32);

impl SysRegTrap {
    /// Which register or instruction.
    #[inline]
    pub const fn register(self) -> SysReg {
        SysReg(self.0 & SysReg::MASK)
    }

    /// Rt: the general-purpose register that is read or written; 31 is the zero register.
    #[inline]
    pub const fn rt(self) -> u8 {
        field(self.0, 5, 5)
    }

    /// Direction: true for `MRS`.
    #[inline]
    pub const fn is_read(self) -> bool {
        bit(self.0, 0)
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class();
        write!(f, "{class}")?;
        match class {
            ExceptionClass::DATA_ABORT_LOWER | ExceptionClass::DATA_ABORT_CURRENT => {
                write!(f, ": {}", self.data_abort())?;
            }
            ExceptionClass::INSTRUCTION_ABORT_LOWER | ExceptionClass::INSTRUCTION_ABORT_CURRENT => {
                let abort = self.instruction_abort();
                write!(f, ": {}{}", abort.status(), walk_words(abort.flags()))?;
            }
            ExceptionClass::SYSREG => {
                let trap = self.sysreg_trap();
                let verb = if trap.is_read() { "read into" } else { "write from" };
                write!(f, ": {} {verb} x{}", trap.register(), trap.rt())?;
            }
            ExceptionClass::HVC64
            | ExceptionClass::SMC64
            | ExceptionClass::SVC64
            | ExceptionClass::BRK64
            | ExceptionClass::HVC32
            | ExceptionClass::SVC32 => write!(f, " #{:#x}", self.imm16())?,
            _ => {}
        }
        write!(f, " (ESR {:#010x})", self.0)
    }
}

impl fmt::Debug for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Syndrome({self})")
    }
}

impl fmt::Display for DataAbort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.flags();
        write!(f, "{}{}, ", self.status(), walk_words(flags))?;
        match (flags.contains(AbortFlags::CM), self.is_write()) {
            (true, _) => f.write_str("cache maintenance")?,
            (false, true) => f.write_str("write")?,
            (false, false) => f.write_str("read")?,
        }
        if let Some(access) = self.access() {
            let preposition = if self.is_write() { "from" } else { "into" };
            write!(f, " of {} bytes {preposition} x{}", access.width().bytes(), access.register())?;
        }
        if flags.contains(AbortFlags::FNV) {
            f.write_str(", FAR not valid")?;
        }
        Ok(())
    }
}

/// What S1PTW adds to a sentence.
const fn walk_words(flags: AbortFlags) -> &'static str {
    if flags.contains(AbortFlags::S1PTW) { " while walking the Stage 1 tables" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_data_abort_says_what_the_instruction_did() {
        // ldrsh w3, [x0] at EL1 from an unmapped IPA: SAS 1, SSE, SRT 3, SF 0, translation fault level 2.
        let esr = Syndrome(0x9363_0006);
        assert_eq!(esr.class(), ExceptionClass::DATA_ABORT_LOWER);
        assert_eq!(esr.instruction_length(), 4);
        let abort = esr.data_abort();
        assert_eq!(abort.status().kind(), FaultKind::Translation);
        assert_eq!(abort.status().level(), Some(2));
        assert!(!abort.is_write() && !abort.is_stage1_walk());
        let access = abort.access().unwrap();
        assert_eq!((access.width(), access.register()), (Width::Half, 3));
        assert_eq!(access.loaded(0x8000), 0xffff_8000);
        assert_eq!(
            format!("{esr}"),
            "data abort from a lower exception level: translation fault at level 2, read of 2 bytes into x3 \
             (ESR 0x93630006)"
        );
    }

    #[test]
    fn a_data_abort_without_isv_has_no_access() {
        let abort = Syndrome(0x9200_0046).data_abort();
        assert_eq!(abort.access(), None);
        assert!(abort.is_write());
    }

    #[test]
    fn loads_are_widened_as_the_instruction_says() {
        for (extension, width, raw, expected) in [
            (Extension::Zero, Width::Byte, 0xfff0, 0xf0),
            (Extension::SignTo32, Width::Byte, 0xf0, 0xffff_fff0),
            (Extension::SignTo64, Width::Byte, 0xf0, 0xffff_ffff_ffff_fff0),
            (Extension::SignTo64, Width::Byte, 0x70, 0x70),
            (Extension::SignTo64, Width::Word, 0x8000_0000, 0xffff_ffff_8000_0000),
            (Extension::Zero, Width::Double, u64::MAX, u64::MAX),
        ] {
            assert_eq!(extension.apply(raw, width), expected, "{extension:?} {width:?}");
        }
    }

    #[test]
    fn system_registers_are_matched_by_name() {
        // The register names that the assembler knows, and the ISS that a trapped `mrs x5, REG` has.
        const ID_AA64PFR0_EL1: SysReg = SysReg::new(3, 0, 0, 4, 0);
        const ICC_SGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 5);
        let trap = Syndrome(0x6230_00a9).sysreg_trap();
        assert_eq!(trap.register(), ID_AA64PFR0_EL1);
        assert_eq!((trap.rt(), trap.is_read()), (5, true));
        let trap = Syndrome(0x623a_3016).sysreg_trap();
        assert_eq!(trap.register(), ICC_SGI1R_EL1);
        assert_eq!((trap.rt(), trap.is_read()), (0, false));
        assert_eq!(format!("{}", trap.register()), "S3_0_C12_C11_5");
    }

    #[test]
    fn hypercalls_carry_their_immediate() {
        let esr = Syndrome(0x5a00_1234);
        assert_eq!((esr.class(), esr.imm16()), (ExceptionClass::HVC64, 0x1234));
        assert_eq!(format!("{esr}"), "HVC #0x1234 (ESR 0x5a001234)");
    }

    #[test]
    fn waits_are_told_apart() {
        assert_eq!(Syndrome(0x07e0_0000).wait(), Wait::Wfi);
        assert_eq!(Syndrome(0x07e0_0001).wait(), Wait::Wfe);
        assert_eq!(Syndrome(0x07e0_0001).wait_timeout_register(), None);
        assert_eq!(Syndrome(0x07e0_00e6).wait(), Wait::Wfit);
        assert_eq!(Syndrome(0x07e0_00e6).wait_timeout_register(), Some(7));
    }

    /// What QEMU's `syn_*` functions, and so real kernels, expect to find in `ESR_EL1`.
    #[test]
    fn injected_syndromes_are_architectural() {
        assert_eq!(Syndrome::undefined().0, 0x0200_0000);
        let write = AbortFlags::WNR | AbortFlags::EA;
        let abort = Syndrome::new_data_abort(Origin::SameLevel, FaultStatus::EXTERNAL_ABORT, write);
        assert_eq!(abort.0, 0x9600_0250);
        let abort = Syndrome::new_data_abort(Origin::LowerLevel, FaultStatus::UNSUPPORTED_EXCLUSIVE, write);
        assert_eq!(abort.0, 0x9200_0275);
        let abort = Syndrome::new_instruction_abort(
            Origin::LowerLevel,
            FaultStatus::external_abort_on_walk(2),
            AbortFlags::S1PTW | AbortFlags::WNR,
        );
        assert_eq!(abort.0, 0x8200_0096);
    }

    #[test]
    fn fault_levels_below_zero_are_known() {
        for (code, kind, level) in [
            (0b10_1001, FaultKind::AddressSize, -1),
            (0b10_1011, FaultKind::Translation, -1),
            (0b01_0011, FaultKind::ExternalOnWalk, -1),
            (0b01_1011, FaultKind::ParityOnWalk, -1),
            (0b10_0011, FaultKind::GranuleProtectionOnWalk, -1),
            (0b10_1010, FaultKind::Translation, -2),
            (0b10_1100, FaultKind::AddressSize, -2),
        ] {
            let status = FaultStatus(code);
            assert_eq!((status.kind(), status.level()), (kind, Some(level)), "{code:#b}");
        }
        assert_eq!(FaultStatus::EXTERNAL_ABORT.level(), None);
        assert_eq!(FaultStatus::ALIGNMENT.kind(), FaultKind::Alignment);
    }

    #[test]
    fn every_syndrome_can_be_told_in_words() {
        for class in 0..64_u64 {
            for iss in [0, 0x1ff_ffff, 0x155_5555] {
                assert!(format!("{}", Syndrome(class << EC_SHIFT | iss)).contains("ESR"));
            }
        }
    }
}
