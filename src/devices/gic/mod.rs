//! The virtual GIC: GICv2 (IHI 0048B) and GICv3 (IHI 0069) as QEMU's `virt` machine has them.
//!
//! One security state, no LPIs, no message-based SPIs. With GICv3, affinity routing is always on
//! (`GICD_CTLR.ARE` and `.DS` read as one).
//!
//! [`Vgic`] is a pure state machine. It neither touches hardware nor blocks nor, once built, allocates. The
//! guest's CPU interface is the hardware's own (GICV, or the ICV system registers); what connects the two are
//! the *list registers*:
//!
//! * [`Vgic::fill`] chooses what goes into the list registers of a vCPU before it runs, and
//! * [`Vgic::fold`] takes back what the guest made of them.
//!
//! # The protocol
//!
//! From `fill` to `fold` a vCPU is *loaded*: the hardware owns the pending and active state of the interrupts
//! in its list registers. Whatever happens to the model meanwhile (a line changes, an SGI is sent, the guest
//! writes a register on this vCPU or on another), the operation records the wish and returns a [`VcpuSet`]:
//! **each vCPU in it must `fold` and `fill` before it executes (more of) its guest**. If it runs on another
//! physical CPU, interrupt that; if it waits for an interrupt, ask [`Vgic::has_pending`]; if it is the
//! caller's own, note that a refill is due and do it on the way out. The set is never larger than it has to
//! be, so most exits leave the list registers alone.
//!
//! What the model *shows* of a loaded interrupt (ISPENDR, ISACTIVER) is what it was loaded with. A guest that
//! looks at its own CPU sees the truth because [`device`] folds that CPU first; of another CPU that is
//! running it sees the recent past, as it might on hardware.
//!
//! # Design decisions
//!
//! * **Level-sensitive inputs.** The input is kept apart from the pending latch: pending = latch | input. An
//!   interrupt that is pending through its input is loaded with `EOI = 1`, so its deactivation returns to the
//!   model, which looks at the input again. If the input falls while the interrupt is loaded, which is what a
//!   driver's handler usually brings about before it ends the interrupt, the vCPU is in the returned set, and
//!   the refill loads it without `EOI`: no exit is spent on the end of an interrupt that will not recur. An
//!   unacknowledged one is retracted in the same way. If the input is high while the interrupt is active it
//!   is loaded as active *and* pending, and recurs without an exit, unless it might then get ahead of others.
//! * **More interrupts than list registers.** The most urgent pending interrupt always gets a list register,
//!   then the active ones, most urgent first (they will be ended first), then the other pending ones. So
//!   `NPIE` ("no interrupt pending" in the list registers) is the underflow condition to use: it is false on
//!   entry, whatever is active, and becomes true exactly when the next pending interrupt has to be brought
//!   in. `UIE` ("at most one in use") would fire at once with a single list register, and never while two
//!   interrupts stay active.
//! * **An active interrupt outside the list registers** is ended by a write that the hardware merely counts
//!   (`EOIcount`). With `EOImode` 0 ends come in reverse order of acknowledgement, so the count says which
//!   ones: the most urgent. With `EOImode` 1 deactivations come in any order, and [`Fill::trap_deactivate`]
//!   asks for the write to be trapped. A guest that clears an active bit in the distributor and ends the
//!   interrupt all the same can make it end another one of its own, and nobody else's.
//! * **Hardware-linked interrupts** ([`Vgic::link_hardware`], for the virtual timer): the physical interrupt
//!   is left active by EL2 and the list register (`HW = 1`) deactivates it together with the virtual one.
//!   Where the virtual interrupt vanishes in another way, [`Fill::release`] says that EL2 has to deactivate
//!   the physical one.
//! * **1-of-N SPIs.** `IROUTER.IRM = 1` delivers to the first vCPU whose redistributor is awake; of several
//!   bits in `ITARGETSR` the lowest counts. The architecture leaves the choice open.

#![deny(clippy::indexing_slicing)]

mod bank;
mod choice;
pub mod device;
mod dist;
mod lists;
mod lr;
mod persist;
mod redist;
mod registers;
mod sgi;
mod state;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::{fmt, ops};

pub use bank::BankState;
pub use lists::{Fill, Maintenance};
pub use lr::{Deactivation, ListRegister};
pub use persist::{SpiState, VcpuState, VgicState};
pub use sgi::SgiGroup;
pub use state::Vgic;

/// The most list registers that an implementation can have.
pub const MAX_LIST_REGISTERS: usize = 16;
/// The most vCPUs of a GICv2: its registers hold a bit for each in a byte.
pub const MAX_VCPUS_V2: usize = 8;
/// The most vCPUs of a GICv3: as many redistributors fit into QEMU `virt`'s first redistributor region.
pub const MAX_VCPUS_V3: usize = 123;
/// The most SPIs: all INTIDs below the special ones, in whole words.
pub const MAX_SPIS: u32 = 960;

/// Which architecture the guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicVersion {
    /// GICv2, with a memory-mapped CPU interface.
    V2,
    /// GICv3, with redistributors and system registers.
    V3,
}

/// The number of an SGI (0 to 15), PPI (16 to 31) or SPI (32 to 991).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct IntId(u16);

impl IntId {
    const SGIS: u16 = 16;
    const PRIVATE: u16 = 32;

    /// The INTID `number`, unless it is beyond the SPIs.
    pub const fn new(number: u32) -> Option<Self> {
        if number < Self::PRIVATE as u32 + MAX_SPIS { Some(Self(number as u16)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether it is a software-generated interrupt.
    pub const fn is_sgi(self) -> bool {
        self.0 < Self::SGIS
    }

    /// Whether it is an SGI or a PPI, of which every vCPU has its own.
    pub const fn is_private(self) -> bool {
        self.0 < Self::PRIVATE
    }

    /// Which interrupt of which word of the registers; word 0 is private.
    const fn at(word: usize, lane: usize) -> Self {
        Self((word * 32 + lane) as u16)
    }

    const fn word(self) -> usize {
        self.0 as usize / 32
    }

    const fn lane(self) -> usize {
        self.0 as usize % 32
    }

    const fn bit(self) -> u32 {
        1 << (self.0 % 32)
    }
}

/// A set of vCPUs, by their index in the VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "these vCPUs have to fold and fill"]
pub struct VcpuSet(u128);

impl VcpuSet {
    /// No vCPU.
    pub const EMPTY: Self = Self(0);

    /// Just `vcpu`; nothing if that is above any possible index.
    pub const fn of(vcpu: usize) -> Self {
        if vcpu < u128::BITS as usize { Self(1 << vcpu) } else { Self::EMPTY }
    }

    /// The vCPUs 0 to `count - 1`.
    pub const fn first(count: usize) -> Self {
        if count < u128::BITS as usize { Self((1 << count) - 1) } else { Self(u128::MAX) }
    }

    /// Whether no vCPU is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `vcpu` is in it.
    pub const fn contains(self, vcpu: usize) -> bool {
        self.0 & Self::of(vcpu).0 != 0
    }

    /// The set without `vcpu`.
    pub const fn without(self, vcpu: usize) -> Self {
        Self(self.0 & !Self::of(vcpu).0)
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let next = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(next)
        })
    }
}

impl ops::BitOr for VcpuSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl ops::BitOrAssign for VcpuSet {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// What the model has to know of the guest's CPU interface, in terms of `ICH_VMCR_EL2` or `GICH_VMCR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuInterface {
    /// Only interrupts with a priority below this one are signalled: the priority mask or, if that is lower,
    /// the running priority.
    pub threshold: u8,
    /// Group 0 is enabled.
    pub group0: bool,
    /// Group 1 is enabled.
    pub group1: bool,
}

impl CpuInterface {
    /// From `ICH_VMCR_EL2` or, as the fields that matter are in the same place, `GICH_VMCR`.
    pub const fn from_vmcr(vmcr: u32) -> Self {
        Self { threshold: (vmcr >> 24) as u8, group0: vmcr & 1 != 0, group1: vmcr & 2 != 0 }
    }

    /// Whether it signals interrupts of Group 1, or else of Group 0.
    const fn signals(self, group1: bool) -> bool {
        if group1 { self.group1 } else { self.group0 }
    }
}

/// What kind of GIC to build.
#[derive(Clone, Debug)]
pub struct VgicConfig {
    /// The architecture.
    pub version: GicVersion,
    /// `MPIDR_EL1` of every vCPU; of a GICv2 only their number counts.
    pub vcpus: Vec<u64>,
    /// How many SPIs: a multiple of 32, at most [`MAX_SPIS`]. QEMU `virt` has 256.
    pub spis: u32,
    /// How many list registers the hardware has: 1 to 16.
    pub list_registers: usize,
    /// How many bits of a priority the hardware's virtual CPU interface has: 4 or 5 with GICv2, 5 to 8 with
    /// GICv3.
    pub priority_bits: u8,
}

/// A [`VgicConfig`] that cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No vCPUs, or more than the architecture can have.
    Vcpus {
        /// How many were asked for.
        found: usize,
        /// How many are possible.
        limit: usize,
    },
    /// Two vCPUs of a GICv3 have the same affinity.
    Affinity(u32),
    /// The number of SPIs is not a multiple of 32 or above the limit.
    Spis(u32),
    /// The number of list registers is not 1 to 16.
    ListRegisters(usize),
    /// The number of priority bits is not possible with this version.
    PriorityBits(u8),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpus { found, limit } => {
                write!(f, "virtual GIC: {found} vCPUs, 1 to {limit} are possible")
            }
            Self::Affinity(affinity) => write!(f, "virtual GIC: two vCPUs have the affinity {affinity:#x}"),
            Self::Spis(spis) => {
                write!(f, "virtual GIC: {spis} SPIs, must be a multiple of 32 and at most {MAX_SPIS}")
            }
            Self::ListRegisters(count) => {
                write!(f, "virtual GIC: {count} list registers, 1 to {MAX_LIST_REGISTERS} are possible")
            }
            Self::PriorityBits(bits) => {
                write!(f, "virtual GIC: {bits} priority bits, GICv2 has 4 or 5, GICv3 has 5 to 8")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
