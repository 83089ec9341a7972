//! Tests of a RISC-V hart, instruction by instruction: RV64GC with Zba, Zbb, Zbc, Zbs and Zicond, the privileged
//! architecture with PMP and Sv39, and a CLINT.
//!
//! Expected values are computed by the compiler, on the host, or written down: the hart under test has no part in them.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[cfg(target_arch = "riscv64")]
mod payload;

guest_riscv_support::payload!(payload::main);
