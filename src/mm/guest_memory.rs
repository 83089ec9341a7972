//! Guest memory as loaders and devices see it: bytes behind intermediate physical addresses.

use core::{error::Error, fmt, ops::Range};

use super::addr::Ipa;

/// The memory of one VM, reached by copying.
///
/// Addresses may come from the guest, so every method checks the whole range. Nothing is handed out by
/// reference: vCPUs write the same bytes at any time.
pub trait GuestMemory: Send + Sync {
    /// The ranges of RAM, in ascending order; none is empty and none overlap.
    fn ram(&self) -> &[Range<Ipa>];

    /// Copies guest memory from `ipa` on into all of `buffer`.
    ///
    /// # Errors
    /// A part of the range that has no memory behind it; `buffer` is then unspecified.
    fn read(&self, ipa: Ipa, buffer: &mut [u8]) -> Result<(), MemoryError>;

    /// Copies `bytes` into guest memory from `ipa` on. This is the host's access: it also reaches memory that
    /// is read-only for the guest (flash).
    ///
    /// # Errors
    /// A part of the range that has no memory behind it; what lies before may have been written.
    fn write(&self, ipa: Ipa, bytes: &[u8]) -> Result<(), MemoryError>;

    /// Makes `len` bytes from `ipa` on read as zero. Costs nothing where the guest has touched nothing yet.
    ///
    /// # Errors
    /// A part of the range that has no memory behind it; what lies before may have been cleared.
    fn zero(&self, ipa: Ipa, len: u64) -> Result<(), MemoryError>;
}

/// Why guest memory could not be accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryError {
    /// The range is not, or not wholly, backed by memory.
    Unbacked {
        /// Where the range starts.
        ipa: Ipa,
        /// Its length in bytes.
        len: u64,
    },
    /// The machine has no free frame to put behind the address.
    OutOfFrames {
        /// The first address that has none.
        ipa: Ipa,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbacked { ipa, len } => {
                write!(f, "no memory behind {len:#x} bytes at guest address {ipa}")
            }
            Self::OutOfFrames { ipa } => write!(f, "no free frame for guest address {ipa}"),
        }
    }
}

impl Error for MemoryError {}

#[cfg(test)]
pub mod test {
    //! Guest memory for tests.

    use std::sync::Mutex;

    use super::*;

    /// RAM and ROM in vectors. Fresh memory reads as [`FILL`], so that a test sees what was not written.
    pub struct TestMemory {
        ram: Vec<Range<Ipa>>,
        regions: Vec<(Ipa, Mutex<Vec<u8>>)>,
    }

    /// What fresh memory reads as.
    pub const FILL: u8 = 0xa5;

    impl TestMemory {
        /// One range of RAM.
        pub fn new(base: Ipa, size: u64) -> Self {
            let ram = vec![base..base.checked_add(size).unwrap()];
            Self { ram, regions: vec![] }.with_rom(base, size)
        }

        /// Adds memory that is not RAM.
        pub fn with_rom(mut self, base: Ipa, size: u64) -> Self {
            self.regions.push((base, Mutex::new(vec![FILL; size as usize])));
            self
        }

        /// `len` bytes from `ipa` on.
        pub fn bytes(&self, ipa: Ipa, len: u64) -> Vec<u8> {
            let mut buffer = vec![0; len as usize];
            self.read(ipa, &mut buffer).unwrap();
            buffer
        }

        fn access(&self, ipa: Ipa, len: u64, copy: impl FnOnce(&mut [u8])) -> Result<(), MemoryError> {
            for (base, bytes) in &self.regions {
                let mut bytes = bytes.lock().unwrap();
                let Some(start) = ipa.0.checked_sub(base.0) else { continue };
                let Some(end) = start.checked_add(len) else { continue };
                if let Some(range) = bytes.get_mut(start as usize..end as usize) {
                    copy(range);
                    return Ok(());
                }
            }
            Err(MemoryError::Unbacked { ipa, len })
        }
    }

    impl GuestMemory for TestMemory {
        fn ram(&self) -> &[Range<Ipa>] {
            &self.ram
        }

        fn read(&self, ipa: Ipa, buffer: &mut [u8]) -> Result<(), MemoryError> {
            self.access(ipa, buffer.len() as u64, |range| buffer.copy_from_slice(range))
        }

        fn write(&self, ipa: Ipa, bytes: &[u8]) -> Result<(), MemoryError> {
            self.access(ipa, bytes.len() as u64, |range| range.copy_from_slice(bytes))
        }

        fn zero(&self, ipa: Ipa, len: u64) -> Result<(), MemoryError> {
            self.access(ipa, len, |range| range.fill(0))
        }
    }
}
