//! Where a front end reads the guest's code.

use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::Relaxed;

use super::guest::Exception;

/// Reads the 16 bits of code at an even address, or says which exception the fetch raises.
pub type Fetch<'a, G> = dyn FnMut(&mut G, u64) -> Result<u16, Exception> + 'a;

/// The guest's code from an address on, 16 bits at a time. The guest may change it at any time: what matters is what was read.
pub struct Code<'a, G: ?Sized> {
    start: u64,
    /// What lies on the page of the first instruction.
    page: &'a [AtomicU16],
    kept: &'a mut [u16],
    fetch: &'a mut Fetch<'a, G>,
}

impl<'a, G: ?Sized> Code<'a, G> {
    /// All of it is read by `fetch`.
    pub fn new(fetch: &'a mut Fetch<'a, G>) -> Self {
        Self { start: 0, page: &[], kept: &mut [], fetch }
    }

    /// `page` is the code from `start` to the end of its page; what lies elsewhere is read by `fetch`. What is read from `start` on
    /// is kept, as far as there is room in `kept`.
    pub fn on_page(
        start: u64,
        page: &'a [AtomicU16],
        kept: &'a mut [u16],
        fetch: &'a mut Fetch<'a, G>,
    ) -> Self {
        Self { start, page, kept, fetch }
    }

    /// The 16 bits at `address`, an even one.
    ///
    /// # Errors
    /// The exception that their fetch raises.
    #[inline(always)]
    pub fn read(&mut self, guest: &mut G, address: u64) -> Result<u16, Exception> {
        let index = (address.wrapping_sub(self.start) / 2) as usize;
        let parcel = match self.page.get(index) {
            Some(parcel) => parcel.load(Relaxed),
            None => (self.fetch)(guest, address)?,
        };
        if let Some(kept) = self.kept.get_mut(index) {
            *kept = parcel;
        }
        Ok(parcel)
    }
}
