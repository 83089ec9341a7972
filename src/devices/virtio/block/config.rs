//! What the block device offers, and its configuration space (VIRTIO 1.2, 5.2.3 and 5.2.4).

use bitflags::bitflags;

use super::super::Features;
use crate::storage::{Geometry, MAX_CLEAR, MAX_TRANSFER, SECTOR};

/// Entries of a queue.
pub const QUEUE_SIZE: u16 = 128;
/// Most ranges in one discard or write-zeroes request.
pub const MAX_RANGES: u32 = 16;

bitflags! {
    /// The device's own feature bits (5.2.3).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct BlockFeatures: u64 {
        /// Largest segment.
        const SIZE_MAX = 1 << 1;
        /// Most segments of a request.
        const SEG_MAX = 1 << 2;
        /// It cannot be written.
        const RO = 1 << 5;
        /// Bytes of a block.
        const BLK_SIZE = 1 << 6;
        /// Flush requests.
        const FLUSH = 1 << 9;
        /// How large and how aligned requests are best.
        const TOPOLOGY = 1 << 10;
        /// The driver chooses between write-back and write-through.
        const CONFIG_WCE = 1 << 11;
        /// Several queues.
        const MQ = 1 << 12;
        /// Discard requests.
        const DISCARD = 1 << 13;
        /// Write-zeroes requests.
        const WRITE_ZEROES = 1 << 14;
    }
}

impl BlockFeatures {
    /// What a disk like this offers.
    pub fn of(geometry: &Geometry) -> Self {
        let always = Self::SIZE_MAX
            | Self::SEG_MAX
            | Self::BLK_SIZE
            | Self::FLUSH
            | Self::TOPOLOGY
            | Self::CONFIG_WCE
            | Self::MQ;
        match geometry.read_only {
            true => always | Self::RO,
            false if geometry.discards => always | Self::WRITE_ZEROES | Self::DISCARD,
            false => always | Self::WRITE_ZEROES,
        }
    }

    /// Those of them that were negotiated.
    pub fn among(features: Features) -> Self {
        Self::from_bits_truncate(features.bits())
    }
}

/// Where `writeback` is in the configuration space.
pub const WRITEBACK: usize = 32;
/// Bytes of the configuration space: up to the fields of secure erase, which is not offered.
const SIZE: usize = 60;

/// The configuration space of a disk with so many queues.
pub fn space(geometry: &Geometry, queues: u16, writeback: bool) -> [u8; SIZE] {
    let block = u64::from(geometry.block_size).max(SECTOR);
    let sectors_of_block = (block / SECTOR) as u16;
    let max_clear = MAX_CLEAR as u32;
    let mut space = [0; SIZE];
    let mut put = |offset: usize, bytes: &[u8]| {
        if let Some(field) = space.get_mut(offset..offset + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(0, &geometry.sectors.to_le_bytes()); // capacity
    put(8, &MAX_TRANSFER.to_le_bytes()); // size_max
    put(12, &u32::from(QUEUE_SIZE - 2).to_le_bytes()); // seg_max: a queue's entries but header and status
    put(20, &(SECTOR as u32).to_le_bytes()); // blk_size
    put(24, &[sectors_of_block.trailing_zeros() as u8]); // physical_block_exp
    put(26, &sectors_of_block.to_le_bytes()); // min_io_size
    put(WRITEBACK, &[writeback.into()]);
    put(34, &queues.to_le_bytes()); // num_queues
    if geometry.discards {
        put(36, &max_clear.to_le_bytes()); // max_discard_sectors
        put(40, &MAX_RANGES.to_le_bytes()); // max_discard_seg
        put(44, &u32::from(sectors_of_block).to_le_bytes()); // discard_sector_alignment
    }
    if !geometry.read_only {
        put(48, &max_clear.to_le_bytes()); // max_write_zeroes_sectors
        put(52, &MAX_RANGES.to_le_bytes()); // max_write_zeroes_seg
        put(56, &[geometry.discards.into()]); // write_zeroes_may_unmap
    }
    space
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_specification_has_them() {
        let geometry = Geometry { sectors: 0x0102_0304, read_only: false, block_size: 4096, discards: true };
        let space = space(&geometry, 4, true);
        let word = |offset: usize| u32::from_le_bytes(space[offset..offset + 4].try_into().unwrap());
        assert_eq!(u64::from_le_bytes(space[..8].try_into().unwrap()), 0x0102_0304);
        assert_eq!((word(8), word(12), word(20)), (64 << 10, 126, 512));
        assert_eq!(space[24..28], [3, 0, 8, 0]);
        assert_eq!((space[32], space[34]), (1, 4));
        assert_eq!((word(36), word(40), word(44)), (MAX_CLEAR as u32, 16, 8));
        assert_eq!((word(48), word(52), space[56]), (MAX_CLEAR as u32, 16, 1));
    }

    #[test]
    fn what_a_disk_cannot_do_is_not_offered() {
        let disk = |read_only, discards| {
            BlockFeatures::of(&Geometry { sectors: 1, read_only, block_size: 512, discards })
        };
        assert!(disk(true, true).contains(BlockFeatures::RO));
        assert!(!disk(true, true).intersects(BlockFeatures::DISCARD | BlockFeatures::WRITE_ZEROES));
        assert!(!disk(false, false).intersects(BlockFeatures::DISCARD | BlockFeatures::RO));
        assert!(disk(false, true).contains(BlockFeatures::DISCARD | BlockFeatures::WRITE_ZEROES));
    }
}
