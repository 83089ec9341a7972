//! The life of a VM, as a state machine.

/// Where a VM is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Described in the bundle; it has neither memory nor devices.
    Defined,
    /// It has memory and devices and is switched off.
    Stopped,
    /// What it boots from is being loaded.
    Starting,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are held.
    Paused,
    /// It was running, and its vCPUs are being stopped.
    Stopping,
    /// A vCPU could not go on; the VM is held as it was, to be looked at.
    Crashed,
}
