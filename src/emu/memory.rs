//! Guest-physical memory and devices, as the translator reaches them.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Bytes of a page.
const PAGE: u64 = 4096;

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

    /// Reads so many bytes, as a relaxed atomic; zero-extended.
    ///
    /// # Safety
    /// As for [`Unit::load`], for an integer of this size.
    #[inline(always)]
    pub unsafe fn load(self, host: *mut u8) -> u64 {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::Byte => u8::load(host).into(),
                Self::Half => u16::load(host).into(),
                Self::Word => u32::load(host).into(),
                Self::Double => u64::load(host),
            }
        }
    }

    /// Writes the low bytes of `value`, as a relaxed atomic.
    ///
    /// # Safety
    /// As for [`Unit::store`], for an integer of this size.
    #[inline(always)]
    pub unsafe fn store(self, host: *mut u8, value: u64) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::Byte => u8::store(host, value as u8),
                Self::Half => u16::store(host, value as u16),
                Self::Word => u32::store(host, value as u32),
                Self::Double => u64::store(host, value),
            }
        }
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
/// Other harts and devices access the same bytes at any time, so no references to them are ever made but to atomics: the
/// translator accesses them as relaxed atomics of the access's width.
#[derive(Debug, Clone, Copy)]
pub struct Ram {
    base: u64,
    len: u64,
    host: *mut u8,
}

impl Ram {
    /// `len` bytes of RAM at the guest-physical address `base`, which lie at `host`. `base` and `len` are multiples of the
    /// page size of 4096 bytes, `host` is a multiple of 8.
    ///
    /// # Safety
    /// While the value or a copy exists, these bytes may be read and written, and nobody makes references to them but to
    /// atomics.
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

    /// The guest-physical address of the byte at `host`; `None` if that is not in RAM. The reverse of [`Ram::host`].
    #[inline]
    pub fn physical(&self, host: *mut u8) -> Option<u64> {
        let offset = (host.addr() as u64).wrapping_sub(self.host.addr() as u64);
        (offset < self.len).then(|| self.base.wrapping_add(offset))
    }

    /// Reads at the guest-physical `address`. `None` where that is not RAM or not aligned.
    #[inline]
    pub fn read<U: Unit>(&self, address: u64) -> Option<U> {
        // SAFETY: RAM, and aligned as `base` and `host` are.
        Some(unsafe { U::load(self.aligned::<U>(address)?) })
    }

    /// Writes at the guest-physical `address`. `None` where that is not RAM or not aligned.
    #[inline]
    pub fn write<U: Unit>(&self, address: u64, value: U) -> Option<()> {
        // SAFETY: as in `read`.
        unsafe { U::store(self.aligned::<U>(address)?, value) };
        Some(())
    }

    /// The 16-bit numbers from the guest-physical `address`, an even one, to the end of its page; none where that is not RAM.
    pub fn rest_of_page(&self, address: u64) -> &[AtomicU16] {
        let len = PAGE - address % PAGE;
        match self.host(address, len) {
            // SAFETY: RAM, and aligned as `base` and `host` are; everybody accesses it atomically.
            Some(host) if address.is_multiple_of(2) => unsafe {
                core::slice::from_raw_parts(host.cast(), len as usize / size_of::<AtomicU16>())
            },
            _ => &[],
        }
    }

    /// Whether the RAM at the guest-physical `address`, an even one, holds `code`: 16-bit numbers in the order of its bytes.
    pub fn holds(&self, address: u64, code: &[u16]) -> bool {
        let Some(host) = self.host(address, size_of_val(code) as u64) else { return code.is_empty() };
        let mut at = host;
        address.is_multiple_of(2)
            && code.iter().all(|&expected| {
                // SAFETY: as many numbers from `host` on are RAM, and aligned as `base` and `host` are.
                let found = unsafe { u16::load(at) };
                at = at.wrapping_add(size_of::<u16>());
                found == expected
            })
    }

    fn aligned<U>(&self, address: u64) -> Option<*mut u8> {
        let len = size_of::<U>() as u64;
        if address.is_multiple_of(len) { self.host(address, len) } else { None }
    }
}

/// An integer that the translator accesses the guest's RAM by.
pub trait Unit: Copy {
    /// Reads it, as a relaxed atomic.
    ///
    /// # Safety
    /// `host` is in [`Ram`], with room for the integer behind it, and aligned for it.
    unsafe fn load(host: *mut u8) -> Self;

    /// Writes it, as a relaxed atomic.
    ///
    /// # Safety
    /// As for [`Unit::load`].
    unsafe fn store(host: *mut u8, value: Self);
}

macro_rules! units {
    ($($unit:ty: $atomic:ty,)*) => {
        $(impl Unit for $unit {
            #[inline(always)]
            unsafe fn load(host: *mut u8) -> Self {
                // SAFETY: aligned and readable, says the caller; all others access it atomically, too.
                unsafe { <$atomic>::from_ptr(host.cast()) }.load(Ordering::Relaxed)
            }

            #[inline(always)]
            unsafe fn store(host: *mut u8, value: Self) {
                // SAFETY: as above.
                unsafe { <$atomic>::from_ptr(host.cast()) }.store(value, Ordering::Relaxed);
            }
        })*
    };
}

units! { u8: AtomicU8, u16: AtomicU16, u32: AtomicU32, u64: AtomicU64, }

/// What lies behind guest-physical addresses.
pub trait Physical {
    /// RAM.
    fn ram(&self) -> Ram;

    /// Calls `write`, once, which writes to the `len` bytes of RAM at the guest-physical `address`, on one page. Everything that
    /// the translator writes there is written so, except by a [`Mapping`](crate::interp::Mapping) and by translated code:
    /// whoever has made something of what is there can forget it first.
    fn writing(&self, address: u64, len: u64, write: &mut dyn FnMut()) {
        let _ = (address, len);
        write();
    }

    /// Reads from a device, zero-extended. `None`: nobody answers there.
    fn read(&self, address: u64, size: Size) -> Option<u64>;

    /// Writes to a device; of `value`, the low bytes. `None`: nobody answers there.
    fn write(&self, address: u64, size: Size, value: u64) -> Option<()>;
}
