//! Where translated code lies, how it is found, linked and invalidated.
//!
//! Code is appended to one region until that is full; then everything is forgotten. A block that is invalidated stays where
//! it is, unreachable, so that a hart that is in it can finish. All harts share the cache; who holds it exclusively may
//! change it while others execute its code: only `B` instructions are patched (DDI 0487 B2.2.5 lets that happen
//! concurrently).

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::ops::RangeInclusive;

use super::compile::float::Pending;
use super::compile::{Compiled, ExitKind, Fault};
use crate::a64;
use crate::interp::Key;

/// Where code is written to, and executed from.
pub trait CodeMemory {
    /// How many words there are.
    fn capacity(&self) -> usize;

    /// The address at which word `word` is executed.
    fn address(&self, word: usize) -> u64;

    /// The word at this index.
    fn read(&self, word: usize) -> u32;

    /// Writes words from index `word` on, which nobody executes yet.
    fn write(&mut self, word: usize, words: &[u32]);

    /// Writes the word at this index, which others may execute meanwhile.
    fn replace(&mut self, word: usize, value: u32);

    /// Makes `count` words from `word` on, which have been written, what all harts execute.
    fn publish(&mut self, word: usize, count: usize);
}

/// The number of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockId(u32);

/// The number of a way out of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitId(u32);

/// How often each block is compared in lock-step.
const COMPARISONS: u16 = 32;

/// No block, no exit.
const NONE: u32 = u32::MAX;

/// A translated block.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// What it is found by.
    pub key: Key,
    /// How many guest instructions were translated: none if that is not possible.
    pub instructions: u32,
    /// How often it was seen to be executed.
    pub samples: u32,
    /// Which pieces of its page it is made of ([`pieces`]).
    code: u64,
    /// The guest-physical page that its first instruction goes on on, if that lies on two.
    pub second: Option<u64>,
    /// Index of its first word, the checked entry.
    start: u32,
    /// How many words it has.
    words: u32,
    faults: u32,
    fault_count: u16,
    /// How often [`Cache::compare`] has said that it is to be compared.
    compared: u16,
    /// The last comparison has found a difference.
    differed: bool,
    /// The next one of the same hash, and on the same guest page.
    next: u32,
    next_on_page: u32,
    /// The first of the exits that are linked to it.
    incoming: u32,
    valid: bool,
}

impl Block {
    /// Whether it is there, and code.
    fn is_enterable(&self) -> bool {
        self.valid && self.words != 0
    }

    /// How many words it takes.
    pub const fn words(&self) -> u32 {
        self.words
    }
}

/// A way out of a block.
#[derive(Debug, Clone, Copy)]
struct Exit {
    kind: ExitKind,
    /// Word index of the patchable branch, and of its own stub.
    branch: u32,
    stub: u32,
    linked: bool,
    /// The next exit linked to the same block.
    next: u32,
}

/// Where in guest code an instruction of translated code belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The guest's program counter.
    pub pc: u64,
    /// Guest instructions retired since the count was last brought up to date.
    pub retired: u64,
    /// Host registers whose low 32 bits are to be sign-extended.
    pub pending: u32,
    /// What the SIMD&FP registers lack.
    pub floats: Pending,
}

/// What has been done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks translated.
    pub blocks: u64,
    /// Guest instructions in them.
    pub instructions: u64,
    /// Blocks invalidated.
    pub invalidated: u64,
    /// How often everything was forgotten.
    pub recycled: u64,
    /// Exits linked.
    pub links: u64,
}

/// The cache.
#[derive(Debug)]
pub struct Cache<C> {
    memory: C,
    /// Words before this are fixed routines.
    first: usize,
    next: usize,
    blocks: Vec<Block>,
    exits: Vec<Exit>,
    faults: Vec<Fault>,
    heads: Vec<u32>,
    /// Guest RAM: number of the first page, and for each page its first block.
    first_page: u64,
    pages: Vec<u32>,
    /// Blocks by their second page; some are not valid any more.
    straddling: BTreeMap<u64, Vec<u32>>,
    generation: u64,
    counts: Counts,
}

/// Bytes in a guest page.
pub const PAGE: u64 = 4096;
/// Bytes of which [`pieces`] has one bit.
const PIECE: u64 = PAGE / 64;
/// The fewest words that a block is expected to take on average.
const AVERAGE_WORDS: usize = 96;

impl<C: CodeMemory> Cache<C> {
    /// A cache in `memory`, whose first words are `fixed` routines, for a guest with RAM at `ram`.
    pub fn new(mut memory: C, fixed: &[u32], ram: core::ops::Range<u64>) -> Self {
        memory.write(0, fixed);
        memory.publish(0, fixed.len());
        let most = (memory.capacity() / AVERAGE_WORDS).max(16);
        let pages = ((ram.end.saturating_sub(ram.start)) / PAGE) as usize;
        Self {
            first: fixed.len(),
            next: fixed.len(),
            blocks: Vec::with_capacity(most),
            exits: Vec::with_capacity(4 * most),
            faults: Vec::with_capacity(8 * most),
            heads: vec![NONE; most.next_power_of_two() / 2],
            first_page: ram.start / PAGE,
            pages: vec![NONE; pages],
            straddling: BTreeMap::new(),
            generation: 0,
            counts: Counts::default(),
            memory,
        }
    }

    /// What has happened.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of code, and how many there may be.
    pub fn bytes(&self) -> (u64, u64) {
        (self.next as u64 * 4, self.memory.capacity() as u64 * 4)
    }

    /// Changes when all blocks have been forgotten: their numbers and addresses mean nothing any more.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// All blocks that can be found, for reports.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.valid)
    }

    /// The words of a block.
    pub fn code(&self, block: &Block) -> impl Iterator<Item = u32> + '_ {
        let start = block.start as usize;
        (start..start + block.words as usize).map(|word| self.memory.read(word))
    }

    fn slot(&self, key: &Key) -> usize {
        key.hash() as usize & (self.heads.len() - 1)
    }

    /// The block of a key that lies on one page.
    pub fn find(&self, key: Key) -> Option<BlockId> {
        self.find_at(key, None)
    }

    /// The block of a key, where the next page is that of the guest-physical address `second`, if it goes on there.
    pub fn find_at(&self, key: Key, second: Option<u64>) -> Option<BlockId> {
        let mut at = self.heads.get(self.slot(&key)).copied().unwrap_or(NONE);
        while let Some(block) = self.blocks.get(at as usize) {
            if block.key == key && (block.second.is_none() || block.second == second) {
                return Some(BlockId(at));
            }
            at = block.next;
        }
        None
    }

    /// A block.
    pub fn block(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(id.0 as usize)
    }

    /// Whether a block is still to be compared in lock-step: so often that it is done now once more.
    pub fn compare(&mut self, id: BlockId) -> bool {
        let Some(block) = self.blocks.get_mut(id.0 as usize) else { return false };
        let compare = block.compared < COMPARISONS;
        block.compared += u16::from(compare);
        compare
    }

    /// What a comparison has found; whether it has found a difference the last time, too.
    pub fn compared(&mut self, id: BlockId, differs: bool) -> bool {
        let block = self.blocks.get_mut(id.0 as usize);
        block.is_some_and(|block| core::mem::replace(&mut block.differed, differs) && differs)
    }

    /// Whether a block that has this exit has been compared often enough.
    pub fn is_compared(&self, exit: ExitId) -> bool {
        let stub = self.exits.get(exit.0 as usize).map(|exit| self.memory.address(exit.stub as usize));
        let block = stub.and_then(|stub| self.block(self.containing(stub)?));
        block.is_some_and(|block| block.compared == COMPARISONS)
    }

    /// The address of a block's checked entry.
    pub fn entry(&self, id: BlockId) -> u64 {
        self.block(id).map_or(0, |block| self.memory.address(block.start as usize))
    }

    /// Whether as much fits without forgetting anything.
    pub fn has_room(&self, words: usize, exits: usize, faults: usize) -> bool {
        self.next + words <= self.memory.capacity()
            && self.blocks.len() < self.blocks.capacity()
            && self.exits.len() + exits <= self.exits.capacity()
            && self.faults.len() + faults <= self.faults.capacity()
    }

    /// Whether there is no code in it.
    pub const fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// Forgets everything. No hart may be in translated code, or go there by an address that it remembers.
    pub fn clear(&mut self) {
        self.next = self.first;
        self.blocks.clear();
        self.exits.clear();
        self.faults.clear();
        self.heads.fill(NONE);
        self.pages.fill(NONE);
        self.straddling.clear();
        self.generation += 1;
        self.counts.recycled += 1;
    }

    /// Adds a block. `None`: it does not fit ([`Cache::has_room`]), or is not about the guest's RAM.
    pub fn insert(&mut self, key: Key, compiled: &Compiled<'_>) -> Option<BlockId> {
        let count = compiled.words.len();
        let page = self.page(key.physical)?;
        if !self.has_room(count, compiled.exits.len(), compiled.faults.len()) {
            return None;
        }
        let (start, id) = (self.next, self.blocks.len() as u32);
        self.memory.write(start, compiled.words);
        let first_exit = self.exits.len() as u32;
        for (number, exit) in (first_exit..).zip(compiled.exits) {
            let stub = start + usize::from(exit.stub);
            // The common routine is the first word of all.
            if exit.kind.is_call() {
                self.memory.replace(stub, branch_and_link(stub, 0));
            }
            // Behind the call of each stub lies the number of its exit.
            self.memory.replace(stub + 1, number);
        }
        self.memory.publish(start, count);
        self.exits.extend(compiled.exits.iter().map(|exit| Exit {
            kind: exit.kind,
            branch: exit.branch.map_or(NONE, |branch| start as u32 + u32::from(branch)),
            stub: start as u32 + u32::from(exit.stub),
            linked: false,
            next: NONE,
        }));
        let first_fault = self.faults.len() as u32;
        self.faults.extend_from_slice(compiled.faults);
        let slot = self.slot(&key);
        let mut block = Block {
            key,
            instructions: compiled.guest_instructions,
            samples: 0,
            code: compiled.code | pieces(key.physical, key.physical..=key.physical + MAX_LENGTH - 1),
            second: None,
            start: start as u32,
            words: count as u32,
            faults: first_fault,
            fault_count: compiled.faults.len() as u16,
            compared: 0,
            differed: false,
            next: NONE,
            next_on_page: NONE,
            incoming: NONE,
            valid: true,
        };
        if let (Some(head), Some(on_page)) = (self.heads.get_mut(slot), self.pages.get_mut(page)) {
            block.next = core::mem::replace(head, id);
            block.next_on_page = core::mem::replace(on_page, id);
        }
        self.blocks.push(block);
        self.next += count;
        self.counts.blocks += 1;
        self.counts.instructions += u64::from(compiled.guest_instructions);
        Some(BlockId(id))
    }

    /// Remembers that the code of `key` is not translatable. `None`: there is no room.
    pub fn insert_untranslated(&mut self, key: Key) -> Option<BlockId> {
        self.insert(
            key,
            &Compiled {
                words: &[],
                faults: &[],
                exits: &[],
                guest_instructions: 0,
                code: 0,
                starts: &[],
                main: 0,
                uses_float: false,
            },
        )
    }

    /// The first instruction of a block goes on on the page of the guest-physical address `second`.
    pub fn straddle(&mut self, id: BlockId, second: u64) {
        let Some(block) = self.blocks.get_mut(id.0 as usize) else { return };
        let second = second & !(PAGE - 1);
        block.second = Some(second);
        self.straddling.entry(second).or_default().push(id.0);
    }

    /// The guest-physical addresses of pages that have blocks. One may be there twice.
    pub fn pages_with_blocks(&self) -> impl Iterator<Item = u64> + '_ {
        let pages = self.pages.iter().zip(self.first_page..);
        let first = pages.filter(|(block, _)| **block != NONE).map(|(_, page)| page * PAGE);
        first.chain(self.straddling.keys().copied())
    }

    fn page(&self, physical: u64) -> Option<usize> {
        let page = (physical / PAGE).checked_sub(self.first_page)? as usize;
        (page < self.pages.len()).then_some(page)
    }

    /// Whether addresses of this guest page are the guest's RAM's: blocks can be made of nothing else.
    pub fn covers(&self, physical: u64) -> bool {
        self.page(physical).is_some()
    }

    /// Whether there may be blocks that have code on the guest page of this address: some may be no longer valid.
    pub fn has_blocks_on(&self, physical: u64) -> bool {
        self.page(physical).and_then(|page| self.pages.get(page)).is_some_and(|&block| block != NONE)
            || self.straddling.contains_key(&(physical & !(PAGE - 1)))
    }

    /// Forgets the blocks of the guest page of `physical`; each is passed to `gone`, with the address of its entry: whoever
    /// remembers that has to forget it.
    pub fn invalidate_page(&mut self, physical: u64, gone: impl FnMut(&Block, u64)) {
        let first = physical & !(PAGE - 1);
        self.invalidate(physical, first..=first | (PAGE - 1), gone);
    }

    /// Forgets those blocks of the guest page of `physical` that may be made of the code at the guest-physical addresses
    /// `bytes`, and others near them.
    pub fn invalidate(
        &mut self,
        physical: u64,
        bytes: RangeInclusive<u64>,
        mut gone: impl FnMut(&Block, u64),
    ) {
        let Some(head) = self.page(physical).and_then(|page| self.pages.get_mut(page)) else { return };
        let changed = pieces(physical, bytes);
        let mut at = core::mem::replace(head, NONE);
        // Those that stay, in reverse order.
        let mut kept = NONE;
        while let Some(block) = self.blocks.get(at as usize).copied() {
            if !block.valid || block.code & changed != 0 {
                self.remove(at, &mut gone);
            } else if let Some(block) = self.blocks.get_mut(at as usize) {
                block.next_on_page = core::mem::replace(&mut kept, at);
            }
            at = block.next_on_page;
        }
        if let Some(head) = self.page(physical).and_then(|page| self.pages.get_mut(page)) {
            *head = kept;
        }
        // What goes on here lies in the first piece.
        if changed & 1 != 0
            && let Some(straddling) = self.straddling.remove(&(physical & !(PAGE - 1)))
        {
            straddling.into_iter().for_each(|block| self.remove(block, &mut gone));
        }
    }

    /// Makes a block impossible to find, and to enter by links, and passes it to `gone`, unless it is no more already.
    fn remove(&mut self, id: u32, gone: &mut impl FnMut(&Block, u64)) {
        let Some(block) = self.blocks.get(id as usize).copied().filter(|block| block.valid) else { return };
        let slot = self.slot(&block.key);
        let mut link = self.heads.get_mut(slot);
        while let Some(at) = link {
            if *at == id {
                *at = block.next;
                break;
            }
            let at = *at as usize;
            link = self.blocks.get_mut(at).map(|block| &mut block.next);
        }
        let mut incoming = block.incoming;
        while let Some(exit) = self.exits.get_mut(incoming as usize) {
            exit.linked = false;
            let (branch, stub) = (exit.branch as usize, exit.stub as usize);
            incoming = exit.next;
            self.patch(branch, stub);
        }
        if let Some(block) = self.blocks.get_mut(id as usize) {
            block.valid = false;
            block.incoming = NONE;
        }
        self.counts.invalidated += 1;
        gone(&block, self.memory.address(block.start as usize));
    }

    fn patch(&mut self, branch: usize, target: usize) {
        if let Some(word) = a64::branch(branch as i64, target as i64) {
            self.memory.replace(branch, word);
            self.memory.publish(branch, 1);
        }
    }

    /// The block that is executed at `address`.
    pub fn containing(&self, address: u64) -> Option<BlockId> {
        let word = self.word(address)?;
        let behind = self.blocks.partition_point(|block| block.start as usize <= word);
        let id = behind.checked_sub(1)?;
        let block = self.blocks.get(id)?;
        (word < (block.start + block.words) as usize).then_some(BlockId(id as u32))
    }

    /// The CPU was seen to execute the code at `address`.
    pub fn sample(&mut self, address: u64) {
        let block = self.containing(address).and_then(|id| self.blocks.get_mut(id.0 as usize));
        if let Some(block) = block {
            block.samples = block.samples.saturating_add(1);
        }
    }

    fn word(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.memory.address(0))?;
        let word = (offset / 4) as usize;
        (word < self.memory.capacity()).then_some(word)
    }

    /// The exit whose stub returns to `address`: where the number of the exit lies.
    pub fn exit_at(&self, address: u64) -> Option<ExitId> {
        let word = self.word(address)?;
        let exit = ExitId(self.memory.read(word));
        let stub = self.exits.get(exit.0 as usize)?.stub as usize;
        (stub + 1 == word).then_some(exit)
    }

    /// What kind of exit it is.
    pub fn exit(&self, id: ExitId) -> Option<ExitKind> {
        self.exits.get(id.0 as usize).map(|exit| exit.kind)
    }

    /// Whether it leads to another block.
    pub fn is_linked(&self, id: ExitId) -> bool {
        self.exits.get(id.0 as usize).is_some_and(|exit| exit.linked)
    }

    /// What guest instruction the code at `address` belongs to, if it is one that may fault.
    pub fn locate(&self, address: u64) -> Option<Place> {
        let block = self.block(self.containing(address)?)?;
        let word = (self.word(address)? - block.start as usize) as u16;
        let first = block.faults as usize;
        let faults = self.faults.get(first..first + usize::from(block.fault_count))?;
        let fault = faults.get(faults.partition_point(|fault| fault.word < word))?;
        (fault.word == word).then_some(Place {
            pc: block.key.pc & !(PAGE - 1) | u64::from(fault.offset),
            retired: fault.retired.into(),
            pending: fault.pending,
            floats: fault.floats,
        })
    }

    /// Links an exit to the block that it leads to. Both must be of the same context and guest page.
    pub fn link(&mut self, exit: ExitId, target: BlockId) {
        let Some(block) = self.block(target).copied().filter(Block::is_enterable) else { return };
        let Some(record) = self.exits.get_mut(exit.0 as usize) else { return };
        let ExitKind::Jump { target: pc, backward } = record.kind else { return };
        if record.linked || record.branch == NONE || pc != block.key.pc {
            return;
        }
        record.linked = true;
        record.next = block.incoming;
        let branch = record.branch as usize;
        if let Some(block) = self.blocks.get_mut(target.0 as usize) {
            block.incoming = exit.0;
        }
        self.patch(branch, block.start as usize + usize::from(!backward));
        self.counts.links += 1;
    }
}

/// Bytes that a guest's instruction has at most.
pub const MAX_LENGTH: u64 = 4;

/// Which pieces of the page of `page`, at whatever address that lies, contain one of `bytes`: a bit for each of 64.
pub fn pieces(page: u64, bytes: RangeInclusive<u64>) -> u64 {
    let page = page & !(PAGE - 1);
    let first = bytes.start().saturating_sub(page) / PIECE;
    let last = bytes.end().saturating_sub(page).min(PAGE - 1) / PIECE;
    if first <= last { u64::MAX << first & u64::MAX >> (PAGE / PIECE - 1 - last) } else { 0 }
}

/// `BL` from a word to another one (C6.2).
fn branch_and_link(from: usize, to: usize) -> u32 {
    const LINK: u32 = 1 << 31;
    a64::branch(from as i64, to as i64).map_or(0, |branch| branch | LINK)
}
