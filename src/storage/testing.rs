//! Asking disks, in tests.

use std::sync::Arc;

use super::*;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::test::TestMemory;

/// Where the memory of an [`Asker`] starts.
pub const BASE: Ipa = Ipa(1 << 30);

/// Somebody with memory who asks disks that answer at once.
pub struct Asker {
    memory: Arc<TestMemory>,
    shared: Arc<dyn SharedMemory>,
    completion: Completion,
}

struct Nobody;

impl Waiter for Nobody {
    fn ready(&self) {}
    fn completed(&self, _: u64, _: Result<(), DiskError>) {}
    fn deliver(&self, _: u64, _: &mut dyn FnMut()) {}
}

impl Asker {
    /// With so many bytes of memory.
    pub fn new(size: u64) -> Self {
        let memory = Arc::new(TestMemory::new(BASE, size));
        let completion = Completion { waiter: Arc::new(Nobody), token: 0 };
        Self { shared: memory.clone(), memory, completion }
    }

    /// Its memory.
    pub fn memory(&self) -> &TestMemory {
        &self.memory
    }

    /// Asks for something with these segments.
    pub fn ask(
        &self,
        disk: &dyn Disk,
        operation: Operation,
        sector: u64,
        segments: &[Segment],
    ) -> Result<Progress, DiskError> {
        disk.submit(&Request {
            operation,
            sector,
            segments,
            memory: &*self.memory,
            shared: &self.shared,
            completion: &self.completion,
        })
    }

    /// Writes bytes, which lie at an odd address and in two segments.
    pub fn write(&self, disk: &dyn Disk, sector: u64, bytes: &[u8]) -> Result<Progress, DiskError> {
        let segments = Self::halves(bytes.len());
        self.memory.write(segments[0].ipa, &bytes[..segments[0].len as usize]).unwrap();
        self.memory.write(segments[1].ipa, &bytes[segments[0].len as usize..]).unwrap();
        self.ask(disk, Operation::Write, sector, &segments)
    }

    /// Reads so many bytes.
    pub fn read(&self, disk: &dyn Disk, sector: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let segments = Self::halves(len);
        self.ask(disk, Operation::Read, sector, &segments)?;
        Ok(segments.iter().flat_map(|part| self.memory.bytes(part.ipa, part.len.into())).collect())
    }

    fn halves(len: usize) -> [Segment; 2] {
        let first = len as u32 / 3;
        [
            Segment { ipa: Ipa(BASE.0 + 13), len: first },
            Segment { ipa: Ipa(BASE.0 + 21 + u64::from(first)), len: len as u32 - first },
        ]
    }
}
