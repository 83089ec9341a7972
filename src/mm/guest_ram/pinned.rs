//! Guest memory in use by EL2.

use core::ops::Range;
use core::ptr::NonNull;

use spin::RwLockReadGuard;

use super::{CHUNK, GuestRam, Reach, Stage2Regime};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, GuestSlice, MemoryError, Watch};

/// The memory of a VM, none of which is given back as long as this exists. See [`GuestRam::pin`].
pub struct Pinned<'a, R: Stage2Regime> {
    pub(super) memory: &'a GuestRam<R>,
    /// Which part of it.
    pub(super) reach: Reach,
    /// Who is told of what is written.
    pub(super) watch: Option<Watch<'a>>,
    /// Keeps [`GuestRam::release`] out.
    pub(super) _pin: RwLockReadGuard<'a, ()>,
}

impl<R: Stage2Regime> GuestMemory for Pinned<'_, R> {
    fn ram(&self) -> &[Range<Ipa>] {
        self.memory.ram()
    }

    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        let piece = self.piece(ipa, len)?;
        Ok(self.watch.as_ref().map_or(piece, |watch| piece.watched(watch, ipa)))
    }
}

/// The same for devices of memory that nobody watches: what comes with every request looks only once whether somebody does.
pub struct Unwatched<'a, R: Stage2Regime>(pub(super) Pinned<'a, R>);

impl<R: Stage2Regime> GuestMemory for Unwatched<'_, R> {
    fn ram(&self) -> &[Range<Ipa>] {
        self.0.ram()
    }

    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        self.0.piece(ipa, len)
    }
}

impl<R: Stage2Regime> Pinned<'_, R> {
    /// [`GuestMemory::slice`] that nobody watches.
    #[inline]
    fn piece(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        match self.memory.mapped(ipa, self.reach) {
            Some(frame) => Ok(self.within(frame, ipa, len)),
            None => self.fresh_slice(ipa, len),
        }
    }

    /// The piece of at most `len` bytes at `ipa`, around which is the chunk with this frame.
    #[inline]
    fn within(&self, frame: NonNull<u8>, ipa: Ipa, len: u64) -> GuestSlice<'_> {
        let offset = ipa.0 % CHUNK;
        // SAFETY: the piece lies in a frame of this VM, which is of this size and not freed as long as the pin is held, which
        // the slice borrows.
        unsafe { GuestSlice::new(frame.add(offset as usize), (CHUNK - offset).min(len) as usize) }
    }

    /// A piece of a chunk that is not mapped, or of nothing.
    #[cold]
    #[inline(never)]
    fn fresh_slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        Ok(self.within(self.memory.reached(ipa, len, self.reach)?, ipa, len))
    }
}

/// The memory of a VM for a loader: what it writes is also seen by a guest whose caches are off.
pub struct Loading<'a, R: Stage2Regime>(pub(super) Pinned<'a, R>);

impl<R: Stage2Regime> Loading<'_, R> {
    fn flush(&self, ipa: Ipa, len: u64) -> Result<(), MemoryError> {
        self.for_each_piece(ipa, len, &mut |piece| self.0.memory.flush(piece))
    }
}

impl<R: Stage2Regime> GuestMemory for Loading<'_, R> {
    fn ram(&self) -> &[Range<Ipa>] {
        self.0.ram()
    }

    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        self.0.slice(ipa, len)
    }

    fn write(&self, ipa: Ipa, bytes: &[u8]) -> Result<(), MemoryError> {
        self.0.write(ipa, bytes)?;
        self.flush(ipa, bytes.len() as u64)
    }

    fn zero(&self, ipa: Ipa, len: u64) -> Result<(), MemoryError> {
        self.0.zero(ipa, len)?;
        self.flush(ipa, len)
    }
}
