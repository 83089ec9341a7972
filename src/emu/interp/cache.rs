//! Where lowered blocks are kept and found.
//!
//! All code lies in one *arena*, and everything is allocated once: when something is full, the cache forgets all its
//! blocks and starts afresh. A block's words are followed by its marks and by the guest's code that it was made of.

use alloc::{vec, vec::Vec};
use core::cell::Cell;

use super::HOT;
use super::code::{Code, Word};
use super::lower::{Lowering, Mark, distance};
use crate::hash;

/// What a block is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The guest-physical address.
    pub physical: u64,
    /// The guest-virtual address.
    pub pc: u64,
    /// What decides how its code is translated: [`Guest::context`](super::Guest::context) for the interpreter,
    /// [`Guest::translation_context`](super::Guest::translation_context) for a compiler.
    pub context: u32,
}

impl Key {
    /// A hash of 32 bits.
    pub fn hash(&self) -> u64 {
        let mixed = self.physical ^ self.pc.rotate_left(32) ^ u64::from(self.context).rotate_left(48);
        hash::spread(mixed) >> 32
    }
}

/// A block of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub key: Key,
    /// The guest-physical address of the second page that its code lies on, if any.
    pub second: Option<u64>,
    /// At which count of [`Guest::code_epoch`](super::Guest::code_epoch) it was last known to be right.
    pub epoch: u64,
    /// Bytes of guest code, an even number.
    pub len: u16,
    /// Index of its first word.
    code: u32,
    /// Index behind its last word, where its marks start.
    marks: u32,
    /// Index behind its marks, where the guest's code starts.
    guest: u32,
    /// The next one of the same hash.
    next: u32,
}

/// No record.
const NONE: u32 = u32::MAX;
/// What a block takes on average, in bytes: about 20 words in the arena, its record, its count, its part of the hash table and
/// of the list of links.
const AVERAGE: usize = 20 * 8 + size_of::<Record>() + 4 + 4 + 2 * 4;
/// The fewest blocks.
const MIN_BLOCKS: usize = 1024;

/// Code that has been lowered.
#[derive(Debug)]
pub struct Cache {
    arena: Vec<u64>,
    capacity: usize,
    /// In the order of their words.
    records: Vec<Record>,
    max_records: usize,
    /// How often each has been executed, as far as [`HOT`]: code counts itself.
    executed: Vec<Cell<u32>>,
    /// The first record of each hash, a power of two of them.
    heads: Vec<u32>,
    /// The words whose targets are blocks: indices.
    links: Vec<u32>,
    /// Counts how often everything was forgotten.
    generation: u64,
}

impl Cache {
    /// A cache that takes about `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let max_records = (capacity / AVERAGE).clamp(MIN_BLOCKS, NONE as usize / 32);
        // Distances inside the arena are bytes in 32 bits, signed.
        let words = (max_records * 20).min(i32::MAX as usize / 8);
        Self {
            arena: Vec::with_capacity(words),
            capacity: words,
            records: Vec::with_capacity(max_records),
            max_records,
            executed: Vec::with_capacity(max_records),
            heads: vec![NONE; max_records.next_power_of_two() / 2],
            links: Vec::with_capacity(2 * max_records),
            generation: 0,
        }
    }

    /// Forgets all blocks.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.records.clear();
        self.executed.clear();
        self.heads.fill(NONE);
        self.links.clear();
        self.generation += 1;
    }

    /// Changes when indices of words have lost their meaning.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where the code lies.
    pub fn base(&self) -> *const u64 {
        self.arena.as_ptr()
    }

    fn slot(&self, key: &Key) -> usize {
        key.hash() as usize & (self.heads.len() - 1)
    }

    /// The blocks of a key: their numbers.
    pub fn candidates(&self, key: Key) -> impl Iterator<Item = u32> {
        let head = self.heads.get(self.slot(&key)).copied();
        let chain = core::iter::successors(head.filter(|&head| head != NONE), |&at| {
            self.records.get(at as usize).map(|record| record.next).filter(|&next| next != NONE)
        });
        chain.filter(move |&at| self.record(at).is_some_and(|record| record.key == key))
    }

    /// A block.
    pub fn record(&self, number: u32) -> Option<&Record> {
        self.records.get(number as usize)
    }

    /// The index of a block's first word.
    pub fn code(&self, number: u32) -> usize {
        self.record(number).map_or(0, |record| record.code as usize)
    }

    /// The guest's code that a block was made of.
    pub fn guest_code(&self, record: &Record) -> &[u16] {
        let (start, len) = (record.guest as usize, usize::from(record.len));
        let words = self.arena.get(start..start + len.div_ceil(8)).unwrap_or_default();
        // SAFETY: every pattern of bits is a number. `insert` has put them there in this machine's order.
        let (_, code, _) = unsafe { words.align_to() };
        code.get(..len / 2).unwrap_or_default()
    }

    /// A block is right at `epoch`.
    pub fn confirm(&mut self, number: u32, epoch: u64) {
        if let Some(record) = self.records.get_mut(number as usize) {
            record.epoch = epoch;
        }
    }

    /// Counts that a block is executed.
    #[inline(always)]
    pub fn count(&self, number: u32) {
        if let Some(executed) = self.executed.get(number as usize) {
            executed.set(executed.get() + 1);
        }
    }

    /// Whether a block has been executed [`HOT`] times.
    #[inline(always)]
    pub fn is_hot(&self, number: u32) -> bool {
        self.executed.get(number as usize).is_some_and(|executed| executed.get() >= HOT)
    }

    /// A block is not to be found again.
    pub fn forget(&mut self, number: u32) {
        let Some(Record { key, next, .. }) = self.record(number).copied() else { return };
        let slot = self.slot(&key);
        let mut link = self.heads.get_mut(slot);
        while let Some(at) = link {
            if *at == number {
                *at = next;
                return;
            }
            let at = *at;
            link = self.records.get_mut(at as usize).map(|record| &mut record.next);
        }
    }

    /// Adds what was lowered; its number. `None`: it does not fit, even into an empty cache.
    pub fn insert(
        &mut self,
        key: Key,
        second: Option<u64>,
        epoch: u64,
        lowered: &Lowering,
        guest: &[u16],
    ) -> Option<u32> {
        let len = u16::try_from(size_of_val(guest)).ok()?;
        let number = self.append(key, second, epoch, lowered, len)?;
        self.arena.extend(guest.chunks(4).map(|parcels| {
            let mut word = [0; 8];
            for (bytes, parcel) in word.chunks_exact_mut(2).zip(parcels) {
                bytes.copy_from_slice(&parcel.to_ne_bytes());
            }
            u64::from_ne_bytes(word)
        }));
        let slot = self.slot(&key);
        if let (Some(head), Some(record)) = (self.heads.get_mut(slot), self.records.get_mut(number as usize))
        {
            record.next = core::mem::replace(head, number);
        }
        Some(number)
    }

    /// Adds what was lowered, to be executed once and then removed by [`Cache::remove_last`]; its number. `None`: it does
    /// not fit, even into an empty cache.
    pub fn insert_once(&mut self, key: Key, lowered: &Lowering) -> Option<u32> {
        self.append(key, None, 0, lowered, 0)
    }

    /// Removes what [`Cache::insert_once`] has added last.
    pub fn remove_last(&mut self) {
        if let Some(record) = self.records.pop() {
            self.executed.pop();
            self.arena.truncate(record.code as usize);
        }
    }

    /// Makes room, and adds code, marks and a record that nobody finds.
    fn append(
        &mut self,
        key: Key,
        second: Option<u64>,
        epoch: u64,
        lowered: &Lowering,
        len: u16,
    ) -> Option<u32> {
        let words = lowered.words.len() + lowered.marks.len() + usize::from(len).div_ceil(8);
        if words > self.capacity {
            return None;
        }
        if words > self.capacity - self.arena.len() || self.records.len() == self.max_records {
            self.clear();
        }
        let code = self.arena.len();
        let marks = code + lowered.words.len();
        let guest = marks + lowered.marks.len();
        let number = self.records.len() as u32;
        let (first, rest) = lowered.words.split_first()?;
        // SAFETY: lowering has made it.
        let counts = unsafe { Word(*first).code() } == Code::Count;
        self.arena.push(if counts { Word(*first).with_imm(number as i32).0 } else { *first });
        self.arena.extend_from_slice(rest);
        self.arena.extend(lowered.marks.iter().map(|mark| mark.pack()));
        self.records.push(Record {
            key,
            second,
            epoch,
            len,
            code: code as u32,
            marks: marks as u32,
            guest: guest as u32,
            next: NONE,
        });
        self.executed.push(Cell::new(0));
        Some(number)
    }

    /// The block that the word at `index` belongs to.
    fn containing(&self, index: usize) -> Option<&Record> {
        let behind = self.records.partition_point(|record| record.code as usize <= index);
        self.records.get(behind.checked_sub(1)?)
    }

    /// The program counter of the guest instruction that the word at `index` belongs to, and how many instructions have been
    /// retired since the last count.
    pub fn locate(&self, index: usize) -> Option<(u64, u8)> {
        let record = self.containing(index)?;
        let marks = self.arena.get(record.marks as usize..record.guest as usize)?;
        let word = index - record.code as usize;
        let behind = marks.partition_point(|&mark| usize::from(Mark::unpack(mark).word) <= word);
        let mark = Mark::unpack(*marks.get(behind.checked_sub(1)?)?);
        Some((record.key.pc.wrapping_add(u64::from(mark.offset)), mark.retired))
    }

    /// The guest's address that the target of an exit, the word at `index`, stands for.
    pub fn address(&self, index: usize) -> Option<u64> {
        match self.containing(index)? {
            record if record.code as usize == index => Some(record.key.pc),
            // What leads out of a block has the address behind it.
            _ => self.arena.get(index + 1).copied(),
        }
    }

    /// Makes a block the target of the exit whose [`Code::Unlinked`] is at `index`.
    pub fn link(&mut self, index: usize, number: u32) {
        let code = self.code(number);
        let Some(&stub) = self.arena.get(index) else { return };
        let exit = index.wrapping_add_signed(Word(stub).imm() as isize / 8 + 1);
        if self.links.len() == self.links.capacity() {
            self.unlink_all();
        }
        if let Some(word) = self.arena.get_mut(exit) {
            *word = Word(*word).with_imm(distance(exit, code)).0;
            self.links.push(index as u32);
        }
    }

    /// Makes all exits unknown again.
    pub fn unlink_all(&mut self) {
        for &stub in &self.links {
            let index = stub as usize;
            let Some(&stub) = self.arena.get(index) else { continue };
            let exit = index.wrapping_add_signed(Word(stub).imm() as isize / 8 + 1);
            if let Some(word) = self.arena.get_mut(exit) {
                *word = Word(*word).with_imm(distance(exit, index)).0;
            }
        }
        self.links.clear();
    }
}
