//! Device models: what a guest finds behind an address that is not RAM.
//!
//! A model knows neither which architecture is trapping nor which machine it sits in: it is given offsets
//! into its own region and an [`irq::IrqLine`] to raise.

pub mod arm_timer;
pub mod bus;
pub mod clock;
pub mod finisher;
pub mod flash;
pub mod gic;
pub mod goldfish_rtc;
pub mod irq;
pub mod pl011;
pub mod pl031;
pub mod pl061;
pub mod plic;
pub mod serial;
pub mod uart16550;
pub mod virtio;
