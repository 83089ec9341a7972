//! The interpreter: the back end that runs everywhere.
//!
//! It lowers blocks to code of its own ([`code`]), keeps them in a cache, links them and executes them in one loop
//! ([`execute`]). `docs/interpreter.md` tells how it is made and what it costs.

mod access;
mod cache;
mod code;
mod execute;
mod fetch;
mod flush;
mod guest;
mod jumps;
mod lower;
mod mapping;
mod piecewise;
mod source;
mod superpages;
#[cfg(test)]
mod tests;
mod tlb;

use alloc::boxed::Box;
use core::marker::PhantomData;

pub use fetch::Place;
pub use flush::Flush;
pub use guest::{Attention, CHUNK, Exception, Guest, Translation};
pub use lower::Exits;
pub use mapping::Mapping;
pub use source::{Code, Fetch};
pub use superpages::Superpages;
pub use tlb::Tlb;

use self::cache::Cache;
pub use self::cache::Key;
pub use self::execute::Outcome;
use self::execute::execute;
use self::fetch::FetchTlb;
use self::jumps::Jumps;
use self::lower::Lowering;
use self::tlb::PAGE;
use crate::boxed;
use crate::ir::{Block, Builder, Optimiser, Vars};
use crate::memory::{Access, Physical};

/// How many pieces of 16 bits the code of a block may have that is kept.
const MAX_PARCELS: usize = 4 * Builder::MAX_INSTRUCTIONS;

/// How often a block of [`Exits::Counted`] is executed.
pub const HOT: u32 = 16;

/// Executes guest code for one hart, whose data it reaches by `M`.
#[derive(Debug)]
pub struct Interpreter<G, M = Tlb> {
    cache: Cache,
    jumps: Jumps,
    mapping: M,
    fetch: FetchTlb,
    lowering: Lowering,
    exits: Exits,
    optimiser: Optimiser,
    /// Buffer for the guest's code of a block.
    code: Box<[u16; MAX_PARCELS]>,
    /// Buffer for a block.
    block: Block,
    /// [`Cache::generation`] when `jumps` was right.
    generation: u64,
    /// [`Guest::code_space`] that `fetch` and `jumps` are about.
    space: u64,
    /// [`Guest::code_epoch`] when it was last looked at.
    epoch: u64,
    guest: PhantomData<fn(&mut G)>,
}

/// What has changed about all the guest's code and its translations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// What must be forgotten of translations.
    pub flush: Flush,
    /// Code may have been changed: [`Guest::code_epoch`] is another.
    pub code: bool,
}

/// What is to be executed next.
enum Found {
    /// A block that may be remembered: its number in the cache.
    Block(u32),
    /// A block for once: the index of its first word.
    Once(usize),
}

impl<G: Guest> Interpreter<G> {
    /// An interpreter with a software TLB. It takes about `capacity` bytes for code, and some 220 KiB besides.
    pub fn new(capacity: usize) -> Self {
        Self::with(capacity, Tlb::new(G::VIEWS), Exits::Linked)
    }
}

impl<G: Guest, M: Mapping> Interpreter<G, M> {
    /// An interpreter with this mapping, which knows nothing yet, and such blocks. It takes about `capacity` bytes for code,
    /// and some 140 KiB besides.
    pub fn with(capacity: usize, mapping: M, exits: Exits) -> Self {
        Self {
            cache: Cache::new(capacity),
            jumps: Jumps::new(),
            mapping,
            fetch: FetchTlb::new(),
            lowering: Lowering::default(),
            exits,
            optimiser: Optimiser::new(0..0, Vars::NONE),
            code: boxed::filled(0),
            block: Block::default(),
            generation: 0,
            space: 0,
            epoch: 0,
            guest: PhantomData,
        }
    }

    /// Executes until [`Guest::attend`] wants to return.
    pub fn run(&mut self, guest: &mut G) {
        let mut outcome = Outcome::Left;
        let mut step = false;
        loop {
            self.synchronise(guest);
            if step || guest.wants_attention() {
                outcome = Outcome::Left;
                let attention = guest.attend();
                self.synchronise(guest);
                step = match attention {
                    Attention::Go => false,
                    Attention::Step => true,
                    Attention::Return => return,
                };
            }
            outcome = if step {
                self.step_once(guest);
                Outcome::Left
            } else {
                self.proceed(guest, outcome)
            };
        }
    }

    /// Forgets what the guest says is not true any more, and tells that. To be called before guest code is executed, after
    /// any that may have left the block, an exception, and [`Guest::attend`].
    pub fn synchronise(&mut self, guest: &mut G) -> Changes {
        let flush = guest.take_flush();
        self.mapping.flush(flush);
        self.mapping.enter(guest.space(), guest.view());
        let space = guest.code_space();
        let same_space = core::mem::replace(&mut self.space, space) == space;
        match if same_space { self.fetch.superpages().widen(flush) } else { Flush::All } {
            Flush::Nothing => {}
            Flush::Page { address, .. } => {
                self.fetch.flush_page(address);
                self.jumps.flush_page(address);
            }
            // They know no numbers of address spaces.
            Flush::Space(_) | Flush::All => {
                self.fetch.flush();
                self.jumps.flush();
            }
        }
        let epoch = guest.code_epoch();
        let code = core::mem::replace(&mut self.epoch, epoch) != epoch;
        if code {
            // Every block is looked up again, and then compared with memory.
            self.cache.unlink_all();
            self.jumps.flush();
        }
        self.jumps.enter(guest.context());
        Changes { flush, code }
    }

    /// Executes on from the program counter, after `before`.
    fn proceed(&mut self, guest: &mut G, before: Outcome) -> Outcome {
        match self.next_after(guest, before) {
            Ok(Found::Once(code)) => self.carry_out_once(guest, code),
            Ok(Found::Block(number)) => return self.carry_out(guest, self.cache.code(number)),
            Err(exception) => guest.raise(exception),
        }
        Outcome::Left
    }

    /// The block at the program counter, which what has led there is linked with.
    fn next_after(&mut self, guest: &mut G, before: Outcome) -> Result<Found, Exception> {
        let generation = self.cache.generation();
        let found = self.next(guest)?;
        if let (Outcome::Unlinked(stub), &Found::Block(number)) = (before, &found)
            && generation == self.cache.generation()
            && self.lies_on_one_page(number)
        {
            self.cache.link(stub, number);
        }
        Ok(found)
    }

    /// The block at the program counter.
    fn next(&mut self, guest: &mut G) -> Result<Found, Exception> {
        let pc = guest.vars()[usize::from(G::PC.0)];
        match self.jumps.block(pc) {
            Some(number) => Ok(Found::Block(number)),
            None => self.find(guest, pc),
        }
    }

    /// Executes from the word at index `code`. Exceptions are raised.
    fn carry_out(&mut self, guest: &mut G, code: usize) -> Outcome {
        match execute(&self.cache, &self.jumps, &mut self.mapping, guest, code) {
            Outcome::Raised(exception, index) => {
                if let Some((pc, retired)) = self.cache.locate(index) {
                    let vars = guest.vars();
                    vars[usize::from(G::PC.0)] = pc;
                    let count = &mut vars[usize::from(G::INSTRET.0)];
                    *count = count.wrapping_add(u64::from(retired));
                }
                guest.raise(exception);
                Outcome::Left
            }
            Outcome::CallRaised(exception) => {
                guest.raise(exception);
                Outcome::Left
            }
            outcome => outcome,
        }
    }

    /// The same with what [`Found::Once`] is about.
    fn carry_out_once(&mut self, guest: &mut G, code: usize) {
        self.carry_out(guest, code);
        self.cache.remove_last();
    }

    fn lies_on_one_page(&self, number: u32) -> bool {
        self.cache.record(number).is_some_and(|record| record.second.is_none())
    }

    /// The block at `pc`.
    fn find(&mut self, guest: &mut G, pc: u64) -> Result<Found, Exception> {
        let place = self.fetch.translate(guest, pc)?;
        if !place.whole_page {
            return self.once(guest, pc).map(Found::Once);
        }
        let key = Key { physical: place.physical, pc, context: guest.context() };
        let number = match self.look_up(guest, key) {
            Some(number) => number,
            None => match self.make(guest, key)? {
                Found::Block(number) => number,
                once => return Ok(once),
            },
        };
        let last =
            pc.wrapping_add(self.cache.record(number).map_or(0, |record| u64::from(record.len)).max(1) - 1);
        self.jumps.insert(pc, last, number, self.cache.code(number));
        Ok(Found::Block(number))
    }

    /// The block in the cache that is right for `key`.
    fn look_up(&mut self, guest: &mut G, key: Key) -> Option<u32> {
        loop {
            let cache = &self.cache;
            let number = cache.candidates(key).find(|&number| {
                let Some(record) = cache.record(number) else { return false };
                // Of a block that goes on on a second page, the same must be there as it was.
                record.second.is_none_or(|second| {
                    let next_page = (key.pc | (PAGE - 1)).wrapping_add(1);
                    self.fetch.translate(guest, next_page).is_ok_and(|place| place.physical == second)
                })
            });
            let number = number?;
            if self.is_right(guest, number) {
                self.cache.confirm(number, self.epoch);
                return Some(number);
            }
            self.cache.forget(number);
        }
    }

    /// Whether the guest's code is what the block was made of.
    fn is_right(&self, guest: &G, number: u32) -> bool {
        let Some(record) = self.cache.record(number) else { return false };
        if record.epoch == self.epoch {
            return true;
        }
        let (ram, code) = (guest.physical().ram(), self.cache.guest_code(record));
        let on_first = (PAGE - record.key.physical % PAGE) as usize / 2;
        let (first, rest) = code.split_at(on_first.min(code.len()));
        ram.holds(record.key.physical, first)
            && (rest.is_empty() || record.second.is_some_and(|second| ram.holds(second, rest)))
    }

    /// Lifts, lowers and keeps the block of `key`.
    fn make(&mut self, guest: &mut G, key: Key) -> Result<Found, Exception> {
        let (mut second, mut cacheable) = (None, true);
        let fetch = &mut self.fetch;
        // Asked for what does not lie on the first page.
        let mut fetch = |guest: &mut G, address: u64| {
            let (parcel, place) = fetch.read(guest, address)?;
            second = Some(place.physical & !(PAGE - 1));
            // Two pages at most, and both for more than this once.
            cacheable &= place.whole_page && address.wrapping_sub(key.pc) < PAGE;
            Ok(parcel)
        };
        let ram = guest.physical().ram();
        let mut code = Code::on_page(key.pc, ram.rest_of_page(key.physical), &mut *self.code, &mut fetch);
        let block = &mut self.block;
        guest.lift(key.pc, Builder::MAX_INSTRUCTIONS, block, &mut code)?;
        if key.pc % PAGE + u64::from(block.len) <= PAGE {
            second = None;
        }
        if self.exits != Exits::Counted {
            self.optimiser.optimise(block);
        }
        let lowered = self.lowering.lower(block, self.exits);
        // Code is compared in the units that it is read in.
        let parcels = self.code.get(..usize::from(block.len).div_ceil(2));
        let number = match parcels.filter(|_| cacheable && lowered.is_some()) {
            Some(parcels) => self.cache.insert(key, second, self.epoch, &self.lowering, parcels),
            None => None,
        };
        match number {
            Some(number) => {
                self.forget_indices();
                Ok(Found::Block(number))
            }
            None => self.once(guest, key.pc).map(Found::Once),
        }
    }

    /// One instruction at `pc`, for this once: the index of its first word.
    fn once(&mut self, guest: &mut G, pc: u64) -> Result<usize, Exception> {
        let fetch = &mut self.fetch;
        let mut fetch = |guest: &mut G, address| Ok(fetch.read(guest, address)?.0);
        guest.lift(pc, 1, &mut self.block, &mut Code::new(&mut fetch))?;
        let key = Key { physical: 0, pc, context: guest.context() };
        let number = self.lower_once(key);
        // An instruction without end cannot be fetched.
        let number = number.ok_or_else(|| guest.access_fault(pc, Access::Fetch))?;
        Ok(self.cache.code(number))
    }

    /// Forgets remembered indices if they have lost their meaning.
    fn forget_indices(&mut self) {
        if self.generation != self.cache.generation() {
            self.generation = self.cache.generation();
            self.jumps.flush();
        }
    }

    fn lower_once(&mut self, key: Key) -> Option<u32> {
        self.lowering.lower(&self.block, Exits::Leaving)?;
        let number = self.cache.insert_once(key, &self.lowering)?;
        self.forget_indices();
        Some(number)
    }
}
