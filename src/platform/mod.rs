//! The machine below: boards and physical drivers, all found through the devicetree.

pub mod board;
#[cfg(target_os = "none")]
pub mod clock;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod crash;
#[cfg(target_os = "none")]
pub mod debug_line;
#[cfg(target_os = "none")]
pub mod devices;
#[cfg(target_os = "none")]
pub mod early;
#[cfg(target_os = "none")]
pub mod entropy;
#[cfg(target_os = "none")]
pub mod layout;
#[cfg(target_os = "none")]
pub mod log;
#[cfg(target_os = "none")]
pub mod pci;
#[cfg(target_os = "none")]
pub mod power;
pub mod ring;
#[cfg(any(target_os = "none", test))]
pub mod sdhci;
pub mod terminal;
#[cfg(target_os = "none")]
pub mod uart;
#[cfg(target_os = "none")]
pub mod virtio;
