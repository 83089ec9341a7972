//! ELF executables, loaded by their physical addresses.

use core::{error::Error, fmt, ops::Range};

use elf::{ElfBytes, abi, endian::AnyEndian, file::Class, parse::ParseError, segment::ProgramHeader};

use super::{Kernel, LoadError, Part, place};
use crate::mm::{addr::Ipa, guest_memory::GuestMemory};

/// Why an ELF is refused.
#[derive(Debug)]
pub enum ElfError {
    /// It is not a 64-bit little-endian executable for the guest's architecture.
    Machine {
        /// The machine that it is for (`e_machine`).
        machine: u16,
        /// The machine that it should be for.
        expected: u16,
        /// Whether it is 64-bit.
        is_64: bool,
        /// Whether it is little-endian.
        is_little: bool,
    },
    /// It is neither an executable nor a position-independent one.
    Type {
        /// Its type (`e_type`).
        found: u16,
    },
    /// It has nothing to load.
    NoSegments,
    /// A segment has more bytes in the file than in memory.
    SegmentSize {
        /// Its bytes in the file.
        file: u64,
        /// Its bytes in memory.
        memory: u64,
    },
    /// The entry point is in none of the segments.
    Entry {
        /// Its address.
        found: u64,
    },
    /// A header or a segment lies outside the file, or makes no sense.
    Format(ParseError),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { machine, expected, is_64, is_little } => {
                let class = if *is_64 { 64 } else { 32 };
                let order = if *is_little { "little" } else { "big" };
                write!(
                    f,
                    "it is a {class}-bit {order}-endian file for machine {machine}, \
                     64-bit little-endian for machine {expected} is needed"
                )
            }
            Self::Type { found } => write!(f, "its type is {found}, an executable is needed"),
            Self::NoSegments => f.write_str("it has nothing to load"),
            Self::SegmentSize { file, memory } => {
                write!(f, "a segment has {file:#x} bytes in the file but only {memory:#x} in memory")
            }
            Self::Entry { found } => write!(f, "its entry point {found:#x} is in none of its segments"),
            Self::Format(error) => write!(f, "{error}"),
        }
    }
}

impl Error for ElfError {}

impl From<ParseError> for LoadError {
    fn from(error: ParseError) -> Self {
        Self::Elf(ElfError::Format(error))
    }
}

/// Whether `file` starts like an ELF.
pub(super) fn is_elf(file: &[u8]) -> bool {
    file.starts_with(&abi::ELFMAGIC)
}

/// Puts every segment where it asks for, which must be in `ram`.
pub(super) fn load<M: GuestMemory + ?Sized>(
    memory: &M,
    ram: &Range<Ipa>,
    file: &[u8],
    machine: u16,
) -> Result<Kernel, LoadError> {
    let elf = ElfBytes::<AnyEndian>::minimal_parse(file)?;
    check_header(&elf, machine)?;

    let mut footprint: Option<Range<Ipa>> = None;
    let mut entry = None;
    let segments = elf.segments().into_iter().flat_map(|table| table.iter());
    for segment in segments.filter(|segment| segment.p_type == abi::PT_LOAD && segment.p_memsz > 0) {
        let bytes = elf.segment_data(&segment)?;
        let bss = segment
            .p_memsz
            .checked_sub(bytes.len() as u64)
            .ok_or(ElfError::SegmentSize { file: segment.p_filesz, memory: segment.p_memsz })?;
        let range = place(Part::Kernel, Ipa(segment.p_paddr), segment.p_memsz, ram)?;
        memory.write(range.start, bytes)?;
        memory.zero(Ipa(range.end.0.saturating_sub(bss)), bss)?;

        entry = entry.or(entry_in(&segment, elf.ehdr.e_entry));
        footprint = Some(match footprint {
            None => range,
            Some(known) => known.start.min(range.start)..known.end.max(range.end),
        });
    }

    let footprint = footprint.ok_or(ElfError::NoSegments)?;
    let entry = entry.ok_or(ElfError::Entry { found: elf.ehdr.e_entry })?;
    Ok(Kernel { entry, footprint, dtb_below: true })
}

fn check_header(elf: &ElfBytes<'_, AnyEndian>, expected: u16) -> Result<(), ElfError> {
    let header = &elf.ehdr;
    let is_64 = header.class == Class::ELF64;
    let is_little = header.endianness == AnyEndian::Little;
    if !is_64 || !is_little || header.e_machine != expected {
        return Err(ElfError::Machine { machine: header.e_machine, expected, is_64, is_little });
    }
    if !matches!(header.e_type, abi::ET_EXEC | abi::ET_DYN) {
        return Err(ElfError::Type { found: header.e_type });
    }
    Ok(())
}

/// The physical address of `entry`, which the file gives as a virtual one, if it is in `segment`.
fn entry_in(segment: &ProgramHeader, entry: u64) -> Option<Ipa> {
    let offset = entry.checked_sub(segment.p_vaddr).filter(|offset| *offset < segment.p_filesz)?;
    Some(Ipa(segment.p_paddr.saturating_add(offset)))
}
