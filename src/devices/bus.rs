//! The MMIO bus of a VM: typed, non-overlapping regions, each claimed by one device model.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::mm::addr::Ipa;

/// How many bytes an access moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Half = 2,
    /// 32 bits.
    Word = 4,
    /// 64 bits.
    Double = 8,
}

impl Width {
    /// The width in bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// The width of an access whose size is `1 << log2` bytes, as AArch64 syndromes and opcodes encode it (0
    /// to 3).
    pub const fn from_log2(log2: u8) -> Option<Self> {
        match log2 {
            0 => Some(Self::Byte),
            1 => Some(Self::Half),
            2 => Some(Self::Word),
            3 => Some(Self::Double),
            _ => None,
        }
    }

    /// How far a value of this width is from the top of 64 bits: 0 to 56.
    const fn unused_bits(self) -> u32 {
        64 - 8 * self as u32
    }

    /// `value` with all bits above the width cleared.
    #[inline]
    pub const fn truncate(self, value: u64) -> u64 {
        // Shifting there and back is four instructions without a branch; every access on the bus comes
        // through here.
        value << self.unused_bits() >> self.unused_bits()
    }

    /// `value` with all bits above the width made copies of its sign.
    #[inline]
    pub const fn sign_extend(self, value: u64) -> u64 {
        ((value << self.unused_bits()) as i64 >> self.unused_bits()) as u64
    }
}

/// Where in its region, how wide and by whom a device is accessed. The bus guarantees that
/// `offset + width` does not pass the end of the region; `offset` may be misaligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Bytes from the start of the device's region.
    pub offset: u64,
    /// How many bytes.
    pub width: Width,
    /// Index of the accessing vCPU in its VM (banked registers need it).
    pub vcpu: usize,
}

/// A device model behind a region of the bus. Unknown offsets read as zero and ignore writes.
pub trait MmioDevice: Send + Sync {
    /// A read; bits above the access's width are ignored by the caller.
    fn read(&self, access: Access) -> u64;

    /// A write; `value` has no bits above the access's width.
    fn write(&self, access: Access, value: u64);
}

/// A part of the guest's address space that a device answers for.
pub struct Region {
    base: Ipa,
    size: u64,
    name: &'static str,
    device: Arc<dyn MmioDevice>,
}

impl Region {
    /// The first address.
    pub fn base(&self) -> Ipa {
        self.base
    }

    /// How many bytes; `base + size` does not wrap.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the device is called in messages and in the monitor.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where an access of `width` at `ipa` falls in the region, or `None` where it is not wholly inside.
    #[inline]
    fn offset_of(&self, ipa: Ipa, width: Width) -> Option<u64> {
        // Below the base this wraps to more than `size`, because the region itself does not wrap.
        let offset = ipa.0.wrapping_sub(self.base.0);
        (offset < self.size && self.size - offset >= width.bytes()).then_some(offset)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, Span { base: self.base, size: self.size })
    }
}

/// The addresses of a region, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first address.
    pub base: Ipa,
    /// How many bytes.
    pub size: u64,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.base, self.size)
    }
}

/// Why a region cannot be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusError {
    /// The region has no bytes.
    Empty {
        /// Who asked.
        name: &'static str,
    },
    /// The region passes the end of the address space.
    Wraps {
        /// Who asked.
        name: &'static str,
        /// For what.
        span: Span,
    },
    /// Part of the region belongs to another device.
    Overlap {
        /// Who asked.
        name: &'static str,
        /// For what.
        span: Span,
        /// Who is there already.
        owner: &'static str,
        /// The owner's region.
        owned: Span,
    },
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { name } => write!(f, "device region of {name} is empty"),
            Self::Wraps { name, span } => {
                write!(f, "device region {span} of {name} passes the end of memory")
            }
            Self::Overlap { name, span, owner, owned } => {
                write!(f, "device region {span} of {name} overlaps {owned} of {owner}")
            }
        }
    }
}

impl core::error::Error for BusError {}

/// The devices of a VM by address. It is built with [`Bus::claim`] and then shared unchanged by all vCPUs.
#[derive(Debug, Default)]
pub struct Bus {
    /// Sorted by base; no two overlap.
    regions: Vec<Region>,
    /// Index of the region that was accessed last. A guest talks to one device at a time (acknowledges an
    /// interrupt, prints a line, rings a queue), so that this nearly always spares the search. Any value is a
    /// correct one.
    last: AtomicUsize,
}

impl Bus {
    /// A bus on which every access is unclaimed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `size` bytes from `base` up to `device`.
    ///
    /// # Errors
    /// The region is empty, wraps, or overlaps one that is claimed already; the bus is then unchanged.
    pub fn claim(
        &mut self,
        base: Ipa,
        size: u64,
        name: &'static str,
        device: Arc<dyn MmioDevice>,
    ) -> Result<(), BusError> {
        let span = Span { base, size };
        if size == 0 {
            return Err(BusError::Empty { name });
        }
        let end = base.checked_add(size).ok_or(BusError::Wraps { name, span })?;
        // The only candidates to overlap are the last region that begins below the end.
        let index = self.regions.partition_point(|region| region.base < end);
        if let Some(owner) = index.checked_sub(1).and_then(|below| self.regions.get(below))
            && owner.base.0 + owner.size > base.0
        {
            let owned = Span { base: owner.base, size: owner.size };
            return Err(BusError::Overlap { name, span, owner: owner.name, owned });
        }
        self.regions.insert(index, Region { base, size, name, device });
        Ok(())
    }

    /// Reads `width` bytes at `ipa` for vCPU `vcpu`; bits above the width are zero. `None` if no region holds
    /// the whole of the access: the guest is then due an external abort.
    #[inline]
    pub fn read(&self, ipa: Ipa, width: Width, vcpu: usize) -> Option<u64> {
        let (region, offset) = self.find(ipa, width)?;
        Some(width.truncate(region.device.read(Access { offset, width, vcpu })))
    }

    /// Writes the low `width` bytes of `value` at `ipa` for vCPU `vcpu`. `None` if no region holds the whole
    /// of the access: the guest is then due an external abort.
    #[inline]
    pub fn write(&self, ipa: Ipa, width: Width, value: u64, vcpu: usize) -> Option<()> {
        let (region, offset) = self.find(ipa, width)?;
        region.device.write(Access { offset, width, vcpu }, width.truncate(value));
        Some(())
    }

    /// All regions by rising address.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter()
    }

    #[inline]
    fn find(&self, ipa: Ipa, width: Width) -> Option<(&Region, u64)> {
        if let Some(region) = self.regions.get(self.last.load(Ordering::Relaxed))
            && let Some(offset) = region.offset_of(ipa, width)
        {
            return Some((region, offset));
        }
        self.search(ipa, width)
    }

    #[cold]
    fn search(&self, ipa: Ipa, width: Width) -> Option<(&Region, u64)> {
        let index = self.regions.partition_point(|region| region.base <= ipa).checked_sub(1)?;
        let region = self.regions.get(index)?;
        let offset = region.offset_of(ipa, width)?;
        self.last.store(index, Ordering::Relaxed);
        Some((region, offset))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spin::Mutex;

    use super::*;

    /// Answers every read with all ones and remembers what was last asked of it.
    #[derive(Default)]
    struct Probe(Mutex<Option<(Access, u64)>>);

    impl MmioDevice for Probe {
        fn read(&self, access: Access) -> u64 {
            *self.0.lock() = Some((access, u64::MAX));
            u64::MAX
        }

        fn write(&self, access: Access, value: u64) {
            *self.0.lock() = Some((access, value));
        }
    }

    fn bus(regions: &[(u64, u64, &'static str)]) -> Bus {
        let mut bus = Bus::new();
        for &(base, size, name) in regions {
            bus.claim(Ipa(base), size, name, Arc::new(Probe::default())).unwrap();
        }
        bus
    }

    #[test]
    fn an_access_reaches_its_device_cut_to_its_width() {
        let probe = Arc::new(Probe::default());
        let mut bus = bus(&[(0x3000, 0x1000, "other")]);
        bus.claim(Ipa(0x1000), 0x100, "probe", probe.clone()).unwrap();
        assert_eq!(bus.read(Ipa(0x10fe), Width::Half, 7), Some(0xffff));
        assert_eq!(*probe.0.lock(), Some((Access { offset: 0xfe, width: Width::Half, vcpu: 7 }, u64::MAX)));
        assert_eq!(bus.write(Ipa(0x1004), Width::Byte, 0x1234, 0), Some(()));
        assert_eq!(*probe.0.lock(), Some((Access { offset: 4, width: Width::Byte, vcpu: 0 }, 0x34)));
    }

    #[test]
    fn what_nobody_claims_is_unclaimed() {
        let bus = bus(&[(0x1000, 0x100, "a"), (0x1100, 0x10, "b")]);
        assert_eq!(bus.read(Ipa(0xfff), Width::Byte, 0), None);
        assert_eq!(bus.read(Ipa(0xffc), Width::Double, 0), None, "begins before the region");
        assert_eq!(bus.read(Ipa(0x10fc), Width::Double, 0), None, "passes into the neighbour");
        assert_eq!(bus.write(Ipa(0x1110), Width::Byte, 0, 0), None);
        assert_eq!(bus.read(Ipa(u64::MAX), Width::Double, 0), None);
        assert_eq!(Bus::new().read(Ipa(0), Width::Byte, 0), None);
    }

    #[test]
    fn bad_claims_say_what_is_wrong() {
        let mut bus = bus(&[(0x0900_0000, 0x1000, "uart")]);
        let probe: Arc<dyn MmioDevice> = Arc::new(Probe::default());
        assert_eq!(bus.claim(Ipa(0), 0, "rtc", probe.clone()), Err(BusError::Empty { name: "rtc" }));
        let wraps = bus.claim(Ipa(u64::MAX), 1, "rtc", probe.clone()).unwrap_err();
        assert!(matches!(wraps, BusError::Wraps { name: "rtc", .. }));
        let overlap = bus.claim(Ipa(0x08ff_f000), 0x1001, "rtc", probe).unwrap_err();
        assert_eq!(
            overlap.to_string(),
            "device region 0x8fff000+0x1001 of rtc overlaps 0x9000000+0x1000 of uart"
        );
        assert_eq!(bus.regions().count(), 1);
    }

    proptest! {
        /// Whatever is claimed in whatever order: the bus agrees with a linear search over what it accepted,
        /// and it accepts exactly what is disjoint.
        #[test]
        fn the_bus_agrees_with_a_linear_search(
            claims in proptest::collection::vec((0_u64..200, 0_u64..20), 0..30),
            accesses in proptest::collection::vec((0_u64..240, 0_u8..4), 0..50),
        ) {
            let mut bus = Bus::new();
            let mut accepted: Vec<(u64, u64)> = Vec::new();
            for (base, size) in claims {
                let free = size > 0 && accepted.iter().all(|&(b, s)| base + size <= b || b + s <= base);
                let claim = bus.claim(Ipa(base), size, "x", Arc::new(Probe::default()));
                prop_assert_eq!(claim.is_ok(), free);
                if free {
                    accepted.push((base, size));
                }
            }
            prop_assert!(bus.regions().is_sorted_by_key(Region::base));
            for (address, log2) in accesses {
                let width = Width::from_log2(log2).unwrap();
                let inside = |&(b, s): &(u64, u64)| b <= address && address + width.bytes() <= b + s;
                let hit = accepted.iter().any(inside);
                prop_assert_eq!(bus.read(Ipa(address), width, 0).is_some(), hit);
            }
        }
    }
}
