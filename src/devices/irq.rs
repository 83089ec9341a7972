//! Interrupt lines: how a device model reaches whatever interrupt controller its machine has.

use alloc::sync::Arc;

/// An interrupt controller as seen from its input pins.
pub trait IrqController: Send + Sync {
    /// Drives the input `pin` (for a GIC: the INTID of an SPI) high or low. Idempotent.
    fn set_level(&self, pin: u32, level: bool);
}

/// One wire from a device to its interrupt controller.
#[derive(Clone)]
pub struct IrqLine {
    controller: Arc<dyn IrqController>,
    pin: u32,
}

impl IrqLine {
    /// The wire that ends at `pin` of `controller`.
    pub fn new(controller: Arc<dyn IrqController>, pin: u32) -> Self {
        Self { controller, pin }
    }

    /// Drives the wire. Models call it after every change of state; it is cheap when nothing changed.
    pub fn set(&self, level: bool) {
        self.controller.set_level(self.pin, level);
    }
}
