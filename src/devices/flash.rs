//! The flash banks of QEMU `virt` where nothing has been programmed.

use super::bus::{Access, MmioDevice};

/// Flash that reads as zero, as QEMU's does without a backing file, and ignores writes: there is nothing that
/// would outlive the VM.
pub struct EmptyFlash;

impl MmioDevice for EmptyFlash {
    fn read(&self, _: Access) -> u64 {
        0
    }

    fn write(&self, _: Access, _: u64) {}
}
