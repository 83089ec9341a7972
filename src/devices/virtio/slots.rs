//! The virtio slots of a machine: a transport each, most of them empty.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::Device;
use super::mmio::Transport;

/// The slots of a machine.
#[derive(Default)]
pub struct Slots {
    transports: Vec<Arc<Transport>>,
    /// Whose turn it is to work.
    turn: AtomicUsize,
}

impl Slots {
    /// Adds an empty slot, to be put on a bus.
    pub fn add(&mut self) -> Arc<Transport> {
        let transport = Arc::new(Transport::default());
        self.transports.push(transport.clone());
        transport
    }

    /// The transport of this number.
    pub fn get(&self, slot: usize) -> Option<&Arc<Transport>> {
        self.transports.get(slot)
    }

    /// The devices that are plugged in, with the numbers of their slots.
    pub fn devices(&self) -> impl Iterator<Item = (usize, Arc<dyn Device>)> {
        self.transports.iter().enumerate().filter_map(|(slot, transport)| Some((slot, transport.device()?)))
    }

    /// What switching the machine off and on does.
    pub fn reset(&self) {
        self.transports.iter().for_each(|transport| transport.reset());
    }

    /// Does some of what one device has left to do, of those that have anything by turns; tells whether there may be more.
    pub fn work(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        let (first, last) = self.transports.split_at_checked(turn).unwrap_or((&[], &self.transports));
        let by_turns = (turn..).zip(last).chain((0..).zip(first));
        for (slot, transport) in by_turns {
            if transport.work() {
                self.turn.store(slot + 1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }
}
