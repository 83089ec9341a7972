//! A small driver for virtio-mmio devices (VIRTIO 1.2, 4.2) with split queues, for payloads that measure devices or
//! attack them. It polls, and trusts its devices.

use crate::{
    cpu,
    mmio::{read16, read32, write16, write32, write64},
};

/// Where QEMU `virt` has the first transport.
pub const FIRST: u64 = 0x0a00_0000;
/// Bytes from one transport to the next.
pub const STRIDE: u64 = 0x200;
/// How many transports there are.
pub const SLOTS: u64 = 32;
/// The interrupt of the first transport; the others follow.
pub const FIRST_INTID: u32 = 48;

/// Device ids.
pub mod id {
    /// A network card.
    pub const NET: u32 = 1;
    /// A disk.
    pub const BLOCK: u32 = 2;
}

/// Register offsets.
pub mod reg {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const MAGIC: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
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
    pub const QUEUE_DESC: u64 = 0x080;
    pub const QUEUE_DRIVER: u64 = 0x090;
    pub const QUEUE_DEVICE: u64 = 0x0a0;
    pub const CONFIG: u64 = 0x100;
}

/// Bits of the status register.
pub mod status {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 2;
    pub const DRIVER_OK: u32 = 4;
    pub const FEATURES_OK: u32 = 8;
    pub const NEEDS_RESET: u32 = 64;
}

/// Flags of a descriptor.
pub mod flag {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const NEXT: u16 = 1;
    pub const WRITE: u16 = 2;
    pub const INDIRECT: u16 = 4;
}

/// `virtq_used.flags`: the device looks by itself.
const NO_NOTIFY: u16 = 1 << 0;
/// `virtq_avail.flags`: the driver looks by itself.
const NO_INTERRUPT: u16 = 1 << 0;
const MAGIC: u32 = 0x7472_6976;
const VERSION_1: u64 = 1 << 32;

/// A device behind its transport.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// Where its registers are.
    pub registers: u64,
    /// What it is.
    pub id: u32,
}

impl Device {
    /// All devices, by rising address.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).filter_map(Self::in_slot)
    }

    fn in_slot(slot: u64) -> Option<Self> {
        let registers = FIRST + slot * STRIDE;
        let id = read32(registers + reg::DEVICE_ID);
        let is_device = read32(registers + reg::MAGIC) == MAGIC && id != 0;
        is_device.then_some(Self { registers, id })
    }

    /// The device with this interrupt.
    pub fn of_interrupt(intid: u32) -> Option<Self> {
        Self::in_slot(intid.checked_sub(FIRST_INTID)?.into())
    }

    /// Its interrupt.
    pub fn intid(&self) -> u32 {
        FIRST_INTID + ((self.registers - FIRST) / STRIDE) as u32
    }

    /// Takes note of why the device interrupts, so that it does so no longer.
    pub fn acknowledge(&self) {
        self.write(reg::INTERRUPT_ACK, self.read(reg::INTERRUPT_STATUS));
    }

    /// Resets the device and negotiates as many of the features `wanted` as it offers. `None`: it refuses them.
    pub fn negotiate(&self, wanted: u64) -> Option<u64> {
        self.write(reg::STATUS, 0);
        while self.read(reg::STATUS) != 0 {}
        self.write(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        let features = (wanted | VERSION_1) & self.offered();
        for half in 0..2 {
            self.write(reg::DRIVER_FEATURES_SEL, half);
            self.write(reg::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        self.write(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        (self.read(reg::STATUS) & status::FEATURES_OK != 0).then_some(features)
    }

    /// The features that it offers.
    pub fn offered(&self) -> u64 {
        (0..2).fold(0, |features, half| {
            self.write(reg::DEVICE_FEATURES_SEL, half);
            features | u64::from(self.read(reg::DEVICE_FEATURES)) << (32 * half)
        })
    }

    /// Sets up the queue `index` with `size` entries, a power of two up to 256, in [`Queue::BYTES`] of memory from
    /// `memory` on, which must be zero and aligned to 4096. `None`: the device has no such queue.
    pub fn queue(&self, index: u32, size: u16, memory: u64) -> Option<Queue> {
        self.write(reg::QUEUE_SEL, index);
        if u32::from(size) > self.read(reg::QUEUE_NUM_MAX) {
            return None;
        }
        let queue = Queue { device: *self, index, size, memory, offered: 0, seen: 0 };
        self.write(reg::QUEUE_NUM, size.into());
        for (register, part) in [
            (reg::QUEUE_DESC, memory),
            (reg::QUEUE_DRIVER, queue.available()),
            (reg::QUEUE_DEVICE, queue.used()),
        ] {
            self.write(register, part as u32);
            self.write(register + 4, (part >> 32) as u32);
        }
        self.write(reg::QUEUE_READY, 1);
        Some(queue)
    }

    /// The driver is ready.
    pub fn start(&self) {
        self.write(reg::STATUS, self.read(reg::STATUS) | status::DRIVER_OK);
    }

    /// Reads a register.
    pub fn read(&self, register: u64) -> u32 {
        read32(self.registers + register)
    }

    /// Writes a register.
    pub fn write(&self, register: u64, value: u32) {
        write32(self.registers + register, value);
    }
}

/// A split queue: descriptors, available ring and used ring, a page each.
#[derive(Debug)]
pub struct Queue {
    device: Device,
    index: u32,
    size: u16,
    memory: u64,
    offered: u16,
    seen: u16,
}

impl Queue {
    /// What a queue takes of memory.
    pub const BYTES: u64 = 0x3000;

    fn available(&self) -> u64 {
        self.memory + 0x1000
    }

    fn used(&self) -> u64 {
        self.memory + 0x2000
    }

    /// Writes the descriptor of this index.
    pub fn describe(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = self.memory + 16 * u64::from(index % self.size);
        write64(at, address);
        write32(at + 8, len);
        write16(at + 12, flags);
        write16(at + 14, next);
    }

    /// Offers the chain that begins with this descriptor. The device need not notice before [`Queue::notify`].
    pub fn offer(&mut self, head: u16) {
        write16(self.available() + 4 + 2 * u64::from(self.offered % self.size), head);
        self.offered = self.offered.wrapping_add(1);
        cpu::dsb();
        write16(self.available() + 2, self.offered);
    }

    /// Tells the device to look.
    pub fn notify(&self) {
        cpu::dsb();
        self.device.write(reg::QUEUE_NOTIFY, self.index);
    }

    /// The next chain that the device has used: its head, and how many bytes were written.
    pub fn take_used(&mut self) -> Option<(u32, u32)> {
        if read16(self.used() + 2) == self.seen {
            return None;
        }
        cpu::dsb();
        let at = self.used() + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        Some((read32(at), read32(at + 4)))
    }

    /// Tells the device to look, unless it does so anyway; whether it was told.
    pub fn notify_if_wanted(&self) -> bool {
        cpu::dsb();
        let is_wanted = read16(self.used()) & NO_NOTIFY == 0;
        if is_wanted {
            self.notify();
        }
        is_wanted
    }

    /// The device need not interrupt for this queue.
    pub fn suppress_interrupts(&self) {
        write16(self.available(), NO_INTERRUPT);
    }

    /// Looks whether so many chains have been used, until it is so, but at most `limit` times in vain; how often that was.
    #[inline(never)]
    pub fn look(&self, chains: u16, limit: u64) -> u64 {
        let mut in_vain = 0;
        while read16(self.used() + 2).wrapping_sub(self.seen) < chains && in_vain < limit {
            cpu::relax();
            in_vain += 1;
        }
        in_vain
    }

    /// Waits until so many chains have been used, and takes them all; how often it has looked in vain.
    pub fn wait(&mut self, chains: u16) -> u64 {
        let in_vain = self.look(chains, u64::MAX);
        self.seen = self.seen.wrapping_add(chains);
        in_vain
    }
}
