//! What a cell has recorded of its translations: where that is in the machine's memory, for whoever fetches it from there.

use alloc::vec::Vec;

use polyvisor_cell_abi::RecordingHeader;

use crate::mm::addr::{Ipa, PhysAddr};
use crate::mm::guest_memory::{GuestMemory, GuestSlice};

/// A recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// What it says of itself.
    pub header: RecordingHeader,
    /// Its bytes, header included.
    pub bytes: u64,
    /// Their CRC-32.
    pub crc: u32,
    /// Its pieces in the order of its bytes: where they are, and how many bytes each has.
    pub pieces: Vec<(PhysAddr, u64)>,
}

/// The recording in `size` bytes of a cell's private memory from `start` on; `None` where there is none.
pub fn recording(memory: &impl GuestMemory, start: Ipa, size: u64) -> Option<Recording> {
    let mut head = [0; RecordingHeader::WORDS * size_of::<u32>()];
    memory.read(start, &mut head).ok()?;
    let (words, _) = head.as_chunks::<4>();
    let words: &[_; RecordingHeader::WORDS] = words.first_chunk()?;
    let header = RecordingHeader::decode(&words.map(u32::from_le_bytes))?;
    let bytes = (u64::from(header.words) * size_of::<u32>() as u64).min(size);
    let (mut crc, mut pieces) = (crc32fast::Hasher::new(), Vec::new());
    let visit = &mut |piece: GuestSlice<'_>| {
        pieces.push((PhysAddr(piece.as_ptr() as u64), piece.len() as u64));
        let mut buffer = [0; 1024];
        for offset in (0..piece.len()).step_by(buffer.len()) {
            let part = buffer.len().min(piece.len() - offset);
            if let Some(part) = buffer.get_mut(..part) {
                piece.read(offset, part);
                crc.update(part);
            }
        }
    };
    memory.for_each_piece(start, bytes, visit).ok()?;
    Some(Recording { header, bytes, crc: crc.finalize(), pieces })
}
