//! EFI zboot images: a compressed kernel inside an EFI program that would unpack it (Linux,
//! `drivers/firmware/efi/libstub/zboot-header.S`).

use super::LoadError;

const MSDOS_MAGIC: &[u8] = b"MZ";
const ZIMG_MAGIC: &[u8] = b"zimg";
/// Where [`ZIMG_MAGIC`], the payload's offset and length, and the name of the compression are.
const ZIMG_OFFSET: usize = 4;
const PAYLOAD_OFFSET: usize = 8;
const PAYLOAD_LEN: usize = 12;
const COMPRESSION: usize = 24;

/// The compressed kernel in `file`, or nothing if that is not a zboot image.
pub(super) fn payload(file: &[u8]) -> Result<Option<&[u8]>, LoadError> {
    let is_zboot = file.starts_with(MSDOS_MAGIC)
        && file.get(ZIMG_OFFSET..).is_some_and(|rest| rest.starts_with(ZIMG_MAGIC));
    let Some((offset, len, compression)) = fields(file).filter(|_| is_zboot) else {
        return Ok(None);
    };
    if !compression.starts_with(b"gzip\0") {
        return Err(LoadError::ZbootCompression { found: compression });
    }
    file.get(offset as usize..)
        .and_then(|rest| rest.get(..len as usize))
        .map(Some)
        .ok_or(LoadError::ZbootPayload { offset, len, limit: file.len() })
}

fn fields(file: &[u8]) -> Option<(u32, u32, [u8; 32])> {
    let word = |offset| Some(u32::from_le_bytes(*file.get(offset..)?.first_chunk()?));
    Some((word(PAYLOAD_OFFSET)?, word(PAYLOAD_LEN)?, *file.get(COMPRESSION..)?.first_chunk()?))
}
