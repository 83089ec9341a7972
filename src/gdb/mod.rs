//! A stub of gdb's remote protocol: a debugger on a serial line examines and steers one VM.
//!
//! [`Stub`] is a state machine: it is given what comes in on the line and what happens to the VM, and never
//! waits. The VM is whatever implements [`Debuggee`], so all of this is tested on the host. The protocol itself
//! is the `gdbstub` crate's; around it, this module adds what a line needs that may lose bytes and that tells
//! nobody when the debugger at its other end has been replaced ([`frame`]).

mod aarch64;
mod debuggee;
mod frame;
mod isa;
mod patches;
mod riscv64;
mod session;
mod stub;
mod target;
#[cfg(test)]
mod tests;

pub use debuggee::{Debuggee, Refused};
pub use stub::{Stub, Transmit};
