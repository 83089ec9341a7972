//! An ideal GIC: the rules of the architecture, one interrupt at a time, with a CPU interface that sees
//! everything.

use std::collections::BTreeMap;

use super::{super::GicVersion, hardware::Acknowledged};

/// One interrupt.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    pub enabled: bool,
    pub group1: bool,
    pub edge: bool,
    pub line: bool,
    pub priority: u8,
    /// Latched pending; of a GICv2's SGI from whom.
    pub latch: bool,
    pub sources: u8,
    pub active: bool,
    /// Who has it active.
    pub holder: Option<usize>,
    /// The SPI's route: a vCPU or none.
    pub target: Option<usize>,
}

impl Interrupt {
    pub fn is_pending(&self) -> bool {
        self.latch || self.sources != 0 || (self.line && !self.edge)
    }
}

pub struct Ideal {
    pub version: GicVersion,
    pub enables: u32,
    /// By the vCPU that has it (of SPIs: 0) and INTID.
    pub interrupts: BTreeMap<(usize, u16), Interrupt>,
}

impl Ideal {
    pub fn new(version: GicVersion, vcpus: usize, intids: &[u16]) -> Self {
        let mut interrupts = BTreeMap::new();
        for &intid in intids {
            let mut interrupt = Interrupt { edge: intid < 16, ..Interrupt::default() };
            interrupt.enabled = version == GicVersion::V2 && intid < 16;
            interrupt.target = (version == GicVersion::V3 || vcpus == 1).then_some(0);
            for vcpu in 0..if intid < 32 { vcpus } else { 1 } {
                interrupts.insert((vcpu, intid), interrupt.clone());
            }
        }
        Self { version, enables: 0, interrupts }
    }

    fn key(vcpu: usize, intid: u16) -> (usize, u16) {
        (if intid < 32 { vcpu } else { 0 }, intid)
    }

    pub fn get(&self, vcpu: usize, intid: u16) -> &Interrupt {
        &self.interrupts[&Self::key(vcpu, intid)]
    }

    pub fn get_mut(&mut self, vcpu: usize, intid: u16) -> &mut Interrupt {
        self.interrupts.get_mut(&Self::key(vcpu, intid)).unwrap()
    }

    /// An active interrupt that nobody acknowledged belongs to whoever it is routed to.
    pub fn adopt(&mut self) {
        for (&(vcpu, intid), interrupt) in &mut self.interrupts {
            if !interrupt.active {
                interrupt.holder = None;
            } else if interrupt.holder.is_none() {
                interrupt.holder = if intid < 32 { Some(vcpu) } else { interrupt.target };
            }
        }
    }

    /// The priorities of all that the distributor forwards to `vcpu`, by INTID.
    pub fn forwarded(&self, vcpu: usize) -> impl Iterator<Item = (u16, &Interrupt)> {
        self.interrupts.iter().filter_map(move |(&(owner, intid), interrupt)| {
            let target = if intid < 32 { Some(owner) } else { interrupt.target };
            let group = if interrupt.group1 { 2 } else { 1 };
            let forwarded = interrupt.is_pending()
                && interrupt.enabled
                && !interrupt.active
                && self.enables & group != 0
                && target == Some(vcpu);
            forwarded.then_some((intid, interrupt))
        })
    }

    pub fn set_level(&mut self, vcpu: usize, intid: u16, level: bool) {
        let interrupt = self.get_mut(vcpu, intid);
        interrupt.latch |= level && !interrupt.line && interrupt.edge;
        interrupt.line = level;
    }

    /// Checks that `which` was pending and takes it.
    pub fn acknowledge(&mut self, vcpu: usize, which: Acknowledged) {
        let version = self.version;
        let interrupt = self.get_mut(vcpu, which.intid);
        if version == GicVersion::V2 && which.intid < 16 {
            assert!(interrupt.sources & (1 << which.source) != 0, "{which:?} was not sent by that vCPU");
            interrupt.sources &= !(1 << which.source);
        } else {
            assert_eq!(which.source, 0);
        }
        interrupt.latch = false;
        interrupt.active = true;
        interrupt.holder = Some(vcpu);
    }
}
