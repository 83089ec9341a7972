//! The operator's console: commands, and the consoles of the VMs, on one terminal.
//!
//! EL2 has no threads, so the monitor never waits: the control plane calls [`Monitor::serve`] when something
//! has been typed, when there is room for output again, and when the time has come that the last call named.
//! Output that finds no room waits here, and while it does, nothing that is typed is taken.
//!
//! All of it is portable. The machine is behind [`Operator`](crate::vm::operator::Operator), the line to the
//! terminal behind [`mux::Port`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod command;
mod complete;
mod dts;
mod editor;
mod keys;
pub mod mux;
mod plain;
#[cfg(target_os = "none")]
pub mod port;
mod report;
mod session;
mod style;
#[cfg(test)]
mod tests;
mod top;

pub use session::Monitor;
