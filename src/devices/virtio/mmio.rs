//! The virtio-mmio transport, version 2 (VIRTIO 1.2, 4.2).
//!
//! Locks: the slot's is shared by whoever accesses the device in it, and taken alone to plug another in. Next comes that
//! of the registers, and then those of the device and its [`Channel`]. A notification takes only the first.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use spin::{Mutex, RwLock};

use super::channel::{Cause, ChannelState};
use super::queue::Setup;
use super::{Channel, Device, Features};
use crate::devices::bus::{Access, MmioDevice, Width};
use crate::mm::addr::Ipa;
use crate::persist::RestoreError;

/// Register offsets (4.2.2).
mod reg {
    pub const MAGIC_VALUE: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
    pub const VENDOR_ID: u64 = 0x00c;
    pub const DEVICE_FEATURES: u64 = 0x010;
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub const QUEUE_SEL: u64 = 0x030;
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    pub const QUEUE_NUM: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const INTERRUPT_STATUS: u64 = 0x060;
    pub const INTERRUPT_ACK: u64 = 0x064;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    pub const QUEUE_DESC_HIGH: u64 = 0x084;
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    pub const SHM_LEN_LOW: u64 = 0x0b0;
    pub const SHM_BASE_HIGH: u64 = 0x0bc;
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    pub const CONFIG: u64 = 0x100;
}

/// `MagicValue`: "virt".
const MAGIC: u32 = u32::from_le_bytes(*b"virt");
/// `Version`: not the legacy interface.
const VERSION: u32 = 2;
/// `VendorID`, as QEMU has it.
const VENDOR: u32 = u32::from_le_bytes(*b"QEMU");

bitflags! {
    /// How far the driver is (2.1).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct Status: u32 {
        const ACKNOWLEDGE = 1;
        const DRIVER = 2;
        const DRIVER_OK = 4;
        const FEATURES_OK = 8;
        const DEVICE_NEEDS_RESET = 64;
        const FAILED = 128;
    }
}

/// What a driver has written of a queue that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct QueueRegisters {
    num: u32,
    desc: u64,
    driver: u64,
    device: u64,
}

/// What the driver has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    status: Status,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    queue_sel: u32,
    queues: Vec<QueueRegisters>,
}

impl Registers {
    fn new(queues: usize) -> Self {
        Self {
            status: Status::empty(),
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            queue_sel: 0,
            queues: alloc::vec![QueueRegisters::default(); queues],
        }
    }

    /// Everything as at first.
    fn clear(&mut self) {
        let mut queues = core::mem::take(&mut self.queues);
        queues.fill(QueueRegisters::default());
        *self = Self { queues, ..Self::new(0) };
    }

    /// What was agreed upon with the driver.
    fn features(&self) -> Features {
        match self.status.contains(Status::FEATURES_OK) {
            true => Features::from_bits_retain(self.driver_features),
            false => Features::empty(),
        }
    }

    /// Checks what was saved, for this device.
    fn check(&self, device: &dyn Device) -> Result<(), RestoreError> {
        let bound = |field, found, limit| Err(RestoreError { field, found, limit });
        let (features, offered) = (self.features(), offered(device));
        let queues = device.channel().queues();
        if self.queues.len() != queues {
            return bound("virtio.queues", self.queues.len() as u64, queues as u64);
        }
        if !offered.contains(features) {
            return bound("virtio.features", features.bits(), offered.bits());
        }
        let is_possible = features.contains(Features::VERSION_1) || !self.status.contains(Status::DRIVER_OK);
        let known = Status::all() - Status::DEVICE_NEEDS_RESET;
        if !is_possible || !known.contains(self.status) {
            return bound("virtio.status", self.status.bits().into(), known.bits().into());
        }
        Ok(())
    }

    fn read(&self, device: &dyn Device, register: u64) -> u32 {
        let channel = device.channel();
        let queue = || channel.queue(self.queue_sel as usize).map(Mutex::lock);
        match register {
            reg::DEVICE_FEATURES => half(offered(device).bits(), self.device_features_sel),
            reg::QUEUE_NUM_MAX => queue().map_or(0, |queue| queue.max_size().into()),
            reg::QUEUE_READY => queue().is_some_and(|queue| queue.is_ready()).into(),
            reg::STATUS => {
                let mut status = self.status;
                status.set(Status::DEVICE_NEEDS_RESET, channel.is_broken());
                status.bits()
            }
            // There is no shared memory: the length and the address of what does not exist are -1.
            reg::SHM_LEN_LOW..=reg::SHM_BASE_HIGH => u32::MAX,
            _ => 0,
        }
    }

    fn write(&mut self, device: &dyn Device, register: u64, value: u32) {
        match register {
            reg::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            // What was agreed upon stays (3.1.1).
            reg::DRIVER_FEATURES if !self.status.contains(Status::FEATURES_OK) => {
                set_half(&mut self.driver_features, self.driver_features_sel, value);
            }
            reg::QUEUE_SEL => self.queue_sel = value,
            reg::STATUS => self.set_status(device, value),
            reg::QUEUE_NUM..=reg::QUEUE_READY | reg::QUEUE_DESC_LOW..=reg::QUEUE_DEVICE_HIGH => {
                self.set_queue(device.channel(), register, value);
            }
            _ => {}
        }
    }

    /// The driver is further than before, or begins again. It can take nothing back otherwise (2.1.1).
    fn set_status(&mut self, device: &dyn Device, value: u32) {
        if value == 0 {
            self.clear();
            device.channel().reset();
            return device.reset();
        }
        let added = Status::from_bits_truncate(value) - Status::DEVICE_NEEDS_RESET - self.status;
        self.status |= added - Status::FEATURES_OK - Status::DRIVER_OK;
        if added.contains(Status::FEATURES_OK) {
            let features = Features::from_bits_retain(self.driver_features);
            // Refused, the bit stays as it is (2.2.2, 6.2).
            if features.contains(Features::VERSION_1) && offered(device).contains(features) {
                device.channel().negotiate(features);
                self.status |= Status::FEATURES_OK;
            }
        }
        if added.contains(Status::DRIVER_OK) && self.status.contains(Status::FEATURES_OK) {
            self.status |= Status::DRIVER_OK;
            if device.channel().go_live() {
                device.start();
            }
        }
    }

    /// Sets the selected queue up, which is possible while it is off.
    fn set_queue(&mut self, channel: &Channel, register: u64, value: u32) {
        let index = self.queue_sel as usize;
        let (Some(queue), Some(registers)) = (channel.queue(index), self.queues.get_mut(index)) else {
            return;
        };
        let is_ready = queue.lock().is_ready();
        match (register, is_ready) {
            (reg::QUEUE_READY, true) if value & 1 == 0 => queue.lock().disable(),
            (reg::QUEUE_READY, false) if value & 1 != 0 && self.status.contains(Status::FEATURES_OK) => {
                let areas = [registers.desc, registers.driver, registers.device].map(Ipa);
                // What does not fit is too large in any case.
                let size = registers.num.try_into().unwrap_or(u16::MAX);
                let setup = Setup::new(size, areas, channel.features());
                channel.enable_queue(index, setup);
            }
            (_, true) => {}
            (reg::QUEUE_NUM, false) => registers.num = value,
            (reg::QUEUE_DESC_LOW, false) => set_half(&mut registers.desc, 0, value),
            (reg::QUEUE_DESC_HIGH, false) => set_half(&mut registers.desc, 1, value),
            (reg::QUEUE_DRIVER_LOW, false) => set_half(&mut registers.driver, 0, value),
            (reg::QUEUE_DRIVER_HIGH, false) => set_half(&mut registers.driver, 1, value),
            (reg::QUEUE_DEVICE_LOW, false) => set_half(&mut registers.device, 0, value),
            (reg::QUEUE_DEVICE_HIGH, false) => set_half(&mut registers.device, 1, value),
            _ => {}
        }
    }
}

/// A device's features, with those that all have.
fn offered(device: &dyn Device) -> Features {
    device.features() | Features::COMMON
}

/// The lower (0) or upper (1) half of `word`; there are no others.
fn half(word: u64, half: u32) -> u32 {
    match half {
        0 => word as u32,
        1 => (word >> 32) as u32,
        _ => 0,
    }
}

/// Replaces the lower (0) or upper (1) half of `word`.
fn set_half(word: &mut u64, half: u32, value: u32) {
    match half {
        0 => *word = *word & !0xffff_ffff | u64::from(value),
        1 => *word = *word & 0xffff_ffff | u64::from(value) << 32,
        _ => {}
    }
}

/// A device and what its driver has written.
struct Plugged {
    device: Arc<dyn Device>,
    registers: Mutex<Registers>,
}

impl Plugged {
    fn new(device: Arc<dyn Device>) -> Self {
        let registers = Mutex::new(Registers::new(device.channel().queues()));
        Self { device, registers }
    }

    fn reset(&self) {
        self.registers.lock().set_status(&*self.device, 0);
    }

    fn save(&self) -> TransportState {
        let registers = self.registers.lock();
        TransportState {
            id: self.device.id() as u32,
            registers: registers.clone(),
            channel: self.device.channel().save(),
            device: self.device.save(),
        }
    }

    fn restore(&self, state: &TransportState) -> Result<(), RestoreError> {
        let id = self.device.id() as u32;
        if state.id != id {
            return Err(RestoreError { field: "virtio.id", found: state.id.into(), limit: id.into() });
        }
        state.registers.check(&*self.device)?;
        let channel = self.device.channel();
        let features = state.registers.features();
        let queues = channel.check(&state.channel, features)?;
        let mut registers = self.registers.lock();
        self.device.restore(&state.device)?;
        *registers = state.registers.clone();
        channel.resume(&state.channel, queues, features, registers.status.contains(Status::DRIVER_OK));
        Ok(())
    }

    fn read(&self, register: u64) -> u32 {
        let channel = self.device.channel();
        match register {
            reg::DEVICE_ID => self.device.id() as u32,
            reg::INTERRUPT_STATUS => channel.causes().bits(),
            reg::CONFIG_GENERATION => channel.generation(),
            _ => self.registers.lock().read(&*self.device, register),
        }
    }

    #[inline]
    fn write(&self, register: u64, value: u32) {
        let channel = self.device.channel();
        match register {
            reg::QUEUE_NOTIFY => {
                let queue = value as usize;
                if channel.is_live() && queue < channel.queues() {
                    self.device.notified(queue);
                }
            }
            reg::INTERRUPT_ACK => channel.acknowledge(Cause::from_bits_truncate(value)),
            _ => self.registers.lock().write(&*self.device, register, value),
        }
    }
}

/// The whole state of a slot with a device in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    id: u32,
    registers: Registers,
    channel: ChannelState,
    /// As [`Device::save`] has it.
    device: Vec<u8>,
}

/// A transport: a window of registers through which a driver finds a device, or none.
#[derive(Default)]
pub struct Transport(RwLock<Option<Plugged>>);

impl Transport {
    /// The device that is plugged in.
    pub fn device(&self) -> Option<Arc<dyn Device>> {
        Some(self.0.read().as_ref()?.device.clone())
    }

    /// Plugs `device` in, or out. The driver learns of it when it looks next.
    pub fn plug(&self, device: Option<Arc<dyn Device>>) {
        let plugged = device.map(Plugged::new);
        // From here on nobody new gets in, so that a guest that never lets go of its device cannot keep us waiting.
        let mut slot = self.0.upgradeable_read().upgrade();
        if let Some(before) = &*slot {
            before.reset();
        }
        *slot = plugged;
        if let Some(now) = &*slot {
            now.reset();
        }
    }

    /// Does some of what the device has left to do; tells whether there was anything.
    pub fn work(&self) -> bool {
        let slot = self.0.read();
        let Some(Plugged { device, .. }) = &*slot else { return false };
        let deferred = device.channel().take_deferred();
        for queue in (0..device.channel().queues()).filter(|queue| deferred >> queue & 1 != 0) {
            device.notified(queue);
        }
        deferred != 0
    }

    /// The state of the device and all that belongs to it; `None` for an empty slot. Nobody may use it meanwhile: its VM
    /// does not run, and no request is under way.
    pub fn save(&self) -> Option<TransportState> {
        self.0.read().as_ref().map(Plugged::save)
    }

    /// Replaces the state of the device that is plugged in, which is the same one as when it was saved, by `state`, which is
    /// untrusted. The VM does not run.
    ///
    /// # Errors
    /// The first value that is out of its bound; nothing has changed then.
    pub fn restore(&self, state: &TransportState) -> Result<(), RestoreError> {
        match &*self.0.read() {
            Some(plugged) => plugged.restore(state),
            None => Err(RestoreError { field: "virtio.id", found: state.id.into(), limit: 0 }),
        }
    }

    /// What the driver's writing zero to the status register does, and switching the machine off and on.
    pub fn reset(&self) {
        if let Some(plugged) = &*self.0.read() {
            plugged.reset();
        }
    }
}

impl MmioDevice for Transport {
    fn read(&self, access: Access) -> u64 {
        let slot = self.0.read();
        match (access.offset, access.width) {
            (reg::MAGIC_VALUE, Width::Word) => MAGIC.into(),
            (reg::VERSION, Width::Word) => VERSION.into(),
            (reg::VENDOR_ID, Width::Word) => VENDOR.into(),
            (offset @ reg::CONFIG.., width) => slot.as_ref().map_or(0, |plugged| {
                let mut bytes = [0; 8];
                if let Some(bytes) = bytes.get_mut(..width.bytes() as usize) {
                    plugged.device.read_config(offset - reg::CONFIG, bytes);
                }
                u64::from_le_bytes(bytes)
            }),
            // An empty slot has the device id zero, and nothing else.
            (register, Width::Word) => slot.as_ref().map_or(0, |plugged| plugged.read(register)).into(),
            // Control registers are accessed as words (4.2.2.2).
            _ => 0,
        }
    }

    fn write(&self, access: Access, value: u64) {
        let slot = self.0.read();
        let Some(plugged) = &*slot else { return };
        match (access.offset, access.width) {
            (offset @ reg::CONFIG.., width) => {
                let bytes = value.to_le_bytes();
                if let Some(bytes) = bytes.get(..width.bytes() as usize) {
                    plugged.device.write_config(offset - reg::CONFIG, bytes);
                }
            }
            (register, Width::Word) => plugged.write(register, value as u32),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
