//! Areas of guest memory, and the frames behind them.

use alloc::boxed::Box;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{CHUNK, Kind};
use crate::mm::addr::{GIB, Ipa, MIB};
use crate::mm::frames::{self, Frames, OutOfFrames, Owner};

/// Largest block that is asked of the frame allocator: what one Stage-2 entry can map.
const LARGEST_BLOCK: u64 = GIB;
/// What guests leave to EL2, for tables and its heap.
pub const HEADROOM: u64 = 4 * MIB;

/// Memory that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveError {
    /// The machine has not that much left.
    TooLarge {
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes that could be given.
        available: u64,
    },
    /// The size is zero or no multiple of 2 MiB.
    Size {
        /// Bytes.
        found: u64,
    },
    /// The memory that is left is in too small pieces.
    Fragmented(OutOfFrames),
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { wanted, available } => write!(
                f,
                "{} MiB of guest memory are asked for, but the machine has {} MiB left",
                wanted / MIB,
                available / MIB
            ),
            Self::Size { found } => {
                write!(f, "guest memory of {found:#x} bytes: expected a multiple of 2 MiB")
            }
            Self::Fragmented(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReserveError {}

/// How a chunk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no frame: the VM has given it back.
    Absent,
    /// The guest has never had its frame.
    Untouched,
    /// The guest has it.
    Mapped,
    /// The guest had it before its memory was cleared, and what it wrote is still there.
    Left,
}

/// A chunk of an area. It owns its frame, if it has one.
///
/// It is one word, the frame's address with the state in its low bits, so that a lookup takes no lock.
pub struct Chunk(AtomicU64);

impl Chunk {
    const STATE: u64 = 0b11;
    const UNTOUCHED: u64 = 1;
    const MAPPED: u64 = 2;
    const LEFT: u64 = 3;

    /// How it stands.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) & Self::STATE {
            Self::UNTOUCHED => State::Untouched,
            Self::MAPPED => State::Mapped,
            Self::LEFT => State::Left,
            _ => State::Absent,
        }
    }

    /// Its frame, if the guest has it.
    #[inline]
    pub fn mapped(&self) -> Option<NonNull<u8>> {
        let word = self.0.load(Ordering::Acquire);
        if word & Self::STATE != Self::MAPPED {
            return None;
        }
        NonNull::new((word & !Self::STATE) as *mut u8)
    }

    /// Its frame, if it has one.
    pub fn frame(&self) -> Option<NonNull<u8>> {
        NonNull::new((self.0.load(Ordering::Acquire) & !Self::STATE) as *mut u8)
    }

    /// Gives it a frame of [`CHUNK`] bytes; it has none.
    pub fn fill(&self, frame: Frames) -> NonNull<u8> {
        let start = frame.leak();
        self.0.store(start.as_ptr() as u64 | Self::UNTOUCHED, Ordering::Release);
        start
    }

    /// The guest has it from now on.
    pub fn set_mapped(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) & !Self::STATE | Self::MAPPED, Ordering::Release);
    }

    /// The guest has it no longer.
    pub fn set_left(&self) {
        if self.state() == State::Mapped {
            self.0.fetch_or(Self::LEFT, Ordering::AcqRel);
        }
    }

    /// Takes its frame away.
    ///
    /// # Safety
    /// Nobody uses the frame any more.
    pub unsafe fn take(&self) -> Option<Frames> {
        let word = self.0.swap(0, Ordering::AcqRel);
        let start = NonNull::new((word & !Self::STATE) as *mut u8)?;
        // SAFETY: `fill` leaked it, the swap has let nobody else take it, and the caller promises the rest.
        Some(unsafe { Frames::from_raw(start, CHUNK, Owner::Guest) })
    }
}

/// A range of guest memory.
pub struct Area {
    /// Where the guest finds it.
    pub range: Range<Ipa>,
    /// What it is.
    pub kind: Kind,
    /// Its parts of [`CHUNK`] bytes.
    pub chunks: Box<[Chunk]>,
}

impl Area {
    /// Takes memory for `size` bytes at `base` from the machine.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(base: Ipa, size: u64, kind: Kind) -> Result<Self, ReserveError> {
        if size == 0 || !size.is_multiple_of(CHUNK) || !base.is_aligned(CHUNK) {
            return Err(ReserveError::Size { found: size });
        }
        let available = frames::free().saturating_sub(HEADROOM);
        let too_large = ReserveError::TooLarge { wanted: size, available };
        let end = base.checked_add(size).ok_or(too_large)?;
        if size > available {
            return Err(too_large);
        }
        let area = Self {
            range: base..end,
            kind,
            chunks: (0..size / CHUNK).map(|_| Chunk(AtomicU64::new(0))).collect(),
        };
        let mut empty = &*area.chunks;
        let mut block = LARGEST_BLOCK;
        while !empty.is_empty() {
            // Sizes only shrink, so every block lies at a multiple of its size above the base.
            block = block.min(1 << (empty.len() as u64 * CHUNK).ilog2());
            match Frames::allocate(block, Owner::Guest) {
                Ok(frames) => {
                    let (filled, rest) = empty.split_at((block / CHUNK) as usize);
                    for (chunk, frame) in filled.iter().zip(frames.split(CHUNK)) {
                        chunk.fill(frame);
                    }
                    empty = rest;
                }
                Err(_) if block > CHUNK => block /= 2,
                Err(error) => return Err(ReserveError::Fragmented(error)),
            }
        }
        Ok(area)
    }

    /// The chunk around `ipa`.
    #[inline]
    pub fn chunk(&self, ipa: Ipa) -> Option<&Chunk> {
        let offset = ipa.0.checked_sub(self.range.start.0)?;
        self.chunks.get((offset / CHUNK) as usize)
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: whoever used the frames did so through the area.
        self.chunks.iter().for_each(|chunk| drop(unsafe { chunk.take() }));
    }
}

/// A frame for a chunk that has none, unless EL2 may need it more.
///
/// # Errors
/// [`OutOfFrames`].
pub fn frame() -> Result<Frames, OutOfFrames> {
    let free = frames::free();
    if free < HEADROOM + CHUNK {
        return Err(OutOfFrames { requested: CHUNK, free });
    }
    Frames::allocate(CHUNK, Owner::Guest)
}

const _: () = assert!(Chunk::STATE < CHUNK && Chunk::MAPPED | Chunk::LEFT == Chunk::LEFT);
