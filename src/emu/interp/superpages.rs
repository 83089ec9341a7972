//! Where pages of 4 KiB are remembered that are parts of larger ones: what makes the flush of one page one of everything.
//!
//! [`Flush::Page`] is about what one entry of the guest's tables maps, of whatever size. Who remembers pages of 4 KiB only,
//! and can forget one of them, has to forget all if the page may be part of a superpage. This says whether it may: it
//! errs in one direction.

use super::flush::Flush;

/// A set of superpages of which something has been remembered since everything was last forgotten.
#[derive(Debug, Clone, Copy)]
pub struct Superpages {
    /// One bit for the regions of 2 MiB whose numbers are equal modulo its size.
    middle: [u64; 64],
    /// The same for regions of 1 GiB.
    large: u64,
    /// There was a larger one.
    huge: bool,
}

impl Default for Superpages {
    /// The empty set.
    fn default() -> Self {
        Self { middle: [0; 64], large: 0, huge: false }
    }
}

impl Superpages {
    /// Empties the set.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// `address` has been translated by an entry of `level` ([`Translation::level`](super::Translation::level)).
    pub fn add(&mut self, address: u64, level: u8) {
        match level {
            0 => {}
            1 => self.middle[Self::word(address)] |= Self::bit(address >> 21),
            2 => self.large |= Self::bit(address >> 30),
            _ => self.huge = true,
        }
    }

    /// What has to be forgotten of pages of 4 KiB for `flush`.
    pub fn widen(&self, flush: Flush) -> Flush {
        match flush {
            Flush::Page { address, asid } if self.may_contain(address) => Flush::space(asid),
            other => other,
        }
    }

    /// Whether `address` may have been translated as part of a superpage.
    fn may_contain(&self, address: u64) -> bool {
        self.huge
            || self.large & Self::bit(address >> 30) != 0
            || self.middle[Self::word(address)] & Self::bit(address >> 21) != 0
    }

    const fn word(address: u64) -> usize {
        (address >> 27) as usize % 64
    }

    const fn bit(number: u64) -> u64 {
        1 << (number % 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_superpage_is_found_and_others_are_not() {
        let mut set = Superpages::default();
        set.add(0x4020_1000, 0);
        assert!(!set.may_contain(0x4020_1000));
        set.add(0x4020_1000, 1);
        assert!(
            set.may_contain(0x403f_f000) && !set.may_contain(0x4040_0000) && !set.may_contain(0x401f_f000)
        );
        set.add(0xffff_ffd8_0000_0000, 2);
        assert!(set.may_contain(0xffff_ffd8_3fff_f000) && !set.may_contain(0xffff_ffd8_4000_0000));
        set.clear();
        assert!(!set.may_contain(0x4020_1000));
        set.add(0, 3);
        assert!(set.may_contain(u64::MAX));
    }

    #[test]
    fn a_flush_in_a_superpage_is_one_of_everything() {
        let mut set = Superpages::default();
        set.add(0x4020_0000, 1);
        for (flush, wide) in [
            (Flush::page(0x4021_0000, None), Flush::All),
            (Flush::page(0x4021_0000, Some(1)), Flush::Space(1)),
            (Flush::page(0x5020_0000, Some(1)), Flush::page(0x5020_0000, Some(1))),
            (Flush::Space(2), Flush::Space(2)),
            (Flush::Nothing, Flush::Nothing),
        ] {
            assert_eq!(set.widen(flush), wide);
        }
    }
}
