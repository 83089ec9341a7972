//! What must be forgotten of translated addresses.

/// What must be forgotten of translated addresses, in all views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flush {
    /// Nothing.
    #[default]
    Nothing,
    /// What has been translated by the entry of the guest's tables that maps this guest-virtual address, whatever the
    /// size of the page that it maps.
    Page {
        /// The address of a page of 4096 bytes.
        address: u64,
        /// In the address spaces of this number, global pages excepted; `None` is all of them.
        asid: Option<u16>,
    },
    /// Everything in the address spaces of this number but global pages.
    Space(u16),
    /// Everything.
    All,
}

impl Flush {
    /// Bits of an address inside a page.
    const OFFSET: u64 = 0xfff;

    /// That of the page of `address`.
    pub const fn page(address: u64, asid: Option<u16>) -> Self {
        Self::Page { address: address & !Self::OFFSET, asid }
    }

    /// The number of the address space `space` ([`Guest::space`](super::Guest::space)).
    pub const fn asid_of(space: u64) -> u16 {
        (space >> 44) as u16
    }

    /// That of an address space, or of all.
    pub const fn space(asid: Option<u16>) -> Self {
        match asid {
            Some(asid) => Self::Space(asid),
            None => Self::All,
        }
    }

    /// At least this and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (one, other) if one == other => one,
            (Self::Page { address, .. }, Self::Page { address: other, .. }) if address == other => {
                Self::Page { address, asid: None }
            }
            (one, other) => Self::space(one.asid().filter(|_| one.asid() == other.asid())),
        }
    }

    /// The number of the only address spaces that this is about.
    const fn asid(self) -> Option<u16> {
        match self {
            Self::Page { asid, .. } => asid,
            Self::Space(asid) => Some(asid),
            Self::Nothing | Self::All => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flush::{self, All, Nothing, Space};

    #[test]
    fn two_are_as_much_as_both() {
        let page = Flush::page;
        assert_eq!(page(0x1fff, None), Flush::Page { address: 0x1000, asid: None });
        for (one, other, both) in [
            (Nothing, Nothing, Nothing),
            (Nothing, page(0x1000, None), page(0x1000, None)),
            (page(0x1000, Some(1)), page(0x1234, Some(1)), page(0x1000, Some(1))),
            (page(0x1000, Some(1)), page(0x1000, Some(2)), page(0x1000, None)),
            (page(0x1000, Some(1)), page(0x1000, None), page(0x1000, None)),
            (page(0x1000, Some(1)), page(0x2000, Some(1)), Space(1)),
            (page(0x1000, Some(1)), page(0x2000, Some(2)), All),
            (page(0x1000, None), page(0x2000, None), All),
            (page(0x1000, Some(1)), Space(1), Space(1)),
            (page(0x1000, Some(1)), Space(2), All),
            (page(0x1000, None), Space(1), All),
            (Space(1), Space(1), Space(1)),
            (Space(1), Space(2), All),
            (All, Nothing, All),
            (All, Space(1), All),
        ] {
            assert_eq!((one.and(other), other.and(one)), (both, both), "{one:?}, {other:?}");
        }
    }
}
