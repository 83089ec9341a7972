//! What is saved of a queue.

use serde::{Deserialize, Serialize};

use super::{Queue, Ring, Setup};
use crate::devices::virtio::Features;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::GuestMemory;
use crate::persist::RestoreError;

/// A queue that is on. How its ring works follows from the features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    size: u16,
    descriptors: u64,
    driver: u64,
    device: u64,
    ring: Ring,
}

/// A saved queue that has been checked.
pub struct Checked(Setup, Ring);

impl Queue {
    /// What is saved; `None` while it is off. Requests that are in the device's hands are the device's to save.
    pub fn save(&self) -> Option<QueueState> {
        self.on.as_ref().map(|(setup, ring)| QueueState {
            size: setup.size,
            descriptors: setup.descriptors.0,
            driver: setup.driver.0,
            device: setup.device.0,
            ring: *ring,
        })
    }

    /// Checks what was saved, for [`Queue::resume`].
    ///
    /// # Errors
    /// The first value that is out of its bound.
    pub fn check(
        &self,
        state: &QueueState,
        features: Features,
        memory: &dyn GuestMemory,
    ) -> Result<Checked, RestoreError> {
        let bound = |field, found: u16, limit: u16| match found <= limit {
            true => Ok(()),
            false => Err(RestoreError { field, found: found.into(), limit: limit.into() }),
        };
        let areas = [state.descriptors, state.driver, state.device].map(Ipa);
        let setup = Setup::new(state.size, areas, features);
        setup.check(memory, self.max_size).map_err(|_| RestoreError {
            field: "virtio.queue.size",
            found: setup.size.into(),
            limit: self.max_size.into(),
        })?;
        let last = setup.size - 1;
        let outstanding = match &state.ring {
            Ring::Split(ring) => ring.outstanding,
            Ring::Packed(ring) => {
                bound("virtio.queue.next", ring.next.index, last)?;
                bound("virtio.queue.used", ring.used.index, last)?;
                ring.outstanding
            }
        };
        bound("virtio.queue.outstanding", outstanding, setup.size)?;
        let ring = match state.ring {
            Ring::Split(ring) if !setup.packed => Ring::Split(ring.restored()),
            Ring::Packed(ring) if setup.packed => Ring::Packed(ring),
            _ => return Err(RestoreError { field: "virtio.queue.ring", found: 1, limit: 0 }),
        };
        Ok(Checked(setup, ring))
    }

    /// Goes on with what was saved; `None`: the queue is off.
    pub fn resume(&mut self, state: Option<Checked>) {
        self.epoch = self.epoch.wrapping_add(1);
        self.on = state.map(|Checked(setup, ring)| (setup, ring));
    }
}
