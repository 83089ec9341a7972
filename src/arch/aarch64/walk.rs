//! A guest's own Stage-1 translation, walked in software (DDI 0487 D8.2, D8.3): for what the hardware does
//! not tell.

/// The registers that define a guest's Stage-1 regime at EL1 and EL0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Regime {
    /// `TCR_EL1`.
    pub tcr: u64,
    /// `TTBR0_EL1`.
    pub ttbr0: u64,
    /// `TTBR1_EL1`.
    pub ttbr1: u64,
    /// `SCTLR_EL1.M`.
    pub enabled: bool,
}

/// How a walk ends.
enum Walk {
    /// At a block or page: the output address.
    Output(u64),
    /// At a descriptor in the page that was looked for: its level.
    TableInPage(u8),
}

/// The geometry of the half of the address space that an address lies in.
struct Half {
    table: u64,
    /// Bits of an address that are translated.
    input_bits: u32,
    /// log2 of the granule.
    granule: u32,
}

/// Bits 47:0, the output addresses that a guest without LPA2 can name.
const ADDRESS: u64 = (1 << 48) - 1;

impl Regime {
    /// The regime that these registers (`SCTLR_EL1`, `TCR_EL1`, `TTBR0_EL1`, `TTBR1_EL1`) define.
    pub const fn of(sctlr: u64, tcr: u64, ttbr0: u64, ttbr1: u64) -> Self {
        const SCTLR_M: u64 = 1;
        Self { tcr, ttbr0, ttbr1, enabled: sctlr & SCTLR_M != 0 }
    }

    /// The half that bit 55 selects (the top byte may be a tag), or `None` where `TCR_EL1` disables it or has
    /// a reserved value.
    fn half(&self, address: u64) -> Option<Half> {
        const EPD0: u64 = 1 << 7;
        const EPD1: u64 = 1 << 23;
        let upper = address >> 55 & 1 != 0;
        let (table, size, disabled, granule) = if upper {
            let granule = match self.tcr >> 30 & 3 {
                1 => 14,
                2 => 12,
                3 => 16,
                _ => return None,
            };
            (self.ttbr1, self.tcr >> 16 & 0x3f, self.tcr & EPD1 != 0, granule)
        } else {
            let granule = match self.tcr >> 14 & 3 {
                0 => 12,
                1 => 16,
                2 => 14,
                _ => return None,
            };
            (self.ttbr0, self.tcr & 0x3f, self.tcr & EPD0 != 0, granule)
        };
        let input_bits = 64 - size as u32;
        (!disabled && (granule..=48).contains(&input_bits)).then_some(Half { table, input_bits, granule })
    }

    /// The IPA that `address` translates to, whatever the access; `None` where it is not mapped or its tables
    /// do not lie in memory. `read` gives the 64-bit word at an IPA.
    pub fn translate(&self, address: u64, read: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        if !self.enabled {
            return Some(address & ADDRESS);
        }
        match self.walk(address, None, read)? {
            Walk::Output(ipa) => Some(ipa),
            Walk::TableInPage(_) => None,
        }
    }

    /// The level (0 to 3) at which a walk for `address` reads a descriptor in the 4 KiB page at `page`.
    pub fn level_in_page(&self, address: u64, page: u64, read: impl FnMut(u64) -> Option<u64>) -> Option<u8> {
        match self.walk(address, Some(page), read)? {
            Walk::TableInPage(level) => Some(level),
            Walk::Output(_) => None,
        }
    }

    /// Walks the tables for `address`, up to a descriptor in `stop_in`.
    fn walk(
        &self,
        address: u64,
        stop_in: Option<u64>,
        mut read: impl FnMut(u64) -> Option<u64>,
    ) -> Option<Walk> {
        const PAGE: u64 = !0xfff;
        const VALID: u64 = 0b01;
        const TABLE_OR_PAGE: u64 = 0b10;
        const LAST: u32 = 3;
        let half = self.half(address)?;
        let stride = half.granule - 3;
        // The last level resolves `stride` bits above the granule, the first what is left over.
        let levels = (half.input_bits - half.granule).div_ceil(stride);
        let mut table = half.table & ADDRESS & !1;
        for level in (LAST + 1).checked_sub(levels)?..=LAST {
            let shift = half.granule + stride * (LAST - level);
            let bits = stride.min(half.input_bits - shift);
            let index = address >> shift & ((1 << bits) - 1);
            let entry = table + index * 8;
            if stop_in.is_some_and(|page| entry & PAGE == page & PAGE) {
                return Some(Walk::TableInPage(level as u8));
            }
            let descriptor = read(entry)?;
            let is_leaf = (descriptor & TABLE_OR_PAGE == 0) != (level == LAST);
            if descriptor & VALID == 0 || (level == LAST && descriptor & TABLE_OR_PAGE == 0) {
                return None;
            }
            if is_leaf {
                let offset = (1u64 << shift) - 1;
                return Some(Walk::Output(descriptor & ADDRESS & !offset | address & offset));
            }
            table = descriptor & ADDRESS & !((1 << half.granule) - 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 48 bits in both halves, 4 KiB granule.
    const TCR: u64 = 16 | 16 << 16 | 2 << 30;

    #[test]
    fn the_level_is_that_of_the_table_in_the_page() {
        let regime = Regime { tcr: TCR, ttbr0: 0x4000_0000, ttbr1: 0x4000_0000 | 5 << 48, enabled: true };
        // Level 0 at 0x4000_0000 leads to level 1 at 0x4000_1000, and that to level 2 at 0x900_0000, a
        // device.
        let read = |entry| match entry {
            0x4000_0000 => Some(0x4000_1003),
            0x4000_1008 => Some(0x0900_0003),
            _ => None,
        };
        assert_eq!(regime.level_in_page(1 << 30, 0x4000_0000, read), Some(0));
        assert_eq!(regime.level_in_page(1 << 30, 0x4000_1000, read), Some(1));
        assert_eq!(regime.level_in_page(1 << 30, 0x0900_0000, read), Some(2));
        assert_eq!(regime.level_in_page(1 << 30, 0x0a00_0000, read), None);
        assert_eq!(regime.level_in_page(0xffff_0000_4000_0000, 0x0900_0000, read), Some(2), "by TTBR1");
    }

    #[test]
    fn reserved_and_disabled_halves_have_no_walk() {
        let read = |_| Some(3);
        for tcr in [TCR | 1 << 7, TCR | 3 << 14, TCR & !0x3f | 8, TCR & !0x3f | 60] {
            let regime = Regime { tcr, ttbr0: 0, ttbr1: 0, enabled: true };
            assert_eq!(regime.level_in_page(0x1000, 0, read), None, "{tcr:#x}");
        }
        // Shorter walks start lower: 39 bits at level 1, 25 bits with 16 KiB pages at level 2.
        let regime = Regime { tcr: 25, ttbr0: 0x5000, ttbr1: 0, enabled: true };
        assert_eq!(regime.level_in_page(0, 0x5000, read), Some(1));
        let regime = Regime { tcr: 39 | 2 << 14, ttbr0: 0x8000, ttbr1: 0, enabled: true };
        assert_eq!(regime.level_in_page(0, 0x8000, read), Some(3));
    }

    #[test]
    fn blocks_pages_and_no_mapping_are_told_apart() {
        let regime = Regime { tcr: TCR, ttbr0: 0x4000_0000, ttbr1: 0, enabled: true };
        let read = |entry| match entry {
            0x4000_0000 => Some(0x4000_1003),
            0x4000_1008 => Some(0x0060_0000_8000_0705), // level 1: a 1 GiB block, never executable at EL0
            0x4000_1010 => Some(0x4000_2003),
            0x4000_2008 => Some(0x9020_0705), // level 2: a 2 MiB block
            0x4000_2010 => Some(0x4000_3003),
            0x4000_3018 => Some(0xa000_5707), // level 3: a page
            0x4000_3020 => Some(0xa000_6701), // level 3: reserved
            _ => Some(0),
        };
        let translate = |address| regime.translate(address, read);
        assert_eq!(translate(0x4000_0000 + 0x123_4567), Some(0x8123_4567));
        assert_eq!(translate(0x8020_0000 + 0x1_2345), Some(0x9021_2345));
        assert_eq!(translate(0x8040_3abc), Some(0xa000_5abc));
        assert_eq!(translate(0x00ff_0000_8040_3abc & !(1 << 55) | 0xaa << 56), Some(0xa000_5abc), "tagged");
        assert_eq!(
            (translate(0x8040_4000), translate(0x8040_5000), translate(0xc000_0000)),
            (None, None, None)
        );
        assert_eq!(Regime { enabled: false, ..regime }.translate(0x1234, |_| None), Some(0x1234));
        assert_eq!(regime.translate(0x8040_3abc, |_| None), None, "tables outside memory");
    }
}
