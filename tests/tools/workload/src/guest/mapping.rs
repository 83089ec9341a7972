//! Memory of the program's own, mapped as it wants it.

use tool_support::linux::{Call, Errno, call};

/// The size of a page, in bytes.
pub const PAGE: usize = 4096;

// include/uapi/asm-generic/mman-common.h
const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const PROT_EXEC: usize = 4;
const MAP_SHARED: usize = 1;
const MAP_PRIVATE: usize = 2;
const MAP_FIXED: usize = 0x10;
const MAP_ANONYMOUS: usize = 0x20;

/// What may be done with memory.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub enum Access {
    /// It is data.
    Write = PROT_READ | PROT_WRITE,
    /// It is code that stays.
    Execute = PROT_READ | PROT_EXEC,
    /// It is code, and can be changed.
    All = PROT_READ | PROT_WRITE | PROT_EXEC,
}

/// A file in memory, of which pages can be mapped.
#[derive(Debug)]
pub struct File(usize);

impl File {
    /// So many pages of zeros.
    pub fn new(pages: usize) -> Result<Self, Errno> {
        // SAFETY: the kernel reads the name.
        let file = unsafe { call(Call::MemfdCreate, [c"code".as_ptr().addr(), 0]) }?;
        // SAFETY: the call takes no memory.
        unsafe { call(Call::Ftruncate, [file, pages * PAGE]) }?;
        Ok(Self(file))
    }

    /// Forgets it; what is mapped stays.
    pub fn close(self) -> Result<(), Errno> {
        // SAFETY: the call takes no memory.
        unsafe { call(Call::Close, [self.0]) }.map(drop)
    }
}

/// Pages in a row.
#[derive(Debug)]
pub struct Mapping {
    address: usize,
    pages: usize,
}

impl Mapping {
    /// So many pages of zeros.
    pub fn anonymous(pages: usize, access: Access) -> Result<Self, Errno> {
        // SAFETY: the kernel finds a place where nothing is.
        let address = unsafe {
            call(Call::Mmap, [0, pages * PAGE, access as usize, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX, 0])
        }?;
        Ok(Self { address, pages })
    }

    /// So many pages of a file.
    pub fn of(file: &File, first: usize, pages: usize, access: Access) -> Result<Self, Errno> {
        // SAFETY: as above.
        let address = unsafe {
            call(Call::Mmap, [0, pages * PAGE, access as usize, MAP_SHARED, file.0, first * PAGE])
        }?;
        Ok(Self { address, pages })
    }

    /// Puts the file's page `from` where the mapping's page `to` is.
    pub fn replace(&self, to: usize, file: &File, from: usize, access: Access) -> Result<(), Errno> {
        let address = self.address + to.min(self.pages - 1) * PAGE;
        // SAFETY: the page is the mapping's.
        unsafe {
            call(Call::Mmap, [address, PAGE, access as usize, MAP_SHARED | MAP_FIXED, file.0, from * PAGE])
        }?;
        Ok(())
    }

    /// Changes what may be done with it.
    pub fn protect(&self, access: Access) -> Result<(), Errno> {
        // SAFETY: the pages are the mapping's.
        unsafe { call(Call::Mprotect, [self.address, self.pages * PAGE, access as usize]) }.map(drop)
    }

    /// Where it begins.
    pub fn address(&self) -> usize {
        self.address
    }

    /// Where it ends.
    pub fn end(&self) -> usize {
        self.address + self.pages * PAGE
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the pages are the mapping's, and with it nobody knows them any more.
        let _ = unsafe { call(Call::Munmap, [self.address, self.pages * PAGE]) };
    }
}
