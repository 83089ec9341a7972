#![cfg_attr(target_os = "none", no_std, no_main)]
guest_support::payload!(payload::main);
#[cfg(target_os = "none")]
mod payload {
    pub fn main(_: &guest_support::machine::Machine) {}
}
