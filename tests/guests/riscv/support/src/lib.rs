//! What every bare RISC-V payload needs: start-up, devicetree, other harts, console, test finisher.
//!
//! A payload is a machine-mode program for QEMU's riscv `virt`, an ELF file at the start of RAM. Hart 0 runs it, the
//! others sleep until they are given work. QEMU is the oracle: `qemu-system-riscv64 -M virt -nographic -bios none -kernel PAYLOAD`.
//!
//! A payload's `main.rs` names its main function by [`payload!`].
#![cfg_attr(not(test), no_std)]

#[cfg(target_arch = "riscv64")]
pub mod console;
#[cfg(target_arch = "riscv64")]
pub mod finisher;
#[cfg(target_arch = "riscv64")]
pub mod harts;
#[cfg(target_arch = "riscv64")]
pub mod machine;
#[cfg(target_arch = "riscv64")]
mod start;

pub use guest_support::{args, rng};

/// Makes `$main`, a `fn()`, the payload's main function. When it returns, the machine is switched off: passed.
///
/// On the host, where a payload cannot run, this is a `main` that says so.
#[macro_export]
macro_rules! payload {
    ($main:path) => {
        #[cfg(target_arch = "riscv64")]
        #[unsafe(no_mangle)]
        fn payload_main() {
            $main();
        }

        #[cfg(not(target_arch = "riscv64"))]
        fn main() {
            eprintln!("this is a payload for a RISC-V machine: build it for riscv64gc-unknown-none-elf");
        }
    };
}
