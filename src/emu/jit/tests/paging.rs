//! Page tables of Sv39 (Privileged ISA, 12.4) for tests' programs.

use super::board::Board;

/// Flags of entries: D, A and V with R, W and X.
pub const ALL: u64 = 0xcf;
pub const GLOBAL: u64 = 0x20;
pub const USER: u64 = 0x10;
const TABLE: u64 = 1;

/// An address space whose tables lie from its root on.
#[derive(Debug)]
pub struct Space {
    root: u64,
    next: u64,
}

impl Space {
    /// One whose root is the page at this guest-physical address.
    pub const fn new(root: u64) -> Self {
        Self { root, next: root + 0x1000 }
    }

    /// What `satp` is for it.
    pub const fn satp(&self, asid: u64) -> u64 {
        8 << 60 | asid << 44 | self.root >> 12
    }

    /// Where the entry for `address` of a level lies: 0 is of 4 KiB.
    pub fn entry(&mut self, board: &Board, address: u64, level: u32) -> u64 {
        let ram = board.ram();
        let mut table = self.root;
        for above in (level + 1..3).rev() {
            let at = table + 8 * index(address, above);
            table = match ram.read::<u64>(at).unwrap() {
                0 => {
                    let new = self.next;
                    self.next += 0x1000;
                    ram.write(at, new >> 12 << 10 | TABLE).unwrap();
                    new
                }
                entry => entry >> 10 << 12,
            };
        }
        table + 8 * index(address, level)
    }

    /// Maps a page of a level.
    pub fn map(&mut self, board: &Board, address: u64, physical: u64, level: u32, flags: u64) {
        let entry = self.entry(board, address, level);
        board.ram().write(entry, physical >> 12 << 10 | flags).unwrap();
    }
}

const fn index(address: u64, level: u32) -> u64 {
    address >> (12 + 9 * level) & 0x1ff
}
