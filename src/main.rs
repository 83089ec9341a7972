//! The firmware image.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("polyvisor is firmware; run it with `cargo xtask run`");
}
