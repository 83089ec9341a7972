//! A guest that attacks its hypervisor, on every CPU the same way every time.
//!
//! It proves that nothing which a guest can do by itself kills, hangs or reads the hypervisor: each operation
//! ends in a result or in a fault of the guest's own. All CPUs attack at once, one mode after the other, each
//! with a seed of its own. Boot arguments choose what they do: `mode=all|mmio|sysreg|gic|virtio|exec|smp|hvc seed=N
//! ops=N` (`ops` for each CPU in each mode).
//!
//! * `mmio`: loads, stores, atomics, exclusives, SIMD and tag accesses of every encoding and alignment, cache
//!   and TLB maintenance, address translation and table walks, all over the 48-bit space of guest-physical
//!   addresses, with a liking for its edges.
//! * `sysreg`: MRS and MSR of all encodings.
//! * `gic`: accesses of every width to distributor, redistributors and CPU interface, while interrupts come;
//!   and the PL011 and PL031.
//! * `virtio`: the registers of virtio devices, and queues full of what should not be in them.
//! * `exec`: jumps to devices, to nothing and to misaligned addresses; breakpoints, watchpoints, waits and
//!   timers.
//! * `smp`: the CPUs against each other: they switch themselves off and each other on, all at once, send
//!   SGIs to all, and write to each other's redistributors and to what they share.
//! * `hvc`: HVC and SMC with every immediate, random SMCCC functions and arguments, and at last CPU_ON into
//!   the void.
//!
//! After each mode it checks that the interrupt controller works once it is set up anew, and that each CPU_ON
//! that succeeded has started a CPU once. It prints what each mode did, `hostile: LEAK ...` should memory
//! beyond its own RAM answer, `hostile: BROKEN ...` should a check fail, and at last `hostile: survived N
//! operations`; then it switches the machine off. On QEMU's own machine it survives as well (`-M virt,its=off
//! -nic none`, with the boot argument `bare`, which spares bugs there).
//!
//! With `forever` it begins again with another seed, without end, for use beside a VM that must not notice.
//! With `reset` moreover any CPU resets the machine, now and then, while the others attack.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

guest_support::payload!(payload::main);
