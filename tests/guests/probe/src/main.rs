//! A guest that tries to reach memory which is not its own, at addresses that it is told.
//!
//! It proves isolation: given the physical addresses of the hypervisor's image, heap or tables, or of another
//! guest's RAM, it tries each of them by load, store, instruction fetch, table walk and cache maintenance,
//! with every memory type, and says what happened. The boot argument is
//! `target=ADDRESS[+SIZE][,ADDRESS[+SIZE]...]`; of a range, the first and last word and a sample between are
//! tried.
//!
//! For each place it prints `probe: ADDRESS HOW refused` or `probe: ADDRESS HOW REACHED: VALUE`, and at last
//! `probe: N reached, N refused`; then it switches the machine off. Cache maintenance and address translation
//! are only reported, as `harmless` or `refused`: without a translation at Stage 2 they have no effect, and
//! whether that is a fault is up to the CPU.
//!
//! With `ram=mark` instead it writes to all of its own RAM, says `probe: marked N KiB` and sleeps for ever. With
//! `ram=search` it looks for anything that anybody has left there, and says `probe: N KiB searched, N words are
//! not zero`. The RAM that one VM gives back may be the next one's.
//!
//! A guest knows intermediate physical addresses only. Where its own RAM is, such an address means its own
//! RAM, whatever the machine has there: those places are named and not tried. On QEMU's own machine, flash
//! (address 0) is reached, and an address where nothing is, is refused.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

guest_support::payload!(payload::main);
