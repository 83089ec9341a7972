//! What every bare-metal payload guest needs: start-up, exceptions, MMU, console, devicetree, GIC, timers,
//! PSCI, other CPUs.
//!
//! A payload is an EL1 program for a machine that looks like QEMU `virt`, entered like Linux (arm64 `Image`
//! header, x0 = devicetree, MMU off). QEMU's own machine is the oracle: every payload also runs bare, with
//! `qemu-system-aarch64 -M virt -cpu max -nographic -kernel PAYLOAD.img`.
//!
//! A payload's `main.rs` names its main function by [`payload!`]. On the host, and for payloads of other architectures, only
//! the portable parts exist.
#![cfg_attr(not(test), no_std)]

pub mod args;
pub mod clock;
pub mod rng;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod console;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod cpu;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod exception;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod gic;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod machine;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod mmio;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod mmu;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod psci;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod smp;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod start;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod timer;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod virtio;

/// Makes `$main`, a `fn(&'static Machine)`, the payload's main function. When it returns, the machine is
/// switched off.
///
/// On the host, where a payload cannot run, this is a `main` that says so.
#[macro_export]
macro_rules! payload {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        fn guest_main(machine: &'static $crate::machine::Machine) {
            $main(machine);
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            eprintln!(
                "this is a payload for EL1 of an arm64 machine: build it for aarch64-unknown-none-softfloat"
            );
        }
    };
}
