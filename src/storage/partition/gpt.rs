//! The GUID partition table (UEFI 2.10, 5.3).

use core::mem::size_of;
use core::ops::{Range, RangeInclusive};

use gpt_disk_types::{GptHeader, GptPartitionEntry, Guid};

use super::{Blocks, PartitionError, PartitionName, check};
use crate::storage::SECTOR;

/// Where the primary header is.
const PRIMARY: u64 = 1;
/// Bytes of a header: those that are defined, to the sector that is read.
const HEADER_SIZES: RangeInclusive<u64> = size_of::<GptHeader>() as u64..=SECTOR;
/// Most entries that are looked through. Partitioning tools make 128.
const MAX_ENTRIES: u64 = 1024;
/// Largest entry, and what is read at once of the array.
const MAX_ENTRY: usize = 4096;

/// A table that is sound, and what was looked for in it.
struct Search {
    header: GptHeader,
    /// The last entry of that name.
    entry: Option<GptPartitionEntry>,
    /// How many there are.
    found: u32,
}

/// The sectors of a partition.
pub fn locate(blocks: &Blocks<'_>, name: &PartitionName) -> Result<Range<u64>, PartitionError> {
    let search = search(blocks, PRIMARY, name).or_else(|error| {
        // Of the two, the operator hears of the one that tools look at first.
        let search = search(blocks, blocks.last, name).map_err(|_| error)?;
        log::warn!("a disk's backup partition table is used: {error}");
        Ok::<_, PartitionError>(search)
    })?;
    match (search.entry, search.found) {
        (Some(entry), 1) => {
            let usable = search.header.first_usable_lba.to_u64()..=search.header.last_usable_lba.to_u64();
            blocks.sectors(entry.starting_lba.to_u64(), entry.ending_lba.to_u64(), usable)
        }
        (Some(_), found) => Err(PartitionError::Ambiguous { found }),
        (None, _) => Err(PartitionError::NotFound),
    }
}

/// Looks through the table whose header is at `block`.
fn search(blocks: &Blocks<'_>, block: u64, name: &PartitionName) -> Result<Search, PartitionError> {
    let header = header(blocks, block)?;
    let size = header.size_of_partition_entry.to_u32() as usize;
    // As `header` has checked, a power of two up to that of a piece, so an entry lies in one.
    let mut left = header.number_of_partition_entries.to_u32() as usize * size;
    let mut search = Search { header, entry: None, found: 0 };
    let mut crc = crc32fast::Hasher::new();
    let mut piece = alloc::vec![0; MAX_ENTRY];
    let mut sector = header.partition_entry_lba.to_u64();
    let mut number = 0u32;
    while left > 0 {
        let bytes = left.min(MAX_ENTRY);
        let whole = bytes.next_multiple_of(SECTOR as usize);
        blocks.disk.read(sector, piece.get_mut(..whole).unwrap_or_default())?;
        let entries = piece.get(..bytes).unwrap_or_default();
        crc.update(entries);
        for entry in entries.chunks_exact(size) {
            number += 1;
            let entry = entry.get(..size_of::<GptPartitionEntry>()).unwrap_or_default();
            let Ok(entry) = bytemuck::try_pod_read_unaligned::<GptPartitionEntry>(entry) else { continue };
            if entry.is_used() && is_called(number, &entry, name) {
                search.entry = Some(entry);
                search.found += 1;
            }
        }
        left -= bytes;
        sector = sector.saturating_add(whole as u64 / SECTOR);
    }
    check_crc("its entries", header.partition_entry_array_crc32.0.to_u32(), crc.finalize())?;
    Ok(search)
}

/// The header at `block`, with values that are possible.
fn header(blocks: &Blocks<'_>, block: u64) -> Result<GptHeader, PartitionError> {
    let mut sector = [0; SECTOR as usize];
    blocks.disk.read(block, &mut sector)?;
    let (bytes, _) = sector.split_at(size_of::<GptHeader>());
    let header: GptHeader = bytemuck::pod_read_unaligned(bytes);
    if !header.is_signature_valid() {
        return Err(PartitionError::Signature { what: "GPT header", block });
    }
    let size = header.header_size.to_u32();
    check("the size of its header", size.into(), HEADER_SIZES)?;
    // The checksum is that of the header with zeros in its own place.
    let cleared = GptHeader { header_crc32: Default::default(), ..header };
    let (start, _) = sector.split_at_mut(size_of::<GptHeader>());
    start.copy_from_slice(bytemuck::bytes_of(&cleared));
    let computed = crc32fast::hash(sector.get(..size as usize).unwrap_or_default());
    check_crc("its header", header.header_crc32.0.to_u32(), computed)?;
    check("the place of its header", header.my_lba.to_u64(), block..=block)?;
    let (first, last) = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
    check("the last usable block", last, PRIMARY..=blocks.last)?;
    check("the first usable block", first, PRIMARY..=last)?;
    check("the place of its entries", header.partition_entry_lba.to_u64(), PRIMARY..=blocks.last)?;
    check("the number of its entries", header.number_of_partition_entries.to_u32().into(), 1..=MAX_ENTRIES)?;
    let size = header.size_of_partition_entry.to_u32();
    let sizes = size_of::<GptPartitionEntry>() as u64..=MAX_ENTRY as u64;
    check("the size of an entry", size.into(), sizes)?;
    let power = u64::from(size.next_power_of_two());
    check("the size of an entry", size.into(), power..=power)?;
    Ok(header)
}

fn check_crc(what: &'static str, found: u32, computed: u32) -> Result<(), PartitionError> {
    if found == computed { Ok(()) } else { Err(PartitionError::Checksum { what, found, computed }) }
}

/// Whether the entry of this number has the name.
fn is_called(number: u32, entry: &GptPartitionEntry, name: &PartitionName) -> bool {
    match name {
        PartitionName::Number(wanted) => number == *wanted,
        PartitionName::Label(label) => {
            let (units, _) = entry.name.0.as_chunks();
            let own = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
            own.eq(label.encode_utf16())
        }
        PartitionName::Uuid(uuid) => {
            let own = entry.unique_partition_guid;
            Guid::try_parse(uuid).is_ok_and(|wanted| wanted == own)
        }
    }
}
