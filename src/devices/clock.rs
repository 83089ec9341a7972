//! The time of day, as the machine or its operator knows it.

/// Nanoseconds in a second.
pub const NANOSECONDS: u64 = 1_000_000_000;

/// A wall clock. It may be set, and so jump in either direction.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the Unix epoch, 1970-01-01 00:00 UTC. They last until the year 2554.
    fn nanoseconds(&self) -> u64;

    /// Seconds since the Unix epoch.
    fn seconds(&self) -> u64 {
        self.nanoseconds() / NANOSECONDS
    }
}
