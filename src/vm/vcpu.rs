//! The one interface by which the rest of the system sees a vCPU, whatever its instruction set.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Which vCPU of which VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VcpuId {
    /// The VM's number.
    pub vm: usize,
    /// The vCPU's index in it.
    pub index: usize,
}

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.vm, self.index)
    }
}

/// The general registers of a vCPU, as its own architecture knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Regs {
    /// AArch64.
    Aarch64 {
        /// X0 to X30.
        x: [u64; 31],
        /// The stack pointer that the current exception level uses.
        sp: u64,
        /// Program counter.
        pc: u64,
        /// PSTATE, in the layout of `SPSR_EL2`.
        pstate: u64,
    },
}

/// The floating-point and SIMD registers of a vCPU: 32 of 128 bits, control and status. The layout is that of
/// arch/aarch64/world_switch.S; other architectures use the part of it that they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C, align(16))]
pub struct FpuRegs {
    /// V0 to V31.
    pub v: [u128; 32],
    /// FPCR, or the control register's counterpart.
    pub control: u64,
    /// FPSR, or the status register's counterpart.
    pub status: u64,
}

const _: () =
    assert!(core::mem::offset_of!(FpuRegs, control) == 512 && core::mem::offset_of!(FpuRegs, status) == 520);

/// Registers of another architecture, or with a value that the vCPU cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegsError(pub &'static str);

impl fmt::Display for RegsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for RegsError {}

/// Why a vCPU has stopped running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Somebody raised [`Attention::STOP`].
    Stopped,
    /// The guest switched this vCPU off (PSCI CPU_OFF).
    Off,
    /// The guest switched its machine off.
    SystemOff,
    /// The guest asked for a reset of its machine.
    SystemReset,
    /// The vCPU cannot go on.
    Crashed(Crash),
}

/// What made a vCPU unable to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// In words, with values.
    pub reason: alloc::string::String,
}

/// How often a vCPU has left the guest, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExitCounters {
    /// Hypercalls and SMCs.
    pub calls: u64,
    /// Accesses to devices.
    pub mmio: u64,
    /// System registers and instructions.
    pub sysreg: u64,
    /// Physical interrupts.
    pub interrupts: u64,
    /// RAM mapped on first touch.
    pub faults: u64,
    /// Accesses that nobody claimed, answered by an abort.
    pub unclaimed: u64,
    /// Instructions answered by an undefined instruction exception.
    pub undefined: u64,
}

/// A vCPU.
pub trait VcpuOps: Send {
    /// Which one it is.
    fn id(&self) -> VcpuId;

    /// Runs the vCPU on this CPU until something happens that its VM as a whole must answer.
    fn run(&mut self) -> Exit;

    /// How often it has left the guest since it was made.
    fn exits(&self) -> ExitCounters;

    /// Puts the vCPU into the state in which its machine starts it: at `pc`, with `argument` in the first
    /// argument register.
    fn start_at(&mut self, pc: u64, argument: u64);

    /// The general registers. Not to be called from within [`VcpuOps::run`].
    fn regs(&self) -> Regs;

    /// Replaces the general registers.
    ///
    /// # Errors
    /// [`RegsError`] where they are of another architecture or name a state that a guest may not be in.
    fn set_regs(&mut self, regs: &Regs) -> Result<(), RegsError>;

    /// The floating-point and SIMD registers.
    fn fpu_regs(&self) -> FpuRegs;

    /// Replaces the floating-point and SIMD registers.
    fn set_fpu_regs(&mut self, regs: &FpuRegs);
}

/// What other CPUs want of a vCPU; it looks before each entry into the guest. Whoever raises a flag also
/// kicks the CPU that runs the vCPU: EL2 has interrupts masked, so a kick that comes after the look ends the
/// run as soon as it starts.
#[derive(Debug, Default)]
pub struct Attention(core::sync::atomic::AtomicU32);

impl Attention {
    /// The list registers must be filled anew.
    pub const INTERRUPTS: u32 = 1 << 0;
    /// The vCPU must stop running.
    pub const STOP: u32 = 1 << 1;

    /// Nothing wanted.
    pub const fn new() -> Self {
        Self(core::sync::atomic::AtomicU32::new(0))
    }

    /// Raises `flags`.
    pub fn raise(&self, flags: u32) {
        self.0.fetch_or(flags, core::sync::atomic::Ordering::AcqRel);
    }

    /// The flags that are up, without taking them.
    #[inline]
    pub fn peek(&self) -> u32 {
        self.0.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Takes all flags.
    #[inline]
    pub fn take(&self) -> u32 {
        self.0.swap(0, core::sync::atomic::Ordering::AcqRel)
    }
}
