//! Physical disks: what is asked of them is carried out by a controller, through buffers of EL2's own.
//!
//! The device never sees guest memory: data pass through a buffer, of which there is one for each request that can be
//! under way at once ([`SLOTS`]). Who finds none free is told [`Progress::Busy`], and called when one may be: nothing
//! queues up here. Requests end in [`PhysicalDisk::service`], which the controller's interrupt calls.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;

use spin::Mutex;

use super::{
    Completion, Counters, Disk, DiskError, Geometry, MAX_TRANSFER, Operation, Progress, Request, SECTOR,
    Waiter,
};
use crate::mm::frames::{Frames, OutOfFrames, Owner as FrameOwner};
use crate::mm::guest_memory::{GuestMemory, GuestSlice, MemoryError, Segment, SharedMemory};

/// How many requests can be under way at once.
pub const SLOTS: usize = 32;
/// So many of the last slots go only to who has less than [`SHARE`], so that nobody is locked out by one who asks a lot.
const RESERVED: u32 = 8;
const SHARE: usize = 4;
/// Whether a slot is free, a bit each.
const ALL_FREE: u32 = u32::MAX;
/// How long EL2 waits for a request of its own, in microseconds.
const PATIENCE_US: u64 = 10_000_000;

/// What a controller and its medium can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// The medium.
    pub geometry: Geometry,
    /// What is written may be lost with the power before it is flushed.
    pub volatile: bool,
    /// Most sectors that one [`Operation::Discard`] takes; 0 where there is none.
    pub max_discard: u32,
    /// Most sectors that one [`Operation::WriteZeroes`] takes; 0 where there is none.
    pub max_write_zeroes: u32,
}

/// The driver of a disk's controller. Its commands are those of [`Operation`], within [`Abilities`].
pub trait Controller: Send {
    /// What there is. Does not change.
    fn abilities(&self) -> Abilities;

    /// Begins a command under a number below [`SLOTS`] that is not in use. `data` are its data, and empty where it moves
    /// none.
    ///
    /// # Errors
    /// [`DiskError::Medium`]: it cannot be begun.
    ///
    /// # Safety
    /// `data` stay where they are, and nobody accesses them, until [`Controller::take_ended`] has returned the number.
    unsafe fn begin(
        &mut self,
        slot: usize,
        operation: Operation,
        sector: u64,
        data: GuestSlice<'_>,
    ) -> Result<(), DiskError>;

    /// The number of a command that has ended, and how. Each is told once.
    fn take_ended(&mut self) -> Option<(usize, Result<(), DiskError>)>;

    /// Takes back the interrupt; what ends from now on interrupts again.
    fn acknowledge(&mut self);

    /// A clock in microseconds, for who waits.
    fn clock(&self) -> u64;
}

/// Who is told of a request's end.
enum Asker {
    Guest {
        completion: Completion,
        memory: Arc<dyn SharedMemory>,
    },
    /// EL2 itself, which looks at the slot.
    Hypervisor,
}

/// A request that is under way.
struct Job {
    asker: Asker,
    /// What is left to do; for what moves no data, this may take several commands.
    operation: Operation,
    sector: u64,
    /// Bytes of data, and where the guest has them.
    len: usize,
    segments: Vec<Segment>,
}

impl Job {
    /// Moves data between the buffer and the guest's memory, by `copy(buffer, guest)`.
    fn copy(
        &self,
        memory: &dyn GuestMemory,
        buffer: GuestSlice<'_>,
        copy: fn(GuestSlice<'_>, GuestSlice<'_>) -> usize,
    ) -> Result<(), MemoryError> {
        let mut offset = 0;
        for segment in &self.segments {
            memory.for_each_piece(segment.ipa, segment.len.into(), &mut |piece| {
                if let Some(part) = buffer.part(offset, piece.len()) {
                    copy(part, piece);
                }
                offset += piece.len();
            })?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Slot {
    job: Option<Job>,
    /// How a request of EL2's own has ended.
    ended: Option<Result<(), DiskError>>,
    /// EL2 does not wait for its request any more.
    abandoned: bool,
    /// Empty, but with room for the next job's, so that requests need not allocate.
    segments: Vec<Segment>,
}

struct State<C> {
    controller: C,
    slots: Vec<Slot>,
    free: u32,
    /// Who was told that the disk is busy, each once: as many as there are devices.
    waiting: VecDeque<Arc<dyn Waiter>>,
    counters: Counters,
}

/// A disk behind a controller.
pub struct PhysicalDisk<C> {
    abilities: Abilities,
    buffers: Frames,
    state: Mutex<State<C>>,
}

impl<C: Controller> PhysicalDisk<C> {
    /// The disk behind `controller`.
    ///
    /// # Errors
    /// [`OutOfFrames`]: no memory for the buffers.
    pub fn new(controller: C) -> Result<Self, OutOfFrames> {
        let size = (SLOTS as u64 * u64::from(MAX_TRANSFER)).next_power_of_two();
        let mut slots = Vec::new();
        slots.resize_with(SLOTS, Slot::default);
        Ok(Self {
            abilities: controller.abilities(),
            buffers: Frames::allocate(size, FrameOwner::Hypervisor)?,
            state: Mutex::new(State {
                controller,
                slots,
                free: ALL_FREE,
                waiting: VecDeque::new(),
                counters: Counters::default(),
            }),
        })
    }

    /// The controller has interrupted.
    pub fn interrupt(&self) {
        self.state.lock().controller.acknowledge();
        self.service();
    }

    /// Deals with all requests that have ended.
    pub fn service(&self) {
        while let Some((slot, mut job, result)) = self.take_ended() {
            match &job.asker {
                Asker::Hypervisor => {
                    let mut state = self.state.lock();
                    let Some(place) = state.slots.get_mut(slot) else { continue };
                    if place.abandoned {
                        drop(state);
                        self.release(slot, job.segments);
                    } else {
                        place.ended = Some(result);
                    }
                }
                Asker::Guest { completion, memory } => {
                    let mut result = result;
                    if job.operation == Operation::Read && result.is_ok() {
                        completion.waiter.deliver(completion.token, &mut || {
                            memory.with(&mut |memory| {
                                result = job
                                    .copy(memory, self.buffer(slot, job.len), |buffer, guest| {
                                        buffer.copy_to(guest)
                                    })
                                    .map_err(|_| DiskError::Memory);
                            });
                        });
                    }
                    self.release(slot, core::mem::take(&mut job.segments));
                    completion.waiter.completed(completion.token, result);
                }
            }
        }
    }

    /// The first `len` bytes of a slot's buffer.
    fn buffer(&self, slot: usize, len: usize) -> GuestSlice<'_> {
        let offset = (slot % SLOTS) * MAX_TRANSFER as usize;
        // SAFETY: inside the block, which lives as long as this. Besides slices, only the device accesses it, between
        // `begin` and `take_ended`, while the slot's job is there and nobody uses the slice.
        unsafe {
            let start = NonNull::new_unchecked(self.buffers.as_ptr().add(offset));
            GuestSlice::new(start, len.min(MAX_TRANSFER as usize))
        }
    }

    /// A request that has ended as a whole. One of which only a part has is continued.
    fn take_ended(&self) -> Option<(usize, Job, Result<(), DiskError>)> {
        let mut state = self.state.lock();
        loop {
            let (slot, mut result) = state.controller.take_ended()?;
            let Some(mut job) = state.slots.get_mut(slot).and_then(|place| place.job.take()) else {
                continue;
            };
            if result.is_ok() && advance(&mut job, &self.abilities) {
                result = self.begin(&mut state, slot, job);
                if result.is_ok() {
                    continue;
                }
                job = state.slots.get_mut(slot).and_then(|place| place.job.take())?;
            }
            state.counters.errors += u64::from(result.is_err());
            return Some((slot, job, result));
        }
    }

    /// Has the controller begin (what it can take at once of) `job`, which is in the slot then, whether it could or not.
    fn begin(&self, state: &mut State<C>, slot: usize, job: Job) -> Result<(), DiskError> {
        let (command, len) = next_command(&job, &self.abilities);
        let data = self.buffer(slot, len);
        // SAFETY: the buffer lives as long as the controller, and is accessed by nobody while the slot has a job.
        let begun = unsafe { state.controller.begin(slot, command, job.sector, data) };
        if let Some(place) = state.slots.get_mut(slot) {
            place.job = Some(job);
        }
        begun
    }

    /// Gives up what has not begun.
    fn cancel(&self, slot: usize) {
        let job = self.state.lock().slots.get_mut(slot).and_then(|place| place.job.take());
        self.release(slot, job.map_or_else(Vec::new, |job| job.segments));
    }

    /// Takes a free slot, and the vector for its segments. `None` where there is none for `waiter`, which will be called.
    fn claim(&self, waiter: Option<&Arc<dyn Waiter>>) -> Option<(usize, Vec<Segment>)> {
        let mut state = self.state.lock();
        let slot = state.free.trailing_zeros() as usize;
        let refused = match waiter {
            Some(waiter) if state.free.count_ones() <= RESERVED => state.held_by(waiter) >= SHARE,
            _ => false,
        };
        if let Some(place) = state.slots.get_mut(slot)
            && !refused
        {
            let segments = core::mem::take(&mut place.segments);
            place.abandoned = false;
            state.free &= !(1 << slot);
            return Some((slot, segments));
        }
        if let Some(waiter) = waiter
            && !state.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, waiter))
        {
            state.waiting.push_back(waiter.clone());
        }
        None
    }

    /// Gives a slot back, and tells somebody who waits for one.
    fn release(&self, slot: usize, mut segments: Vec<Segment>) {
        segments.clear();
        let mut state = self.state.lock();
        if let Some(place) = state.slots.get_mut(slot) {
            place.segments = segments;
            state.free |= 1 << slot;
        }
        // One for each slot; it may not come, so with the last slot all are told, and nobody waits for good.
        let told = if state.free == ALL_FREE { state.waiting.len() } else { 1 };
        drop(state);
        for _ in 0..told {
            let Some(waiter) = self.state.lock().waiting.pop_front() else { break };
            waiter.ready();
        }
    }

    /// Checks a request, whose data are `len` bytes.
    fn check(&self, operation: Operation, sector: u64, len: u64) -> Result<(), DiskError> {
        let geometry = &self.abilities.geometry;
        let count = match operation {
            Operation::Read | Operation::Write => len / SECTOR,
            Operation::Flush => return Ok(()),
            Operation::Discard(count) | Operation::WriteZeroes(count) => count,
        };
        if sector.checked_add(count).is_none_or(|end| end > geometry.sectors) {
            return Err(DiskError::Range { sector, count, limit: geometry.sectors });
        }
        if geometry.read_only && operation != Operation::Read {
            return Err(DiskError::ReadOnly);
        }
        let is_discard = matches!(operation, Operation::Discard(_));
        if is_discard && self.abilities.max_discard == 0
            || len > MAX_TRANSFER.into()
            || !len.is_multiple_of(SECTOR)
        {
            return Err(DiskError::Unsupported);
        }
        Ok(())
    }

    /// Reads into `buffer`, which is at most [`MAX_TRANSFER`] long, and waits.
    fn read_now(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let deadline = self.state.lock().controller.clock().saturating_add(PATIENCE_US);
        let is_over = || self.state.lock().controller.clock() > deadline;
        let (slot, segments) = loop {
            if let Some(claimed) = self.claim(None) {
                break claimed;
            }
            if is_over() {
                return Err(DiskError::Medium);
            }
            self.service();
        };
        let len = buffer.len();
        let job = Job { asker: Asker::Hypervisor, operation: Operation::Read, sector, len, segments };
        let begun = {
            let mut state = self.state.lock();
            state.counters.count(job.operation, len);
            self.begin(&mut state, slot, job)
        };
        if let Err(error) = begun {
            self.cancel(slot);
            return Err(error);
        }
        let result = loop {
            self.service();
            let over = is_over();
            let mut state = self.state.lock();
            let Some(place) = state.slots.get_mut(slot) else { return Err(DiskError::Medium) };
            if let Some(result) = place.ended.take() {
                break result;
            }
            if over {
                // The device may write to the buffer yet.
                place.abandoned = true;
                return Err(DiskError::Medium);
            }
        };
        self.buffer(slot, len).read(0, buffer);
        self.release(slot, Vec::new());
        result
    }
}

impl<C> State<C> {
    /// How many requests of `waiter` are under way.
    fn held_by(&self, waiter: &Arc<dyn Waiter>) -> usize {
        let own = |job: &&Job| match &job.asker {
            Asker::Guest { completion, .. } => Arc::ptr_eq(&completion.waiter, waiter),
            Asker::Hypervisor => false,
        };
        self.slots.iter().filter_map(|slot| slot.job.as_ref()).filter(own).count()
    }
}

impl Counters {
    /// Counts a request with so many bytes of data.
    fn count(&mut self, operation: Operation, len: usize) {
        let sectors = len as u64 / SECTOR;
        match operation {
            Operation::Read => {
                self.reads += 1;
                self.sectors_read += sectors;
            }
            Operation::Write => {
                self.writes += 1;
                self.sectors_written += sectors;
            }
            Operation::Flush => self.flushes += 1,
            Operation::Discard(_) => self.discards += 1,
            Operation::WriteZeroes(count) => {
                self.writes += 1;
                self.sectors_written += count;
            }
        }
    }
}

/// The next command for a job, and the bytes of data that it moves.
fn next_command(job: &Job, abilities: &Abilities) -> (Operation, usize) {
    match job.operation {
        Operation::Discard(left) => (Operation::Discard(left.min(abilities.max_discard.into())), 0),
        Operation::WriteZeroes(left) if abilities.max_write_zeroes > 0 => {
            (Operation::WriteZeroes(left.min(abilities.max_write_zeroes.into())), 0)
        }
        // The buffer holds zeros, and no more of them than this.
        Operation::WriteZeroes(left) => {
            (Operation::Write, left.min(u64::from(MAX_TRANSFER) / SECTOR) as usize * SECTOR as usize)
        }
        operation => (operation, job.len),
    }
}

/// A command of the job has been carried out: takes it off what is left, and tells whether there is more.
fn advance(job: &mut Job, abilities: &Abilities) -> bool {
    let done = match next_command(job, abilities) {
        (Operation::Discard(count) | Operation::WriteZeroes(count), _) => count,
        (_, len) => len as u64 / SECTOR,
    };
    match &mut job.operation {
        Operation::Discard(left) | Operation::WriteZeroes(left) => {
            job.sector += done;
            *left = left.saturating_sub(done);
            *left > 0
        }
        _ => false,
    }
}

impl<C: Controller> Disk for PhysicalDisk<C> {
    fn geometry(&self) -> Geometry {
        self.abilities.geometry
    }

    fn submit(&self, request: &Request<'_>) -> Result<Progress, DiskError> {
        let len = request.segments.iter().map(|segment| u64::from(segment.len)).sum();
        self.check(request.operation, request.sector, len)?;
        let is_nothing = match request.operation {
            Operation::Read | Operation::Write => len == 0,
            Operation::Flush => !self.abilities.volatile,
            Operation::Discard(count) | Operation::WriteZeroes(count) => count == 0,
        };
        if is_nothing {
            return Ok(Progress::Done);
        }
        let Some((slot, mut segments)) = self.claim(Some(&request.completion.waiter)) else {
            return Ok(Progress::Busy);
        };
        if segments.try_reserve(request.segments.len()).is_err() {
            self.release(slot, segments);
            return Err(DiskError::NoSpace);
        }
        segments.extend_from_slice(request.segments);
        let asker = Asker::Guest { completion: request.completion.clone(), memory: request.shared.clone() };
        let job =
            Job { asker, operation: request.operation, sector: request.sector, len: len as usize, segments };
        // Without the lock, for this takes its time.
        let copied = match job.operation {
            Operation::Write => {
                job.copy(request.memory, self.buffer(slot, job.len), |buffer, guest| guest.copy_to(buffer))
            }
            Operation::WriteZeroes(_) if self.abilities.max_write_zeroes == 0 => {
                self.buffer(slot, MAX_TRANSFER as usize).clear();
                Ok(())
            }
            _ => Ok(()),
        };
        if copied.is_err() {
            self.state.lock().counters.errors += 1;
            self.release(slot, job.segments);
            return Err(DiskError::Memory);
        }
        let mut state = self.state.lock();
        state.counters.count(job.operation, job.len);
        let begun = self.begin(&mut state, slot, job);
        state.counters.errors += u64::from(begun.is_err());
        drop(state);
        match begun {
            Ok(()) => Ok(Progress::Pending),
            Err(error) => {
                self.cancel(slot);
                Err(error)
            }
        }
    }

    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let mut at = sector;
        for part in buffer.chunks_mut(MAX_TRANSFER as usize) {
            self.check(Operation::Read, at, part.len() as u64)?;
            self.read_now(at, part)?;
            at += part.len() as u64 / SECTOR;
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.state.lock().counters
    }
}

#[cfg(test)]
mod tests;
