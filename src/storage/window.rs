//! A part of a disk that is a disk of its own, such as a partition.

use alloc::sync::Arc;
use core::ops::Range;

use super::{Counters, Disk, DiskError, Geometry, Operation, Progress, Request, SECTOR, Tally, check_range};

/// Some sectors of another disk, which may be all of them. Nothing outside is ever reached.
pub struct Window {
    disk: Arc<dyn Disk>,
    start: u64,
    geometry: Geometry,
    tally: Tally,
}

impl Window {
    /// The given sectors of `disk`, which cannot be written if `read_only` says so or the disk itself is not to be.
    ///
    /// # Errors
    /// [`DiskError::Range`]: the disk does not have all of them.
    pub fn new(disk: Arc<dyn Disk>, sectors: Range<u64>, read_only: bool) -> Result<Self, DiskError> {
        let whole = disk.geometry();
        let count = sectors.end.saturating_sub(sectors.start);
        check_range(sectors.start, count, whole.sectors)?;
        let geometry = Geometry { sectors: count, read_only: whole.read_only || read_only, ..whole };
        Ok(Self { disk, start: sectors.start, geometry, tally: Tally::default() })
    }

    fn pass_on(&self, request: &Request<'_>, count: u64) -> Result<Progress, DiskError> {
        check_range(request.sector, count, self.geometry.sectors)?;
        match request.operation {
            Operation::Read | Operation::Flush => {}
            Operation::Write | Operation::Discard(_) | Operation::WriteZeroes(_) => {
                if self.geometry.read_only {
                    return Err(DiskError::ReadOnly);
                }
            }
        }
        // No overflow: the whole window lies on the disk.
        self.disk.submit(&Request { sector: self.start.wrapping_add(request.sector), ..*request })
    }
}

impl Disk for Window {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: &Request<'_>) -> Result<Progress, DiskError> {
        let count = request.sectors();
        let result = self.pass_on(request, count);
        if result != Ok(Progress::Busy) {
            self.tally.count(request.operation, count, &result);
        }
        result
    }

    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(sector, (buffer.len() as u64).div_ceil(SECTOR), self.geometry.sectors)?;
        self.disk.read(self.start.wrapping_add(sector), buffer)
    }

    fn counters(&self) -> Counters {
        self.tally.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryDisk;
    use crate::storage::testing::Asker;

    #[test]
    fn nothing_outside_is_reached() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(&[], 100 * SECTOR, false).unwrap());
        let asker = Asker::new(4096);
        let window = Window::new(disk.clone(), 10..20, false).unwrap();
        assert_eq!(asker.write(&window, 9, &[7; 512]), Ok(Progress::Done));
        assert_eq!(asker.read(&*disk, 19, 512), Ok(vec![7; 512]));
        for (operation, sector) in
            [(Operation::Discard(2), 9), (Operation::WriteZeroes(1), 10), (Operation::Discard(1), u64::MAX)]
        {
            assert!(matches!(
                asker.ask(&window, operation, sector, &[]),
                Err(DiskError::Range { limit: 10, .. })
            ));
        }
        assert!(asker.read(&window, 9, 1024).is_err() && window.read(10, &mut [0; 512]).is_err());
        assert_eq!(window.counters().errors, 4);
        for bad in [95..101, 101..101, u64::MAX..u64::MAX] {
            assert!(Window::new(disk.clone(), bad, false).is_err());
        }
    }

    #[test]
    fn a_window_that_is_read_only_protects_the_disk() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(&[], 100 * SECTOR, false).unwrap());
        let asker = Asker::new(4096);
        let window = Window::new(disk, 0..100, true).unwrap();
        assert!(window.geometry().read_only);
        assert_eq!(asker.write(&window, 0, &[7; 512]), Err(DiskError::ReadOnly));
        assert_eq!(asker.ask(&window, Operation::Discard(8), 0, &[]), Err(DiskError::ReadOnly));
    }
}
