//! What programs of our own for Linux guests share: how Linux starts one, and its system calls.
//!
//! They are built for bare metal, so they need no C library: a statically linked program without a `libc` is the same
//! for both. A program's `main.rs` names its main function by [`entry!`].
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
pub mod linux;
#[cfg(target_os = "none")]
pub mod start;

/// Makes `$main`, a `fn(Arguments) -> Result<(), Errno>`, the program's main function. The exit status is 0, or the
/// error's number.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn tool_main(arguments: $crate::start::Arguments) -> Result<(), $crate::linux::Errno> {
            $main(arguments)
        }
    };
}
