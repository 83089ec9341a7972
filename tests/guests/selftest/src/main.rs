//! A checked suite: does this virtual machine behave as the architecture says, and as QEMU `virt` does?
//!
//! Prints `ok NAME` or `FAIL NAME: why` for each test and at last `selftest: N passed, N failed`; then it
//! switches the machine off. Every test passes on QEMU's own machine, which is the oracle
//! (`qemu-system-aarch64 -M virt,gic-version=2|3 -smp 4`); a failure under a hypervisor is therefore the
//! hypervisor's. Tests of CPU state run on every CPU of the devicetree.
//!
//! It proves PSCI and SMCCC (versions, power states, errors, unknown calls), both timers, the interrupt
//! controller (SGI, PPI, SPI, level and edge, priorities, preemption, active states, EOI modes, more
//! interrupts than list registers), the PL011 and PL031, faults (addresses that nobody claims, undefined
//! registers), accesses without a syndrome, register state across exits, and RAM.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

guest_support::payload!(payload::main);
