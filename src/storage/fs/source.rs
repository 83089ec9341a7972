//! A disk as the readers of file systems see it: bytes from anywhere, but only so many.
//!
//! Whoever can write the disk decides where the readers go. They are kept from going in circles by an allowance: each
//! read takes from it what it reads, and at least a sector.

use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use crate::storage::{Disk, DiskError, SECTOR};

/// Bytes that are fetched at once: what is read next mostly lies behind what was read last.
const WINDOW: u64 = 64 << 10;
/// How many places are kept at hand. File systems go back and forth between data and what says where they are.
const WINDOWS: usize = 4;
/// Bytes that may be read to find a file, with what a journal holds. Real file systems need a few MiB.
const ALLOWANCE: u64 = 256 << 20;

/// Why bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk.
    Disk(DiskError),
    /// They are not on the disk.
    Beyond {
        /// The first byte.
        at: u64,
        /// How many.
        len: u64,
        /// Bytes of the disk.
        size: u64,
    },
    /// The allowance is used up.
    Exhausted,
    /// There is no memory to read into.
    NoMemory,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Beyond { at, len, size } => write!(f, "bytes {at}+{len} pass the end of a disk of {size}"),
            Self::Exhausted => {
                write!(f, "more than {} MiB would have to be read, as if it went in circles", ALLOWANCE >> 20)
            }
            Self::NoMemory => f.write_str("there is no memory to read into"),
        }
    }
}

impl core::error::Error for Fault {}

#[derive(Default)]
struct Window {
    /// Position of the first byte.
    at: u64,
    bytes: Vec<u8>,
    /// When it was used last.
    used: u64,
}

struct State {
    disk: Arc<dyn Disk>,
    size: u64,
    windows: [Window; WINDOWS],
    clock: u64,
    allowance: u64,
    fault: Option<Fault>,
}

/// A disk to read a file system from. Clones are the same source.
#[derive(Clone)]
pub struct Source(Rc<RefCell<State>>);

impl Source {
    /// All of `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        let size = disk.geometry().sectors.saturating_mul(SECTOR);
        let windows = core::array::from_fn(|_| Window::default());
        Self(Rc::new(RefCell::new(State {
            disk,
            size,
            windows,
            clock: 0,
            allowance: ALLOWANCE,
            fault: None,
        })))
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.0.borrow().size
    }

    /// Fills `buffer` with the bytes from `at` on.
    ///
    /// # Errors
    /// [`Fault`], which [`Source::take_fault`] tells again.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut state = self.0.borrow_mut();
        let result = state.read(at, buffer);
        state.fault = state.fault.or(result.err());
        result
    }

    /// Allows for a file of so many bytes to be read, with what says where they are.
    pub fn allow(&self, size: u64) {
        let mut state = self.0.borrow_mut();
        state.allowance = state.allowance.saturating_add(size.saturating_mul(2));
    }

    /// The first fault since the last call: the readers tell it in words of their own, or not at all.
    pub fn take_fault(&self) -> Option<Fault> {
        self.0.borrow_mut().fault.take()
    }
}

impl State {
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let len = buffer.len() as u64;
        if at > self.size || len > self.size - at {
            return Err(Fault::Beyond { at, len, size: self.size });
        }
        self.allowance = self.allowance.checked_sub(len.max(SECTOR)).ok_or(Fault::Exhausted)?;
        let (mut at, mut rest) = (at, buffer);
        while !rest.is_empty() {
            let window = self.window(at / WINDOW * WINDOW)?;
            let found = window.get((at % WINDOW) as usize..).unwrap_or_default();
            let len = found.len().min(rest.len());
            if len == 0 {
                return Err(Fault::Beyond { at, len: rest.len() as u64, size: self.size });
            }
            let (part, behind) = rest.split_at_mut(len);
            part.copy_from_slice(found.get(..len).unwrap_or_default());
            (at, rest) = (at + len as u64, behind);
        }
        Ok(())
    }

    /// The bytes from `at` on, a multiple of [`WINDOW`]: as many as that, or to the end of the disk.
    fn window(&mut self, at: u64) -> Result<&[u8], Fault> {
        self.clock += 1;
        let held = |window: &Window| window.at == at && !window.bytes.is_empty();
        let index = match self.windows.iter().position(held) {
            Some(index) => index,
            None => self.fetch(at)?,
        };
        let window = self.windows.get_mut(index).ok_or(Fault::NoMemory)?;
        window.used = self.clock;
        Ok(&window.bytes)
    }

    /// Fetches a window in place of the one that was not used for longest.
    fn fetch(&mut self, at: u64) -> Result<usize, Fault> {
        let oldest = self.windows.iter_mut().enumerate().min_by_key(|(_, window)| window.used);
        let (index, window) = oldest.ok_or(Fault::NoMemory)?;
        let len = WINDOW.min(self.size - at) as usize;
        window.bytes.clear();
        window.bytes.try_reserve_exact(WINDOW as usize).map_err(|_| Fault::NoMemory)?;
        window.bytes.resize(len, 0);
        if let Err(error) = self.disk.read(at / SECTOR, &mut window.bytes) {
            window.bytes.clear();
            return Err(Fault::Disk(error));
        }
        window.at = at;
        Ok(index)
    }
}
