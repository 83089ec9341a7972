//! Stage-1 descriptors of 4 KiB tables (DDI 0487 D8.3.1), and the bits that software keeps in them.

use core::sync::atomic::{AtomicU64, Ordering};

/// What a descriptor, valid or not, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor(pub u64);

/// What may be done with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// It may be read.
    pub load: bool,
    /// It may be written. Stage-1 has no page that may be written and not read.
    pub store: bool,
}

/// What lies behind a page: an index into MAIR_EL1, as the engine's own tables use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Memory, write-back cacheable.
    Normal = 0,
    /// A device, nGnRE.
    Device = 1,
}

impl Descriptor {
    /// Nothing.
    pub const NONE: Self = Self(0);

    const VALID: u64 = 1 << 0;
    const TABLE_OR_PAGE: u64 = 0b11;
    /// AttrIndx, bits 4:2.
    const KIND_SHIFT: u32 = 2;
    /// AP\[1\]: EL0 has the rights that EL1 has.
    const EL0: u64 = 1 << 6;
    /// AP\[2\].
    const READ_ONLY: u64 = 1 << 7;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    const ACCESSED: u64 = 1 << 10;
    /// nG: for one ASID.
    const NOT_GLOBAL: u64 = 1 << 11;
    /// PXN and UXN.
    const EXECUTE_NEVER: u64 = 0b11 << 53;
    /// Bits 47:12: the page or table.
    const ADDRESS: u64 = (1 << 48) - (1 << 12);
    /// Bit 55 of a page's, which hardware ignores: the entry is in the reverse map of the page at its address, valid or not.
    const LINKED: u64 = 1 << 55;
    /// Bit 56 of a table's, which hardware ignores: a superpage of the guest, as large as what the entry maps, has become
    /// pages below.
    const SUPERPAGE: u64 = 1 << 56;

    /// The descriptor of a page of the guest at `physical`, below 2^48, that may be read, and written if `store`.
    pub const fn page(physical: u64, store: bool, kind: Kind) -> Self {
        let rights = Self::EL0 | if store { 0 } else { Self::READ_ONLY };
        let shareable = match kind {
            Kind::Normal => Self::INNER_SHAREABLE,
            Kind::Device => 0,
        };
        let attributes = rights | shareable | (kind as u64) << Self::KIND_SHIFT;
        let fixed = Self::EXECUTE_NEVER | Self::NOT_GLOBAL | Self::ACCESSED | Self::TABLE_OR_PAGE;
        Self(physical & Self::ADDRESS | attributes | fixed)
    }

    /// The descriptor of the table at `physical`.
    pub const fn table(physical: u64) -> Self {
        Self(physical & Self::ADDRESS | Self::TABLE_OR_PAGE)
    }

    /// Where the page or table is.
    pub const fn address(self) -> u64 {
        self.0 & Self::ADDRESS
    }

    /// The same for the page at `physical`.
    pub const fn at(self, physical: u64) -> Self {
        Self(self.0 & !Self::ADDRESS | physical & Self::ADDRESS)
    }

    /// Whether the table walker uses it.
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Whether the page may be written.
    pub const fn is_writable(self) -> bool {
        self.0 & (Self::VALID | Self::READ_ONLY) == Self::VALID
    }

    /// Whether the entry is in the reverse map.
    pub const fn is_linked(self) -> bool {
        self.0 & Self::LINKED != 0
    }

    /// Whether a superpage of the guest lies below.
    pub const fn is_superpage(self) -> bool {
        self.0 & Self::SUPERPAGE != 0
    }

    /// The same, but read-only and not in the reverse map.
    pub const fn protected(self) -> Self {
        Self((self.0 | Self::READ_ONLY) & !Self::LINKED)
    }

    /// The same, and in the reverse map.
    pub const fn linked(self) -> Self {
        Self(self.0 | Self::LINKED)
    }

    /// The same, and a superpage lies below.
    pub const fn superpage(self) -> Self {
        Self(self.0 | Self::SUPERPAGE)
    }

    /// Whether both map the same page with the same rights.
    pub const fn same_mapping(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::LINKED == 0
    }
}

/// A place for a descriptor in a table.
///
/// Its hart changes it at any time; another one changes it while it is linked, and holds the lock of the reverse map then. So
/// what a hart does to an entry that may be linked is one atomic operation, or done under that lock.
#[derive(Debug)]
#[repr(transparent)]
pub struct Entry(AtomicU64);

impl Entry {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn get(&self) -> Descriptor {
        Descriptor(self.0.load(Ordering::Relaxed))
    }

    /// Replaces what it says. What was written to a table before is there for whom the entry leads to that table.
    pub fn set(&self, descriptor: Descriptor) {
        self.0.store(descriptor.0, Ordering::Release);
    }

    /// Makes it invalid; the rest stays, for who looks for it by the reverse map. Returns what it said.
    pub fn invalidate(&self) -> Descriptor {
        Descriptor(self.0.fetch_and(!Descriptor::VALID, Ordering::AcqRel))
    }

    /// Makes it read-only, and as if not linked.
    pub fn protect(&self) {
        // Both in one: its hart may make it invalid meanwhile, which must not be undone.
        let protected = |bits| Some(Descriptor(bits).protected().0);
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, protected);
    }
}
