//! The block device (VIRTIO 1.2, 5.2): a disk as the guest sees it.

pub mod config;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use self::config::{BlockFeatures, QUEUE_SIZE};
use super::{Channel, Device, DeviceId, Features};
use crate::persist::RestoreError;
use crate::storage::{Disk, Geometry};

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
        Arc::new(Self { channel, disk, geometry, serial: id, writeback: AtomicBool::new(true) })
    }

    /// What the sectors are kept by.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
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
        self.writeback.store(true, Ordering::Relaxed);
    }

    fn notified(&self, queue: usize) {
        let _ = (queue, &self.serial);
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
