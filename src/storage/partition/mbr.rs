//! The master boot record: four primary partitions, of which one may hold a chain of logical ones, each behind a boot
//! record of its own. Nobody specifies it; this is what Linux and partitioning tools agree on.

use core::ops::{Range, RangeInclusive};

use gpt_disk_types::{MasterBootRecord, MbrPartitionRecord};

use super::{Blocks, PartitionError, PartitionName, check};

/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;
/// The number of the last partition that is looked for, and so how long a chain is followed.
const LAST: u32 = 64;

/// The sectors of a partition in the table `record`.
pub fn locate(
    blocks: &Blocks<'_>,
    record: &MasterBootRecord,
    name: &PartitionName,
) -> Result<Range<u64>, PartitionError> {
    let number = number(record, name)?;
    let disk = 1..=blocks.last;
    if number >= FIRST_LOGICAL {
        return logical(blocks, record, number);
    }
    let index = number.checked_sub(1).ok_or(PartitionError::NotFound)?;
    let partition = record.partitions.get(index as usize).ok_or(PartitionError::NotFound)?;
    if !is_used(partition) || is_extended(partition) {
        return Err(PartitionError::NotFound);
    }
    sectors(blocks, partition, 0, disk)
}

/// The number that the name means.
fn number(record: &MasterBootRecord, name: &PartitionName) -> Result<u32, PartitionError> {
    match name {
        PartitionName::Number(number) => Ok(*number),
        PartitionName::Label(_) => Err(PartitionError::NoLabels),
        PartitionName::Uuid(uuid) => {
            let parts = uuid.split_once('-').ok_or(PartitionError::NotFound)?;
            let [signature, number] = [parts.0, parts.1].map(|part| u32::from_str_radix(part, 16));
            match (signature, number) {
                (Ok(signature), Ok(number))
                    if signature == u32::from_le_bytes(record.unique_mbr_disk_signature) =>
                {
                    Ok(number)
                }
                _ => Err(PartitionError::NotFound),
            }
        }
    }
}

/// The sectors of a logical partition, which lies in the extended one, as its boot record does.
fn logical(
    blocks: &Blocks<'_>,
    record: &MasterBootRecord,
    number: u32,
) -> Result<Range<u64>, PartitionError> {
    check("the number of a partition", number.into(), 1..=LAST.into())?;
    let extended = record.partitions.iter().find(|partition| is_used(partition) && is_extended(partition));
    let extended = extended.ok_or(PartitionError::NotFound)?;
    let start = u64::from(extended.starting_lba.to_u32());
    let last = start + u64::from(extended.size_in_lba.to_u32()) - 1;
    check("the extended partition's last block", last, 1..=blocks.last)?;
    check("the extended partition's first block", start, 1..=last)?;
    let mut at = start;
    let mut next = FIRST_LOGICAL;
    // As many steps as there are numbers, whatever the links say.
    for _ in FIRST_LOGICAL..=LAST {
        let what = "boot record of a logical partition";
        let record = blocks.boot_record(at)?.ok_or(PartitionError::Signature { what, block: at })?;
        let [partition, link, ..] = &record.partitions;
        if is_used(partition) && !is_extended(partition) {
            if next == number {
                return sectors(blocks, partition, at, start..=last);
            }
            next += 1;
        }
        if !is_used(link) || !is_extended(link) {
            break;
        }
        at = start + u64::from(link.starting_lba.to_u32());
        check("the place of a logical partition's boot record", at, start..=last)?;
    }
    Err(PartitionError::NotFound)
}

/// The sectors of a partition that counts its start from `base`.
fn sectors(
    blocks: &Blocks<'_>,
    partition: &MbrPartitionRecord,
    base: u64,
    bounds: RangeInclusive<u64>,
) -> Result<Range<u64>, PartitionError> {
    let first = base + u64::from(partition.starting_lba.to_u32());
    // It is not empty.
    blocks.sectors(first, first + u64::from(partition.size_in_lba.to_u32()) - 1, bounds)
}

fn is_used(partition: &MbrPartitionRecord) -> bool {
    partition.os_indicator != 0 && partition.size_in_lba.to_u32() != 0
}

/// Whether it is a container of logical partitions: of DOS, with LBA, of Linux.
fn is_extended(partition: &MbrPartitionRecord) -> bool {
    matches!(partition.os_indicator, 0x05 | 0x0f | 0x85)
}
