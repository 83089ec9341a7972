//! Does work whose result is known, and notices when anybody disturbs it.
//!
//! The boot argument `mode=` says what:
//!
//! * `check` (the default): rounds, on every CPU at once. Each sorts numbers and checks the result; keeps known
//!   values in all general, SIMD and system registers across timer interrupts and whatever else takes the CPU
//!   away, and checks them; sends an SGI to the next CPU, and takes the one that comes. A timer ticks every
//!   millisecond meanwhile, and how late it does is measured. `rounds=N` says how many, 0 for ever (the
//!   default is 100). Prints `work: round N ok, worst lateness L us` and at last `work: done, E errors`; each
//!   error is a line `work: ERROR ...`.
//! * `share`: every CPU computes without a pause for `ms=N` milliseconds (5000 by default) from `at=N`
//!   milliseconds of the physical count on (at once by default), which all VMs have in common. Prints `work:
//!   NAME rounds N in M ms`, with the boot argument `name=NAME`: how much of the CPUs it got.
//! * `idle`: sleeps, with no timer, for ever.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

guest_support::payload!(payload::main);
