//! Where superpages have been translated: what makes the fence for one page one for everything.
//!
//! SFENCE.VMA with an address is about the leaf entry that maps it, of whatever size. The back end remembers
//! pages of 4 KiB only, and can forget one of them. So a fence inside a superpage makes it forget all, and
//! this says whether there may be one: it may err in one direction.

/// A set of superpages that have been translated since the back end last forgot all.
#[derive(Debug)]
pub struct Superpages {
    /// One bit for the regions of 2 MiB whose numbers are equal modulo its size.
    middle: [u64; 64],
    /// The same for regions of 1 GiB.
    large: u64,
    /// There was a larger one.
    huge: bool,
}

impl Superpages {
    /// The empty set.
    pub const fn new() -> Self {
        Self { middle: [0; 64], large: 0, huge: false }
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// `address` has been translated by a leaf entry of `level`.
    pub fn add(&mut self, address: u64, level: u32) {
        match level {
            0 => {}
            1 => self.middle[Self::word(address)] |= Self::bit(address >> 21),
            2 => self.large |= Self::bit(address >> 30),
            _ => self.huge = true,
        }
    }

    /// Whether `address` may have been translated as part of a superpage.
    pub fn may_contain(&self, address: u64) -> bool {
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
        let mut set = Superpages::new();
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
}
