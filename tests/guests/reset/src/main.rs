//! A guest that does nothing but reset its machine, from all of its CPUs at once.
//!
//! It proves that a VM's reset survives every race of its vCPUs: some ask for it, some are on their way in,
//! some are off or going off. Whoever runs it counts the resets.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload {
    use guest_support::machine::Machine;
    use guest_support::{psci, smp};

    /// Starts the other CPUs, and then races them.
    pub fn main(machine: &'static Machine) {
        for index in 1..machine.cpus().len() {
            // One that does not start is one racer less.
            let _ = smp::start(machine, index, race);
        }
        psci::system_reset()
    }

    /// Every other CPU goes off; the rest reset the machine, too.
    fn race(index: usize) {
        if index.is_multiple_of(2) {
            psci::cpu_off();
        }
        psci::system_reset()
    }
}

guest_support::payload!(payload::main);
