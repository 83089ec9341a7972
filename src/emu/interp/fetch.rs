//! Where code lies: translations of fetches.

use alloc::boxed::Box;

use super::guest::{Exception, Guest, Translation};
use super::superpages::Superpages;
use super::tlb::PAGE;
use crate::boxed;
use crate::memory::{Access, Physical};

/// How many bytes [`FetchTlb::read`] reads.
const PARCEL: u64 = 2;
/// How many pages are remembered.
const ENTRIES: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Entry {
    page: u64,
    context: u32,
    level: u8,
    global: bool,
    physical: u64,
}

/// No page: its address is not one.
const EMPTY: Entry = Entry { page: u64::MAX, context: 0, level: 0, global: false, physical: 0 };

/// Where an instruction lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The guest-physical address.
    pub physical: u64,
    /// [`Translation::level`](super::Translation::level).
    pub level: u8,
    /// [`Translation::global`](super::Translation::global).
    pub global: bool,
    /// Whether this is so for the whole page, until it is flushed.
    pub whole_page: bool,
}

/// Pages of code, of one address space. By context, since that has what decides about fetches; views are about data.
#[derive(Debug)]
pub struct FetchTlb {
    entries: Box<[Entry; ENTRIES]>,
    /// Those that the entries are parts of.
    superpages: Superpages,
}

impl FetchTlb {
    pub fn new() -> Self {
        Self { entries: boxed::filled(EMPTY), superpages: Superpages::default() }
    }

    /// Where the instruction at `pc` lies.
    ///
    /// # Errors
    /// The exception that fetching it raises.
    pub fn translate<G: Guest>(&mut self, guest: &mut G, pc: u64) -> Result<Place, Exception> {
        let (page, context) = (pc & !(PAGE - 1), guest.context());
        let entry = &mut self.entries[(pc / PAGE) as usize % ENTRIES];
        if (entry.page, entry.context) == (page, context) {
            let Entry { level, global, physical, .. } = *entry;
            return Ok(Place { physical: physical | (pc % PAGE), level, global, whole_page: true });
        }
        let Translation { address, level, global, whole_page, .. } =
            guest.translate(pc, PARCEL, Access::Fetch)?;
        if whole_page {
            *entry = Entry { page, context, level, global, physical: address & !(PAGE - 1) };
            self.superpages.add(pc, level);
        }
        Ok(Place { physical: address, level, global, whole_page })
    }

    /// Reads the 16 bits of code at `pc`, an even address; says where they lie.
    ///
    /// # Errors
    /// The exception that fetching them raises.
    pub fn read<G: Guest>(&mut self, guest: &mut G, pc: u64) -> Result<(u16, Place), Exception> {
        let place = self.translate(guest, pc)?;
        match guest.physical().ram().read(place.physical) {
            Some(code) => Ok((code, place)),
            None => Err(guest.access_fault(pc, Access::Fetch)),
        }
    }

    /// The superpages that it remembers parts of.
    pub const fn superpages(&self) -> &Superpages {
        &self.superpages
    }

    /// Forgets the page of `address`.
    pub fn flush_page(&mut self, address: u64) {
        self.entries[(address / PAGE) as usize % ENTRIES] = EMPTY;
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.entries.fill(EMPTY);
        self.superpages.clear();
    }
}
