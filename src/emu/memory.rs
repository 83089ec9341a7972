//! Guest-physical memory and devices, as the translator reaches them.

use core::ops::Range;

/// How many bytes an access moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Size {
    /// 8 bits.
    Byte = 0,
    /// 16 bits.
    Half = 1,
    /// 32 bits.
    Word = 2,
    /// 64 bits.
    Double = 3,
}

impl Size {
    /// 1, 2, 4 or 8.
    pub const fn bytes(self) -> u64 {
        1 << self as u8
    }
}

/// What an access is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// An instruction is fetched.
    Fetch,
    /// Data is read.
    Load,
    /// Data is written, or read and written.
    Store,
}

/// The guest's RAM: one range of guest-physical addresses, which lies in one piece in the translator's address space.
///
/// Other harts and devices access the same bytes at any time, so no reference to them is ever made: the translator accesses
/// them as relaxed atomics of the access's width.
#[derive(Debug, Clone, Copy)]
pub struct Ram {
    base: u64,
    len: u64,
    host: *mut u8,
}

impl Ram {
    /// `len` bytes of RAM at the guest-physical address `base`, which lie at `host`. `base` and `len` are multiples of the
    /// page size of 4096 bytes.
    ///
    /// # Safety
    /// While the value or a copy exists, these bytes may be read and written, and nobody makes references to them.
    pub const unsafe fn new(base: u64, len: u64, host: *mut u8) -> Self {
        Self { base, len, host }
    }

    /// Its guest-physical addresses.
    pub const fn range(&self) -> Range<u64> {
        self.base..self.base.saturating_add(self.len)
    }

    /// Where `len` bytes at the guest-physical `address` lie; `None` where they are not all RAM.
    #[inline]
    pub const fn host(&self, address: u64, len: u64) -> Option<*mut u8> {
        let offset = address.wrapping_sub(self.base);
        if offset < self.len && len <= self.len - offset {
            // SAFETY: inside the piece.
            Some(unsafe { self.host.add(offset as usize) })
        } else {
            None
        }
    }
}

/// What lies behind guest-physical addresses.
pub trait Physical {
    /// RAM.
    fn ram(&self) -> Ram;

    /// Reads from a device, zero-extended. `None`: nobody answers there.
    fn read(&self, address: u64, size: Size) -> Option<u64>;

    /// Writes to a device; of `value`, the low bytes. `None`: nobody answers there.
    fn write(&self, address: u64, size: Size, value: u64) -> Option<()>;
}
