//! State is data: what can be saved as a plain value and rebuilt from it.

use core::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// A component whose whole state can be taken out as a serialisable value and put back.
///
/// Snapshots, migration, the monitor and tests all go through this one interface.
pub trait Persist {
    /// The state as plain data. It holds no host address and nothing that depends on this boot.
    type State: Serialize + DeserializeOwned;

    /// Takes a copy of the state.
    fn save(&self) -> Self::State;

    /// Replaces the state by `state`, which is untrusted: it may come from a damaged file.
    ///
    /// # Errors
    /// The first value that is out of its bound; the component is then unchanged.
    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError>;
}

/// A saved value that the component cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreError {
    /// Which field, as a path (`pl011.rx_fifo.len`).
    pub field: &'static str,
    /// The value that was found.
    pub found: u64,
    /// The largest value that is allowed.
    pub limit: u64,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "saved state: {} is {:#x}, at most {:#x} is possible", self.field, self.found, self.limit)
    }
}

impl core::error::Error for RestoreError {}
