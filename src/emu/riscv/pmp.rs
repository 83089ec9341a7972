//! Physical memory protection (Privileged ISA, 3.7): which physical addresses modes below machine mode may
//! access, and machine mode where an entry is locked.
//!
//! There are 16 entries, with a granule of 4 bytes. [`Pmp`] is what the registers say in a form that is quick
//! to ask; it is made anew when they change.

use bitflags::bitflags;

use super::mode::Mode;
use super::words::{PMPADDR, PMPCFG, Words};

/// How many entries there are.
pub const ENTRIES: usize = 16;
/// The bits that an address register has: bits 55:2 of an address.
pub const ADDRESS_BITS: u64 = (1 << 54) - 1;

bitflags! {
    /// What may be done with memory.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Rights: u8 {
        /// Data is read.
        const LOAD = 1 << 0;
        /// Data is written.
        const STORE = 1 << 1;
        /// Instructions are fetched.
        const FETCH = 1 << 2;
    }
}

bitflags! {
    /// The configuration of an entry. The low three bits are [`Rights`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Config: u8 {
        /// How the address is meant: [`Match`].
        const MATCH = 3 << 3;
        /// The entry cannot be changed, and holds for machine mode too.
        const LOCKED = 1 << 7;
        const RIGHTS = Rights::all().bits();
    }
}

/// How an entry's address is meant (field A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// The entry is off.
    Off,
    /// From the address of the entry before it up to its own.
    TopOfRange,
    /// Four bytes.
    FourBytes,
    /// A naturally aligned power of two, of which the low bits of the address tell the size.
    PowerOfTwo,
}

impl Config {
    /// Entry `index`'s.
    fn of(words: &Words, index: usize) -> Self {
        let register = words.get(PMPCFG + index / 8).copied().unwrap_or(0);
        Self::from_bits_truncate((register >> (index % 8 * 8)) as u8)
    }

    fn matching(self) -> Match {
        match (self & Self::MATCH).bits() >> 3 {
            0 => Match::Off,
            1 => Match::TopOfRange,
            2 => Match::FourBytes,
            _ => Match::PowerOfTwo,
        }
    }

    /// What becomes of a write to the field. W without R is reserved, so W goes.
    fn legal(bits: u8) -> Self {
        let mut config = Self::from_bits_truncate(bits);
        if bits & Rights::LOAD.bits() == 0 {
            config.remove(Self::from_bits_retain(Rights::STORE.bits()));
        }
        config
    }
}

/// What becomes of a write to the configuration register `register` (0 or 1, of eight entries each): locked
/// entries stay.
pub fn write_config(words: &mut Words, register: usize, value: u64) {
    let Some(word) = words.get_mut(PMPCFG + register) else { return };
    let mut fields = word.to_le_bytes();
    for (field, new) in fields.iter_mut().zip(value.to_le_bytes()) {
        if !Config::from_bits_truncate(*field).contains(Config::LOCKED) {
            *field = Config::legal(new).bits();
        }
    }
    *word = u64::from_le_bytes(fields);
}

/// What becomes of a write to the address register of entry `index`: nothing if the entry is locked, or is
/// the lower bound of one that is.
pub fn write_address(words: &mut Words, index: usize, value: u64) {
    let next = if index + 1 < ENTRIES { Config::of(words, index + 1) } else { Config::empty() };
    let bounds_locked = next.contains(Config::LOCKED) && next.matching() == Match::TopOfRange;
    if bounds_locked || Config::of(words, index).contains(Config::LOCKED) {
        return;
    }
    if let Some(word) = words.get_mut(PMPADDR + index) {
        *word = value & ADDRESS_BITS;
    }
}

/// An entry that is not off.
#[derive(Debug, Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    rights: Rights,
    locked: bool,
}

impl Region {
    fn of(words: &Words, index: usize) -> Option<Self> {
        let config = Config::of(words, index);
        let address = |index: usize| words.get(PMPADDR + index).copied().unwrap_or(0) & ADDRESS_BITS;
        let at = address(index);
        let (start, end) = match config.matching() {
            Match::Off => return None,
            Match::TopOfRange => (index.checked_sub(1).map_or(0, address) << 2, at << 2),
            Match::FourBytes => (at << 2, (at << 2) + 4),
            Match::PowerOfTwo => {
                // As many ones as the size has doublings above 8 bytes: at most 54, which makes 2^57.
                let size = 8u64 << at.trailing_ones();
                let start = (at << 2) & !(size - 1);
                (start, start + size)
            }
        };
        let rights = Rights::from_bits_truncate(config.bits());
        Some(Self { start, end, rights, locked: config.contains(Config::LOCKED) })
    }

    const fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start < end && start < self.end
    }

    const fn covers(&self, start: u64, end: u64) -> bool {
        self.start <= start && end <= self.end
    }

    fn rights(&self, mode: Mode) -> Rights {
        if mode == Mode::Machine && !self.locked { Rights::all() } else { self.rights }
    }
}

/// All entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pmp {
    regions: [Region; ENTRIES],
    /// How many of them count: the first ones, by priority.
    count: usize,
}

impl Pmp {
    /// What the registers say.
    pub fn new(words: &Words) -> Self {
        let mut pmp = Self::default();
        let regions = (0..ENTRIES).filter_map(|index| Region::of(words, index));
        for (slot, region) in pmp.regions.iter_mut().zip(regions) {
            *slot = region;
            pmp.count += 1;
        }
        pmp
    }

    /// What may be done with the `len` bytes at `address`: the first entry that matches one of them decides,
    /// and must match them all.
    pub fn rights(&self, address: u64, len: u64, mode: Mode) -> Rights {
        let end = address.saturating_add(len);
        match self.first(address, end) {
            Some(region) if region.covers(address, end) => region.rights(mode),
            Some(_) => Rights::empty(),
            None => Self::unmatched(mode),
        }
    }

    /// What may be done with the whole page of 4096 bytes of `address`; `None` if it is not the same
    /// everywhere in it.
    pub fn page_rights(&self, address: u64, mode: Mode) -> Option<Rights> {
        self.block_rights(address, 0x1000, mode)
    }

    /// The same for a block of `size` bytes, a power of two, aligned to as many.
    pub fn block_rights(&self, address: u64, size: u64, mode: Mode) -> Option<Rights> {
        let start = address & !(size - 1);
        let end = start.saturating_add(size);
        match self.first(start, end) {
            Some(region) if region.covers(start, end) => Some(region.rights(mode)),
            Some(_) => None,
            None => Some(Self::unmatched(mode)),
        }
    }

    fn first(&self, start: u64, end: u64) -> Option<&Region> {
        self.regions.iter().take(self.count).find(|region| region.overlaps(start, end))
    }

    fn unmatched(mode: Mode) -> Rights {
        if mode == Mode::Machine { Rights::all() } else { Rights::empty() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const R: u8 = 1;
    const W: u8 = 2;
    const X: u8 = 4;
    const TOR: u8 = 1 << 3;
    const NA4: u8 = 2 << 3;
    const NAPOT: u8 = 3 << 3;
    const L: u8 = 1 << 7;

    fn words(entries: &[(u8, u64)]) -> Words {
        let mut words = [0; 256];
        for (index, &(_, address)) in entries.iter().enumerate() {
            write_address(&mut words, index, address);
        }
        for register in 0..2 {
            let config = entries.iter().skip(register * 8).take(8).rev();
            write_config(
                &mut words,
                register,
                config.fold(0, |all, &(field, _)| all << 8 | u64::from(field)),
            );
        }
        words
    }

    #[test]
    fn without_entries_only_machine_mode_may_do_anything() {
        let pmp = Pmp::new(&words(&[]));
        assert_eq!(pmp.page_rights(0x8000_0000, Mode::Machine), Some(Rights::all()));
        assert_eq!(pmp.page_rights(0x8000_0000, Mode::Supervisor), Some(Rights::empty()));
    }

    #[test]
    fn the_first_entry_that_matches_decides_and_must_match_all() {
        let words = words(&[(NA4, 0x1004 >> 2), (TOR | R | W, 0x2000 >> 2), (NAPOT | R | X, u64::MAX)]);
        let pmp = Pmp::new(&words);
        // NA4 takes its four bytes out of everything else, and cuts what touches them.
        assert_eq!(pmp.rights(0x1004, 4, Mode::User), Rights::empty());
        assert_eq!(pmp.rights(0x1000, 8, Mode::User), Rights::empty());
        assert_eq!(pmp.page_rights(0x1008, Mode::User), None);
        assert_eq!(pmp.page_rights(0x1008, Mode::Machine), None);
        // TOR starts at the address register before it.
        assert_eq!(pmp.rights(0x1008, 8, Mode::User), Rights::LOAD | Rights::STORE);
        assert_eq!(pmp.rights(0x1000, 4, Mode::User), Rights::LOAD | Rights::FETCH);
        // All ones is everything.
        assert_eq!(pmp.page_rights(0xff_ffff_ffff_f000, Mode::User), Some(Rights::LOAD | Rights::FETCH));
        assert_eq!(pmp.page_rights(0, Mode::Machine), Some(Rights::all()));
    }

    #[test]
    fn locks_hold() {
        let mut words = words(&[(0, 0x1000 >> 2), (TOR | L | R, 0x2000 >> 2)]);
        write_config(&mut words, 0, 0x1f1f);
        write_address(&mut words, 1, 0);
        write_address(&mut words, 0, 0);
        assert_eq!(words[PMPCFG], 0x891f);
        assert_eq!((words[PMPADDR], words[PMPADDR + 1]), (0x1000 >> 2, 0x2000 >> 2));
        write_config(&mut words, 0, 0);
        assert_eq!(Pmp::new(&words).page_rights(0x1000, Mode::Machine), Some(Rights::LOAD));
    }

    #[test]
    fn writable_but_not_readable_is_neither() {
        assert_eq!(words(&[(NAPOT | W | X, 0)])[PMPCFG], u64::from(NAPOT | X));
    }

    proptest! {
        #[test]
        fn a_block_has_rights_if_all_its_words_have_them(
            entries in prop::collection::vec(
                (any::<u8>(), (0u64..0x30).prop_map(|slot| (slot * 0x20) | 0xf)),
                0..16,
            ),
            page in 0u64..3,
            size in prop_oneof![Just(0x1000u64), Just(0x2000)],
            machine: bool,
        ) {
            let pmp = Pmp::new(&words(&entries));
            let mode = if machine { Mode::Machine } else { Mode::User };
            let page = page << 12;
            if let Some(rights) = pmp.block_rights(page, size, mode) {
                let start = page & !(size - 1);
                for address in (start..start + size).step_by(4) {
                    prop_assert_eq!(pmp.rights(address, 4, mode), rights);
                }
            }
        }
    }
}
