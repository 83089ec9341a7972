//! What an operator sees of devices and switches, and can do to them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::net::Mac;
use crate::storage::Counters;

/// What becomes of what a guest writes to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskMode {
    /// It cannot write.
    ReadOnly,
    /// It is kept in memory until the VM is destroyed.
    CopyOnWrite,
    /// It goes to the medium.
    ReadWrite,
}

/// A disk of a VM, as `disk` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskStatus {
    /// What the operator calls it.
    pub name: String,
    /// Its slot.
    pub slot: usize,
    /// Whether it is plugged in.
    pub plugged: bool,
    /// Where its sectors are, in few columns: `memory`, or the physical disk and its part, as in `disk0/root`.
    pub backend: String,
    /// Its size in bytes, where that is known.
    pub size: Option<u64>,
    /// What becomes of what is written.
    pub mode: DiskMode,
    /// What it has done since the VM was created.
    pub counters: Counters,
}

/// Frames that went through a port, seen from the port's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames that the owner has sent.
    pub frames_sent: u64,
    /// Bytes of these.
    pub bytes_sent: u64,
    /// Frames that the owner was given.
    pub frames_received: u64,
    /// Bytes of these.
    pub bytes_received: u64,
    /// Frames that were lost in either direction.
    pub dropped: u64,
}

/// A network device of a VM, as `net` shows it. Its number is its position among those of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetStatus {
    /// Its slot.
    pub slot: usize,
    /// Whether it is plugged in.
    pub plugged: bool,
    /// Whether its link is up.
    pub link: bool,
    /// The switch that it is connected to.
    pub switch: String,
    /// Its address.
    pub mac: Mac,
    /// The VLAN that it is in.
    pub vlan: Option<u16>,
    /// What it has sent and received since the VM was created.
    pub traffic: Traffic,
}

/// A port of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStatus {
    /// Who is plugged in: a VM and the number of its network device, as in `web.0`, or a network card.
    pub owner: String,
    /// The VLAN that it is in.
    pub vlan: Option<u16>,
    /// What its owner has sent and received.
    pub traffic: Traffic,
    /// Frames that were dropped, by cause.
    pub drops: Vec<(&'static str, u64)>,
}

/// An address that a switch has learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedAddress {
    /// The address.
    pub mac: Mac,
    /// The VLAN in which it is known, 0 for frames without one.
    pub vlan: u16,
    /// [`PortStatus::owner`] of the port behind which it is.
    pub owner: String,
    /// Microseconds since it was last seen to send.
    pub age: u64,
}

/// A switch, as `switch` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchStatus {
    /// What the operator calls it.
    pub name: String,
    /// The network card that leads outside.
    pub uplink: Option<String>,
    /// What is plugged in.
    pub ports: Vec<PortStatus>,
    /// Its table of addresses.
    pub addresses: Vec<LearnedAddress>,
}

/// A VM's balloon, as `balloon` shows it. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BalloonStatus {
    /// What it is to hold.
    pub target: u64,
    /// What the guest has put into it.
    pub actual: u64,
    /// What the machine has back of the VM's memory, out of the balloon or because the guest has said that it is free.
    pub returned: u64,
    /// What the guest tells of its memory.
    pub statistics: BalloonStatistics,
}

/// What a guest tells of its memory (VIRTIO 1.2, 5.5.6.3), as far as it does. Its word is all there is for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BalloonStatistics {
    /// Bytes that it uses for nothing.
    pub free: Option<u64>,
    /// Bytes that it could use without swapping.
    pub available: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
    /// Bytes that hold what can be read again.
    pub caches: Option<u64>,
    /// Bytes swapped in.
    pub swapped_in: Option<u64>,
    /// Bytes swapped out.
    pub swapped_out: Option<u64>,
    /// Faults that had to wait for a disk.
    pub major_faults: Option<u64>,
    /// All other faults.
    pub minor_faults: Option<u64>,
}

/// An order for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceOrder {
    /// Plug in what belongs into this slot.
    Plug(usize),
    /// Pull out what is in this slot.
    Unplug(usize),
    /// Have the network device in this slot find its link up, or down.
    Link(usize, bool),
    /// Have the VM's balloon hold so many bytes.
    Balloon(u64),
}
