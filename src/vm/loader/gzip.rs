//! gzip (RFC 1952), unpacked piece by piece.

use alloc::{boxed::Box, vec};
use core::{error::Error, fmt};

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress},
};

use super::LoadError;

/// How far back a deflate stream may refer (RFC 1951, section 2), and so the most that is unpacked at once.
const WINDOW: usize = 32 * 1024;

const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The only compression method.
const METHOD_DEFLATE: u8 = 8;

/// Bits of the header's FLG field (RFC 1952, section 2.3.1). FTEXT, bit 0, says nothing that matters here.
mod flag {
    pub(super) const HEADER_CRC: u8 = 1 << 1;
    pub(super) const EXTRA: u8 = 1 << 2;
    pub(super) const NAME: u8 = 1 << 3;
    pub(super) const COMMENT: u8 = 1 << 4;
    pub(super) const RESERVED: u8 = 0b111 << 5;
}

/// Why a gzip stream cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GzipError {
    /// It does not start with the magic number.
    Magic,
    /// It ends too early.
    Truncated,
    /// A compression method other than deflate.
    Method {
        /// Its number.
        found: u8,
    },
    /// Reserved flags are set.
    Flags {
        /// All the flags.
        found: u8,
    },
    /// The compressed data cannot be decoded.
    Deflate {
        /// How many bytes could be.
        after: u64,
    },
    /// The checksum of what was unpacked does not match.
    Crc {
        /// CRC-32 as recorded.
        expected: u32,
        /// CRC-32 of what was unpacked.
        found: u32,
    },
    /// The length of what was unpacked does not match.
    Length {
        /// Length as recorded, modulo 2^32.
        expected: u32,
        /// Length of what was unpacked, modulo 2^32.
        found: u32,
    },
}

impl fmt::Display for GzipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("it is not a gzip file"),
            Self::Truncated => f.write_str("it is truncated"),
            Self::Method { found } => {
                write!(f, "compression method {found}, only {METHOD_DEFLATE} (deflate) is known")
            }
            Self::Flags { found } => write!(f, "flags {found:#04x} have reserved bits set"),
            Self::Deflate { after } => write!(f, "it cannot be decoded any further after {after} bytes"),
            Self::Crc { expected, found } => write!(f, "CRC-32 is {found:#010x} instead of {expected:#010x}"),
            Self::Length { expected, found } => {
                write!(f, "it unpacks to {found} bytes instead of {expected} (modulo 2^32)")
            }
        }
    }
}

impl Error for GzipError {}

/// Whether `file` looks like gzip.
pub(super) fn is_gzip(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

/// Unpacks the first member of `file` into `sink`, at most [`WINDOW`] bytes at a time and none of them empty.
/// What follows the member is ignored: boot tools pad.
pub(super) fn unpack(
    file: &[u8],
    mut sink: impl FnMut(&[u8]) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let mut input = skip_header(file)?;
    let mut decoder = Box::<DecompressorOxide>::default();
    let mut window = vec![0; WINDOW];
    let mut crc = crc32fast::Hasher::new();
    let mut total: u64 = 0;
    loop {
        // Every call but the last fills the window, so each starts at its front; what the stream refers back
        // to is what the call before has left there.
        let (status, read, written) = decompress(&mut decoder, input, &mut window, 0, 0);
        input = input.get(read..).unwrap_or_default();
        if let Some(chunk) = window.get(..written).filter(|chunk| !chunk.is_empty()) {
            crc.update(chunk);
            total = total.saturating_add(written as u64);
            sink(chunk)?;
        }
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                return Err(GzipError::Truncated.into());
            }
            _ => return Err(GzipError::Deflate { after: total }.into()),
        }
    }
    check_trailer(input, crc.finalize(), total as u32)?;
    Ok(())
}

/// The compressed data behind the header.
fn skip_header(file: &[u8]) -> Result<&[u8], GzipError> {
    let (header, mut rest) = file.split_first_chunk::<10>().ok_or(GzipError::Truncated)?;
    let [id1, id2, method, flags, _mtime @ .., _extra_flags, _system] = *header;
    if [id1, id2] != MAGIC {
        return Err(GzipError::Magic);
    }
    if method != METHOD_DEFLATE {
        return Err(GzipError::Method { found: method });
    }
    if flags & flag::RESERVED != 0 {
        return Err(GzipError::Flags { found: flags });
    }
    if flags & flag::EXTRA != 0 {
        let (len, extra) = rest.split_first_chunk().ok_or(GzipError::Truncated)?;
        rest = extra.get(usize::from(u16::from_le_bytes(*len))..).ok_or(GzipError::Truncated)?;
    }
    for string in [flag::NAME, flag::COMMENT] {
        if flags & string != 0 {
            let mut parts = rest.splitn(2, |byte| *byte == 0);
            rest = parts.nth(1).ok_or(GzipError::Truncated)?;
        }
    }
    if flags & flag::HEADER_CRC != 0 {
        rest = rest.get(2..).ok_or(GzipError::Truncated)?;
    }
    Ok(rest)
}

/// Checks the CRC32 and ISIZE fields behind the compressed data.
fn check_trailer(trailer: &[u8], crc: u32, len: u32) -> Result<(), GzipError> {
    let (expected, rest) = trailer.split_first_chunk().ok_or(GzipError::Truncated)?;
    let expected = u32::from_le_bytes(*expected);
    if crc != expected {
        return Err(GzipError::Crc { expected, found: crc });
    }
    let expected = u32::from_le_bytes(*rest.first_chunk().ok_or(GzipError::Truncated)?);
    if len != expected {
        return Err(GzipError::Length { expected, found: len });
    }
    Ok(())
}
