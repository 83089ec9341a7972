//! Guest memory as loaders and devices see it: bytes behind intermediate physical addresses.

use core::{error::Error, fmt, ops::Range, ptr::NonNull, sync::atomic};

use super::addr::{Ipa, PAGE_SIZE};
use super::copy;
use super::tables::TableError;

/// The memory of one VM, reached by copying.
///
/// Addresses may come from the guest, so every method checks the whole range. vCPUs write the same bytes at any
/// time, so no reference to them is ever made: [`GuestSlice`] copies.
pub trait GuestMemory: Send + Sync {
    /// The ranges of RAM, in ascending order; none is empty and none overlap.
    fn ram(&self) -> &[Range<Ipa>];

    /// Guest memory from `ipa` on, at most `len` bytes (not 0): as far as it lies in one piece, which is at least to the
    /// end of the page. This is the host's access: it also reaches memory that is read-only for the guest
    /// (flash).
    ///
    /// # Errors
    /// There is no memory at `ipa`.
    fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError>;

    /// Calls `access` with each piece of `[ipa, ipa + len)`, in order.
    ///
    /// # Errors
    /// A part of the range that has no memory behind it; what lies before has been accessed.
    fn for_each_piece(
        &self,
        ipa: Ipa,
        len: u64,
        access: &mut dyn FnMut(GuestSlice<'_>),
    ) -> Result<(), MemoryError> {
        let unbacked = MemoryError::Unbacked { ipa, len };
        let end = ipa.checked_add(len).ok_or(unbacked)?;
        let mut at = ipa;
        while at < end {
            let piece = self.slice(at, end.0 - at.0).map_err(|error| match error {
                MemoryError::Unbacked { .. } => unbacked,
                MemoryError::OutOfFrames { .. } => error,
            })?;
            at = Ipa(at.0 + piece.len() as u64);
            access(piece);
        }
        Ok(())
    }

    /// Copies guest memory from `ipa` on into all of `buffer`.
    ///
    /// # Errors
    /// A part of the range that has no memory behind it; `buffer` is then unspecified.
    fn read(&self, ipa: Ipa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let mut rest = &mut *buffer;
        self.for_each_piece(ipa, rest.len() as u64, &mut |piece| {
            if let Some(into) = rest.split_off_mut(..piece.len()) {
                piece.read(0, into);
            }
        })
    }

    /// Copies `bytes` into guest memory from `ipa` on.
    ///
    /// # Errors
    /// A part of the range that has no memory behind it; what lies before may have been written.
    fn write(&self, ipa: Ipa, bytes: &[u8]) -> Result<(), MemoryError> {
        let mut rest = bytes;
        self.for_each_piece(ipa, bytes.len() as u64, &mut |piece| {
            if let Some(from) = rest.split_off(..piece.len()) {
                piece.write(0, from);
            }
        })
    }

    /// Makes `len` bytes from `ipa` on read as zero.
    ///
    /// # Errors
    /// A part of the range that has no memory behind it; what lies before may have been cleared.
    fn zero(&self, ipa: Ipa, len: u64) -> Result<(), MemoryError> {
        self.for_each_piece(ipa, len, &mut |piece| piece.clear())
    }
}

/// Who wants to know what is written to guest memory, such as who has a copy of some of it.
pub trait WriteWatch: Sync {
    /// `len` bytes at `ipa` have been written just now.
    fn written(&self, ipa: Ipa, len: u64);
}

/// A reference to a [`WriteWatch`] that a [`GuestSlice`] can refer to by one word.
pub struct Watch<'a>(pub &'a dyn WriteWatch);

/// A piece of guest memory that cannot go away as long as this exists. What lies outside it is never touched: an
/// access that does not fit does nothing and says so.
///
/// It is small, for a request of a device makes several.
#[derive(Clone, Copy)]
pub struct GuestSlice<'a> {
    start: NonNull<u8>,
    len: u32,
    /// By how many pages, modulo 2^32, the guest's address is ahead of ours, if it is watched.
    ahead: u32,
    /// Who is told of what is written.
    watch: Option<&'a Watch<'a>>,
}

impl<'a> GuestSlice<'a> {
    /// The piece of `len` bytes at `start`; of 4 GiB and more, the beginning.
    ///
    /// # Safety
    /// For `'a`, this is memory that nothing but guests and other slices access, and that may be read and written.
    #[inline]
    pub unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len: u32::try_from(len).unwrap_or(u32::MAX), ahead: 0, watch: None }
    }

    /// The same piece, which the guest has at `ipa`, below 2^44 and as far from the start of a page as we have it. `watch` is
    /// told whenever some of it has been written.
    pub fn watched(self, watch: &'a Watch<'a>, ipa: Ipa) -> Self {
        let ahead = ((ipa.0 / PAGE_SIZE) as u32).wrapping_sub(page_of(self.start));
        Self { ahead, watch: Some(watch), ..self }
    }

    /// `len` bytes at `at`, which are inside, have been written.
    #[inline]
    fn tell(&self, at: NonNull<u8>, len: usize) {
        if let Some(watch) = self.watch {
            core::hint::cold_path();
            let page = u64::from(page_of(at).wrapping_add(self.ahead));
            watch.0.written(Ipa(page * PAGE_SIZE + at.addr().get() as u64 % PAGE_SIZE), len as u64);
        }
    }

    /// How many bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bytes from `offset` on; `None` where that is not inside.
    pub fn part(&self, offset: usize, len: usize) -> Option<Self> {
        // `at` has checked that this lies inside, for which `new` was promised the same.
        self.at(offset, len).map(|start| Self { start, len: len as u32, ..*self })
    }

    /// Where `len` bytes from `offset` on lie.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let inside = offset <= self.len() && len <= self.len() - offset;
        // SAFETY: inside the piece.
        inside.then(|| unsafe { self.start.add(offset) })
    }

    /// Copies the bytes from `offset` on into all of `buffer`. `false`: they do not exist.
    #[inline]
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> bool {
        let Some(from) = self.at(offset, buffer.len()) else { return false };
        // SAFETY: by `new`. A guest that writes there at the same time gets what it asks for: the bytes mean nothing
        // until they are checked.
        unsafe { copy::bytes(from.as_ptr(), buffer.as_mut_ptr(), buffer.len()) };
        true
    }

    /// Copies `bytes` to `offset`. `false`: there is no room.
    #[inline]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(to) = self.at(offset, bytes.len()) else { return false };
        // SAFETY: as in `read`.
        unsafe { copy::bytes(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        self.tell(to, bytes.len());
        true
    }

    /// Makes every byte zero.
    pub fn clear(&self) {
        // SAFETY: as in `read`.
        unsafe { copy::zero(self.start.as_ptr(), self.len()) };
        self.tell(self.start, self.len());
    }

    /// Copies as many bytes as both have to the start of `destination`, and tells how many. The two may be the same
    /// memory.
    #[inline]
    pub fn copy_to(&self, destination: GuestSlice<'_>) -> usize {
        let len = self.len().min(destination.len());
        // SAFETY: as in `read`, for both.
        unsafe { copy::bytes(self.start.as_ptr(), destination.start.as_ptr(), len) };
        destination.tell(destination.start, len);
        len
    }

    /// The little-endian word at `offset`, read at once; `None` where it is not inside or not aligned.
    #[inline]
    pub fn load<T: Word>(&self, offset: usize) -> Option<T> {
        let at = self.at(offset, size_of::<T>())?.cast::<T>();
        // SAFETY: as in `read`, and aligned. The access is atomic for other observers, as single-copy atomicity goes
        // (Arm ARM B2.2.1).
        at.is_aligned().then(|| T::from_le(unsafe { at.read_volatile() }))
    }

    /// Two little-endian words from `offset` on, each read at once; `None` where they are not inside or not aligned.
    #[inline]
    pub fn load_pair(&self, offset: usize) -> Option<[u64; 2]> {
        let at = self.at(offset, size_of::<[u64; 2]>())?.cast::<u64>();
        // SAFETY: as in `load`.
        at.is_aligned().then(|| unsafe { [at.read_volatile(), at.add(1).read_volatile()].map(u64::from_le) })
    }

    /// Writes a little-endian word at `offset`, at once. `false`: it is not inside or not aligned.
    #[inline]
    pub fn store<T: Word>(&self, offset: usize, value: T) -> bool {
        let Some(at) = self.at(offset, size_of::<T>()).map(|at| at.cast::<T>()) else { return false };
        if at.is_aligned() {
            // SAFETY: as in `load`.
            unsafe { at.write_volatile(value.to_le()) };
            self.tell(at.cast(), size_of::<T>());
        }
        at.is_aligned()
    }

    /// The first address.
    pub fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }
}

/// The number of our page around `at`, modulo 2^32.
#[inline]
fn page_of(at: NonNull<u8>) -> u32 {
    (at.addr().get() as u64 / PAGE_SIZE) as u32
}

/// A range of guest memory by address, as a descriptor names it: nothing is known of it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts.
    pub ipa: Ipa,
    /// Bytes.
    pub len: u32,
}

/// An unsigned word that is read and written at once.
pub trait Word: Copy {
    /// From little-endian to the host's order.
    fn from_le(raw: Self) -> Self;
    /// From the host's order to little-endian.
    fn to_le(self) -> Self;
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl Word for $word {
            #[inline]
            fn from_le(raw: Self) -> Self {
                <$word>::from_le(raw)
            }

            #[inline]
            fn to_le(self) -> Self {
                <$word>::to_le(self)
            }
        }
    )*};
}

words!(u8, u16, u32, u64);

/// What was read from guest memory before is read before whatever is read next, and everything before is done before
/// whatever is written next. (Guests are other observers of ordinary memory, in the inner shareable domain.)
pub fn fence() {
    atomic::fence(atomic::Ordering::SeqCst);
}

/// The memory of a VM in the hands of those that need it now and then, such as device models. Between two visits, parts
/// of it may be given back to the machine.
pub trait SharedMemory: Send + Sync {
    /// Lets `access` see the memory, all of which stays where it is until it returns.
    fn with(&self, access: &mut dyn FnMut(&dyn GuestMemory));
}

/// Memory that a VM can do without for a time.
pub trait Reclaim: SharedMemory {
    /// Gives the chunk ([`CHUNK`](super::guest_ram::CHUNK) bytes) of RAM at `ipa` back to the machine. If it is touched
    /// again, it is zero, and needs a free frame. Who calls this holds nothing that anybody waits for inside
    /// [`SharedMemory::with`].
    ///
    /// # Errors
    /// [`ReclaimError`]; nothing has changed.
    fn release(&self, ipa: Ipa) -> Result<(), ReclaimError>;
}

/// Why memory was not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReclaimError {
    /// No chunk of RAM begins there.
    Unbacked {
        /// Where it should.
        ipa: Ipa,
    },
    /// The VM's memory is in use by devices: another time.
    Pinned,
    /// The chunk is part of a larger mapping, and there is no memory for the table to split it.
    Tables(TableError),
}

impl fmt::Display for ReclaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbacked { ipa } => write!(f, "no chunk of RAM begins at guest address {ipa}"),
            Self::Pinned => f.write_str("the memory is in use"),
            Self::Tables(error) => error.fmt(f),
        }
    }
}

impl Error for ReclaimError {}

impl From<TableError> for ReclaimError {
    fn from(error: TableError) -> Self {
        Self::Tables(error)
    }
}

/// Why guest memory could not be accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryError {
    /// The range is not, or not wholly, backed by memory.
    Unbacked {
        /// Where the range starts.
        ipa: Ipa,
        /// Its length in bytes.
        len: u64,
    },
    /// The machine has no free frame to put behind the address.
    OutOfFrames {
        /// The first address that has none.
        ipa: Ipa,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbacked { ipa, len } => {
                write!(f, "no memory behind {len:#x} bytes at guest address {ipa}")
            }
            Self::OutOfFrames { ipa } => write!(f, "no free frame for guest address {ipa}"),
        }
    }
}

impl Error for MemoryError {}

#[cfg(test)]
pub mod test {
    //! Guest memory for tests.

    use std::sync::atomic::AtomicU8;

    use super::*;

    /// RAM and ROM in vectors. Fresh memory reads as [`FILL`], so that a test sees what was not written.
    pub struct TestMemory {
        ram: Vec<Range<Ipa>>,
        regions: Vec<(Ipa, Vec<AtomicU8>)>,
    }

    /// What fresh memory reads as.
    pub const FILL: u8 = 0xa5;

    impl TestMemory {
        /// One range of RAM.
        pub fn new(base: Ipa, size: u64) -> Self {
            let ram = vec![base..base.checked_add(size).unwrap()];
            Self { ram, regions: vec![] }.with_rom(base, size)
        }

        /// Adds memory that is not RAM.
        pub fn with_rom(mut self, base: Ipa, size: u64) -> Self {
            self.regions.push((base, (0..size).map(|_| AtomicU8::new(FILL)).collect()));
            self
        }

        /// `len` bytes from `ipa` on.
        pub fn bytes(&self, ipa: Ipa, len: u64) -> Vec<u8> {
            let mut buffer = vec![0; len as usize];
            self.read(ipa, &mut buffer).unwrap();
            buffer
        }
    }

    impl GuestMemory for TestMemory {
        fn ram(&self) -> &[Range<Ipa>] {
            &self.ram
        }

        fn slice(&self, ipa: Ipa, len: u64) -> Result<GuestSlice<'_>, MemoryError> {
            for (base, bytes) in &self.regions {
                let Some(start) = ipa.0.checked_sub(base.0) else { continue };
                if start < bytes.len() as u64 {
                    // As far as a page goes, so that tests meet pieces.
                    let len = len.min(PAGE_SIZE - start % PAGE_SIZE).min(bytes.len() as u64 - start);
                    let start = NonNull::from(&bytes[start as usize]).cast();
                    // SAFETY: inside the vector, whose bytes are cells, and which lives as long as this.
                    return Ok(unsafe { GuestSlice::new(start, len as usize) });
                }
            }
            Err(MemoryError::Unbacked { ipa, len })
        }
    }

    impl SharedMemory for TestMemory {
        fn with(&self, access: &mut dyn FnMut(&dyn GuestMemory)) {
            access(self);
        }
    }
}
