//! The memory of a guest: reserved when the VM is made, zeroed and mapped when the guest first touches it.
//!
//! Memory is populated in chunks of 2 MiB; the tables merge them into 1 GiB blocks as they fill up. The
//! reservation guarantees that a touch never finds the machine out of memory.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use spin::Mutex;

use super::addr::{GIB, Ipa, MIB, PAGE_SIZE};
use super::frames::{self, Frames, OutOfFrames, Owner};
use super::guest_memory::{GuestMemory, GuestSlice, MemoryError, SharedMemory};
use super::tables::{Attributes, TableError, Tables, Tlb};

/// How much is zeroed and mapped at once.
pub const CHUNK: u64 = 2 * MIB;
/// Largest block that is asked of the frame allocator: what one Stage-2 entry can map.
const LARGEST_BLOCK: u64 = GIB;
/// What a reservation leaves to EL2, for tables and its heap.
const HEADROOM: u64 = 4 * MIB;

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
}

/// What a guest finds at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Memory, which is mapped now.
    Memory(Kind),
    /// Nothing.
    Nothing,
}

/// Memory that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveError {
    /// The machine has not that much left.
    TooLarge {
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes that could be given.
        available: u64,
    },
    /// The size is zero or no multiple of 2 MiB.
    Size {
        /// Bytes.
        found: u64,
    },
    /// The memory that is left is in too small pieces.
    Fragmented(OutOfFrames),
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { wanted, available } => write!(
                f,
                "{} MiB of guest memory are asked for, but the machine has {} MiB left",
                wanted / MIB,
                available / MIB
            ),
            Self::Size { found } => {
                write!(f, "guest memory of {found:#x} bytes: expected a multiple of 2 MiB")
            }
            Self::Fragmented(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReserveError {}

struct Area {
    range: Range<Ipa>,
    kind: Kind,
    /// Frames that back the area, one after the other.
    blocks: Vec<(Ipa, Frames)>,
}

impl Area {
    fn reserve(base: Ipa, size: u64, kind: Kind) -> Result<Self, ReserveError> {
        if size == 0 || !size.is_multiple_of(CHUNK) || !base.is_aligned(CHUNK) {
            return Err(ReserveError::Size { found: size });
        }
        let available = frames::free().saturating_sub(HEADROOM);
        let too_large = ReserveError::TooLarge { wanted: size, available };
        let end = base.checked_add(size).ok_or(too_large)?;
        if size > available {
            return Err(too_large);
        }
        let mut blocks = Vec::new();
        let mut at = base;
        let mut block = LARGEST_BLOCK;
        while at < end {
            // Sizes only shrink, so every block lies at a multiple of its size above the base.
            block = block.min(1 << (end.0 - at.0).ilog2());
            match Frames::allocate(block, Owner::Guest) {
                Ok(frames) => {
                    blocks.push((at, frames));
                    at = Ipa(at.0 + block);
                }
                Err(_) if block > CHUNK => block /= 2,
                Err(error) => return Err(ReserveError::Fragmented(error)),
            }
        }
        Ok(Self { range: base..end, kind, blocks })
    }

    /// The block that backs `ipa`, and how far into it that is.
    fn block(&self, ipa: Ipa) -> Option<(&Frames, u64)> {
        let index = self.blocks.partition_point(|(start, _)| *start <= ipa).checked_sub(1)?;
        let (start, frames) = self.blocks.get(index)?;
        let offset = ipa.0 - start.0;
        (offset < frames.size()).then_some((frames, offset))
    }
}

/// How a chunk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// The guest has never had it.
    Untouched,
    /// The guest has it.
    Mapped,
    /// The guest had it before its memory was cleared, and what it wrote is still there.
    Left,
}

/// What changes as memory is populated.
struct Population<R: Stage2Regime> {
    tables: Tables<R>,
    /// The chunks of each area.
    chunks: Vec<Vec<Chunk>>,
}

/// The memory of one VM.
pub struct GuestRam<R: Stage2Regime> {
    areas: Vec<Area>,
    ram: Vec<Range<Ipa>>,
    population: Mutex<Population<R>>,
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
        let chunks = areas
            .iter()
            .map(|area| vec![Chunk::Untouched; ((area.range.end.0 - area.range.start.0) / CHUNK) as usize])
            .collect();
        Ok(Self { areas, ram, population: Mutex::new(Population { tables, chunks }) })
    }

    /// Sees to it that the chunk around `ipa` is mapped.
    ///
    /// # Errors
    /// [`TableError::OutOfFrames`] where there is no memory for a table.
    pub fn fault_in(&self, ipa: Ipa) -> Result<Found, TableError> {
        let Some((number, area)) = self.area(ipa) else { return Ok(Found::Nothing) };
        self.populate(number, area, ipa)?;
        Ok(Found::Memory(area.kind))
    }

    /// Takes all memory away from the guest: what it touches next is zero again. No vCPU of the VM may be
    /// running.
    ///
    /// # Errors
    /// [`TableError`], which cannot be as areas are made of whole chunks.
    pub fn clear(&self) -> Result<(), TableError> {
        let mut population = self.population.lock();
        for area in &self.areas {
            population.tables.unmap(area.range.start.0, area.range.end.0 - area.range.start.0)?;
        }
        let mapped = population.chunks.iter_mut().flatten().filter(|chunk| **chunk == Chunk::Mapped);
        mapped.for_each(|chunk| *chunk = Chunk::Left);
        Ok(())
    }

    /// Bytes that are mapped now.
    pub fn populated(&self) -> u64 {
        let population = self.population.lock();
        population.chunks.iter().flatten().filter(|chunk| **chunk == Chunk::Mapped).count() as u64 * CHUNK
    }

    /// Lets `change` see the tables, to map what is not memory.
    pub fn with_tables<T>(&self, change: impl FnOnce(&mut Tables<R>) -> T) -> T {
        change(&mut self.population.lock().tables)
    }

    /// Reads what the guest has written, also where it wrote with its caches off and EL2's hold something
    /// older.
    ///
    /// # Errors
    /// [`MemoryError::Unbacked`] where there is no memory.
    pub fn read_coherent(&self, ipa: Ipa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.for_each_piece(ipa, buffer.len() as u64, &mut |piece| self.flush(piece))?;
        self.read(ipa, buffer)
    }

    fn area(&self, ipa: Ipa) -> Option<(usize, &Area)> {
        self.areas.iter().enumerate().find(|(_, area)| area.range.contains(&ipa))
    }

    fn populate(&self, number: usize, area: &Area, ipa: Ipa) -> Result<(), TableError> {
        let start = ipa.align_down(CHUNK);
        let chunk = ((start.0 - area.range.start.0) / CHUNK) as usize;
        let mut population = self.population.lock();
        let Population { tables, chunks } = &mut *population;
        let Some(chunk) = chunks.get_mut(number).and_then(|area| area.get_mut(chunk)) else { return Ok(()) };
        if *chunk == Chunk::Mapped {
            return Ok(());
        }
        let Some((frames, offset)) = area.block(start) else { return Ok(()) };
        frames.zero(offset as usize, CHUNK as usize);
        tables.tlb().flush(frames.as_ptr().wrapping_add(offset as usize), CHUNK as usize);
        let attributes = match area.kind {
            Kind::Ram => tables.tlb().ram(),
            Kind::Rom => tables.tlb().rom(),
        };
        let output = super::addr::PhysAddr(frames.address().0 + offset);
        tables.map(start.0, output, CHUNK, attributes)?;
        *chunk = Chunk::Mapped;
        Ok(())
    }

    fn flush(&self, piece: GuestSlice<'_>) {
        self.population.lock().tables.tlb().flush(piece.as_ptr(), piece.len());
    }
}

impl<R: Stage2Regime> Drop for GuestRam<R> {
    /// Leaves nothing of the guest in memory that others will get.
    fn drop(&mut self) {
        let Population { tables, chunks } = self.population.get_mut();
        for (area, chunks) in self.areas.iter().zip(chunks) {
            let used = (0u64..).zip(chunks).filter(|(_, chunk)| **chunk != Chunk::Untouched);
            for (number, _) in used {
                if let Some((frames, offset)) = area.block(Ipa(area.range.start.0 + number * CHUNK)) {
                    frames.zero(offset as usize, CHUNK as usize);
                    // A guest with its caches off must not find what the guest wrote past them.
                    tables.tlb().flush(frames.as_ptr().wrapping_add(offset as usize), CHUNK as usize);
                }
            }
        }
    }
}

impl<R: Stage2Regime> GuestMemory for GuestRam<R> {
    fn ram(&self) -> &[Range<Ipa>] {
        &self.ram
    }

    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        let unbacked = MemoryError::Unbacked { ipa, len };
        let (number, area) = self.area(ipa).ok_or(unbacked)?;
        self.populate(number, area, ipa).map_err(|_| MemoryError::OutOfFrames { ipa })?;
        let (frames, offset) = area.block(ipa).ok_or(unbacked)?;
        // A chunk lies within one block, and was populated as a whole.
        let rest = CHUNK - ipa.0 % CHUNK;
        let start = NonNull::new(frames.as_ptr().wrapping_add(offset as usize)).ok_or(unbacked)?;
        // SAFETY: the piece lies in frames of this VM, which nobody frees while this borrow lasts.
        Ok(unsafe { GuestSlice::new(start, rest.min(len) as usize) })
    }
}

/// The memory of a VM for a loader: what it writes is also seen by a guest whose caches are off.
pub struct Loading<'a, R: Stage2Regime>(pub &'a GuestRam<R>);

impl<R: Stage2Regime> GuestMemory for Loading<'_, R> {
    fn ram(&self) -> &[Range<Ipa>] {
        self.0.ram()
    }

    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        self.0.slice(ipa, len)
    }

    fn write(&self, ipa: Ipa, bytes: &[u8]) -> Result<(), MemoryError> {
        self.0.write(ipa, bytes)?;
        self.for_each_piece(ipa, bytes.len() as u64, &mut |piece| self.0.flush(piece))
    }

    fn zero(&self, ipa: Ipa, len: u64) -> Result<(), MemoryError> {
        self.0.zero(ipa, len)?;
        self.for_each_piece(ipa, len, &mut |piece| self.0.flush(piece))
    }
}

impl<R: Stage2Regime> SharedMemory for GuestRam<R> {
    fn with(&self, access: &mut dyn FnMut(&dyn GuestMemory)) {
        access(self);
    }
}

const _: () = assert!(CHUNK.is_multiple_of(PAGE_SIZE));

#[cfg(test)]
mod tests {
    use super::*;

    struct TestRegime;

    impl Tlb for TestRegime {
        fn invalidate(&self, _: u64, _: u64) {}
        fn publish(&self) {}
    }

    impl Stage2Regime for TestRegime {
        fn ram(&self) -> Attributes {
            Attributes(0b11 << 6)
        }
        fn rom(&self) -> Attributes {
            Attributes(0b01 << 6)
        }
        fn flush(&self, _: *const u8, _: usize) {}
    }

    fn memory(areas: &[(Ipa, u64, Kind)]) -> Result<GuestRam<TestRegime>, ReserveError> {
        GuestRam::reserve(Tables::new(40, 1, TestRegime).unwrap(), areas)
    }

    const RAM: Ipa = Ipa(GIB);

    #[test]
    fn memory_is_mapped_when_touched_and_zero_after_clearing() {
        let memory = memory(&[(Ipa(0), CHUNK, Kind::Rom), (RAM, 3 * CHUNK, Kind::Ram)]).unwrap();
        assert_eq!(memory.populated(), 0);
        assert_eq!(memory.fault_in(Ipa(GIB + CHUNK)), Ok(Found::Memory(Kind::Ram)));
        assert_eq!(memory.fault_in(Ipa(0x100)), Ok(Found::Memory(Kind::Rom)));
        assert_eq!(memory.fault_in(Ipa(GIB + 3 * CHUNK)), Ok(Found::Nothing));
        assert_eq!(memory.populated(), 2 * CHUNK);
        let mapped = memory.with_tables(|tables| tables.translate(GIB + CHUNK)).unwrap();
        assert_eq!(mapped.leaf_size, CHUNK);

        let across = Ipa(GIB + 2 * CHUNK - 3);
        memory.write(across, b"secret").unwrap();
        let mut read = [0; 6];
        memory.read(across, &mut read).unwrap();
        assert_eq!(&read, b"secret");
        memory.clear().unwrap();
        assert_eq!(memory.populated(), 0);
        memory.read(across, &mut read).unwrap();
        assert_eq!(read, [0; 6]);
        assert_eq!(memory.ram(), &[RAM..Ipa(GIB + 3 * CHUNK)]);
    }

    #[test]
    fn memory_is_scrubbed_when_it_is_given_back() {
        for cleared in [false, true] {
            let memory = memory(&[(RAM, CHUNK, Kind::Ram)]).unwrap();
            let ipa = Ipa(GIB + 5000);
            memory.write(ipa, b"secret").unwrap();
            if cleared {
                memory.clear().unwrap();
            }
            let at = memory.areas[0].block(ipa).map(|(frames, offset)| frames.as_ptr() as u64 + offset);
            drop(memory);
            // SAFETY: on the host, free frames are ordinary memory; another test may own them by now and have zeroed
            // them.
            let found = unsafe { core::slice::from_raw_parts(at.unwrap() as *const u8, 6) };
            assert_ne!(found, b"secret", "cleared before: {cleared}");
        }
    }

    #[test]
    fn what_passes_the_end_is_refused_whole() {
        let memory = memory(&[(RAM, CHUNK, Kind::Ram)]).unwrap();
        let end = Ipa(GIB + CHUNK - 2);
        assert_eq!(memory.write(end, b"abc"), Err(MemoryError::Unbacked { ipa: end, len: 3 }));
        assert!(memory.read(Ipa(u64::MAX), &mut [0; 2]).is_err());
    }

    #[test]
    fn a_guest_larger_than_the_machine_is_refused_with_both_sizes() {
        let error = memory(&[(RAM, 1 << 45, Kind::Ram)]).err();
        assert!(
            matches!(error, Some(ReserveError::TooLarge { wanted, available }) if wanted == 1 << 45 && available < wanted)
        );
        assert_eq!(memory(&[(RAM, 4096, Kind::Ram)]).err(), Some(ReserveError::Size { found: 4096 }));
    }
}
