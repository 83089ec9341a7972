//! Memory: addresses, physical frames, the heap, page tables, and the memory of guests.

pub mod addr;
mod copy;
pub mod frames;
pub mod guest_memory;
pub mod guest_ram;
#[cfg(target_os = "none")]
pub mod heap;
pub mod tables;
