//! Who has which context id.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use spin::RwLock;

use super::Vsock;

/// The socket devices of a machine, which reach each other by their context ids.
pub struct Hub {
    devices: RwLock<BTreeMap<u32, Weak<Vsock>>>,
    notify: fn(),
}

impl Hub {
    /// A hub without devices. `notify` is called when [`Hub::serve`] is to be called soon, with locks held: it must only take
    /// note.
    pub const fn new(notify: fn()) -> Self {
        Self { devices: RwLock::new(BTreeMap::new()), notify }
    }

    /// From now on, this device has its context id.
    pub(super) fn join(&self, device: &Arc<Vsock>) {
        self.devices.write().insert(device.cid, Arc::downgrade(device));
    }

    /// The device with this context id.
    #[inline]
    pub(super) fn find(&self, cid: u32) -> Option<Arc<Vsock>> {
        self.devices.read().get(&cid)?.upgrade()
    }

    /// The guest with this context id has no connections any more: the others are to learn that.
    pub(super) fn leave(&self, cid: u32) {
        self.all().iter().for_each(|device| device.lose(cid));
    }

    fn all(&self) -> Vec<Arc<Vsock>> {
        self.devices.read().values().filter_map(Weak::upgrade).collect()
    }

    /// A sender has begun to wait for a receiver.
    pub(super) fn wait(&self) {
        (self.notify)();
    }

    /// Ends the waiting of senders that have waited for too long, at `now` in microseconds, and says when it is to be called
    /// again at the latest.
    pub fn serve(&self, now: u64) -> Option<u64> {
        self.all().iter().filter_map(|device| device.lose_patience(now)).min()
    }
}
