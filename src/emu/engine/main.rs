//! The engine of a cell: the translator as an EL1 program, which EL2 puts in front of a guest of another instruction set.
//!
//! [`polyvisor_cell_abi`] is what it shares with EL2; `docs/cell.md` describes both sides.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "this is the engine of a cell, an EL1 program: `cargo xtask build` puts it into Polyvisor's image"
    );
}

#[cfg(target_os = "none")]
mod access;
#[cfg(target_os = "none")]
mod address;
#[cfg(target_os = "none")]
mod cell;
#[cfg(target_os = "none")]
mod code_window;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod exception;
#[cfg(target_os = "none")]
mod fatal;
#[cfg(target_os = "none")]
mod gic;
#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
mod guest_memory;
#[cfg(target_os = "none")]
mod hart;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod hypercall;
#[cfg(target_os = "none")]
mod jit;
#[cfg(target_os = "none")]
mod local;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod shadow;
#[cfg(target_os = "none")]
mod stage1;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod timer;
#[cfg(target_os = "none")]
mod translator;
