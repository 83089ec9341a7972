//! The virtio slots of a machine: a transport each, most of them empty.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Device;
use super::mmio::Transport;

/// The slots of a machine.
#[derive(Default)]
pub struct Slots(Vec<Arc<Transport>>);

impl Slots {
    /// Adds an empty slot, to be put on a bus.
    pub fn add(&mut self) -> Arc<Transport> {
        let transport = Arc::new(Transport::default());
        self.0.push(transport.clone());
        transport
    }

    /// The transport of this number.
    pub fn get(&self, slot: usize) -> Option<&Arc<Transport>> {
        self.0.get(slot)
    }

    /// The devices that are plugged in, with the numbers of their slots.
    pub fn devices(&self) -> impl Iterator<Item = (usize, Arc<dyn Device>)> {
        self.0.iter().enumerate().filter_map(|(slot, transport)| Some((slot, transport.device()?)))
    }

    /// What switching the machine off and on does.
    pub fn reset(&self) {
        self.0.iter().for_each(|transport| transport.reset());
    }

    /// Does some of what devices have left to do; tells whether there is more.
    pub fn work(&self) -> bool {
        let mut more = false;
        for (_, device) in self.devices() {
            let queues = device.channel().take_deferred();
            (0..u64::BITS as usize)
                .filter(|queue| queues >> queue & 1 != 0)
                .for_each(|queue| device.notified(queue));
            more |= device.channel().has_deferred();
        }
        more
    }
}
