//! A RISC-V guest that attacks whoever runs it, on all of its harts at once, the same way every time.
//!
//! A small monitor in machine mode has the harts do what it makes up from a seed, and takes them back by a trap or by
//! its timer. Physical memory protection keeps its memory and its timer from them. Boot arguments: `seed=N ops=N`
//! (`ops` for each hart and mode of attack).
//!
//! * `code`: random instructions in supervisor and user mode, on random page tables of all formats, with random
//!   delegation; the harts share the pages of code and tables, so they also change them under each other.
//! * `csr`: every control and status register, written in machine mode.
//! * `mmio`: loads, stores and atomics of every width and alignment, floating-point and cache-block instructions, at
//!   the edges of everything that a guest-physical address can mean.
//!
//! It says how often each mode did something, `hostile: LEAK ...` should a load beyond RAM and devices be answered,
//! `hostile: BROKEN ...` should the hart have let an attack change what is machine mode's, and at last `hostile:
//! survived N operations`. Then it switches the machine off.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[cfg(target_arch = "riscv64")]
mod payload;

guest_riscv_support::payload!(payload::main);
