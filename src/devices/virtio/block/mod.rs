//! The block device (VIRTIO 1.2, 5.2): a disk as the guest sees it.
//!
//! A request goes to the disk in pieces of at most [`MAX_TRANSFER`](crate::storage::MAX_TRANSFER). A disk in memory carries
//! each out at once; another answers later, when the [`lane`] of the queue finds the request again by its ticket.
//!
//! Locks: a queue's, then its lane's, then those of the disk.

pub mod config;
mod job;
mod lane;
mod request;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use self::config::{BlockFeatures, QUEUE_SIZE};
use self::lane::{Lane, Ticket};
use super::channel::Visit;
use super::queue::QueueError;
use super::{Channel, Device, DeviceId, Features};
use crate::persist::RestoreError;
use crate::storage::{Disk, DiskError, Geometry, Waiter};

/// Bytes of the string that identifies a disk (5.2.6).
pub const SERIAL_LEN: usize = 20;

/// A block device.
pub struct Block {
    channel: Channel,
    disk: Arc<dyn Disk>,
    geometry: Geometry,
    serial: [u8; SERIAL_LEN],
    /// What is written need not be on the medium before a flush (5.2.5.2).
    writeback: AtomicBool,
    /// One for each queue.
    lanes: Box<[Mutex<Lane>]>,
}

impl Block {
    /// The sizes of the queues of the channel of a device with so many of them.
    pub fn queues(count: u16) -> Vec<u16> {
        alloc::vec![QUEUE_SIZE; count.into()]
    }

    /// A device for `disk`, which the guest knows by the first [`SERIAL_LEN`] bytes of `serial`. The channel's queues are as
    /// [`Block::queues`] says.
    pub fn new(channel: Channel, disk: Arc<dyn Disk>, serial: &str) -> Arc<Self> {
        let mut id = [0; SERIAL_LEN];
        id.iter_mut().zip(serial.bytes()).for_each(|(to, byte)| *to = byte);
        let geometry = disk.geometry();
        Arc::new_cyclic(|block: &Weak<Self>| {
            let waiter: Arc<dyn Waiter> = Arc::new(Addressee(block.clone()));
            let lanes =
                (0..channel.queues() as u16).map(|queue| Mutex::new(Lane::new(queue, waiter.clone())));
            Self {
                lanes: lanes.collect(),
                channel,
                disk,
                geometry,
                serial: id,
                writeback: AtomicBool::new(true),
            }
        })
    }

    /// What the sectors are kept by.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Whether a write may end before it is on the medium (5.2.6.2). A driver that knows nothing of caches is told of nothing
    /// that could be lost.
    fn is_write_back(&self) -> bool {
        let negotiated = BlockFeatures::among(self.channel.features());
        match negotiated.contains(BlockFeatures::CONFIG_WCE) {
            true => self.writeback.load(Ordering::Relaxed),
            false => negotiated.contains(BlockFeatures::FLUSH),
        }
    }

    /// The disk is done with a piece of a request.
    fn completed(&self, ticket: Ticket, result: Result<(), DiskError>) {
        let queue = usize::from(ticket.queue);
        self.with_lane(queue, |lane, visit| lane.completed(ticket, result, visit));
    }

    /// Calls `put` if the request of this ticket is not forgotten. The queue is locked meanwhile, so that a reset waits.
    fn deliver(&self, ticket: Ticket, put: &mut dyn FnMut()) {
        let index = usize::from(ticket.queue);
        let (Some(queue), Some(lane)) = (self.channel.queue(index), self.lanes.get(index)) else { return };
        let queue = queue.lock();
        if queue.is_ready() && self.channel.is_live() && lane.lock().awaits(ticket) {
            put();
        }
    }

    /// Lets `work` use a queue and its lane, which tells whether there is more to do.
    #[inline]
    fn with_lane(
        &self,
        queue: usize,
        work: impl FnOnce(&mut Lane, &mut Visit<'_>) -> Result<bool, QueueError>,
    ) {
        let Some(lane) = self.lanes.get(queue) else { return };
        if self.channel.visit(queue, |visit| work(&mut lane.lock(), visit)) == Some(true) {
            self.channel.defer(queue);
        }
    }
}

/// The device as a disk knows it, which may have gone by the time that the disk answers.
struct Addressee(Weak<Block>);

impl Waiter for Addressee {
    fn ready(&self) {
        if let Some(block) = self.0.upgrade() {
            (0..block.lanes.len()).for_each(|queue| block.channel.defer(queue));
        }
    }

    fn completed(&self, token: u64, result: Result<(), DiskError>) {
        if let Some(block) = self.0.upgrade() {
            block.completed(token.into(), result);
        }
    }

    fn deliver(&self, token: u64, deliver: &mut dyn FnMut()) {
        if let Some(block) = self.0.upgrade() {
            block.deliver(token.into(), deliver);
        }
    }
}

impl Device for Block {
    fn id(&self) -> DeviceId {
        DeviceId::Block
    }

    fn features(&self) -> Features {
        Features::from_bits_retain(BlockFeatures::of(&self.geometry).bits())
    }

    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        let writeback = self.writeback.load(Ordering::Relaxed);
        let space = config::space(&self.geometry, self.channel.queues() as u16, writeback);
        let from = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
        bytes.fill(0);
        bytes.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
    }

    fn write_config(&self, offset: u64, bytes: &[u8]) {
        let negotiated = BlockFeatures::among(self.channel.features());
        if let (&[value], true) = (bytes, offset == config::WRITEBACK as u64)
            && negotiated.contains(BlockFeatures::CONFIG_WCE)
        {
            self.writeback.store(value & 1 != 0, Ordering::Relaxed);
        }
    }

    fn reset(&self) {
        self.lanes.iter().for_each(|lane| lane.lock().reset());
        self.writeback.store(true, Ordering::Relaxed);
    }

    fn notified(&self, queue: usize) {
        self.with_lane(queue, |lane, visit| lane.run(self, visit));
    }

    fn save(&self) -> Vec<u8> {
        alloc::vec![self.writeback.load(Ordering::Relaxed).into()]
    }

    fn restore(&self, state: &[u8]) -> Result<(), RestoreError> {
        match *state {
            [value @ 0..=1] => self.writeback.store(value != 0, Ordering::Relaxed),
            [value, ..] => {
                return Err(RestoreError { field: "block.writeback", found: value.into(), limit: 1 });
            }
            [] => return Err(RestoreError { field: "block.len", found: 0, limit: 1 }),
        }
        Ok(())
    }
}
