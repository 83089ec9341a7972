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
pub mod early;
#[cfg(target_os = "none")]
pub mod entropy;
#[cfg(target_os = "none")]
pub mod layout;
#[cfg(target_os = "none")]
pub mod log;
#[cfg(target_os = "none")]
pub mod power;
pub mod ring;
pub mod terminal;
#[cfg(target_os = "none")]
pub mod uart;
