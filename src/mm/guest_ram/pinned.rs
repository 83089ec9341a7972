//! Guest memory in use by EL2.

use core::ops::Range;

use spin::RwLockReadGuard;

use super::{GuestRam, Reach, Stage2Regime};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, GuestSlice, MemoryError};

/// The memory of a VM, none of which is given back as long as this exists. See [`GuestRam::pin`].
pub struct Pinned<'a, R: Stage2Regime> {
    pub(super) memory: &'a GuestRam<R>,
    /// Which part of it.
    pub(super) reach: Reach,
    /// Keeps [`GuestRam::release`] out.
    pub(super) _pin: RwLockReadGuard<'a, ()>,
}

impl<R: Stage2Regime> GuestMemory for Pinned<'_, R> {
    fn ram(&self) -> &[Range<Ipa>] {
        self.memory.ram()
    }

    #[inline]
    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
        let (start, rest) = self.memory.locate(ipa, len, self.reach)?;
        // SAFETY: the piece lies in frames of this VM, which are not freed as long as the pin is held, which the slice
        // borrows.
        Ok(unsafe { GuestSlice::new(start, rest.min(len) as usize) })
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
