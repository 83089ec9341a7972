//! The registers of a controller that is there.

use super::registers::{Port, Register};
use crate::arch::aarch64::timer;
use crate::mm::addr::PhysAddr;

/// Registers in memory.
pub struct Mmio(PhysAddr);

impl Mmio {
    /// Bytes of registers.
    pub const SIZE: u64 = 0x100;

    /// The registers at `base`.
    ///
    /// # Safety
    /// `base` is that of an SD host controller which is mapped as device memory and has no other driver.
    pub const unsafe fn new(base: PhysAddr) -> Self {
        Self(base)
    }

    fn at(&self, register: Register) -> *mut u32 {
        (self.0.0 + register as u64) as *mut u32
    }
}

impl Port for Mmio {
    fn read(&mut self, register: Register) -> u32 {
        // SAFETY: by `new`.
        unsafe { self.at(register).read_volatile() }
    }

    fn write(&mut self, register: Register, value: u32) {
        // SAFETY: by `new`. The driver does not use DMA, so no value has the controller access memory.
        unsafe { self.at(register).write_volatile(value) }
    }

    fn clock(&self) -> u64 {
        timer::microseconds_since_boot()
    }
}
