//! The smallest RISC-V payload: a line on the console, and off.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

guest_riscv_support::payload!(hello);

#[cfg(target_arch = "riscv64")]
fn hello() {
    let misa: u64;
    // SAFETY: reading this register has no effect.
    unsafe { core::arch::asm!("csrr {}, misa", out(reg) misa) };
    guest_riscv_support::print!("hello from RV64");
    for letter in (b'A'..=b'Z').filter(|letter| misa >> (letter - b'A') & 1 == 1) {
        guest_riscv_support::print!("{}", char::from(letter));
    }
    guest_riscv_support::print!("\n");
}
