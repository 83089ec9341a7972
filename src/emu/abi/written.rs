//! What EL2 tells the engine of the guest's RAM: which pages with translated code it has written.
//!
//! The engine protects the pages that it has translated code of from its own harts' stores. EL2 writes past that: its devices,
//! and a debugger. So the engine says which pages those are ([`CodePages`]), and EL2 appends each one that it has written to
//! a log ([`WriteLog`]), which the engine reads when the guest asks for coherence (FENCE.I).
//!
//! Either side stores first and looks at the other's store afterwards, with a full barrier between: the engine sets the bit,
//! then reads the code; EL2 writes the code, then looks at the bit. So the engine reads what was written, or EL2 finds the
//! bit. EL2 appends before the guest can learn by other means that there is something new.

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64, fence};

/// Bytes of a page of the log.
pub const PAGE: u64 = 4096;
/// How many pages the log has room for.
pub const LOG_ENTRIES: usize = 512;

/// Pages with translated code that EL2 has written, by their number from the start of RAM, in a ring. EL2 only writes it.
#[repr(C)]
pub struct WriteLog {
    /// Where in private memory the words of [`CodePages`] are. The engine stores it once, before it translates anything.
    /// 0: nothing is translated, and nothing logged.
    pub code_pages: AtomicU64,
    /// How many pages have ever been appended. The next one goes to this index, modulo [`LOG_ENTRIES`].
    pub next: AtomicU64,
    /// The pages.
    pub pages: [AtomicU32; LOG_ENTRIES],
}

/// More was written than the log has room for: any page may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl WriteLog {
    /// Where a reader starts that has nothing translated yet.
    pub fn end(&self) -> u64 {
        self.next.load(Acquire)
    }

    /// Calls `page` with each page that was appended since `cursor`, and moves that on. Whatever the guest knows of when this
    /// is called has been appended. A page may come several times, or for nothing.
    ///
    /// # Errors
    /// [`Overflow`]: not all of them are known.
    pub fn read(&self, cursor: &mut u64, mut page: impl FnMut(u32)) -> Result<(), Overflow> {
        // By a load of its own, the guest has learned that there is something new.
        fence(Acquire);
        let start = *cursor;
        let end = self.end();
        *cursor = end;
        if end.wrapping_sub(start) > LOG_ENTRIES as u64 {
            return Err(Overflow);
        }
        for index in start..end {
            if let Some(entry) = self.pages.get(index as usize % LOG_ENTRIES) {
                page(entry.load(Relaxed));
            }
        }
        if start == end {
            return Ok(());
        }
        // EL2 may have gone on meanwhile: then it has written, or is about to write, over the first of those.
        fence(Acquire);
        match self.next.load(Relaxed).wrapping_sub(start) < LOG_ENTRIES as u64 {
            true => Ok(()),
            false => Err(Overflow),
        }
    }
}

/// Pages that the engine has translated code of: a bit for each page of RAM, in words of private memory.
#[derive(Debug, Clone, Copy)]
pub struct CodePages<'a>(&'a [AtomicU64]);

impl<'a> CodePages<'a> {
    /// How many words it takes for so many bytes of RAM.
    pub const fn words(ram_size: u64) -> usize {
        ram_size.div_ceil(PAGE * u64::BITS as u64) as usize
    }

    /// The bits in `words`, of which there are as [`CodePages::words`] says. [`WriteLog::code_pages`] is their address.
    pub fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// The offset in bytes of the word with the bit of `page`, and that bit.
    pub const fn place(page: u64) -> (u64, u64) {
        (page / u64::BITS as u64 * size_of::<u64>() as u64, 1 << (page % u64::BITS as u64))
    }

    /// Code of `page` is about to be read, to be translated. To be called before every translation, under the lock under which
    /// the log is read and bits are cleared.
    pub fn set(&self, page: u32) {
        if let Some((word, bit)) = self.find(page)
            && word.load(Relaxed) & bit == 0
        {
            word.fetch_or(bit, Relaxed);
        }
        fence(SeqCst);
    }

    /// There is no translation of `page` any more.
    pub fn clear(&self, page: u32) {
        if let Some((word, bit)) = self.find(page) {
            word.fetch_and(!bit, Relaxed);
        }
    }

    /// There is no translation any more.
    pub fn clear_all(&self) {
        self.0.iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Whether there may be a translation of `page`.
    pub fn has(&self, page: u32) -> bool {
        self.find(page).is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    fn find(&self, page: u32) -> Option<(&'a AtomicU64, u64)> {
        let (offset, bit) = Self::place(page.into());
        Some((self.0.get(offset as usize / size_of::<u64>())?, bit))
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::vec::Vec;

    use super::*;

    fn log() -> Box<WriteLog> {
        Box::new(WriteLog {
            code_pages: AtomicU64::new(0),
            next: AtomicU64::new(0),
            pages: [const { AtomicU32::new(0) }; LOG_ENTRIES],
        })
    }

    /// What EL2 does.
    fn append(log: &WriteLog, page: u32) {
        let next = log.next.load(Relaxed);
        log.pages[next as usize % LOG_ENTRIES].store(page, Relaxed);
        log.next.store(next + 1, Relaxed);
    }

    fn read(log: &WriteLog, cursor: &mut u64) -> Result<Vec<u32>, Overflow> {
        let mut pages = Vec::new();
        log.read(cursor, |page| pages.push(page)).map(|()| pages)
    }

    #[test]
    fn each_page_is_read_once_by_each_reader_in_order() {
        let log = log();
        let (mut first, mut second) = (log.end(), log.end());
        for page in [7, 9, 7] {
            append(&log, page);
        }
        assert_eq!(read(&log, &mut first), Ok([7, 9, 7].to_vec()));
        append(&log, 1);
        assert_eq!(read(&log, &mut first), Ok([1].to_vec()));
        assert_eq!(read(&log, &mut first), Ok([].to_vec()));
        assert_eq!(read(&log, &mut second), Ok([7, 9, 7, 1].to_vec()));
    }

    /// The entry that may just be written over does not count.
    #[test]
    fn more_than_there_is_room_for_is_an_overflow_and_then_it_goes_on() {
        for (count, fits) in [(LOG_ENTRIES - 1, true), (LOG_ENTRIES, false), (3 * LOG_ENTRIES, false)] {
            let log = log();
            let mut cursor = 0;
            (0..count as u32).for_each(|page| append(&log, page));
            assert_eq!(read(&log, &mut cursor).is_ok(), fits, "{count}");
            append(&log, 5);
            assert_eq!(read(&log, &mut cursor), Ok([5].to_vec()));
        }
    }

    #[test]
    fn an_end_before_the_cursor_is_an_overflow() {
        let log = log();
        append(&log, 5);
        assert_eq!(read(&log, &mut 4), Err(Overflow));
    }

    #[test]
    fn bits_are_of_single_pages_and_none_is_beyond() {
        assert_eq!([0, 1, 64 * PAGE, 64 * PAGE + 1].map(CodePages::words), [0, 1, 1, 2]);
        let words = [const { AtomicU64::new(0) }; 2];
        let pages = CodePages::new(&words);
        for page in [0, 63, 64, 127, 128, u32::MAX] {
            pages.set(page);
        }
        assert_eq!(words.each_ref().map(|word| word.load(Relaxed)), [1 << 63 | 1; 2]);
        assert_eq!([0, 1, 127, 128].map(|page| pages.has(page)), [true, false, true, false]);
        pages.clear(63);
        assert_eq!([0, 63].map(|page| pages.has(page)), [true, false]);
        pages.clear_all();
        assert_eq!(words.map(|word| word.into_inner()), [0; 2]);
    }
}
