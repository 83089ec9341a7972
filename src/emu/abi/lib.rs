//! What EL2 and the engine of a cell agree on: addresses, one shared page and a few hypercalls. Layout only.
//!
//! A *cell* is a VM whose vCPUs run the *engine*, a translator at EL1, in front of a guest of another instruction set.
//! The guest's physical addresses are the VM's intermediate physical addresses (IPA); the cell's own lie above them.
//! `docs/cell.md` describes how the two sides use this.
#![no_std]

#[cfg(test)]
extern crate std;

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64};

mod report;
pub mod riscv;
mod statistics;
mod store;
mod written;

pub use report::{HotBlock, MAX_REPORT, NoHotBlock, Question, Report};
pub use statistics::JitStatistics;
pub use store::{
    EngineDigest, FEATURE_LSE, FEATURE_PMULL, RECORDING_MAGIC, RecordingHeader, STORE_MAGIC, STORE_VERSION,
    StoreHeader, Unfit, cpu_features,
};
pub use written::{CodePages, LOG_ENTRIES, Overflow, PAGE, WriteLog};

/// The version of everything here; EL2 and the engine are built together, so this finds mistakes only.
pub const VERSION: u32 = 3;
/// [`CellInfo::magic`]: "PolyCell".
pub const MAGIC: u64 = u64::from_le_bytes(*b"PolyCell");

/// The first IPA that is the cell's. The guest's RAM and devices lie below.
pub const CELL: u64 = 256 << 30;
/// The engine's image: read-only and executable, the same frames in all cells. Its entry is its first instruction; every
/// vCPU enters there by PSCI, with its index in X0.
pub const IMAGE: u64 = CELL;
/// How large the image may be, in bytes: what one table of pages maps.
pub const IMAGE_MAX: u64 = 2 << 20;
/// The distributor of the cell's interrupt controller, 64 KiB.
pub const GIC_DIST: u64 = CELL + 0x1000_0000;
/// The CPU interface of a GICv2, 64 KiB of which the first page is there.
pub const GIC_CPU: u64 = CELL + 0x1001_0000;
/// The redistributors of a GICv3, of [`GIC_REDIST_STRIDE`] bytes each.
pub const GIC_REDIST: u64 = CELL + 0x1010_0000;
/// What each redistributor takes.
pub const GIC_REDIST_STRIDE: u64 = 0x2_0000;
/// Where a store of saved translations ([`StoreHeader`]) is mapped, read-only, if the cell has one.
pub const STORE: u64 = CELL + (512 << 20);
/// How many bytes it may have.
pub const STORE_MAX: u64 = 256 << 20;
/// The cell's private memory: read-write, zero at start except for the [`CellInfo`] at its beginning. No device reaches it.
pub const PRIVATE: u64 = CELL + (1 << 30);
/// Bytes of private memory that are there whatever the number of harts.
pub const PRIVATE_SHARED: u64 = 64 << 20;
/// Bytes of private memory for each hart besides.
pub const PRIVATE_PER_HART: u64 = 24 << 20;
/// Bytes of private memory, its last ones, for a recording ([`RecordingHeader`]) of a cell that makes one.
pub const PRIVATE_RECORDING: u64 = 64 << 20;
/// Where the engine's own translation (Stage-1) has the first of the VM's addresses; the others follow one to one. EL2 is
/// told intermediate physical addresses only.
///
/// It is the upper half of what TTBR0 translates, which no guest of [`riscv`] can address: its virtual addresses are the
/// lowest and the highest 2^47, as Sv48 has them.
pub const HOLE: u64 = 1 << 47;
/// How many vCPUs a cell may have.
pub const MAX_HARTS: usize = 8;

/// The software-generated interrupt by which harts kick each other.
pub const KICK_SGI: u32 = 0;
/// The software-generated interrupt by which EL2 tells a hart to look at its [`HartInfo`].
pub const DOORBELL_SGI: u32 = 1;
/// The virtual timer's private interrupt.
pub const TIMER_INTID: u32 = 27;

/// Hypercall (SMC calling convention, vendor-specific hypervisor service, 64 bits): the engine cannot go on. X1: where in
/// private memory a message in UTF-8 is; X2: its bytes, at most [`MAX_MESSAGE`]. Does not return.
pub const CALL_FATAL: u32 = 0xc600_0001;
/// Hypercall: the hart has stopped between two instructions for the debugger. X1: a [`StopReason`]. Returns when it is to
/// go on.
pub const CALL_STOPPED: u32 = 0xc600_0002;
/// The longest message of [`CALL_FATAL`] in bytes.
pub const MAX_MESSAGE: u64 = 4096;

/// Why a hart has stopped for the debugger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum StopReason {
    /// [`Requests`] asked for it.
    Asked = 0,
    /// It has executed the one instruction it was to.
    Stepped = 1,
    /// It is at a breakpoint.
    Breakpoint = 2,
}

/// How the engine executes its guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Translation {
    /// By its interpreter alone.
    Off = 0,
    /// It compiles what is executed often.
    On = 1,
    /// It compiles it, executes it by both, and compares.
    LockStep = 2,
    /// It compiles all that it can, at once, and records what comes of it.
    Record = 3,
}

impl Translation {
    /// What [`CellInfo::translation`] says.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            0 => Some(Self::Off),
            1 => Some(Self::On),
            2 => Some(Self::LockStep),
            3 => Some(Self::Record),
            _ => None,
        }
    }
}

/// Bits of [`HartInfo::requests`].
pub struct Requests;

impl Requests {
    /// Stop before the next instruction.
    pub const STOP: u32 = 1 << 0;
    /// Execute one instruction, then stop.
    pub const STEP: u32 = 1 << 1;
    /// Answer the question in [`CellInfo::report`].
    pub const REPORT: u32 = 1 << 2;
    /// Fail, so that it can be seen what an engine's failure does: the engine reads where nothing is mapped.
    pub const FAIL: u32 = 1 << 31;
}

/// Bits of [`HartInfo::lines`].
pub struct Lines;

impl Lines {
    /// RISC-V: the machine external interrupt.
    pub const MACHINE_EXTERNAL: u32 = 1 << 0;
    /// RISC-V: the supervisor external interrupt.
    pub const SUPERVISOR_EXTERNAL: u32 = 1 << 1;
}

/// How many breakpoints the debugger may set.
pub const MAX_BREAKPOINTS: usize = 32;

/// The page at [`PRIVATE`]. EL2 fills it before the first vCPU starts.
#[repr(C)]
pub struct CellInfo {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// How many harts.
    pub harts: u32,
    /// The first address of the guest's RAM.
    pub ram_base: u64,
    /// Bytes of RAM.
    pub ram_size: u64,
    /// Bytes of private memory from [`PRIVATE`] on, a multiple of 2 MiB.
    pub private_size: u64,
    /// 2 or 3.
    pub gic_version: u32,
    /// RISC-V: the privilege mode in which the guest starts, [`riscv::SUPERVISOR`] (then the engine is its SBI) or
    /// [`riscv::MACHINE`].
    pub boot_mode: u32,
    /// Where the guest starts.
    pub entry: u64,
    /// The argument registers that it starts with, besides the hart's number in the first: the devicetree's address, and
    /// what firmware is told of the next stage.
    pub arguments: [u64; 2],
    /// How its code is executed: a [`Translation`].
    pub translation: u32,
    /// Changes whenever the breakpoints do, after they have.
    pub breakpoint_generation: AtomicU32,
    /// How many of `breakpoints` count.
    pub breakpoint_count: AtomicU32,
    /// Addresses of instructions before which to stop.
    pub breakpoints: [AtomicU64; MAX_BREAKPOINTS],
    /// The harts.
    pub hart: [HartInfo; MAX_HARTS],
    /// What EL2 has written to the guest's RAM.
    pub written: WriteLog,
    /// Where in private memory the engine's [`JitStatistics`] are, at a multiple of 8. 0: there are none.
    pub statistics: AtomicU64,
    /// What an operator asks.
    pub report: Report,
    /// Bytes of the store at [`STORE`], whole pages. 0: there is none. EL2 has checked it.
    pub store_size: u64,
    /// Bytes of the recording at the end of private memory. 0: none is to be made.
    pub recording_size: u64,
}

/// What EL2 and the engine tell each other of one hart.
#[repr(C, align(64))]
pub struct HartInfo {
    /// Levels of the hart's interrupt inputs ([`Lines`]). EL2 writes it, then rings the doorbell.
    pub lines: AtomicU32,
    /// What the debugger wants ([`Requests`]). EL2 sets bits and rings; the engine clears them when it does so.
    pub requests: AtomicU32,
    /// Where the guest's registers are in private memory, as the module of its instruction set lays them out. 0: not known
    /// yet.
    pub state: AtomicU64,
}

const _: () = {
    assert!(size_of::<CellInfo>() <= 4096);
    assert!(offset_of!(CellInfo, ram_base) == 16 && offset_of!(CellInfo, breakpoints) == 88);
    assert!(offset_of!(CellInfo, hart) % 64 == 0 && size_of::<HartInfo>() == 64);
    assert!(offset_of!(CellInfo, written) % 8 == 0);
};
