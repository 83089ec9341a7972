//! A guest that attacks its hypervisor, the same way every time.
//!
//! It proves that nothing which a guest can do by itself kills, hangs or reads the hypervisor: each operation
//! ends in a result or in a fault of the guest's own. Boot arguments choose what it does:
//! `mode=all|mmio|sysreg|hvc|gic|exec seed=N ops=N` (`ops` in each mode).
//!
//! * `mmio`: loads, stores, atomics, exclusives, SIMD and tag accesses of every encoding and alignment, cache
//!   and TLB maintenance, address translation and table walks, all over the 48-bit space of guest-physical
//!   addresses, with a liking for its edges.
//! * `sysreg`: MRS and MSR of all encodings.
//! * `hvc`: HVC and SMC with every immediate, random SMCCC functions and arguments, and at last CPU_ON into
//!   the void.
//! * `gic`: accesses of every width to distributor, redistributors and CPU interface, while interrupts come;
//!   and the PL011 and PL031.
//! * `exec`: jumps to devices, to nothing and to misaligned addresses; breakpoints, watchpoints, waits and
//!   timers.
//!
//! It prints progress, `hostile: LEAK ...` should memory beyond its own RAM answer, and at last `hostile:
//! survived N operations`; then it switches the machine off. On QEMU's own machine it survives as well (`-M
//! virt,its=off -nic none`, with the boot argument `bare`, which spares a bug there).
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

guest_support::payload!(payload::main);
