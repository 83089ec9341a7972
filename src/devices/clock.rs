//! The time of day, as the machine or its operator knows it.

/// A wall clock. It may be set, and so jump in either direction.
pub trait Clock: Send + Sync {
    /// Seconds since the Unix epoch, 1970-01-01 00:00 UTC.
    fn seconds(&self) -> u64;
}
