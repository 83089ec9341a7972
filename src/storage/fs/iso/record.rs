//! The records of a directory (ECMA-119, 10.1).

/// Bytes of a record before its name.
const NAME: usize = 33;
/// A directory's records do not cross the boundaries of sectors (ECMA-119, 7.8.1.1).
const SECTOR: usize = 2048;

/// Bits of the file flags (ECMA-119, 10.1.6).
mod flags {
    pub const DIRECTORY: u8 = 0x02;
    pub const ASSOCIATED: u8 = 0x04;
    pub const NOT_FINAL: u8 = 0x80;
}

/// Where the data of a file or directory are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first block.
    pub block: u32,
    /// Bytes.
    pub size: u32,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its data.
    pub extent: Extent,
    flags: u8,
    /// In the units of a file that is interleaved with others; 0 otherwise.
    unit: u8,
    name: &'a [u8],
    /// What is left for the system's use.
    pub system_use: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record that is all of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        // The extended attributes come first.
        let attributes = u32::from(*bytes.get(1)?);
        let len = usize::from(*bytes.get(NAME - 1)?);
        let name = bytes.get(NAME..NAME + len)?;
        // The name is padded to an even position.
        let behind = (NAME + len).next_multiple_of(2);
        Some(Self {
            extent: Extent { block: word(2)?.checked_add(attributes)?, size: word(10)? },
            flags: *bytes.get(25)?,
            unit: *bytes.get(26)?,
            name,
            system_use: bytes.get(behind..).unwrap_or_default(),
        })
    }

    /// Whether it is that of the directory itself, or of the one above.
    pub fn is_self_or_parent(&self) -> bool {
        matches!(self.name, [0] | [1])
    }

    /// Whether it holds something about a file of the same name.
    pub fn is_associated(&self) -> bool {
        self.flags & flags::ASSOCIATED != 0
    }

    /// Whether it is a directory's.
    pub fn is_directory(&self) -> bool {
        self.flags & flags::DIRECTORY != 0
    }

    /// Whether all of the file lies in one piece.
    pub fn is_whole(&self) -> bool {
        self.flags & flags::NOT_FINAL == 0 && self.unit == 0
    }

    /// Whether it has a name as ISO 9660 itself has them, but for capitals and the version: `VMLINUZ.;1`.
    pub fn is_plain(&self, name: &str) -> bool {
        let own = self.name.split(|byte| *byte == b';').next().unwrap_or_default();
        let own = own.strip_suffix(b".").unwrap_or(own);
        own.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether it has a name in big-endian UTF-16, but for the version.
    pub fn is_joliet(&self, name: &str) -> bool {
        let units = self.name.chunks_exact(2).map(|unit| match unit {
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        });
        units.take_while(|unit| *unit != u16::from(b';')).eq(name.encode_utf16())
    }
}

/// The records of a directory, in order. Ends with the first that is none.
pub struct Directory<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Directory<'a> {
    /// Those of a directory with these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Directory<'a> {
    type Item = Result<Record<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            match rest.first()? {
                // The rest of the sector is empty.
                0 => self.at = (self.at + 1).next_multiple_of(SECTOR),
                len => {
                    let record = rest.get(..usize::from(*len)).and_then(Record::parse);
                    self.at = if record.is_some() { self.at + usize::from(*len) } else { usize::MAX };
                    return Some(record.ok_or("a directory's record is damaged"));
                }
            }
        }
    }
}
