//! The memory of a guest: reserved when the VM is made, zeroed and mapped when the guest first touches it.
//!
//! Memory is populated in chunks of 2 MiB; the tables merge them into 1 GiB blocks as they fill up. The
//! reservation guarantees that a touch never finds the machine out of memory, unless the VM has given the chunk back
//! ([`GuestRam::release`]): others may have it by then.
//!
//! Locks: who reaches memory holds a pin ([`GuestRam::pin`]), which keeps frames from being freed, and takes the lock of the
//! tables only to change what is behind an address. Pins come first.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;

use spin::{Mutex, RwLock};

use super::addr::{Ipa, MIB, PAGE_SIZE};
use super::frames;
use super::guest_memory::{
    GuestMemory, GuestSlice, MemoryError, Reclaim, ReclaimError, SharedMemory, Watch, WriteWatch,
};
use super::tables::{Attributes, TableError, Tables, Tlb};
use area::{Area, Chunk, State};
pub use area::{HEADROOM, ReserveError};
use pinned::Unwatched;
pub use pinned::{Loading, Pinned};

mod area;
mod pinned;
#[cfg(test)]
mod tests;

/// How much is zeroed and mapped at once, and given back.
pub const CHUNK: u64 = 2 * MIB;
/// How often [`GuestRam::release`] looks whether others have let go of the memory.
const PIN_TRIES: u32 = 1000;

/// A Stage-2 regime, as guest memory needs it.
pub trait Stage2Regime: Tlb + Send {
    /// Attributes of memory that the guest may use as it likes.
    fn ram(&self) -> Attributes;

    /// Attributes of memory that the guest may read and execute.
    fn rom(&self) -> Attributes;

    /// Makes what EL2 has written to `[start, start + len)` visible to a guest whose caches are off.
    fn flush(&self, start: *const u8, len: usize);
}

/// What kind of memory an area is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Read-write.
    Ram,
    /// Read-only to the guest.
    Rom,
    /// Read-write, and a cell's own: neither the guest's RAM nor in reach of its devices.
    Private,
}

/// Which areas somebody means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All but the private ones.
    Guest,
    /// The private ones.
    Private,
    /// All.
    Everything,
}

impl Reach {
    #[inline]
    fn has(self, kind: Kind) -> bool {
        match self {
            Self::Guest => kind != Kind::Private,
            Self::Private => kind == Kind::Private,
            Self::Everything => true,
        }
    }
}

/// What a guest finds at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Memory, which is mapped now.
    Memory(Kind),
    /// Nothing.
    Nothing,
}

/// Who wants to know what EL2 writes to a guest's memory.
pub trait Watcher: Send + Sync {
    /// `len` bytes at `ipa` have been written just now; nothing that follows from it has been done yet. `own` is the memory that
    /// the cell has for itself.
    fn written(&self, own: &dyn GuestMemory, ipa: Ipa, len: u64);
}

/// The memory of one VM.
pub struct GuestRam<R: Stage2Regime> {
    areas: Vec<Area>,
    ram: Vec<Range<Ipa>>,
    watcher: Option<Box<dyn Watcher>>,
    /// Held by whoever changes a chunk.
    tables: Mutex<Tables<R>>,
    pins: RwLock<()>,
}

impl<R: Stage2Regime> GuestRam<R> {
    /// Reserves the given areas (base, size in bytes, kind) and hangs them into `tables`.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(tables: Tables<R>, areas: &[(Ipa, u64, Kind)]) -> Result<Self, ReserveError> {
        let areas: Vec<Area> = areas
            .iter()
            .map(|&(base, size, kind)| Area::reserve(base, size, kind))
            .collect::<Result<_, _>>()?;
        let ram = areas.iter().filter(|area| area.kind == Kind::Ram).map(|area| area.range.clone()).collect();
        Ok(Self { areas, ram, watcher: None, tables: Mutex::new(tables), pins: RwLock::new(()) })
    }

    /// The same memory; `watcher` is told what EL2 writes to it, private memory excepted.
    pub fn watched(mut self, watcher: Box<dyn Watcher>) -> Self {
        self.watcher = Some(watcher);
        self
    }

    /// The ranges of RAM, in ascending order; none is empty and none overlap.
    pub fn ram(&self) -> &[Range<Ipa>] {
        &self.ram
    }

    /// The guest's memory for EL2 to use; meanwhile none of it is given back. To be held for a bounded time. Who holds a pin
    /// may take another one.
    pub fn pin(&self) -> Pinned<'_, R> {
        self.pin_as(Reach::Guest)
    }

    /// A cell's own memory for EL2 to use, as with [`GuestRam::pin`].
    pub fn pin_private(&self) -> Pinned<'_, R> {
        self.pin_as(Reach::Private)
    }

    fn pin_as(&self, reach: Reach) -> Pinned<'_, R> {
        let is_watched = self.watcher.is_some() && reach == Reach::Guest;
        let watch = is_watched.then_some(Watch(self));
        Pinned { memory: self, reach, watch, _pin: self.pins.read() }
    }

    /// The guest's memory for a loader.
    pub fn loading(&self) -> Loading<'_, R> {
        Loading(self.pin())
    }

    /// A cell's own memory for a loader.
    pub fn loading_private(&self) -> Loading<'_, R> {
        Loading(self.pin_private())
    }

    /// Sees to it that the chunk around `ipa` is mapped.
    ///
    /// # Errors
    /// [`TableError::OutOfFrames`] where there is no memory for a table, or for a chunk that was given back.
    pub fn fault_in(&self, ipa: Ipa) -> Result<Found, TableError> {
        let Some((area, chunk)) = self.chunk(ipa) else { return Ok(Found::Nothing) };
        self.populate(area, chunk, ipa)?;
        Ok(Found::Memory(area.kind))
    }

    /// Takes all memory away from the guest: what it touches next is zero again. What it has given back stays so. No
    /// vCPU of the VM may be running, and its devices are off.
    ///
    /// # Errors
    /// [`TableError`], which cannot be as areas are made of whole chunks.
    pub fn clear(&self) -> Result<(), TableError> {
        let _unpinned = self.pins.write();
        let mut tables = self.tables.lock();
        for area in &self.areas {
            tables.unmap(area.range.start.0, area.range.end.0 - area.range.start.0)?;
            area.chunks.iter().for_each(Chunk::set_left);
        }
        Ok(())
    }

    /// Bytes that are mapped now.
    pub fn populated(&self) -> u64 {
        self.count(State::Mapped)
    }

    /// Bytes that were given back to the machine and have not been touched since.
    pub fn returned(&self) -> u64 {
        self.count(State::Absent)
    }

    fn count(&self, state: State) -> u64 {
        let chunks = self.areas.iter().flat_map(|area| &area.chunks);
        chunks.filter(|chunk| chunk.state() == state).count() as u64 * CHUNK
    }

    /// Lets `change` see the tables, to map what is not memory.
    pub fn with_tables<T>(&self, change: impl FnOnce(&mut Tables<R>) -> T) -> T {
        change(&mut self.tables.lock())
    }

    /// Reads what the guest, or a cell for itself, has written, also where it wrote with its caches off and EL2's hold
    /// something older.
    ///
    /// # Errors
    /// [`MemoryError`] where there is no memory.
    pub fn read_coherent(&self, ipa: Ipa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let memory = self.pin_as(Reach::Everything);
        memory.for_each_piece(ipa, buffer.len() as u64, &mut |piece| self.flush(piece))?;
        memory.read(ipa, buffer)
    }

    fn chunk(&self, ipa: Ipa) -> Option<(&Area, &Chunk)> {
        self.areas.iter().find_map(|area| Some((area, area.chunk(ipa)?)))
    }

    /// The frame of the chunk around `ipa`, if it is mapped and within reach. Only who holds a pin may go there.
    #[inline]
    fn mapped(&self, ipa: Ipa, reach: Reach) -> Option<NonNull<u8>> {
        self.areas.iter().filter(|area| reach.has(area.kind)).find_map(|area| area.chunk(ipa)?.mapped())
    }

    /// The same of any chunk within reach, which is mapped if need be; `len` bytes are wanted there.
    fn reached(&self, ipa: Ipa, len: u64, reach: Reach) -> Result<NonNull<u8>, MemoryError> {
        let found = self.chunk(ipa).filter(|(area, _)| reach.has(area.kind));
        let (area, chunk) = found.ok_or(MemoryError::Unbacked { ipa, len })?;
        self.populate(area, chunk, ipa).map_err(|_| MemoryError::OutOfFrames { ipa })
    }

    /// Sees to it that `chunk`, which is the one around `ipa`, is mapped, and tells its frame.
    fn populate(&self, area: &Area, chunk: &Chunk, ipa: Ipa) -> Result<NonNull<u8>, TableError> {
        let mut tables = self.tables.lock();
        if let Some(frame) = chunk.mapped() {
            return Ok(frame);
        }
        let frame = match chunk.frame() {
            Some(frame) => frame,
            None => chunk.fill(area::frame()?),
        };
        scrub(tables.tlb(), frame);
        let attributes = match area.kind {
            Kind::Ram | Kind::Private => tables.tlb().ram(),
            Kind::Rom => tables.tlb().rom(),
        };
        let output = super::addr::PhysAddr(frame.as_ptr() as u64);
        tables.map(ipa.align_down(CHUNK).0, output, CHUNK, attributes)?;
        chunk.set_mapped();
        Ok(frame)
    }

    fn flush(&self, piece: GuestSlice<'_>) {
        self.tables.lock().tlb().flush(piece.as_ptr(), piece.len());
    }
}

/// Makes the frame of a chunk zero, also for a guest whose caches are off: it must not find what another wrote past them.
fn scrub<R: Stage2Regime>(regime: &R, frame: NonNull<u8>) {
    // SAFETY: the frame belongs to a chunk, which is of this size; no guest has it, or is about to lose it.
    unsafe { frames::zero(frame, CHUNK as usize) };
    regime.flush(frame.as_ptr(), CHUNK as usize);
}

impl<R: Stage2Regime> Drop for GuestRam<R> {
    /// Leaves nothing of the guest in memory that others will get.
    fn drop(&mut self) {
        let tables = self.tables.get_mut();
        let chunks = self.areas.iter().flat_map(|area| &area.chunks);
        let used = chunks.filter(|chunk| matches!(chunk.state(), State::Mapped | State::Left));
        used.filter_map(Chunk::frame).for_each(|frame| scrub(tables.tlb(), frame));
    }
}

impl<R: Stage2Regime> WriteWatch for GuestRam<R> {
    fn written(&self, ipa: Ipa, len: u64) {
        if let Some(watcher) = &self.watcher {
            watcher.written(&self.pin_private(), ipa, len);
        }
    }
}

impl<R: Stage2Regime> SharedMemory for GuestRam<R> {
    fn with(&self, access: &mut dyn FnMut(&dyn GuestMemory)) {
        match self.watcher {
            None => access(&Unwatched(self.pin())),
            Some(_) => access(&self.pin()),
        }
    }
}

impl<R: Stage2Regime> Reclaim for GuestRam<R> {
    fn release(&self, ipa: Ipa) -> Result<(), ReclaimError> {
        let (area, chunk) = self.chunk(ipa).ok_or(ReclaimError::Unbacked { ipa })?;
        if area.kind != Kind::Ram || !ipa.is_aligned(CHUNK) {
            return Err(ReclaimError::Unbacked { ipa });
        }
        let unpinned = (0..PIN_TRIES).find_map(|_| {
            core::hint::spin_loop();
            self.pins.try_write()
        });
        let unpinned = unpinned.ok_or(ReclaimError::Pinned)?;
        let mut tables = self.tables.lock();
        let state = chunk.state();
        tables.unmap(ipa.0, CHUNK)?;
        // SAFETY: the guest cannot reach it any more, and nobody else holds a pin.
        let frame = unsafe { chunk.take() };
        drop(unpinned);
        if let Some(frame) = frame
            && state != State::Untouched
        {
            scrub(tables.tlb(), frame.start());
        }
        drop(tables);
        // From now on it reads as zero.
        self.written(ipa, CHUNK);
        Ok(())
    }
}

const _: () = assert!(CHUNK.is_multiple_of(PAGE_SIZE));
