//! The address space: everything mapped one to one by blocks of 1 GiB, device memory where QEMU `virt` has
//! devices.
//!
//! The table is constant, so that start-up can enable the MMU with its first instructions. The last GiB of the
//! 36-bit space are windows, two for each CPU, in which a payload maps what it wants to attack.

use core::{
    arch::{asm, global_asm},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{exception::cpu_index, smp::MAX_CPUS};

/// 1 GiB, what one entry of the level 1 table maps.
const BLOCK: u64 = 1 << 30;
/// 36 bits of address space: a translation table as small as they come, since the image carries it.
const ENTRIES: usize = 64;
const FIRST_WINDOW: usize = ENTRIES - 2 * MAX_CPUS;

// Descriptor fields, Arm ARM D8.3.
const VALID_BLOCK: u64 = 0b01;
const VALID_TABLE: u64 = 0b11;
const ATTR_NORMAL: u64 = 1 << 2;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
const EXECUTE_NEVER: u64 = 0b11 << 53;

/// The kinds of memory that a mapping can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Write-back cacheable, executable.
    Normal,
    /// Device-nGnRnE, not executable.
    Device,
    /// Device-nGnRnE, executable: architecturally legal, and only an attacker wants it.
    DeviceExecutable,
}

impl Memory {
    const fn block(self, address: u64) -> u64 {
        let output = address & 0xffff_ffff_ffff & !(BLOCK - 1);
        let attributes = match self {
            Self::Normal => ATTR_NORMAL | INNER_SHAREABLE,
            Self::Device => EXECUTE_NEVER,
            Self::DeviceExecutable => 0,
        };
        output | attributes | ACCESS_FLAG | VALID_BLOCK
    }
}

#[repr(C, align(512))]
pub(crate) struct Table([AtomicU64; ENTRIES]);

/// Read by start-up code before anything is relocated: it holds no pointers.
pub(crate) static TABLE: Table = Table(identity());

const fn identity() -> [AtomicU64; ENTRIES] {
    let mut entries = [const { AtomicU64::new(0) }; ENTRIES];
    let mut index = 0;
    while index < FIRST_WINDOW {
        // QEMU virt: devices below 1 GiB, RAM above.
        let memory = if index == 0 { Memory::Device } else { Memory::Normal };
        entries[index] = AtomicU64::new(memory.block(index as u64 * BLOCK));
        index += 1;
    }
    entries
}

/// The two free entries that each CPU has at the top of the address space.
#[derive(Debug, Clone, Copy)]
pub enum Window {
    /// The first.
    A,
    /// The second.
    B,
}

impl Window {
    /// Maps the GiB around physical address `address` (up to 48 bits) and says at which virtual address
    /// `address` then is.
    pub fn map(self, address: u64, memory: Memory) -> u64 {
        self.set(memory.block(address));
        self.base() + address % BLOCK
    }

    /// Lets physical address `table` (a multiple of 4096) be walked as the level 2 table of this window, and
    /// returns the virtual address that its entry `index` translates. Whatever is at `table` is read by the
    /// table walker only.
    pub fn walk(self, table: u64, index: u64) -> u64 {
        self.set(table & 0xffff_ffff_f000 | VALID_TABLE);
        self.base() + ((index % 512) << 21)
    }

    /// Takes the mapping away.
    pub fn unmap(self) {
        self.set(0);
    }

    /// The entry of this CPU's window.
    fn index(self) -> usize {
        FIRST_WINDOW + 2 * cpu_index() + self as usize
    }

    fn base(self) -> u64 {
        self.index() as u64 * BLOCK
    }

    /// Break-before-make, Arm ARM D8.16.1: invalid, TLB invalidated, then the new entry.
    fn set(self, entry: u64) {
        if let Some(slot) = TABLE.0.get(self.index()) {
            slot.store(0, Ordering::Relaxed);
            flush_tlb();
            slot.store(entry, Ordering::Relaxed);
            flush_tlb();
        }
    }
}

/// Invalidates all Stage-1 translations on all CPUs.
pub fn flush_tlb() {
    // SAFETY: the tables stay as they are, so translations are found again.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack)) };
}

/// Makes instructions that were written to `[start, start + 4 * words)` visible to instruction fetch on this
/// CPU.
pub fn publish_code(start: u64, words: u64) {
    // The smallest line that the architecture allows is 16 bytes (CTR_EL0.IminLine, in words).
    for line in (start & !15..start + 4 * words).step_by(16) {
        // SAFETY: cleaning and invalidating lines of our own memory keeps its content.
        unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", in(reg) line, options(nostack)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack)) };
}

/// Calls `leaf(a, b)` with this CPU's MMU and data cache off.
///
/// # Safety
/// `leaf` must be assembly that uses no stack and no memory but devices, and it must not fault.
pub unsafe fn with_mmu_off(leaf: unsafe extern "C" fn(u64, u64) -> u64, a: u64, b: u64) -> u64 {
    unsafe extern "C" {
        fn call_with_mmu_off(a: u64, b: u64, leaf: unsafe extern "C" fn(u64, u64) -> u64) -> u64;
    }
    // SAFETY: the caller's contract; the trampoline itself restores SCTLR_EL1.
    unsafe { call_with_mmu_off(a, b, leaf) }
}

// Everything lives in registers while the MMU is off, so that no access to memory bypasses a dirty cache
// line.
global_asm!(
    ".text",
    ".globl call_with_mmu_off",
    "call_with_mmu_off:",
    "    stp x29, x30, [sp, #-32]!",
    "    stp x19, x20, [sp, #16]",
    "    mrs x20, daif",
    "    msr daifset, #0xf",
    "    mrs x19, sctlr_el1",
    "    mov x9, #0x5", // M and C
    "    bic x9, x19, x9",
    "    msr sctlr_el1, x9",
    "    isb",
    "    blr x2",
    "    msr sctlr_el1, x19",
    "    isb",
    "    msr daif, x20",
    "    ldp x19, x20, [sp, #16]",
    "    ldp x29, x30, [sp], #32",
    "    ret",
);
