//! What systems keep with the records of a directory (System Use Sharing Protocol 1.12), and of that the names and links
//! of Rock Ridge (Rock Ridge Interchange Protocol 1.12).

use alloc::vec::Vec;

/// Most areas that the entries of a record may go on in.
pub const MAX_AREAS: usize = 16;
/// Longest name or target in bytes; what is longer is cut, and found by nobody.
const MAX_LEN: usize = 4096;

/// Where the entries of a record go on (SUSP, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continuation {
    /// In this block,
    pub block: u32,
    /// so many bytes on,
    pub offset: u32,
    /// for so many.
    pub len: usize,
}

/// The entries of an area: signatures, and what is behind their heads (SUSP, 4.1).
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = ([u8; 2], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [first, second, len, _version, ..] = self.0 else { return None };
        let (entry, rest) = self.0.split_at_checked(usize::from(*len))?;
        let data = entry.get(4..)?;
        self.0 = rest;
        // The terminator (SUSP, 5.4).
        ([*first, *second] != *b"ST").then_some(([*first, *second], data))
    }
}

/// Whether entries are there at all, and how many bytes of others before them (SUSP, 5.3). Of the first record of the root.
pub fn indicator(area: &[u8]) -> Option<usize> {
    match Entries(area).next()? {
        ([b'S', b'P'], [0xbe, 0xef, skip, ..]) => Some(usize::from(*skip)),
        _ => None,
    }
}

/// Bits of a name's flags, and of those of a part of a link's target (RRIP, 4.1.4 and 4.1.3.1).
mod flags {
    pub const CONTINUE: u8 = 1;
    pub const CURRENT: u8 = 2;
    pub const PARENT: u8 = 4;
    pub const ROOT: u8 = 8;
}

/// What Rock Ridge says of a file.
#[derive(Debug, Default)]
pub struct Attributes {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    /// The last part of the target goes on in the next one.
    goes_on: bool,
}

impl Attributes {
    /// Its name.
    pub fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// Where it leads, if it is a link.
    pub fn target(&self) -> Option<&[u8]> {
        self.target.as_deref()
    }

    /// Takes note of the entries of an area, and tells where they go on.
    pub fn add(&mut self, area: &[u8]) -> Option<Continuation> {
        let mut next = None;
        for (signature, data) in Entries(area) {
            match (&signature, data) {
                (b"NM", [flags, name @ ..]) if flags & (flags::CURRENT | flags::PARENT) == 0 => {
                    append(self.name.get_or_insert_default(), name);
                }
                (b"SL", [_, parts @ ..]) => self.add_target(parts),
                (b"CE", data) => next = continuation(data).or(next),
                _ => {}
            }
        }
        next
    }

    /// Takes note of parts of a target (RRIP, 4.1.3).
    fn add_target(&mut self, mut parts: &[u8]) {
        let target = self.target.get_or_insert_default();
        while let [flags, len, rest @ ..] = parts {
            let Some((part, behind)) = rest.split_at_checked(usize::from(*len)) else { return };
            if !self.goes_on && !target.is_empty() && !target.ends_with(b"/") {
                append(target, b"/");
            }
            match *flags {
                flag if flag & flags::ROOT != 0 => append(target, b"/"),
                flag if flag & flags::PARENT != 0 => append(target, b".."),
                flag if flag & flags::CURRENT != 0 => append(target, b"."),
                _ => append(target, part),
            }
            self.goes_on = flags & flags::CONTINUE != 0;
            parts = behind;
        }
    }
}

fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(bytes.get(..MAX_LEN.saturating_sub(to.len())).unwrap_or(bytes));
}

/// Numbers are there twice, in both orders.
fn continuation(data: &[u8]) -> Option<Continuation> {
    let word = |at: usize| data.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    Some(Continuation { block: word(0)?, offset: word(8)?, len: word(16)? as usize })
}
