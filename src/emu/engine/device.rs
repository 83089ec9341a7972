//! Accesses to the guest's devices: by one plain load or store each, the form for which the hardware gives EL2 a complete
//! syndrome. Where nobody answers, EL2 injects an external abort, which [`recover`] turns into an error.

use core::arch::global_asm;
use core::ops::Range;

use polyvisor_emu::memory::Size;

use crate::access::Outcome;
use crate::address::virtual_address;

// The accesses are leaves: whichever of them aborts, its caller is in x30, and what it may change is free.
global_asm!(
    ".text",
    "engine_accesses:",
    "engine_load8:   ldrb w0, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_load16:  ldrh w0, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_load32:  ldr  w0, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_load64:  ldr  x0, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_store8:  strb w1, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_store16: strh w1, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_store32: str  w1, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_store64: str  x1, [x0]",
    "                mov  x1, #0",
    "                ret",
    "engine_access_aborted:",
    "                mov  x1, #1",
    "                ret",
);

unsafe extern "C" {
    fn engine_accesses();
    fn engine_access_aborted();
    fn engine_load8(address: u64) -> Outcome;
    fn engine_load16(address: u64) -> Outcome;
    fn engine_load32(address: u64) -> Outcome;
    fn engine_load64(address: u64) -> Outcome;
    fn engine_store8(address: u64, value: u64) -> Outcome;
    fn engine_store16(address: u64, value: u64) -> Outcome;
    fn engine_store32(address: u64, value: u64) -> Outcome;
    fn engine_store64(address: u64, value: u64) -> Outcome;
}

/// Where to go on when the instruction at `pc` has taken a data abort, if it is one of these accesses.
pub fn recover(pc: u64) -> Option<u64> {
    let aborted = engine_access_aborted as *const () as u64;
    (engine_accesses as *const () as u64..aborted).contains(&pc).then_some(aborted)
}

/// The guest-physical addresses at which there are devices, if anything. Nothing else is accessed on a guest's behalf: the
/// engine's own memory has addresses, too.
#[derive(Debug, Clone)]
pub struct Devices(Range<u64>);

impl Devices {
    /// All addresses below `end`, which must be mapped as device memory and be no memory of the engine's.
    pub const fn below(end: u64) -> Self {
        Self(0..end)
    }

    fn contains(&self, address: u64, size: Size) -> bool {
        address < self.0.end && self.0.end - address >= size.bytes()
    }

    /// Reads, zero-extended; `None` where nobody answers.
    pub fn read(&self, address: u64, size: Size) -> Option<u64> {
        if !self.contains(address, size) {
            return None;
        }
        let address = virtual_address(address);
        // SAFETY: device memory, of which Rust knows nothing; an abort is caught.
        let outcome = unsafe {
            match size {
                Size::Byte => engine_load8(address),
                Size::Half => engine_load16(address),
                Size::Word => engine_load32(address),
                Size::Double => engine_load64(address),
            }
        };
        outcome.value()
    }

    /// Writes the low bytes of `value`; `None` where nobody answers.
    pub fn write(&self, address: u64, size: Size, value: u64) -> Option<()> {
        if !self.contains(address, size) {
            return None;
        }
        let address = virtual_address(address);
        // SAFETY: as for `read`.
        let outcome = unsafe {
            match size {
                Size::Byte => engine_store8(address, value),
                Size::Half => engine_store16(address, value),
                Size::Word => engine_store32(address, value),
                Size::Double => engine_store64(address, value),
            }
        };
        outcome.value().map(drop)
    }
}
