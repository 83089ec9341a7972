//! What all harts of a machine share: the cache, and who may be in its code.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use polyvisor_cell_abi::{JitStatistics, MAX_HARTS};
use spin::{mutex::SpinMutex, relax::RelaxStrategy};

use super::cache::{self, BlockId, Cache, CodeMemory, PAGE};
use super::compile::{Compiled, Compiler};
use super::heat::{Heat, Place};
use super::store::{Buffers, Capture, Recording, Store, Stored};
use super::tables::{Memory, SLOTS};
use super::trace::{Source, may_straddle};
use crate::interp::Key;
use crate::ir::Block;
use crate::places::Places;

/// Keeps pages with translated code from being written.
pub trait Protection {
    /// From here on no hart writes the guest-physical page of `address`, until [`Protection::unprotect`]; all that was
    /// written can be seen.
    fn protect(&self, address: u64);

    /// Harts may write the page again.
    fn unprotect(&self, address: u64);

    /// Whether the page is protected.
    fn is_protected(&self, address: u64) -> bool;
}

/// How many slots a recording may use: others are left for what is translated beside it later.
const RECORDED_SLOTS: usize = SLOTS / 4 * 3;

/// Numbers of the slots of jump tables: each target has its own, in each context.
#[derive(Debug, Default)]
struct Slots(Places<u32>);

impl Slots {
    fn get(&self, target: u64, context: u32) -> Option<u32> {
        self.0.get((target, context)).copied()
    }

    /// A new one if there are fewer than `limit` yet.
    fn get_or_assign(&mut self, target: u64, context: u32, limit: usize) -> Option<u32> {
        let next = self.0.len();
        match self.get(target, context) {
            None if next < limit => Some(*self.0.get_or_insert((target, context), next as u32)),
            known => known,
        }
    }

    /// Those that `store` has numbers of, and no others.
    fn reset(&mut self, store: Option<&Store<'_>>) {
        self.0.clear();
        for (target, context) in store.iter().flat_map(|store| store.slots()) {
            self.get_or_assign(target, context, SLOTS);
        }
    }
}

/// What is behind the lock.
#[derive(Debug)]
struct State<C> {
    cache: Cache<C>,
    compiler: Compiler,
    slots: Slots,
    heat: Heat,
    recording: Option<Recording>,
    buffers: Buffers,
    /// Blocks that were taken from the store, and guest instructions in them: the cache counts them, too.
    recalled: (u64, u64),
}

impl<C: CodeMemory> State<C> {
    /// Whether code at the guest-physical address may be translated at `time`: it is the guest's RAM's, and does not change too
    /// often.
    fn is_translatable(&self, physical: u64, time: u64) -> bool {
        self.cache.covers(physical) && !self.heat.is_hot(physical, time)
    }
}

/// Adds what has been made of the guest's RAM. `None`: there is no room.
fn insert<C: CodeMemory>(cache: &mut Cache<C>, key: Key, compiled: &Compiled<'_>) -> Option<BlockId> {
    let inserted = cache.insert(key, compiled);
    // What does not fit into an empty cache never does.
    if inserted.is_none() && cache.is_empty() { cache.insert_untranslated(key) } else { inserted }
}

/// What harts share.
pub struct Shared<C, P, R> {
    state: SpinMutex<State<C>, R>,
    protection: P,
    tables: Vec<Memory>,
    /// What others have translated.
    store: Option<Store<'static>>,
    /// What is translated is recorded.
    records: bool,
    /// Which harts are in translated code, or hold addresses of it.
    inside: [AtomicBool; MAX_HARTS],
    recycling: AtomicBool,
    /// [`Cache::generation`].
    generation: AtomicU64,
    /// Where jumps go of which the tables know nothing.
    miss: u64,
    /// What was said last to be the time, in guest instructions of some hart.
    time: AtomicU64,
    statistics: JitStatistics,
}

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// What came of an attempt to translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translated {
    /// A block.
    Block(BlockId),
    /// The code is not to be translated.
    No,
    /// There is no room.
    Full,
}

impl<C: CodeMemory, P: Protection, R: RelaxStrategy> Shared<C, P, R> {
    /// For `harts` harts. Jumps that tables do not know go to `miss`.
    pub fn new(cache: Cache<C>, compiler: Compiler, protection: P, harts: usize, miss: u64) -> Self {
        let state = State {
            cache,
            compiler,
            slots: Slots::default(),
            heat: Heat::default(),
            recording: None,
            buffers: Buffers::default(),
            recalled: (0, 0),
        };
        Self {
            state: SpinMutex::new(state),
            protection,
            store: None,
            records: false,
            tables: (0..harts.min(MAX_HARTS)).map(|_| Memory::new(miss)).collect(),
            inside: [const { AtomicBool::new(false) }; MAX_HARTS],
            recycling: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            miss,
            time: AtomicU64::new(0),
            statistics: JitStatistics::default(),
        }
    }

    /// The same, with what was translated before.
    pub fn with_store(mut self, store: Store<'static>) -> Self {
        self.state.get_mut().slots.reset(Some(&store));
        self.statistics.stored.store(store.blocks().into(), Relaxed);
        Self { store: Some(store), ..self }
    }

    /// The same, but what is translated is recorded.
    pub fn with_recording(mut self, recording: Recording) -> Self {
        self.state.get_mut().recording = Some(recording);
        Self { records: true, ..self }
    }

    /// What was recorded.
    #[cfg(test)]
    pub fn recorded(&self) -> Vec<u32> {
        self.state.lock().recording.as_ref().map_or_else(Vec::new, |recording| recording.words().to_vec())
    }

    /// Whether what is translated is recorded: then everything is to be.
    pub const fn records(&self) -> bool {
        self.records
    }

    /// What is counted.
    pub const fn statistics(&self) -> &JitStatistics {
        &self.statistics
    }

    /// Brings what the cache counts up to date.
    fn publish(&self, state: &State<C>) {
        let State { cache, recalled, recording, .. } = state;
        let (counts, (code, capacity)) = (cache.counts(), cache.bytes());
        let JitStatistics { blocks, instructions, invalidated_blocks, recycles, links, .. } =
            &self.statistics;
        for (counter, value) in [
            (blocks, counts.blocks.wrapping_sub(recalled.0)),
            (instructions, counts.instructions.wrapping_sub(recalled.1)),
            (&self.statistics.recalled, recalled.0),
            (&self.statistics.code, code),
            (&self.statistics.capacity, capacity),
            (invalidated_blocks, counts.invalidated),
            (recycles, counts.recycled),
            (links, counts.links),
        ] {
            counter.store(value, Relaxed);
        }
        if let Some(recording) = recording {
            let header = recording.header();
            self.statistics.recorded.store(header.blocks.into(), Relaxed);
            self.statistics.recording_full.store(header.full.into(), Relaxed);
        }
    }

    /// How many harts there are.
    pub const fn harts(&self) -> usize {
        self.tables.len()
    }

    /// The memory of a hart's tables.
    pub fn tables(&self, hart: usize) -> Option<&Memory> {
        self.tables.get(hart)
    }

    /// Where jumps go of which the tables know nothing.
    pub const fn miss(&self) -> u64 {
        self.miss
    }

    /// Keeps pages from being written.
    pub const fn protection(&self) -> &P {
        &self.protection
    }

    /// Does something with the cache.
    pub fn with<T>(&self, what: impl FnOnce(&mut Cache<C>) -> T) -> T {
        what(&mut self.state.lock().cache)
    }

    /// Translated code was interrupted at `address`: counts that for its block. For interrupt handlers of a hart that is in
    /// translated code, and so holds no lock; where another one does, the sample is lost.
    pub fn sample(&self, address: u64) {
        if let Some(mut state) = self.state.try_lock() {
            state.cache.sample(address);
        }
    }

    /// Compiles `parts` once more, of which the block at a source was made, to learn what the cache does not keep. `look` gets
    /// what comes of it, if that is what the block is. `None`: there is no such block.
    pub fn recompile<T>(
        &self,
        Source { key, second, .. }: Source,
        parts: &[Block],
        look: impl FnOnce(&Cache<C>, BlockId, Option<Compiled<'_>>) -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        let State { cache, compiler, slots, .. } = &mut *state;
        let id = cache.find_at(key, second)?;
        let block = cache.block(id)?;
        let compiled = compiler.list(parts, &mut |target| slots.get(target, key.context));
        let same = compiled.filter(|compiled| {
            (compiled.words.len(), compiled.guest_instructions)
                == (block.words() as usize, block.instructions)
        });
        Some(look(cache, id, same))
    }

    /// The hart is going to use addresses of translated code, until [`Shared::leave`]. The cache's generation; `None` while
    /// somebody waits for all harts to stay away.
    pub fn enter(&self, hart: usize) -> Option<u64> {
        let inside = self.inside.get(hart)?;
        inside.store(true, SeqCst);
        if self.recycling.load(SeqCst) {
            inside.store(false, SeqCst);
            return None;
        }
        Some(self.generation.load(Relaxed))
    }

    /// The hart uses none any more.
    pub fn leave(&self, hart: usize) {
        if let Some(inside) = self.inside.get(hart) {
            inside.store(false, SeqCst);
        }
    }

    /// Forgets all translated code. The hart that asks is not inside; `kick` makes another one look after its affairs.
    pub fn recycle(&self, kick: impl Fn(usize)) {
        if self.recycling.swap(true, SeqCst) {
            // Somebody else does it.
            return;
        }
        for (hart, inside) in self.inside.iter().enumerate() {
            if inside.load(SeqCst) {
                kick(hart);
            }
            while inside.load(SeqCst) {
                R::relax();
            }
        }
        let mut state = self.state.lock();
        state.cache.clear();
        // What is recorded later refers to the numbers that are recorded already.
        if !self.records {
            state.slots.reset(self.store.as_ref());
        }
        self.generation.store(state.cache.generation(), Relaxed);
        self.publish(&state);
        drop(state);
        self.recycling.store(false, SeqCst);
    }

    /// Translates what `lift` collects at `source`, if that may be translated at `time`. `lift` notes the code that it reads,
    /// if that is to be recorded: not unless the context is a `lasting` one.
    pub fn translate<'a>(
        &self,
        source: Source,
        time: u64,
        lasting: bool,
        lift: impl FnOnce(Option<&mut Capture>) -> &'a [Block],
    ) -> Translated {
        let Source { key, second, .. } = source;
        let mut state = self.state.lock();
        // Another hart may have been faster.
        if let Some(block) = state.cache.find_at(key, second) {
            return Translated::Block(block);
        }
        if !state.is_translatable(key.physical, time) {
            return Translated::No;
        }
        let State { cache, compiler, slots, recording, .. } = &mut *state;
        self.protection.protect(key.physical);
        if let Some(second) = second {
            self.protection.protect(second);
        }
        // Only now is the code what it will be.
        let parts = lift(recording.as_mut().map(Recording::capture));
        let limit = if recording.is_some() { RECORDED_SLOTS } else { SLOTS };
        let compiled = compiler.compile(parts, &mut |target| {
            let next = slots.0.len() as u32;
            let slot = slots.get_or_assign(target, key.context, limit);
            if let Some(recording) = recording.as_mut().filter(|_| slot == Some(next)) {
                recording.add_slot(target, key.context);
            }
            slot
        });
        let goes_on = parts.first().is_some_and(|part| key.pc % PAGE + u64::from(part.len) > PAGE);
        let may_go_on = may_straddle(key.pc) && parts.is_empty();
        if let Some(recording) = recording.as_mut().filter(|_| lasting && !may_go_on) {
            recording.add_block(key, compiled.as_ref());
        }
        let inserted = match &compiled {
            Some(compiled) => insert(cache, key, compiled),
            // Its second half may come later.
            None if may_go_on => return Translated::No,
            None => cache.insert_untranslated(key),
        };
        if let (Some(block), Some(second)) = (inserted, second.filter(|_| goes_on)) {
            cache.straddle(block, second);
        }
        self.publish(&state);
        inserted.map_or(Translated::Full, Translated::Block)
    }

    /// Takes the block at `source` from the store, if that has it and it may be translated at `time`. `None`: it is not there.
    pub fn recall(&self, source: Source, time: u64) -> Option<Translated> {
        let Source { key, second, .. } = source;
        let mut candidates = self.store.as_ref()?.candidates(key.pc, key.context).peekable();
        candidates.peek()?;
        let mut state = self.state.lock();
        if let Some(block) = state.cache.find_at(key, second) {
            return Some(Translated::Block(block));
        }
        if !state.is_translatable(key.physical, time) {
            return None;
        }
        let State { cache, buffers, recalled, .. } = &mut *state;
        let is_right = |stored: &Stored<'_>| stored.is_made_of(&source);
        let second_of = |stored: &Stored<'_>| second.filter(|_| stored.goes_on());
        let stored = candidates.find(is_right).filter(|stored| {
            let pages = [Some(key.physical), second_of(stored)].into_iter().flatten();
            let were_protected = pages.clone().all(|page| self.protection.is_protected(page));
            pages.clone().for_each(|page| self.protection.protect(page));
            // Only now is the code what it will be.
            were_protected || is_right(stored) || {
                let unused = pages.filter(|&page| !cache.has_blocks_on(page));
                unused.for_each(|page| self.protection.unprotect(page));
                false
            }
        });
        let found = stored.and_then(|stored| Some((stored.decode(buffers)?, second_of(&stored))));
        let Some((compiled, second)) = found else {
            count(&self.statistics.changed);
            return None;
        };
        let block = insert(cache, key, &compiled);
        if let Some(block) = block {
            recalled.0 += 1;
            recalled.1 += u64::from(compiled.guest_instructions);
            if let Some(second) = second {
                cache.straddle(block, second);
            }
        }
        self.publish(&state);
        Some(block.map_or(Translated::Full, Translated::Block))
    }

    /// The slot for a target.
    pub fn slot(&self, target: u64, context: u32) -> Option<u32> {
        self.state.lock().slots.get(target, context)
    }

    /// It is `time`: for those who write without knowing.
    pub fn set_time(&self, time: u64) {
        self.time.store(time, Relaxed);
    }

    /// Writes `len` bytes of the guest's RAM at `address` by `write`: translations of what lies there are forgotten.
    pub fn writing(&self, address: u64, len: u64, write: &mut dyn FnMut()) {
        let mut state = self.state.lock();
        let last = address.saturating_add(len.max(1) - 1);
        self.store(&mut state, address, address..=last);
        if address / PAGE != last / PAGE {
            self.store(&mut state, last, address..=last);
        }
        write();
    }

    /// `bytes` are about to be written, as far as they are on the page of `address`.
    fn store(&self, state: &mut State<C>, address: u64, bytes: RangeInclusive<u64>) {
        if !self.protection.is_protected(address) {
            return;
        }
        let time = self.time.load(Relaxed);
        if !state.heat.watches(address) {
            return self.forget(state, address, time);
        }
        let State { cache, slots, heat, .. } = state;
        cache.invalidate(address, bytes, |block, entry| {
            self.gone(slots, block, entry);
            heat.add(Place::Block(block.key.physical), time);
        });
        if !cache.has_blocks_on(address) {
            self.protection.unprotect(address);
        }
    }

    /// The guest-physical page of `address` has been written, or is about to be.
    pub fn written(&self, address: u64, time: u64) {
        self.forget(&mut self.state.lock(), address, time);
    }

    fn forget(&self, state: &mut State<C>, address: u64, time: u64) {
        if !self.protection.is_protected(address) {
            return;
        }
        let State { cache, slots, heat, .. } = state;
        heat.add(Place::Page(address), time);
        count(&self.statistics.invalidated_pages);
        cache.invalidate_page(address, |block, entry| self.gone(slots, block, entry));
        self.protection.unprotect(address);
    }

    /// No table leads to this block any more.
    fn gone(&self, slots: &Slots, block: &cache::Block, entry: u64) {
        let Key { pc, context, .. } = block.key;
        let slot = slots.get(pc, context);
        for tables in &self.tables {
            tables.forget(pc, slot, entry, self.miss);
        }
    }

    /// All guest RAM may have been written.
    pub fn all_written(&self, time: u64) {
        let mut state = self.state.lock();
        let pages: Vec<u64> = state.cache.pages_with_blocks().collect();
        for page in pages {
            self.forget(&mut state, page, time);
        }
    }
}
