//! Saving and restoring a virtual GIC.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{
    GicVersion, Vgic,
    bank::{Bank, BankState},
    state::{ENABLE_GROUP0, ENABLE_GROUP1, ROUTE_MASK, SGI_LANES, SpiBank, Vcpu},
};
use crate::persist::{Persist, RestoreError};

/// The saved state of a virtual GIC. Its configuration and its hardware links are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VgicState {
    enables: u32,
    vcpus: Vec<VcpuState>,
    spis: Vec<SpiState>,
}

/// The saved state of what belongs to one vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuState {
    private: BankState,
    sgi_sources: [u8; 16],
    sgi_current: [u8; 16],
    asleep: bool,
}

/// The saved state of 32 SPIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpiState {
    bank: BankState,
    route: [u64; 32],
    /// Which vCPU has each: an active one stays where it was acknowledged, wherever it is routed to
    /// meanwhile.
    owner: [Option<u8>; 32],
}

impl Vcpu {
    /// Which vCPUs an SGI is pending from, loaded or not.
    pub(super) fn known_sgi_sources(&self, lane: usize) -> u8 {
        let (Some(&sources), Some(&current)) = (self.sgi_sources.get(lane), self.sgi_current.get(lane))
        else {
            return 0;
        };
        let loaded = self.private.loaded_latch() >> lane & 1 != 0;
        sources | if loaded { 1u8.unbounded_shl(u32::from(current)) } else { 0 }
    }
}

/// `found` if it is at most `limit`.
fn check(field: &'static str, found: u64, limit: u64) -> Result<(), RestoreError> {
    if found <= limit { Ok(()) } else { Err(RestoreError { field, found, limit }) }
}

impl Vgic {
    fn check(&self, state: &VgicState) -> Result<(), RestoreError> {
        let vcpus = self.vcpus.len() as u64;
        let same = |field, found: usize, expected: usize| match found == expected {
            true => Ok(()),
            false => Err(RestoreError { field, found: found as u64, limit: expected as u64 }),
        };
        check("vgic.enables", u64::from(state.enables), u64::from(ENABLE_GROUP0 | ENABLE_GROUP1))?;
        same("vgic.vcpus.len", state.vcpus.len(), self.vcpus.len())?;
        same("vgic.spis.len", state.spis.len(), self.spis.len())?;
        for vcpu in &state.vcpus {
            for (lane, (&sources, &current)) in vcpu.sgi_sources.iter().zip(&vcpu.sgi_current).enumerate() {
                let sources_limit = if self.version == GicVersion::V2 { (1 << vcpus) - 1 } else { 0 };
                check("vgic.vcpus.sgi_sources", u64::from(sources), sources_limit)?;
                check("vgic.vcpus.sgi_current", u64::from(current), vcpus - 1)?;
                // A GICv2's SGI is pending from somebody, or it is not pending.
                if self.version == GicVersion::V2 {
                    check(
                        "vgic.vcpus.private.latch",
                        u64::from(vcpu.private.is_latched(lane)),
                        u64::from(sources != 0),
                    )?;
                }
            }
        }
        let route_limit = if self.version == GicVersion::V2 { (1 << vcpus) - 1 } else { ROUTE_MASK };
        for spi in &state.spis {
            for &route in &spi.route {
                check("vgic.spis.route", route, route_limit)?;
            }
            for owner in spi.owner.into_iter().flatten() {
                check("vgic.spis.owner", u64::from(owner), vcpus - 1)?;
            }
        }
        Ok(())
    }
}

impl Persist for Vgic {
    type State = VgicState;

    /// vCPUs should be folded: of one that is not, what is in its list registers counts as it was put there.
    fn save(&self) -> VgicState {
        let vcpus = self.vcpus.iter().map(|cpu| {
            let mut sgi_sources = [0; 16];
            for (lane, sources) in sgi_sources.iter_mut().enumerate() {
                *sources = cpu.known_sgi_sources(lane);
            }
            VcpuState {
                private: cpu.private.save(),
                sgi_sources,
                sgi_current: cpu.sgi_current,
                asleep: cpu.asleep,
            }
        });
        let spis = self.spis.iter().map(|spi| SpiState {
            bank: spi.bank.save(),
            route: spi.route,
            owner: spi.owner,
        });
        VgicState { enables: self.enables, vcpus: vcpus.collect(), spis: spis.collect() }
    }

    /// All vCPUs must be stopped and folded. Afterwards every one of them has to be filled.
    fn restore(&mut self, state: &VgicState) -> Result<(), RestoreError> {
        self.check(state)?;
        let mask = self.priority_mask;
        for (cpu, saved) in self.vcpus.iter_mut().zip(&state.vcpus) {
            cpu.change_private(|private| *private = Bank::restore(&saved.private, mask));
            cpu.private.edge |= SGI_LANES;
            cpu.private.line &= !SGI_LANES;
            cpu.sgi_sources = saved.sgi_sources;
            cpu.sgi_current = saved.sgi_current;
            cpu.asleep = saved.asleep;
            cpu.forget_lists();
        }
        for (n, (spi, saved)) in self.spis.iter_mut().zip(&state.spis).enumerate() {
            *spi = SpiBank::new(Bank::restore(&saved.bank, mask), saved.route);
            spi.owner = saved.owner;
            for (lane, owner) in saved.owner.into_iter().enumerate() {
                if let Some(cpu) = owner.and_then(|owner| self.vcpus.get_mut(usize::from(owner))) {
                    cpu.assign(n, 1 << lane, true);
                }
            }
        }
        let _everyone_is_stopped = self.set_enables(state.enables) | self.reroute_all();
        Ok(())
    }
}
