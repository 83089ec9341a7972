//! Counting what a disk does.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{DiskError, Operation, Progress};

/// What a disk has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counters {
    pub reads: u64,
    pub writes: u64,
    pub flushes: u64,
    pub discards: u64,
    pub errors: u64,
    pub sectors_read: u64,
    pub sectors_written: u64,
}

/// Counters that all CPUs may add to.
#[derive(Debug, Default)]
pub struct Tally {
    reads: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    errors: AtomicU64,
    sectors_read: AtomicU64,
    sectors_written: AtomicU64,
}

impl Tally {
    /// Takes note of a request for so many sectors, and of what came of it.
    #[inline]
    pub fn count(&self, operation: Operation, sectors: u64, result: &Result<Progress, DiskError>) {
        if result.is_err() {
            self.error();
            return;
        }
        let (requests, moved) = match operation {
            Operation::Read => (&self.reads, Some(&self.sectors_read)),
            Operation::Write => (&self.writes, Some(&self.sectors_written)),
            Operation::Flush => (&self.flushes, None),
            Operation::Discard(_) | Operation::WriteZeroes(_) => (&self.discards, None),
        };
        requests.fetch_add(1, Ordering::Relaxed);
        if let Some(moved) = moved {
            moved.fetch_add(sectors, Ordering::Relaxed);
        }
    }

    /// Takes note of a request that failed.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted.
    pub fn read(&self) -> Counters {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            reads: value(&self.reads),
            writes: value(&self.writes),
            flushes: value(&self.flushes),
            discards: value(&self.discards),
            errors: value(&self.errors),
            sectors_read: value(&self.sectors_read),
            sectors_written: value(&self.sectors_written),
        }
    }
}
