//! Hardware's ASIDs: given out one after the other, until there is none left.

use core::num::NonZeroU16;

/// A name of hardware's for one view of one address space. 0 is nobody's: nothing of the guest is ever mapped in it.
pub type Asid = NonZeroU16;

/// The ASIDs that are left. There are none at first, as if all were used up: so whatever the TLB holds is forgotten before the
/// first one is given out.
#[derive(Debug)]
pub struct Asids {
    next: u32,
    count: u32,
}

impl Asids {
    /// `count` ASIDs, 0 included.
    pub const fn new(count: u32) -> Self {
        Self { next: count, count }
    }

    /// One that has not been taken since all were given back.
    pub fn take(&mut self) -> Option<Asid> {
        let asid = u16::try_from(self.next).ok().filter(|_| self.next < self.count)?;
        self.next += 1;
        Asid::new(asid)
    }

    /// Nobody uses any more what was taken, and the TLB has forgotten it.
    pub const fn give_back_all(&mut self) {
        self.next = 1;
    }
}
