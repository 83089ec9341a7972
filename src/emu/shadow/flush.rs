//! What a guest's fence makes forgotten.

use super::Shadow;
use super::asids::Asid;
use super::hardware::Hardware;
use super::slots::guest_asid;
use super::tree::{Forgotten, Half};

/// What must not be used any more (Privileged ISA, 12.2.1, SFENCE.VMA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The page of `address`, or the superpage that it is of: in all address spaces, or in those of one ASID of the guest,
    /// where global pages stay.
    Page {
        /// Any address in it.
        address: u64,
        /// The guest's ASID.
        space_asid: Option<u16>,
    },
    /// All pages that are not global in address spaces of this ASID of the guest.
    Space(u16),
    /// Everything.
    All,
}

impl<H: Hardware> Shadow<H> {
    /// Forgets what `what` names, and no more, but for the TLB's entries.
    pub fn flush(&mut self, what: Flush) {
        match what {
            Flush::Page { address, space_asid } => self.flush_page(address, space_asid),
            Flush::Space(asid) => self.flush_space(asid),
            Flush::All => {
                self.forget_all();
                self.activate(false);
            }
        }
    }

    fn flush_page(&mut self, address: u64, space_asid: Option<u16>) {
        let Some(half) = Half::of(address) else { return };
        let Self { hardware, pool, slots, global, .. } = self;
        let mut changed = false;
        for space in slots.iter_mut().filter(|space| space_asid.is_none_or(|it| it == guest_asid(space.key)))
        {
            for view in &space.views {
                let tree = match half {
                    Half::Low => &view.low,
                    Half::High => &view.high,
                };
                let forgotten =
                    tree.as_ref().map_or(Forgotten::Nothing, |tree| tree.forget_page(pool, address));
                changed |= forgotten != Forgotten::Nothing;
                // Without an ASID, the TLB knows nothing of it.
                let Some(asid) = view.asid.map(Asid::get) else { continue };
                match forgotten {
                    Forgotten::Nothing => {}
                    Forgotten::Page => hardware.invalidate_page(Some(asid), address, false),
                    Forgotten::Superpage => hardware.invalidate_asid(asid),
                }
            }
        }
        if half == Half::High && space_asid.is_none() {
            let forgotten = global.forget_page(pool, address);
            changed |= forgotten != Forgotten::Nothing;
            match forgotten {
                Forgotten::Nothing => {}
                Forgotten::Page => hardware.invalidate_page(None, address, false),
                Forgotten::Superpage => hardware.invalidate_all(),
            }
        }
        if changed {
            hardware.synchronise();
        }
    }

    fn flush_space(&mut self, asid: u16) {
        let Self { hardware, pool, slots, .. } = self;
        for space in slots.iter_mut().filter(|space| guest_asid(space.key) == asid) {
            for view in &space.views {
                for tree in [&view.low, &view.high].into_iter().flatten() {
                    tree.clear(pool);
                }
                if let Some(asid) = view.asid {
                    hardware.invalidate_asid(asid.get());
                }
            }
        }
        hardware.synchronise();
    }
}
