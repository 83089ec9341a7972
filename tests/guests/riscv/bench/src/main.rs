//! What an instruction costs: loops that only compute, each measured by `time` and `instret`.
//!
//! Where one instruction of the host is one tick of `time` (QEMU's `-icount shift=0 -cpu max`), a figure is the number
//! of instructions of the host that one of the guest takes.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[cfg(target_arch = "riscv64")]
mod payload;

guest_riscv_support::payload!(payload::main);
