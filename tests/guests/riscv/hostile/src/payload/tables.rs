//! Random page tables. Some lead somewhere.

use guest_riscv_support::rng::Rng;

use super::{Attack, arena};

/// Pages of a hart with entries that lead to a further table, mostly, and with entries that are leaves, mostly. What the
/// first ones lead to is one of both; so formats of any depth have leaves.
const POINTERS: u64 = 2;
const LEAVES: u64 = 3;
/// Entries of a table that are tried: few, so that addresses meet.
const ENTRIES: u64 = 8;

/// Fills this hart's tables.
pub fn prepare(attack: &mut Attack) {
    for page in 0..POINTERS + LEAVES {
        for index in 0..512 {
            write(attack, page, index);
        }
    }
}

/// Changes some entries.
pub fn change(attack: &mut Attack) {
    for _ in 0..attack.rng.below(4) {
        let (page, index) = (attack.rng.below(POINTERS + LEAVES), attack.rng.below(ENTRIES));
        write(attack, page, index);
    }
}

/// A value of satp: any format, a table of this hart, any address space.
pub fn satp(attack: &mut Attack) -> u64 {
    let root = arena::page(attack.hart, attack.rng.below(POINTERS)) / arena::PAGE;
    let format = if attack.rng.one_in(8) { attack.rng.below(16) } else { 8 + attack.rng.below(3) };
    format << 60 | attack.rng.below(4) << 44 | root
}

/// A virtual address that a table may have an entry for.
pub fn address(rng: &mut Rng) -> u64 {
    let mut address = rng.below(arena::PAGE);
    for level in 0..3 {
        address |= rng.below(ENTRIES) << (12 + 9 * level);
    }
    // Not the size of an address, at times; and the last bytes of a page.
    match rng.below(16) {
        0 => address | rng.next_u64() << 39,
        1 => address | 0xffc,
        _ => address,
    }
}

fn write(attack: &mut Attack, page: u64, index: u64) {
    // V; R, W, X; U, G; A, D.
    const VALID: u64 = 1;
    const RIGHTS: u64 = 0b1110;
    const USER_GLOBAL: u64 = 0b11 << 4;
    const ACCESSED_DIRTY: u64 = 0b11 << 6;
    let table = arena::page(attack.hart, page);
    let rng = &mut attack.rng;
    let random = rng.next_u64();
    let entry = if rng.one_in(32) {
        random
    } else if (page < POINTERS) != rng.one_in(8) {
        let next = arena::page(attack.hart, 1 + rng.below(POINTERS + LEAVES - 1));
        next >> 12 << 10 | VALID
    } else {
        let target = match rng.below(8) {
            // Of gibi- and mebibytes.
            0 => 0x8000_0000,
            1 => rng.below(1 << 44) & !0xfff,
            _ => arena::any(rng),
        };
        let sure = if rng.one_in(4) { 0 } else { ACCESSED_DIRTY | RIGHTS };
        target >> 12 << 10 | random & (RIGHTS | USER_GLOBAL | ACCESSED_DIRTY) | sure | VALID
    };
    arena::put(table + index * 8, entry);
}
