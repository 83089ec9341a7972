//! Software breakpoints: instructions in the guest's memory that are replaced by a breakpoint instruction.
//!
//! They belong to memory, not to virtual addresses: the same code may be mapped at several, and the translation by
//! which one was found may be gone when it is removed. So each is kept by IPA, and whoever reads or writes memory
//! for the debugger comes through here, so that it sees the guest's own instructions at whatever address.

use alloc::vec::Vec;

use super::debuggee::{Debuggee, Refused};

/// Most breakpoints at a time.
const LIMIT: usize = 256;

struct Patch {
    /// The virtual address by which the debugger knows it.
    address: u64,
    ipa: u64,
    original: Vec<u8>,
}

/// The software breakpoints of a VM.
#[derive(Default)]
pub struct Patches(Vec<Patch>);

impl Patches {
    /// Puts `breakpoint` at `ipa`, which the debugger calls `address`.
    ///
    /// # Errors
    /// [`Refused`] where there is no memory, or there are too many breakpoints.
    pub fn add(
        &mut self,
        vm: &mut impl Debuggee,
        (address, ipa): (u64, u64),
        breakpoint: &[u8],
    ) -> Result<(), Refused> {
        if self.0.iter().any(|patch| (patch.address, patch.ipa) == (address, ipa)) {
            return Ok(());
        }
        if self.0.len() >= LIMIT || !ipa.is_multiple_of(breakpoint.len() as u64) {
            return Err(Refused);
        }
        let mut original = alloc::vec![0; breakpoint.len()];
        self.read(vm, ipa, &mut original)?;
        vm.write(ipa, breakpoint)?;
        self.0.push(Patch { address, ipa, original });
        Ok(())
    }

    /// Takes the breakpoint away that the debugger calls `address`.
    pub fn remove(&mut self, vm: &mut impl Debuggee, address: u64, breakpoint: &[u8]) {
        if let Some(index) = self.0.iter().position(|patch| patch.address == address) {
            let patch = self.0.swap_remove(index);
            self.restore(vm, &patch, breakpoint);
        }
    }

    /// Takes all of them away.
    pub fn remove_all(&mut self, vm: &mut impl Debuggee, breakpoint: &[u8]) {
        while let Some(patch) = self.0.pop() {
            self.restore(vm, &patch, breakpoint);
        }
    }

    /// Memory has been filled anew: there are no breakpoints any more.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Writes the original instruction of `patch`, unless another breakpoint needs it changed, or the guest has
    /// put something else there meanwhile.
    fn restore(&self, vm: &mut impl Debuggee, patch: &Patch, breakpoint: &[u8]) {
        let mut found = alloc::vec![0; breakpoint.len()];
        if self.0.iter().all(|other| other.ipa != patch.ipa)
            && vm.read(patch.ipa, &mut found).is_ok()
            && found == breakpoint
        {
            // The memory has just been read.
            let _ = vm.write(patch.ipa, &patch.original);
        }
    }

    /// Reads memory as it is without breakpoints. The range lies in one page.
    ///
    /// # Errors
    /// [`Refused`] where there is no memory.
    pub fn read(&self, vm: &impl Debuggee, ipa: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        vm.read(ipa, buffer)?;
        for patch in &self.0 {
            for (address, byte) in (patch.ipa..).zip(&patch.original) {
                if let Some(byte_read) = at(buffer, ipa, address) {
                    *byte_read = *byte;
                }
            }
        }
        Ok(())
    }

    /// Writes memory without disturbing breakpoints: they are put back over what is written. The range lies in
    /// one page.
    ///
    /// # Errors
    /// [`Refused`] where there is no memory.
    pub fn write(
        &mut self,
        vm: &mut impl Debuggee,
        ipa: u64,
        bytes: &[u8],
        breakpoint: &[u8],
    ) -> Result<(), Refused> {
        let mut patched = bytes.to_vec();
        for patch in &self.0 {
            for (address, byte) in (patch.ipa..).zip(breakpoint) {
                if let Some(byte_written) = at(&mut patched, ipa, address) {
                    *byte_written = *byte;
                }
            }
        }
        vm.write(ipa, &patched)?;
        for patch in &mut self.0 {
            for (address, byte) in (ipa..).zip(bytes) {
                if let Some(original) = at(&mut patch.original, patch.ipa, address) {
                    *original = *byte;
                }
            }
        }
        Ok(())
    }
}

/// The byte at `address` of what lies from `start` on.
fn at(bytes: &mut [u8], start: u64, address: u64) -> Option<&mut u8> {
    bytes.get_mut(usize::try_from(address.checked_sub(start)?).ok()?)
}
