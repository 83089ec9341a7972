//! Two addresses of the same thing: the one that the engine uses, and the one that EL2 and translation tables know.

use polyvisor_cell_abi::HOLE;

/// Where the engine finds what has the intermediate physical address `ipa`, below 2^47.
pub const fn virtual_address(ipa: u64) -> u64 {
    ipa.wrapping_add(HOLE)
}

/// The intermediate physical address of what the engine has at `address`.
pub const fn physical_address(address: u64) -> u64 {
    address.wrapping_sub(HOLE)
}
