//! Flat binaries: the Linux `Image` of arm64 (`Documentation/arch/arm64/booting.rst`, section 4) and RISC-V
//! (`Documentation/arch/riscv/boot-image-header.rst`, whose fields are at the same places), and whatever has no header.

use core::ops::Range;

use super::{Flat, Kernel, LoadError, Part, elf, place};
use crate::mm::{addr::Ipa, guest_memory::GuestMemory};

/// What an `Image`'s header says.
struct Header {
    /// Bytes from the base of RAM to the image.
    text_offset: u64,
    /// Bytes of memory that the kernel needs from there on, more than its file has.
    image_size: u64,
}

impl Header {
    const TEXT_OFFSET: usize = 8;
    const IMAGE_SIZE: usize = 16;
    const MAGIC_OFFSET: usize = 56;

    /// The header of `image`, if it has one that counts: before Linux 3.17 `image_size` was zero and the
    /// offset of unknown endianness.
    fn parse(image: &[u8], magic: [u8; 4]) -> Option<Self> {
        let field = |offset| Some(u64::from_le_bytes(*image.get(offset..)?.first_chunk()?));
        if *image.get(Self::MAGIC_OFFSET..)?.first_chunk()? != magic {
            return None;
        }
        let image_size = field(Self::IMAGE_SIZE)?;
        (image_size != 0).then_some(Self { text_offset: field(Self::TEXT_OFFSET)?, image_size })
    }
}

/// Streams a flat binary to where its header asks for.
pub(super) struct Loader<'a, M: ?Sized> {
    memory: &'a M,
    ram: &'a Range<Ipa>,
    format: Flat,
    /// What the header asks for; the first chunk decides.
    footprint: Option<Range<Ipa>>,
    written: u64,
}

impl<'a, M: GuestMemory + ?Sized> Loader<'a, M> {
    pub(super) fn new(memory: &'a M, ram: &'a Range<Ipa>, format: Flat) -> Self {
        Self { memory, ram, format, footprint: None, written: 0 }
    }

    /// Takes the next bytes. The first ones hold the whole header, if the file has one.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), LoadError> {
        let footprint = match &self.footprint {
            Some(footprint) => footprint,
            None => self.footprint.insert(self.reserve(chunk)?),
        };
        // A file longer than its `image_size` is loaded as a whole all the same.
        let written = self.written.saturating_add(chunk.len() as u64);
        let start = footprint.start;
        let filled = place(Part::Kernel, start, written, self.ram)?;
        self.memory.write(Ipa(start.0.saturating_add(self.written)), chunk)?;
        self.footprint = Some(start..footprint.end.max(filled.end));
        self.written = written;
        Ok(())
    }

    /// The memory that the kernel needs, going by its first bytes.
    fn reserve(&self, head: &[u8]) -> Result<Range<Ipa>, LoadError> {
        if elf::is_elf(head) {
            return Err(LoadError::CompressedElf);
        }
        let header = Header::parse(head, self.format.magic);
        let offset = match &header {
            Some(header) if self.format.is_told => header.text_offset,
            _ => self.format.offset,
        };
        let start = Ipa(self.ram.start.0.saturating_add(offset));
        place(Part::Kernel, start, header.map_or(0, |header| header.image_size), self.ram)
    }

    pub(super) fn finish(self) -> Result<Kernel, LoadError> {
        match self.footprint {
            Some(footprint) if self.written > 0 => {
                Ok(Kernel { entry: footprint.start, footprint, dtb_below: false })
            }
            _ => Err(LoadError::EmptyKernel),
        }
    }
}
