//! Thirty-two interrupts: their programming and their state, a bit for each.
//!
//! The registers of a GIC come in words of 32 interrupts, and so does the model: most register accesses are
//! one operation on a word, and "what can be delivered" is a handful of them.

use serde::{Deserialize, Serialize};

use super::{
    IntId,
    lr::{Deactivation, ListRegister},
};

/// The bits that are set, as positions from 0, lowest first.
#[derive(Clone, Copy)]
pub(super) struct Ones(pub u32);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

/// Which groups the distributor forwards: all ones or all zeroes for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    pub group0: u32,
    pub group1: u32,
}

/// What of an interrupt goes into a list register.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    pub pending: bool,
    pub active: bool,
    pub priority: u8,
    pub group1: bool,
    /// Once it is deactivated there is more to deliver: its input is high, or it is pending and could not be
    /// loaded so.
    pub recurs: bool,
}

impl Loaded {
    /// The list register that says so.
    pub fn list_register(self, intid: IntId, deactivation: Deactivation) -> ListRegister {
        ListRegister::new(intid.number(), self.priority, self.group1, deactivation)
            .with_state(self.pending, self.active)
    }
}

/// The state of one word of interrupts.
///
/// While an interrupt is *loaded*, that is in a list register, the hardware owns the pending and active state
/// it was loaded with; `latch` and `active` then hold only what came on top since. What `loaded_*` and `may_be_active`
/// say of interrupts that are not loaded means nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Bank {
    /// Forwarding is enabled (ISENABLER).
    pub enabled: u32,
    /// Of Group 1 (IGROUPR).
    pub group1: u32,
    /// Edge-triggered (ICFGR).
    pub edge: u32,
    /// The input signal.
    pub line: u32,
    /// Pending whatever the input: an edge was seen, or software set it pending.
    pub latch: u32,
    /// Acknowledged, not yet deactivated.
    pub active: u32,
    /// In a list register.
    loaded: u32,
    /// Loaded as pending because of `latch`, and not cleared by software since.
    loaded_latch: u32,
    /// Loaded as active, and not cleared by software since.
    loaded_active: u32,
    /// Software has not cleared the active state since it was loaded.
    may_be_active: u32,
    /// Priority of each (IPRIORITYR).
    priority: [u8; 32],
    /// Priority with which each went, or will go, active. A deactivation finds its list register by the
    /// priority that was acknowledged (IHI 0069, pseudocode of VirtualWriteEOIR), so a later change must not
    /// touch it.
    acknowledged: [u8; 32],
}

impl Bank {
    /// Quiet interrupts: these enabled, these edge-triggered, these inputs high.
    pub fn new(enabled: u32, edge: u32, line: u32) -> Self {
        Self { enabled, edge, line, ..Self::default() }
    }

    /// Pending and not (or in addition to being) loaded.
    pub fn pending(&self) -> u32 {
        self.latch | (self.line & !self.edge)
    }

    /// Pending and enabled, in a group that is enabled.
    pub fn deliverable(&self, groups: Groups) -> u32 {
        self.pending() & self.enabled & ((self.group1 & groups.group1) | (!self.group1 & groups.group0))
    }

    /// In a list register.
    pub fn loaded(&self) -> u32 {
        self.loaded
    }

    /// In a list register as pending because it was latched, not withdrawn since.
    pub fn loaded_latch(&self) -> u32 {
        self.loaded & self.loaded_latch
    }

    /// Latched pending, in a list register or not, as far as is known: the guest may have acknowledged since.
    pub fn known_latch(&self) -> u32 {
        self.latch | self.loaded_latch()
    }

    /// Pending as ISPENDR shows it.
    pub fn known_pending(&self) -> u32 {
        self.pending() | self.known_latch()
    }

    /// Active as ISACTIVER shows it.
    pub fn known_active(&self) -> u32 {
        self.active | (self.loaded & self.loaded_active)
    }

    /// Has state of its own, apart from the input.
    pub fn held(&self) -> u32 {
        self.latch | self.active | self.loaded
    }

    /// Drives an input; whether that changed it.
    pub fn set_line(&mut self, bit: u32, level: bool) -> bool {
        if (self.line & bit != 0) == level {
            return false;
        }
        self.line ^= bit;
        self.latch |= self.line & self.edge & bit;
        true
    }

    /// ISPENDR.
    pub fn set_pending(&mut self, bits: u32) {
        self.latch |= bits;
    }

    /// ICPENDR.
    pub fn clear_pending(&mut self, bits: u32) {
        self.latch &= !bits;
        self.loaded_latch &= !bits;
    }

    /// ISACTIVER.
    pub fn set_active(&mut self, bits: u32) {
        for lane in Ones(bits & !self.active & !self.loaded) {
            self.fix_priority(lane);
        }
        self.active |= bits;
    }

    /// ICACTIVER. An interrupt that is loaded as pending may be active by now.
    pub fn clear_active(&mut self, bits: u32) {
        self.active &= !bits;
        self.loaded_active &= !bits;
        self.may_be_active &= !bits;
    }

    /// Priority of the interrupt at `lane`.
    pub fn priority(&self, lane: usize) -> u8 {
        self.priority.get(lane).copied().unwrap_or_default()
    }

    /// Sets the priority of the interrupt at `lane`.
    pub fn set_priority(&mut self, lane: usize, priority: u8) {
        if let Some(slot) = self.priority.get_mut(lane) {
            *slot = priority;
        }
    }

    /// The priority that counts for the interrupt at `lane`: of an active one, that which was acknowledged.
    pub fn current_priority(&self, lane: usize) -> u8 {
        let active = self.active >> lane & 1 != 0;
        let table = if active { &self.acknowledged } else { &self.priority };
        table.get(lane).copied().unwrap_or_default()
    }

    fn fix_priority(&mut self, lane: usize) {
        if let (Some(slot), Some(priority)) = (self.acknowledged.get_mut(lane), self.priority.get(lane)) {
            *slot = *priority;
        }
    }

    /// Moves the state of one interrupt to a list register. `deliverable` is [`Bank::deliverable`]; `alone`: not as pending
    /// while it is active.
    #[inline(always)]
    pub fn load(&mut self, lane: usize, deliverable: u32, alone: bool) -> Loaded {
        let bit = 1 << lane;
        let deliverable = deliverable & bit;
        let active = self.active & bit;
        let programmed = self.priority(lane);
        if active == 0 {
            self.fix_priority(lane);
        }
        let priority = if active == 0 { programmed } else { self.current_priority(lane) };
        // A list register has one priority, so what is to be delivered next with another has to wait.
        let pending = if active != 0 && (alone || priority != programmed) { 0 } else { deliverable };
        self.loaded |= bit;
        self.may_be_active |= bit;
        self.loaded_active = self.loaded_active & !bit | active;
        self.loaded_latch = self.loaded_latch & !bit | pending & self.latch;
        self.latch &= !pending;
        self.active &= !active;
        Loaded {
            pending: pending != 0,
            active: active != 0,
            priority,
            group1: self.group1 & bit != 0,
            recurs: deliverable & ((self.line & !self.edge) | !pending) != 0,
        }
    }

    /// Takes back from a list register what the guest left of one interrupt.
    #[inline]
    pub fn settle(&mut self, bit: u32, lr: ListRegister) {
        if lr.is_pending() {
            self.latch |= bit & self.loaded_latch;
        }
        if lr.is_active() {
            self.active |= bit & self.may_be_active;
        }
        self.loaded &= !bit;
    }

    /// The state as data; what is loaded counts as it was loaded.
    pub fn save(&self) -> BankState {
        BankState {
            enabled: self.enabled,
            group1: self.group1,
            edge: self.edge,
            line: self.line,
            latch: self.known_latch(),
            active: self.known_active(),
            priority: self.priority,
            acknowledged: self.acknowledged,
        }
    }

    /// The state from data, nothing loaded; priorities are cut to `priority_mask`.
    pub fn restore(state: &BankState, priority_mask: u8) -> Self {
        Self {
            enabled: state.enabled,
            group1: state.group1,
            edge: state.edge,
            line: state.line,
            latch: state.latch,
            active: state.active,
            priority: state.priority.map(|priority| priority & priority_mask),
            acknowledged: state.acknowledged.map(|priority| priority & priority_mask),
            ..Self::default()
        }
    }
}

impl BankState {
    /// Whether the interrupt at `lane` is latched pending.
    pub(super) fn is_latched(&self, lane: usize) -> bool {
        self.latch >> lane & 1 != 0
    }
}

/// Saved state of one word of interrupts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankState {
    enabled: u32,
    group1: u32,
    edge: u32,
    line: u32,
    latch: u32,
    active: u32,
    priority: [u8; 32],
    acknowledged: [u8; 32],
}
