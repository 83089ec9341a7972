//! What every bare-metal payload guest needs: start-up, exceptions, MMU, console, devicetree, GIC, timers,
//! PSCI, other CPUs.
//!
//! A payload is an EL1 program for a machine that looks like QEMU `virt`, entered like Linux (arm64 `Image`
//! header, x0 = devicetree, MMU off). QEMU's own machine is the oracle: every payload also runs bare, with
//! `qemu-system-aarch64 -M virt -cpu max -nographic -kernel PAYLOAD.img`.
//!
//! A payload's `main.rs` names its main function by [`payload!`]. On the host only the portable parts exist.
#![cfg_attr(not(test), no_std)]

pub mod args;
pub mod clock;
pub mod rng;

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod exception;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod machine;
#[cfg(target_os = "none")]
pub mod mmio;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod psci;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
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
