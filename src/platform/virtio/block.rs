//! The controller of a virtio disk (VIRTIO 1.2, 5.2).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use bitflags::bitflags;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{SomeTransport, Transport};

use super::Dma;
use crate::arch::aarch64::timer;
use crate::mm::addr::PAGE_SIZE;
use crate::mm::frames::{Frames, Owner};
use crate::mm::guest_memory::GuestSlice;
use crate::storage::physical::{Abilities, Controller, SLOTS};
use crate::storage::{DiskError, Geometry, Operation, SECTOR};

bitflags! {
    /// What is made use of (5.2.3, 6).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Features: u64 {
        const READ_ONLY = 1 << 5;
        const BLOCK_SIZE = 1 << 6;
        const FLUSH = 1 << 9;
        const DISCARD = 1 << 13;
        const WRITE_ZEROES = 1 << 14;
        const VERSION_1 = 1 << 32;
        const ACCESS_PLATFORM = 1 << 33;
    }
}

/// Offsets in the configuration (5.2.4).
mod config {
    pub const CAPACITY: usize = 0;
    pub const BLOCK_SIZE: usize = 20;
    pub const MAX_DISCARD_SECTORS: usize = 36;
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
}

/// Types of requests (5.2.6).
mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;

const QUEUE: u16 = 0;
/// A request takes three descriptors at most: header, data, status.
const QUEUE_SIZE: usize = (SLOTS * 3).next_power_of_two();
/// Bytes of a serial number, which ends earlier where there is a zero.
const ID_LEN: usize = 20;

/// What goes with a request besides its data, as the device sees it.
#[repr(C)]
struct Envelope {
    /// `struct virtio_blk_req` up to the data.
    header: [u8; 16],
    /// `struct virtio_blk_discard_write_zeroes`.
    range: [u8; 16],
    id: [u8; ID_LEN],
    status: u8,
}

/// What a command's descriptors are, which is needed again when it has ended.
#[derive(Clone, Copy)]
enum Data {
    None,
    ToDevice(*const u8, usize),
    FromDevice(*mut u8, usize),
}

#[derive(Clone, Copy)]
struct Command {
    token: u16,
    data: Data,
}

/// A virtio disk.
pub struct BlockController {
    transport: SomeTransport<'static>,
    queue: Box<VirtQueue<Dma, QUEUE_SIZE>>,
    abilities: Abilities,
    /// An [`Envelope`] for each slot.
    envelopes: Frames,
    commands: Vec<Option<Command>>,
    /// The slot of the command whose first descriptor this is.
    slots: Vec<u8>,
}

// SAFETY: the addresses in `commands` are not tied to a CPU.
unsafe impl Send for BlockController {}

const _: () = assert!(SLOTS * size_of::<Envelope>() <= PAGE_SIZE as usize);

impl BlockController {
    /// Starts the disk behind `transport`.
    ///
    /// # Errors
    /// What the device does wrong, or is missing.
    pub fn new(mut transport: SomeTransport<'static>) -> Result<Self, super::Error> {
        let features: Features = super::negotiate(&mut transport, Features::all(), Features::VERSION_1)?;
        let word = |transport: &SomeTransport<'static>, offset| transport.read_config_space::<u32>(offset);
        let capacity = transport.read_consistent(|| {
            let low = word(&transport, config::CAPACITY)?;
            let high = word(&transport, config::CAPACITY + 4)?;
            Ok(u64::from(high) << 32 | u64::from(low))
        })?;
        let optional = |feature: Features, offset| match features.contains(feature) {
            true => word(&transport, offset),
            false => Ok(0),
        };
        let block_size = optional(Features::BLOCK_SIZE, config::BLOCK_SIZE)?.max(SECTOR as u32);
        let max_discard = optional(Features::DISCARD, config::MAX_DISCARD_SECTORS)?;
        let max_write_zeroes = optional(Features::WRITE_ZEROES, config::MAX_WRITE_ZEROES_SECTORS)?;
        let abilities = Abilities {
            geometry: Geometry {
                sectors: capacity,
                read_only: features.contains(Features::READ_ONLY),
                block_size: if block_size.is_power_of_two() { block_size } else { SECTOR as u32 },
                discards: max_discard > 0,
            },
            // Without the command, the device writes through its cache (5.2.6.2).
            volatile: features.contains(Features::FLUSH),
            max_discard,
            max_write_zeroes,
        };
        let envelopes = Frames::allocate_zeroed(PAGE_SIZE, Owner::Hypervisor)?;
        let queue = super::queue(&mut transport, QUEUE)?;
        transport.finish_init();
        Ok(Self {
            transport,
            queue,
            abilities,
            envelopes,
            commands: vec![None; SLOTS],
            slots: vec![0; QUEUE_SIZE],
        })
    }

    /// The disk's serial number, if it has one. Asked before anything else is, and waited for.
    pub fn serial_number(&mut self) -> Option<String> {
        const PATIENCE_US: u64 = 1_000_000;
        let envelope = self.envelope(0)?;
        // SAFETY: inside the envelope, which nobody uses yet.
        let id = unsafe { &raw mut (*envelope).id };
        self.push(0, kind::GET_ID, 0, Data::FromDevice(id.cast(), ID_LEN)).ok()?;
        let deadline = self.clock() + PATIENCE_US;
        let ended = loop {
            match self.take_ended() {
                Some((_, result)) => break result,
                None if self.clock() > deadline => return None,
                None => core::hint::spin_loop(),
            }
        };
        self.acknowledge();
        ended.ok()?;
        // SAFETY: the device is done with it.
        let id = unsafe { id.read_volatile() };
        let id = id.split(|&byte| byte == 0).next()?;
        let id = core::str::from_utf8(id).ok()?.trim();
        (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic())).then(|| id.into())
    }

    fn envelope(&self, slot: usize) -> Option<*mut Envelope> {
        // Inside the page, by the assertion above.
        (slot < SLOTS).then(|| self.envelopes.as_ptr().cast::<Envelope>().wrapping_add(slot))
    }

    /// Lets `access` have the buffers of a command, which are those that the device reads and those that it writes.
    ///
    /// # Safety
    /// The envelope's and the command's data are not accessed by anybody else now.
    unsafe fn with_buffers<R>(
        &mut self,
        envelope: *mut Envelope,
        data: Data,
        access: impl for<'b> FnOnce(&mut VirtQueue<Dma, QUEUE_SIZE>, &'b [&'b [u8]], &'b mut [&'b mut [u8]]) -> R,
    ) -> R {
        let queue = &mut self.queue;
        // SAFETY: the caller's promise, for buffers that are there as long as the command is.
        unsafe {
            let header: &[u8] = &(*envelope).header;
            let status = core::slice::from_mut(&mut (*envelope).status);
            match data {
                Data::None => access(queue, &[header], &mut [status]),
                Data::ToDevice(start, len) => {
                    access(queue, &[header, core::slice::from_raw_parts(start, len)], &mut [status])
                }
                Data::FromDevice(start, len) => {
                    access(queue, &[header], &mut [core::slice::from_raw_parts_mut(start, len), status])
                }
            }
        }
    }

    /// Gives the device a command.
    fn push(&mut self, slot: usize, kind: u32, sector: u64, data: Data) -> Result<(), DiskError> {
        let envelope = self.envelope(slot).ok_or(DiskError::Medium)?;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        // SAFETY: the slot is not in use, so the envelope is ours until the device is told.
        unsafe {
            (*envelope).header = header;
            (*envelope).status = u8::MAX;
        }
        // SAFETY: as above; the data are the device's by the promise that `begin` was given. They stay until
        // `take_ended`.
        let token = unsafe { self.with_buffers(envelope, data, |queue, from, to| queue.add(from, to)) };
        let token = token.map_err(|_| DiskError::Medium)?;
        if let (Some(command), Some(number)) =
            (self.commands.get_mut(slot), self.slots.get_mut(usize::from(token)))
        {
            *command = Some(Command { token, data });
            *number = slot as u8;
        }
        // The device's wish is read after it can see the request (2.7.13.4.1), and it is told after that.
        fence(Ordering::SeqCst);
        if self.queue.should_notify() {
            self.transport.notify(QUEUE);
        }
        Ok(())
    }

    /// Gives the device a command for a range of sectors.
    fn push_range(&mut self, slot: usize, kind: u32, sector: u64, count: u64) -> Result<(), DiskError> {
        let envelope = self.envelope(slot).ok_or(DiskError::Medium)?;
        let mut range = [0; 16];
        range[..8].copy_from_slice(&sector.to_le_bytes());
        range[8..12].copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        // SAFETY: the slot is not in use.
        let start = unsafe {
            (*envelope).range = range;
            &raw const (*envelope).range
        };
        self.push(slot, kind, 0, Data::ToDevice(start.cast(), range.len()))
    }
}

impl Controller for BlockController {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    unsafe fn begin(
        &mut self,
        slot: usize,
        operation: Operation,
        sector: u64,
        data: GuestSlice<'_>,
    ) -> Result<(), DiskError> {
        match operation {
            Operation::Read => {
                self.push(slot, kind::IN, sector, Data::FromDevice(data.as_ptr().cast_mut(), data.len()))
            }
            Operation::Write => self.push(slot, kind::OUT, sector, Data::ToDevice(data.as_ptr(), data.len())),
            Operation::Flush => self.push(slot, kind::FLUSH, 0, Data::None),
            Operation::Discard(count) => self.push_range(slot, kind::DISCARD, sector, count),
            Operation::WriteZeroes(count) => self.push_range(slot, kind::WRITE_ZEROES, sector, count),
        }
    }

    fn take_ended(&mut self) -> Option<(usize, Result<(), DiskError>)> {
        let token = self.queue.peek_used()?;
        // A device that names a command which is not under way is out of its mind: nothing more is taken from it.
        let slot = usize::from(*self.slots.get(usize::from(token))?);
        let command = (*self.commands.get(slot)?).filter(|command| command.token == token)?;
        let envelope = self.envelope(slot)?;
        // SAFETY: the device has given the command's buffers back.
        let popped = unsafe {
            self.with_buffers(envelope, command.data, |queue, from, to| queue.pop_used(token, from, to))
        };
        if let Some(place) = self.commands.get_mut(slot) {
            *place = None;
        }
        // SAFETY: as above.
        let status = unsafe { (&raw const (*envelope).status).read_volatile() };
        let result = match (popped, status) {
            (Ok(_), STATUS_OK) => Ok(()),
            (Ok(_), STATUS_UNSUPPORTED) => Err(DiskError::Unsupported),
            _ => Err(DiskError::Medium),
        };
        Some((slot, result))
    }

    fn acknowledge(&mut self) {
        self.transport.ack_interrupt();
    }

    fn clock(&self) -> u64 {
        timer::microseconds_since_boot()
    }
}
