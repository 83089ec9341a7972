//! Disks in memory: a file of the bundle, which can be written if what is written is kept beside it.

mod overlay;
#[cfg(test)]
mod tests;

use spin::Mutex;

use self::overlay::{Overlay, Run};
use super::{Counters, Disk, DiskError, Geometry, Operation, Progress, Request, SECTOR, Tally};
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::GuestSlice;

/// A disk in memory.
pub struct MemoryDisk {
    image: &'static [u8],
    sectors: u64,
    /// What was written; `None`: it cannot be.
    overlay: Option<Mutex<Overlay>>,
    tally: Tally,
}

impl MemoryDisk {
    /// A disk of `size` bytes, rounded up to whole sectors, that starts with `image`. What lies behind that reads as zero.
    /// `image` wins where it is longer.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`]: there is not even memory for the table of what is written.
    pub fn new(image: &'static [u8], size: u64, read_only: bool) -> Result<Self, DiskError> {
        let sectors = size.max(image.len() as u64).div_ceil(SECTOR);
        let overlay = match read_only {
            true => None,
            false => Some(Mutex::new(Overlay::new(sectors)?)),
        };
        Ok(Self { image, sectors, overlay, tally: Tally::default() })
    }

    /// Bytes of memory that what was written takes.
    pub fn held(&self) -> u64 {
        self.overlay.as_ref().map_or(0, |overlay| overlay.lock().held())
    }

    /// Where the disk's bytes from `at` on are, at most `len` of them, which are on the disk.
    fn run<'a>(&self, overlay: Option<&'a Overlay>, at: u64, len: usize) -> Run<'a> {
        match overlay.map(|overlay| overlay.run(at, len)) {
            None => self.image_run(at, len),
            Some(Run::Image(len)) => self.image_run(at, len),
            Some(run) => run,
        }
    }

    /// Where the image's bytes from `at` on are, at most `len` of them.
    fn image_run(&self, at: u64, len: usize) -> Run<'static> {
        let rest = usize::try_from(at).ok().and_then(|at| self.image.get(at..)).unwrap_or_default();
        match rest.get(..len.min(rest.len())) {
            None | Some([]) => Run::Zero(len),
            Some(bytes) => Run::Bytes(bytes),
        }
    }

    fn read_piece(&self, overlay: Option<&Overlay>, at: u64, piece: GuestSlice<'_>) {
        let mut done = 0;
        while done < piece.len() {
            match self.run(overlay, at + done as u64, piece.len() - done) {
                Run::Bytes(bytes) => {
                    piece.write(done, bytes);
                    done += bytes.len();
                }
                Run::Zero(len) | Run::Image(len) => {
                    if let Some(part) = piece.part(done, len) {
                        part.clear();
                    }
                    done += len;
                }
            }
        }
    }

    fn carry_out(&self, request: &Request<'_>) -> Result<(), DiskError> {
        let start = request.sector.saturating_mul(SECTOR);
        let overlay = || self.overlay.as_ref().ok_or(DiskError::ReadOnly).map(Mutex::lock);
        match request.operation {
            Operation::Read => {
                let overlay = self.overlay.as_ref().map(Mutex::lock);
                for_each_piece(request, |at, piece| {
                    self.read_piece(overlay.as_deref(), at, piece);
                    Ok(())
                })
            }
            Operation::Write => {
                let mut overlay = overlay()?;
                for_each_piece(request, |at, piece| overlay.write(self.image, at, piece))
            }
            // What is in memory is not lost as long as the machine runs.
            Operation::Flush => Ok(()),
            Operation::Discard(count) => {
                overlay()?.discard(start..start + count * SECTOR);
                Ok(())
            }
            Operation::WriteZeroes(count) => overlay()?.zero(self.image, start..start + count * SECTOR),
        }
    }
}

/// Calls `access` with each piece of the request's segments and the position of its first byte on the disk.
#[inline]
fn for_each_piece(
    request: &Request<'_>,
    mut access: impl FnMut(u64, GuestSlice<'_>) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let mut at = request.sector.saturating_mul(SECTOR);
    for segment in request.segments {
        let (mut ipa, mut left) = (segment.ipa, u64::from(segment.len));
        while left > 0 {
            let piece = request.memory.slice(ipa, left).map_err(|_| DiskError::Memory)?;
            access(at, piece)?;
            let len = piece.len() as u64;
            // Memory ends long before addresses do.
            ipa = Ipa(ipa.0.wrapping_add(len));
            at += len;
            left = left.saturating_sub(len);
        }
    }
    Ok(())
}

impl Disk for MemoryDisk {
    fn geometry(&self) -> Geometry {
        let writable = self.overlay.is_some();
        Geometry {
            sectors: self.sectors,
            read_only: !writable,
            block_size: PAGE_SIZE as u32,
            discards: writable,
        }
    }

    fn submit(&self, request: &Request<'_>) -> Result<Progress, DiskError> {
        let sectors = request.sectors();
        let result =
            super::check_range(request.sector, sectors, self.sectors).and_then(|()| self.carry_out(request));
        let result = result.map(|()| Progress::Done);
        self.tally.count(request.operation, sectors, &result);
        result
    }

    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        super::check_range(sector, buffer.len() as u64 / SECTOR, self.sectors)?;
        let overlay = self.overlay.as_ref().map(Mutex::lock);
        let mut at = sector * SECTOR;
        let mut rest = buffer;
        while !rest.is_empty() {
            let run = self.run(overlay.as_deref(), at, rest.len());
            let len = run.len();
            let Some(part) = rest.split_off_mut(..len) else { break };
            match run {
                Run::Bytes(bytes) => part.copy_from_slice(bytes),
                Run::Zero(_) | Run::Image(_) => part.fill(0),
            }
            at += len as u64;
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.tally.read()
    }
}
