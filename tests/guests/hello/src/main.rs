//! The built-in guest: what Polyvisor runs when it is given nothing to run.
//!
//! It proves to a person that a virtual machine is alive: it prints what a guest sees of its machine
//! (exception level, counter and timer, interrupt controller, memory, CPUs, boot arguments), and answers
//! typed lines, received by interrupt while the CPU sleeps in WFI.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

guest_support::payload!(payload::main);
