//! The one interface by which the rest of the system sees a vCPU, whatever its instruction set.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::debug::{Setup, Stop, TooManyPoints};
use super::trace::ExitTrace;
use crate::mm::addr::Ipa;
use crate::mm::frames::OutOfFrames;

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
    /// 64-bit RISC-V.
    Riscv64 {
        /// x0 to x31; x0 is zero.
        x: [u64; 32],
        /// Program counter.
        pc: u64,
        /// The privilege mode: 0, 1 or 3.
        mode: u64,
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
    /// Its CPU is wanted for something else.
    Preempted,
    /// It waits for another vCPU, by spinning, and lets others run.
    Yielded,
    /// It waits for an interrupt.
    Waiting {
        /// When one of its timers will fire, on the physical counter.
        until: Option<u64>,
    },
    /// Somebody raised [`Attention::STOP`].
    Stopped,
    /// The guest switched this vCPU off (PSCI CPU_OFF).
    Off,
    /// The guest switched its machine off.
    SystemOff,
    /// The guest asked for a reset of its machine.
    SystemReset,
    /// The guest touched memory that it has given back, and the machine has none to spare. It may try again later.
    OutOfMemory(OutOfFrames),
    /// The vCPU cannot go on.
    Crashed(Crash),
    /// The debugger is to be told of this.
    Debug(Stop),
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
    /// Instructions that wait for an interrupt or an event.
    pub waits: u64,
    /// RAM mapped on first touch.
    pub faults: u64,
    /// Accesses that nobody claimed, answered by an abort.
    pub unclaimed: u64,
    /// Instructions answered by an undefined instruction exception.
    pub undefined: u64,
}

/// A counter with one writer, which others read while it counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more. Only the vCPU whose counter it is may do this.
    #[inline]
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts `amount` more, as [`Counter::count`] does.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The value now, or a moment ago.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a vCPU shares with the rest of the system while it runs.
#[derive(Debug, Default)]
pub struct Shared {
    /// What others want of it.
    pub attention: Attention,
    /// Whether it is in its guest, rather than in EL2.
    pub in_guest: AtomicBool,
    /// Its last exits.
    pub trace: ExitTrace,
    /// See [`ExitCounters`].
    pub calls: Counter,
    /// See [`ExitCounters`].
    pub mmio: Counter,
    /// See [`ExitCounters`].
    pub sysreg: Counter,
    /// See [`ExitCounters`].
    pub interrupts: Counter,
    /// See [`ExitCounters`].
    pub waits: Counter,
    /// See [`ExitCounters`].
    pub faults: Counter,
    /// See [`ExitCounters`].
    pub unclaimed: Counter,
    /// See [`ExitCounters`].
    pub undefined: Counter,
}

impl Shared {
    /// The counters now.
    pub fn exits(&self) -> ExitCounters {
        ExitCounters {
            calls: self.calls.get(),
            mmio: self.mmio.get(),
            sysreg: self.sysreg.get(),
            interrupts: self.interrupts.get(),
            waits: self.waits.get(),
            faults: self.faults.get(),
            unclaimed: self.unclaimed.get(),
            undefined: self.undefined.get(),
        }
    }
}

/// A vCPU.
pub trait VcpuOps: Send {
    /// Which one it is.
    fn id(&self) -> VcpuId;

    /// Runs the vCPU on this CPU until something happens that its VM as a whole must answer.
    fn run(&mut self) -> Exit;

    /// Brings the vCPU, which does not run, to where its registers are those of its guest between two instructions, running
    /// it on this CPU until the physical counter reaches `until` if need be. `Ok(false)`: it is not there yet.
    ///
    /// # Errors
    /// What has made it stop on the way.
    fn settle(&mut self, until: u64) -> Result<bool, Exit> {
        let _ = until;
        Ok(true)
    }

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

    /// System registers by name, in the order in which they are to be shown.
    fn system_registers(&self) -> Vec<(&'static str, u64)>;

    /// Where the guest's virtual address lies, by the guest's own translation as it stands; `None` where it
    /// has none.
    fn translate(&self, address: u64) -> Option<Ipa>;

    /// Return addresses of the functions that the guest is in, the innermost first, as far as it keeps frame
    /// records and they can be read.
    fn backtrace(&self) -> Vec<u64>;

    /// Puts the vCPU, which does not run, into the hands of a debugger from now on, or takes it from it. A step that
    /// was ordered before is over.
    ///
    /// # Errors
    /// [`TooManyPoints`]; then everything stays as it was.
    fn debug(&mut self, setup: Option<Setup<'_>>) -> Result<(), TooManyPoints>;
}

/// What other CPUs want of a vCPU; it looks before each entry into the guest. Whoever raises a flag also
/// kicks the CPU that runs the vCPU: EL2 has interrupts masked, so a kick that comes after the look ends the
/// run as soon as it starts.
#[derive(Debug, Default)]
pub struct Attention(AtomicU32);

impl Attention {
    /// The list registers must be filled anew.
    pub const INTERRUPTS: u32 = 1 << 0;
    /// The vCPU must stop running.
    pub const STOP: u32 = 1 << 1;
    /// A device of its VM has work left that a vCPU is to do.
    pub const DEVICES: u32 = 1 << 2;

    /// Nothing wanted.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Raises `flags`.
    pub fn raise(&self, flags: u32) {
        self.0.fetch_or(flags, Ordering::SeqCst);
    }

    /// The flags that are up, without taking them.
    #[inline]
    pub fn peek(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes [`Attention::INTERRUPTS`] alone.
    #[inline]
    pub fn take_interrupts(&self) {
        self.0.fetch_and(!Self::INTERRUPTS, Ordering::SeqCst);
    }

    /// Takes all flags.
    #[inline]
    pub fn take(&self) -> u32 {
        self.0.swap(0, Ordering::SeqCst)
    }
}
