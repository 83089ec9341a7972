//! Who uses which sectors of the machine's disks: one who writes, or any number who only read.
//!
//! File systems keep in memory what they have read, so a second writer destroys them, and what a reader finds beside a
//! writer makes no sense.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use super::Disk;

static CLAIMS: Mutex<Vec<Held>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Some sectors of a disk, and what they are wanted for.
#[derive(Clone)]
pub struct Extent {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The sectors.
    pub sectors: Range<u64>,
    /// They are to be written.
    pub writes: bool,
    /// Who wants them, in the operator's words.
    pub owner: String,
}

struct Held {
    id: u64,
    extent: Extent,
}

/// The right to use an [`Extent`], as long as this exists.
pub struct Claim(u64);

impl Extent {
    /// Claims the sectors.
    ///
    /// # Errors
    /// [`Conflict`]: somebody else has some of them, and one of the two writes.
    pub fn claim(&self) -> Result<Claim, Conflict> {
        let mut claims = CLAIMS.lock();
        if let Some(Held { extent, .. }) = claims.iter().find(|held| held.extent.excludes(self)) {
            let Self { sectors, writes, owner, .. } = extent.clone();
            return Err(Conflict { sectors, writes, owner });
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        claims.push(Held { id, extent: self.clone() });
        Ok(Claim(id))
    }

    fn excludes(&self, other: &Self) -> bool {
        let overlap = self.sectors.start < other.sectors.end && other.sectors.start < self.sectors.end;
        (self.writes || other.writes) && overlap && Arc::ptr_eq(&self.disk, &other.disk)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock();
        let own = claims.iter().position(|held| held.id == self.0).map(|index| claims.swap_remove(index));
        // The disk may go with it, outside of the lock.
        drop(claims);
        drop(own);
    }
}

/// Somebody else has sectors that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Which sectors he has.
    pub sectors: Range<u64>,
    /// Whether he writes them.
    pub writes: bool,
    /// Who he is.
    pub owner: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sectors: Range { start, end }, writes, owner } = self;
        let does = if *writes { "writes" } else { "reads" };
        write!(f, "{owner} {does} its sectors {start} to {}", end.saturating_sub(1))
    }
}

impl core::error::Error for Conflict {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryDisk;

    fn disk() -> Arc<dyn Disk> {
        Arc::new(MemoryDisk::new(&[], 1 << 20, false).unwrap())
    }

    #[test]
    fn a_writer_is_alone() {
        let disk = disk();
        let extent = |sectors: Range<u64>, writes, owner: &str| Extent {
            disk: disk.clone(),
            sectors,
            writes,
            owner: owner.into(),
        };
        let first = extent(10..20, true, "a").claim().unwrap();
        for sectors in [0..11, 19..30, 0..100, 12..13, 10..20] {
            for writes in [false, true] {
                let refused = extent(sectors.clone(), writes, "b").claim().err();
                assert_eq!(refused, Some(Conflict { sectors: 10..20, writes: true, owner: "a".into() }));
            }
        }
        let beside = [extent(0..10, true, "b").claim().unwrap(), extent(20..21, false, "b").claim().unwrap()];
        let elsewhere = Extent { disk: self::disk(), ..extent(10..20, true, "b") };
        assert!(elsewhere.claim().is_ok());
        drop(first);
        assert!(extent(9..20, true, "c").claim().is_err(), "the claim beside it is still held");
        let readers =
            [extent(10..21, false, "c").claim().unwrap(), extent(10..20, false, "d").claim().unwrap()];
        let refused = extent(10..11, true, "e").claim().err();
        assert_eq!(refused.unwrap().to_string(), "c reads its sectors 10 to 20");
        drop((beside, readers));
        assert!(extent(0..100, true, "e").claim().is_ok());
    }
}
