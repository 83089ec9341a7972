//! A vCPU's debug registers: breakpoints, watchpoints, software step, and the OS lock.
//!
//! All of them trap (`MDCR_EL2.TDA`, `.TDOSA` and `.TDRA`, DDI 0487 D24.3.18), so what is kept here is what the guest
//! sees, and putting a vCPU costs nothing. Loading one costs a single register, `MDSCR_EL1`, unless the guest has
//! enabled breakpoints; what the others hold does not matter without `MDSCR_EL1.MDE`. A guest that
//! debugs pays for a trap at each access, which is little beside the exceptions that it debugs by.
//!
//! Trapped is also what would let a guest reach further: `MDSCR_EL1`'s controls of an external debugger, from which
//! EL2 would not get its CPU back, and the debug communications channel and claim tags, through which VMs that
//! share a CPU could talk.

use serde::{Deserialize, Serialize};

use super::super::breakpoint::{Pair, Registers};
use super::super::syndrome::SysReg;
use super::super::sysreg::{mrs, msr};

const OSDTRRX_EL1: SysReg = SysReg::new(2, 0, 0, 0, 2);
const MDCCINT_EL1: SysReg = SysReg::new(2, 0, 0, 2, 0);
const MDSCR_EL1: SysReg = SysReg::new(2, 0, 0, 2, 2);
const OSDTRTX_EL1: SysReg = SysReg::new(2, 0, 0, 3, 2);
const OSECCR_EL1: SysReg = SysReg::new(2, 0, 0, 6, 2);
const MDRAR_EL1: SysReg = SysReg::new(2, 0, 1, 0, 0);
const OSLAR_EL1: SysReg = SysReg::new(2, 0, 1, 0, 4);
const OSLSR_EL1: SysReg = SysReg::new(2, 0, 1, 1, 4);
const OSDLR_EL1: SysReg = SysReg::new(2, 0, 1, 3, 4);
const DBGPRCR_EL1: SysReg = SysReg::new(2, 0, 1, 4, 4);
const DBGCLAIMSET_EL1: SysReg = SysReg::new(2, 0, 7, 8, 6);
const DBGCLAIMCLR_EL1: SysReg = SysReg::new(2, 0, 7, 9, 6);
const DBGAUTHSTATUS_EL1: SysReg = SysReg::new(2, 0, 7, 14, 6);
const MDCCSR_EL0: SysReg = SysReg::new(2, 3, 0, 1, 0);
const DBGDTR_EL0: SysReg = SysReg::new(2, 3, 0, 4, 0);
const DBGDTRRX_EL0: SysReg = SysReg::new(2, 3, 0, 5, 0);

/// `MDSCR_EL1` (D24.3.20): breakpoints and watchpoints are enabled.
const MDE: u64 = 1 << 15;
/// `MDSCR_EL1`: software step is enabled.
const SS: u64 = 1;
/// `MDSCR_EL1`: EL0's accesses to the communications channel trap to EL1.
const TDCC: u64 = 1 << 12;
/// The bits of `MDSCR_EL1` that are self-hosted debug's: MDE, KDE, TDCC and SS.
const SELF_HOSTED: u64 = MDE | 1 << 13 | TDCC | SS;

/// How many breakpoints, and watchpoints, the architecture has names for.
const MAX_POINTS: usize = 16;

/// The debug registers as the guest sees them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DebugState {
    mdscr: u64,
    /// By number, `DBGBVR<n>_EL1`, `DBGBCR<n>_EL1`, `DBGWVR<n>_EL1` and `DBGWCR<n>_EL1`.
    points: [[u64; 4]; MAX_POINTS],
    claim_tags: u8,
    /// `OSLSR_EL1.OSLK`.
    os_lock: bool,
}

impl DebugState {
    /// The state after a reset: nothing enabled, and the OS lock locked.
    pub fn reset() -> Self {
        Self { mdscr: 0, points: Default::default(), claim_tags: 0, os_lock: true }
    }

    /// The same without what a guest cannot have written.
    pub fn sanitised(self) -> Self {
        Self { mdscr: self.mdscr & SELF_HOSTED, ..self }
    }

    /// Gives this CPU what the guest's execution depends on.
    pub fn load(&self) {
        // The OS lock keeps debug exceptions from being generated (D2.3). The physical one stays unlocked.
        let mdscr = if self.os_lock { self.mdscr & TDCC } else { self.mdscr };
        // SAFETY: debug exceptions cannot be taken to or from EL2, for MDCR_EL2.TDE is clear (D2.5).
        unsafe { msr!("mdscr_el1", mdscr) };
        if mdscr & MDE != 0 {
            self.load_points();
        }
    }

    /// Gives this CPU a debugger's points and its wish for a step instead. KDE stays clear: with `MDCR_EL2.TDE` it
    /// would have EL2 debug itself (D2.4).
    pub fn load_foreign(&self, points: &Registers, step: bool) {
        let armed = !points.breakpoints.is_empty() || !points.watchpoints.is_empty();
        let mdscr = self.mdscr & TDCC | if armed { MDE } else { 0 } | if step { SS } else { 0 };
        // SAFETY: debug exceptions are not generated in EL2, for KDE is clear.
        unsafe { msr!("mdscr_el1", mdscr) };
        if armed {
            write_pairs(0, &points.breakpoints);
            write_pairs(2, &points.watchpoints);
        }
    }

    fn load_points(&self) {
        for (number, registers) in self.points.iter().enumerate() {
            for (kind, value) in registers.iter().enumerate().filter(|(kind, _)| number < count(*kind)) {
                write_point(number, kind, *value);
            }
        }
    }

    /// What the guest reads from `register`; `None` where there is no such register.
    pub fn read(&self, register: SysReg) -> Option<u64> {
        match register {
            MDSCR_EL1 => Some(self.mdscr),
            // OSLM: the lock is implemented (D19.3 "OSLSR_EL1").
            OSLSR_EL1 => Some(1 << 3 | u64::from(self.os_lock) << 1),
            // There are eight tags.
            DBGCLAIMSET_EL1 => Some(0xff),
            DBGCLAIMCLR_EL1 => Some(self.claim_tags.into()),
            DBGAUTHSTATUS_EL1 => Some(mrs!("dbgauthstatus_el1")),
            _ if is_external(register) => Some(0),
            _ => {
                let (number, kind) = point(register)?;
                self.points.get(number)?.get(kind).copied()
            }
        }
    }

    /// Writes `value` to `register`; `None` where there is no such register. The vCPU is loaded, and this CPU is to
    /// be given its debug registers again.
    pub fn write(&mut self, register: SysReg, value: u64) -> Option<()> {
        match register {
            MDSCR_EL1 => self.mdscr = value & SELF_HOSTED,
            OSLAR_EL1 => self.os_lock = value & 1 != 0,
            DBGCLAIMSET_EL1 => self.claim_tags |= value as u8,
            DBGCLAIMCLR_EL1 => self.claim_tags &= !(value as u8),
            _ if is_external(register) => {}
            _ => {
                let (number, kind) = point(register)?;
                let slot = self.points.get_mut(number)?.get_mut(kind)?;
                write_point(number, kind, value);
                // Without the bits that this CPU does not have.
                *slot = read_point(number, kind);
            }
        }
        Some(())
    }
}

/// Whether `register` is an external debugger's or the machine's, and reads as zero and ignores writes: the
/// communications channel, what saves it, the ROM table's address, the OS double lock, and requests to keep the
/// power on.
fn is_external(register: SysReg) -> bool {
    matches!(
        register,
        MDCCSR_EL0
            | MDCCINT_EL1
            | DBGDTR_EL0
            | DBGDTRRX_EL0
            | OSDTRRX_EL1
            | OSDTRTX_EL1
            | OSECCR_EL1
            | MDRAR_EL1
            | OSDLR_EL1
            | DBGPRCR_EL1
    )
}

/// Number and kind of the breakpoint or watchpoint register `register`, where this CPU has it. The kind is the
/// position in [`DebugState::points`].
fn point(register: SysReg) -> Option<(usize, usize)> {
    let kind = usize::from(register.op2()).checked_sub(4)?;
    let number = usize::from(register.crm());
    let space = (register.op0(), register.op1(), register.crn());
    (space == (2, 0, 0) && number < count(kind)).then_some((number, kind))
}

/// Writes all registers of `kind` and the control registers next to them; those without a pair are switched off.
fn write_pairs(kind: usize, pairs: &[Pair]) {
    for number in 0..count(kind) {
        let Pair { value, control } = pairs.get(number).copied().unwrap_or_default();
        write_point(number, kind, value);
        write_point(number, kind + 1, control);
    }
}

/// How many breakpoints and how many watchpoints this CPU has.
pub fn counts() -> (usize, usize) {
    (count(0), count(2))
}

/// How many registers of `kind` this CPU has: `ID_AA64DFR0_EL1.BRPs` or `.WRPs` plus one.
fn count(kind: usize) -> usize {
    let shift = if kind < 2 { 12 } else { 20 };
    (mrs!("id_aa64dfr0_el1") >> shift & 0xf) as usize + 1
}

macro_rules! points {
    ($($number:literal)*) => {
        fn read_point(number: usize, kind: usize) -> u64 {
            match (number, kind) {
                $(
                    ($number, 0) => mrs!(concat!("dbgbvr", $number, "_el1")),
                    ($number, 1) => mrs!(concat!("dbgbcr", $number, "_el1")),
                    ($number, 2) => mrs!(concat!("dbgwvr", $number, "_el1")),
                    ($number, 3) => mrs!(concat!("dbgwcr", $number, "_el1")),
                )*
                _ => 0,
            }
        }

        fn write_point(number: usize, kind: usize, value: u64) {
            // SAFETY: debug exceptions are not generated in EL2 (see `DebugState::load` and `load_foreign`).
            unsafe {
                match (number, kind) {
                    $(
                        ($number, 0) => msr!(concat!("dbgbvr", $number, "_el1"), value),
                        ($number, 1) => msr!(concat!("dbgbcr", $number, "_el1"), value),
                        ($number, 2) => msr!(concat!("dbgwvr", $number, "_el1"), value),
                        ($number, 3) => msr!(concat!("dbgwcr", $number, "_el1"), value),
                    )*
                    _ => {}
                }
            }
        }
    };
}

points!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
