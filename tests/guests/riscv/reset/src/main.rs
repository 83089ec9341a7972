//! A guest that resets its machine from every hart at once, again and again, by the test finisher.
//!
//! Half of the harts sleep instead, and are to be found there. Nothing ends it but its operator.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

guest_riscv_support::payload!(main);

#[cfg(target_arch = "riscv64")]
fn main() {
    use guest_riscv_support::{harts, machine, println};

    println!("reset: from the first instruction");
    harts::start(machine::read().harts, reset);
    reset(0);
}

/// Even harts reset, odd ones go back to sleep.
#[cfg(target_arch = "riscv64")]
fn reset(hart: usize) {
    if hart.is_multiple_of(2) {
        guest_riscv_support::finisher::reset();
    }
}
