//! What was written to a disk whose image stays as it is: pages, in chunks that are taken from the machine when the first of
//! their pages is written, and given back with the last.

use alloc::vec::Vec;
use core::ops::Range;

use crate::mm::addr::PAGE_SIZE;
use crate::mm::frames::{self, Frames, Owner};
use crate::mm::guest_memory::GuestSlice;
use crate::mm::guest_ram::HEADROOM;
use crate::storage::{DiskError, SECTOR};

const PAGE: usize = PAGE_SIZE as usize;
/// Pages of a chunk: a bit each.
const PAGES: usize = u16::BITS as usize;
/// Bytes of a chunk.
const CHUNK: usize = PAGES * PAGE;
/// Chunks of a leaf of the table.
const LEAF: usize = 64;
const LEAF_BYTES: u64 = (LEAF * CHUNK) as u64;

/// Where bytes of a disk are, and how many lie there in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run<'a> {
    /// They are these.
    Bytes(&'a [u8]),
    /// So many are zero.
    Zero(usize),
    /// So many are those of the image.
    Image(usize),
}

impl Run<'_> {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match *self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zero(len) | Self::Image(len) => len,
        }
    }
}

/// Sixteen pages. One that is neither written nor zeroed is the image's.
#[derive(Default)]
struct Chunk {
    /// Memory for all of them, as long as any is written. Nothing but the pages that are written is ever read.
    frames: Option<Frames>,
    written: u16,
    zeroed: u16,
}

/// The pages of a chunk that a range of its bytes touches, a bit each.
fn touched(range: &Range<usize>) -> u16 {
    mask(range.start / PAGE, range.end.div_ceil(PAGE))
}

/// The pages of a chunk that a range of its bytes covers wholly.
fn covered(range: &Range<usize>) -> u16 {
    mask(range.start.div_ceil(PAGE), range.end / PAGE)
}

fn mask(first: usize, end: usize) -> u16 {
    let below = |page: usize| (1u32 << page.min(PAGES)) - 1;
    (below(end) & !below(first)) as u16
}

impl Chunk {
    fn bytes(&self) -> Option<&[u8]> {
        let frames = self.frames.as_ref()?;
        // SAFETY: the frames are owned, `CHUNK` bytes long, and changed only through `&mut self`. What was never written has
        // some value or other, as memory from the machine's RAM does.
        Some(unsafe { core::slice::from_raw_parts(frames.as_ptr(), CHUNK) })
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let frames = self.frames.as_mut()?;
        // SAFETY: as in `bytes`, and borrowed mutably.
        Some(unsafe { core::slice::from_raw_parts_mut(frames.as_ptr(), CHUNK) })
    }

    /// Takes memory from the machine.
    #[cold]
    fn take_memory(&mut self) -> Result<(), DiskError> {
        let frames = Frames::allocate(CHUNK as u64, Owner::Guest).map_err(|_| DiskError::NoSpace)?;
        // What the machine needs for itself is not for guests to use up.
        if frames::free() < HEADROOM {
            return Err(DiskError::NoSpace);
        }
        self.frames = Some(frames);
        Ok(())
    }

    /// Where the bytes from `offset` on are, at most `len` of them.
    fn run(&self, offset: usize, len: usize) -> Run<'_> {
        let page = offset / PAGE;
        let len_of = |pages: u32| ((page + pages as usize) * PAGE - offset).min(len);
        let (written, zeroed) = (self.written >> page, self.zeroed >> page);
        if written & 1 != 0 {
            let len = len_of(written.trailing_ones());
            let bytes = self.bytes().and_then(|bytes| bytes.get(offset..offset + len));
            return bytes.map_or(Run::Zero(len), Run::Bytes);
        }
        match zeroed & 1 != 0 {
            true => Run::Zero(len_of(zeroed.trailing_ones())),
            // The shift brings in zeros, as if the next chunk's pages were the image's too.
            false => Run::Image(len_of((written | zeroed).trailing_zeros().min((PAGES - page) as u32))),
        }
    }

    /// Makes the pages that `range` touches ones that are written, with what they have been so far where `range` does not
    /// cover them, and returns their memory. `image` is the image from this chunk on.
    fn open(&mut self, image: &[u8], range: &Range<usize>) -> Result<&mut [u8], DiskError> {
        if self.frames.is_none() {
            self.take_memory()?;
        }
        let touched = touched(range);
        let fresh = touched & !self.written;
        if fresh != 0 {
            self.complete(image, fresh & !covered(range));
            self.written |= touched;
            self.zeroed &= !touched;
        }
        self.bytes_mut().ok_or(DiskError::NoSpace)
    }

    /// Gives the memory of these pages, which are not written, what they have been so far.
    #[cold]
    fn complete(&mut self, image: &[u8], mut pages: u16) {
        let zeroed = self.zeroed;
        let Some(bytes) = self.bytes_mut() else { return };
        while pages != 0 {
            let page = pages.trailing_zeros() as usize;
            pages &= pages - 1;
            if let Some(to) = bytes.get_mut(page * PAGE..(page + 1) * PAGE) {
                let from = match zeroed >> page & 1 {
                    0 => image.get(page * PAGE..).unwrap_or_default(),
                    _ => &[],
                };
                let (data, rest) = to.split_at_mut(from.len().min(PAGE));
                data.copy_from_slice(from.get(..data.len()).unwrap_or_default());
                rest.fill(0);
            }
        }
    }

    /// Forgets pages, which are the image's again.
    fn forget(&mut self, pages: u16) {
        self.written &= !pages;
        self.zeroed &= !pages;
        if self.written == 0 {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(frames) = self.frames.take() {
            // Whoever gets this memory next does not get what was written.
            frames.zero(0, CHUNK);
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.release();
    }
}

/// What was written to a disk.
pub struct Overlay {
    /// For each [`LEAF_BYTES`] of the disk the chunks, or none as long as nothing was written there.
    leaves: Vec<Vec<Chunk>>,
}

/// A part of a disk that lies in one chunk.
struct Place {
    leaf: usize,
    chunk: usize,
    /// In the chunk.
    range: Range<usize>,
}

/// The first part of a range of a disk's bytes.
fn place(at: u64, len: u64) -> Place {
    let offset = at as usize % CHUNK;
    Place {
        leaf: (at / LEAF_BYTES) as usize,
        chunk: (at % LEAF_BYTES) as usize / CHUNK,
        range: offset..offset + len.min((CHUNK - offset) as u64) as usize,
    }
}

impl Overlay {
    /// Nothing was written yet to a disk of so many sectors.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`]: there is no memory for a table of that size.
    pub fn new(sectors: u64) -> Result<Self, DiskError> {
        let count = sectors.div_ceil(LEAF_BYTES / SECTOR) as usize;
        let mut leaves = Vec::new();
        leaves.try_reserve_exact(count).map_err(|_| DiskError::NoSpace)?;
        leaves.resize_with(count, Vec::new);
        Ok(Self { leaves })
    }

    /// Bytes of memory that it takes.
    pub fn held(&self) -> u64 {
        let chunks = self.leaves.iter().flatten();
        chunks.filter(|chunk| chunk.frames.is_some()).count() as u64 * CHUNK as u64
    }

    /// Where the bytes from `at` on are, at most `len` of them.
    pub fn run(&self, at: u64, len: usize) -> Run<'_> {
        let Place { leaf, chunk, range } = place(at, len as u64);
        match self.leaves.get(leaf).and_then(|leaf| leaf.get(chunk)) {
            Some(chunk) => chunk.run(range.start, range.len()),
            None => Run::Image(range.len()),
        }
    }

    fn chunk(&mut self, place: &Place) -> Result<&mut Chunk, DiskError> {
        let leaf = self.leaves.get_mut(place.leaf).ok_or(DiskError::NoSpace)?;
        if leaf.is_empty() {
            leaf.try_reserve_exact(LEAF).map_err(|_| DiskError::NoSpace)?;
            leaf.resize_with(LEAF, Chunk::default);
        }
        leaf.get_mut(place.chunk).ok_or(DiskError::NoSpace)
    }

    /// Writes `piece` to the disk's bytes from `at` on.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`]; a part may have been written.
    pub fn write(&mut self, image: &[u8], at: u64, piece: GuestSlice<'_>) -> Result<(), DiskError> {
        let mut done = 0;
        while done < piece.len() {
            let at = at + done as u64;
            let place = place(at, (piece.len() - done) as u64);
            let bytes =
                self.chunk(&place)?.open(behind(image, at - place.range.start as u64), &place.range)?;
            if let Some(to) = bytes.get_mut(place.range.clone()) {
                piece.read(done, to);
            }
            done += place.range.len();
        }
        Ok(())
    }

    /// Forgets the pages that lie wholly in a range.
    pub fn discard(&mut self, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end {
            let place = place(at, range.end - at);
            at += place.range.len() as u64;
            if let Some(chunk) = self.leaves.get_mut(place.leaf).and_then(|leaf| leaf.get_mut(place.chunk)) {
                chunk.forget(covered(&place.range));
            }
        }
    }

    /// Makes a range read as zero.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`]; a part may have been zeroed.
    pub fn zero(&mut self, image: &[u8], range: Range<u64>) -> Result<(), DiskError> {
        let mut at = range.start;
        while at < range.end {
            let place = place(at, range.end - at);
            let image = behind(image, at - place.range.start as u64);
            at += place.range.len() as u64;
            let absent = self.leaves.get(place.leaf).is_none_or(Vec::is_empty);
            if absent && image.len() <= place.range.start {
                continue;
            }
            let chunk = self.chunk(&place)?;
            let whole = covered(&place.range);
            chunk.forget(whole);
            // Behind the image, zero is what is there anyway.
            chunk.zeroed |= whole & touched(&(0..image.len().min(CHUNK)));
            for part in edges(&place.range) {
                let is_zero =
                    matches!(chunk.run(part.start, part.len()), Run::Zero(len) if len == part.len());
                let behind = image.len() <= part.start && chunk.written >> (part.start / PAGE) & 1 == 0;
                if is_zero || behind {
                    continue;
                }
                if let Some(bytes) = chunk.open(image, &part)?.get_mut(part) {
                    bytes.fill(0);
                }
            }
        }
        Ok(())
    }
}

/// The image's bytes from `at` on.
fn behind(image: &[u8], at: u64) -> &[u8] {
    usize::try_from(at).ok().and_then(|at| image.get(at..)).unwrap_or_default()
}

/// What a range of a chunk's bytes has of pages that it does not cover: at its start, at its end, or both.
fn edges(range: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let (start, end) = (range.start, range.end);
    let first = start.next_multiple_of(PAGE).min(end);
    let last = (end - end % PAGE).max(first);
    [start..first, last..end].into_iter().filter(|part| !part.is_empty())
}
