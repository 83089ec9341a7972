//! A program for riscv64 Linux guests that have nothing but busybox: what a translator is measured and shaken with.
//!
//! | called as `workload` ...      | |
//! |-------------------------------|---|
//! | `core\|float\|memory [ROUNDS]`  | work whose result is known: how many instructions and ticks it took |
//! | `scale THREADS [ROUNDS]`      | `core` on so many harts at once: the same |
//! | `measure PROGRAM ARGUMENT...` | another program: the same |
//! | `litmus [ROUNDS]`             | what RVWMO forbids other harts to see is not seen |
//! | `atomics [ROUNDS]`            | what several harts do at once to the same words is all done |
//! | `self-modifying [ROUNDS]`     | code that is changed, moved, and replaced is executed as it is then |
//! | `text LINES`                  | text for other programs to work on, always the same |
//!
//! On standard error it says `workload: NAME: ok` and figures, and its exit status is 0; or it says what is wrong.
//! Instructions are those of the hart, whoever's they are: the kernel's, too.
//!
//! On the host it does what is portable, which is where the known results come from.
#![cfg_attr(target_os = "none", no_std, no_main)]

mod float;
#[cfg(target_os = "none")]
mod guest;
mod integer;
mod memory;
mod works;

#[cfg(target_os = "none")]
tool_support::entry!(guest::run);

#[cfg(not(target_os = "none"))]
fn main() {
    for work in &works::WORKS {
        let result = (work.round)();
        let verdict = if result == work.result { "as it must be" } else { "WRONG" };
        println!("{}: {}: {result:#x}, {verdict}", work.group, work.name);
    }
}
