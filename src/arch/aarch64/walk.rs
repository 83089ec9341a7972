//! A guest's own Stage-1 translation, walked in software (DDI 0487 D8.2, D8.3): for what the hardware does not tell.

/// The registers that define a guest's Stage-1 regime at EL1 and EL0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Regime {
    /// `TCR_EL1`.
    pub tcr: u64,
    /// `TTBR0_EL1`.
    pub ttbr0: u64,
    /// `TTBR1_EL1`.
    pub ttbr1: u64,
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
    /// The half that bit 55 selects, or `None` where `TCR_EL1` disables it or has a reserved value.
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

    /// The level (0 to 3) at which a walk for `address` reads a descriptor in the 4 KiB page at `page`. `read` gives the 64-bit
    /// word at an IPA, or `None` where there is no memory.
    pub fn level_in_page(
        &self,
        address: u64,
        page: u64,
        mut read: impl FnMut(u64) -> Option<u64>,
    ) -> Option<u8> {
        const PAGE: u64 = !0xfff;
        const TABLE: u64 = 0b11;
        let half = self.half(address)?;
        let stride = half.granule - 3;
        // The last level resolves `stride` bits above the granule, the first what is left over.
        let levels = (half.input_bits - half.granule).div_ceil(stride);
        let mut table = half.table & ADDRESS & !1;
        for level in 4u32.checked_sub(levels)?..4 {
            let shift = half.granule + stride * (3 - level);
            let bits = stride.min(half.input_bits - shift);
            let index = address >> shift & ((1 << bits) - 1);
            let entry = table + index * 8;
            if entry & PAGE == page & PAGE {
                return Some(level as u8);
            }
            let descriptor = read(entry)?;
            if descriptor & TABLE != TABLE {
                return None;
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
        let regime = Regime { tcr: TCR, ttbr0: 0x4000_0000, ttbr1: 0x4000_0000 | 5 << 48 };
        // Level 0 at 0x4000_0000 leads to level 1 at 0x4000_1000, and that to level 2 at 0x900_0000, a device.
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
            let regime = Regime { tcr, ttbr0: 0, ttbr1: 0 };
            assert_eq!(regime.level_in_page(0x1000, 0, read), None, "{tcr:#x}");
        }
        // Shorter walks start lower: 39 bits at level 1, 25 bits with 16 KiB pages at level 2.
        let regime = Regime { tcr: 25, ttbr0: 0x5000, ttbr1: 0 };
        assert_eq!(regime.level_in_page(0, 0x5000, read), Some(1));
        let regime = Regime { tcr: 39 | 2 << 14, ttbr0: 0x8000, ttbr1: 0 };
        assert_eq!(regime.level_in_page(0, 0x8000, read), Some(3));
    }
}
