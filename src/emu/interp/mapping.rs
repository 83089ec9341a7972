//! How the interpreter reaches guest-virtual memory without asking the guest.

use super::flush::Flush;
use super::guest::Translation;
use crate::memory::{Access, Ram, Size};

/// What is remembered of the guest's translations of data, and accesses by it.
///
/// The interpreter tries the mapping first. What it does not settle is translated by the guest, given to
/// [`Mapping::insert`], and accessed by guest-physical address.
pub trait Mapping {
    /// What the inner loop keeps at hand of the current view.
    type View: Copy;

    /// The view of this number (see [`Guest::view`](super::Guest::view)). It is good as long as the mapping is.
    fn view(&mut self, view: usize) -> Self::View;

    /// Loads, zero-extended. `None`: it is for the guest to say what is at `address`, or whether it may be misaligned.
    ///
    /// # Safety
    /// `view` comes from [`Mapping::view`] of this mapping, and is the current one.
    unsafe fn load(&self, view: Self::View, address: u64, size: Size) -> Option<u64>;

    /// Stores the low bytes of `value`. `None`: as for loads; nothing is stored.
    ///
    /// # Safety
    /// As for [`Mapping::load`].
    unsafe fn store(&self, view: Self::View, address: u64, size: Size, value: u64) -> Option<()>;

    /// Where the byte at `address` lies, if its page is known to be RAM and to allow the access. A mapping may always
    /// say `None`, and then the guest translates.
    fn host(&self, view: usize, address: u64, access: Access) -> Option<*mut u8>;

    /// Tells in which address space ([`Guest::space`](super::Guest::space)) and view data is accessed from here on. Called
    /// whenever either may have changed.
    fn enter(&mut self, space: u64, view: usize);

    /// Remembers the page of `address`, be it of `ram` or of a device: `translation` is good for all of it, in the view of
    /// this number, which is the current one, and the current address space. Whether the mapping settles accesses there now.
    fn insert(&mut self, view: usize, address: u64, translation: &Translation, ram: Ram) -> bool;

    /// Forgets what the guest says is not true any more.
    fn flush(&mut self, flush: Flush);
}
