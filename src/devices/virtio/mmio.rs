//! The virtio-mmio transport, version 2 (VIRTIO 1.2, 4.2).

use alloc::sync::Arc;

use spin::Mutex;

use super::Device;
use crate::devices::bus::{Access, MmioDevice};

/// A transport: a window of registers through which a driver finds a device, or none.
#[derive(Default)]
pub struct Transport {
    device: Mutex<Option<Arc<dyn Device>>>,
}

impl Transport {
    /// The device that is plugged in.
    pub fn device(&self) -> Option<Arc<dyn Device>> {
        self.device.lock().clone()
    }

    /// Plugs `device` in, or out. The driver learns of it when it looks next.
    pub fn plug(&self, device: Option<Arc<dyn Device>>) {
        self.reset();
        *self.device.lock() = device;
    }

    /// What the driver's writing zero to the status register does, and switching the machine off and on.
    pub fn reset(&self) {}
}

impl MmioDevice for Transport {
    fn read(&self, access: Access) -> u64 {
        let _ = access;
        0
    }

    fn write(&self, access: Access, value: u64) {
        let _ = (access, value);
    }
}
