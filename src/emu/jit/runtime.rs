//! The loop around translated code: enters it, and does what it leaves for.
//!
//! Code that is not hot, and what the compiler does not know, is the interpreter's: one block at a time. Both execute on the
//! same variables. Floating-point registers are the exception: once translated code has used them they stay in the CPU's
//! until somebody else wants to see them.

use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

use spin::relax::RelaxStrategy;

use super::cache::{BlockId, CodeMemory, ExitId, PAGE};
use super::compile::float::Pending;
use super::compile::{ExitKind, Home, Layout};
use super::lockstep::{self, Mismatch};
use super::shared::{Protection, Shared, Translated, count};
use super::store::Capture;
use super::tables::{Memory, SHARED, TableKey, Tables};
use super::trace::{Collector, Source, may_straddle};
use super::words;
use crate::float::Rounding;
use crate::interp::{Attention, Code, Guest, Interpreter, Key, Mapping, Outcome, Place};
use crate::ir::Block;
use crate::memory::{Access, Physical};

/// The bit of the count of retired instructions that says that the hart is due.
const DUE: u64 = 1 << 63;
/// From the checked entry of a block to the unchecked one.
const BEHIND_CHECK: u64 = 4;
/// Bits of [`words::FLOAT_READY`]: it is so, and the guest rounds to nearest.
const FLOAT_READY: u64 = 1 << 0;
const FLOAT_NEAREST: u64 = 1 << 1;

/// Why translated code was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// By an exit: the address at which its number lies. The variables are up to date.
    Exit(u64),
    /// An access to guest memory was not possible: [`words::FRAME`] and the words behind it say all.
    Fault {
        /// It was a store.
        store: bool,
        /// It is about the address's translation.
        mappable: bool,
    },
}

/// The CPU that executes translated code.
pub trait Cpu {
    /// Executes translated code at `code` on a guest's variables.
    fn enter(&mut self, vars: &mut [u64; 256], code: u64) -> Left;

    /// Goes on where a fault was.
    fn resume(&mut self, vars: &mut [u64; 256]) -> Left;

    /// The address of the routine that leaves, for [`words::LEAVE`].
    fn leave_routine(&self) -> u64;

    /// Brings the guest's floating-point registers into the CPU's, which then computes as the guest has it.
    fn load_float(&mut self, vars: &[u64; 256], rounding: Rounding);

    /// Brings them back, and the exceptions that have been raised; and v29 to v31 to [`words::FLOAT_TEMPORARIES`].
    fn save_float(&mut self, vars: &mut [u64; 256]);

    /// The guest has said that code may have been changed: what has been written without the MMU is to be passed to
    /// [`Shared::written`].
    fn code_changed(&mut self, time: u64);

    /// The counter of time, in ticks.
    fn now(&self) -> u64;

    /// Makes another hart look after its affairs.
    fn kick(&self, hart: usize);

    /// Translated code was left at `code`, where there is no way out: nobody knows where the guest is, so its machine ends.
    fn lost(&self, code: u64) -> !;

    /// In lock-step, the block of this key has done something else than it must.
    fn mismatch(&self, key: Key, mismatch: Mismatch);
}

/// How the last exit would like to be connected with the block that comes next.
#[derive(Debug, Clone, Copy)]
enum Connect {
    Nothing,
    Link(ExitId),
    Slot(u32),
    Indirect,
}

/// What comes after translated code.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// To look at what there is.
    Look,
    /// An instruction for the interpreter.
    Instruction,
    /// For the interpreter, as far as it wants to.
    Interpret,
    /// The same with code that has not been translated.
    Cold(Key),
}

/// Executes guest code for one hart, by translating it.
pub struct Runtime<G, M, C, K, P, R> {
    interpreter: Interpreter<G, M>,
    cpu: K,
    shared: Arc<Shared<C, P, R>>,
    layout: &'static Layout,
    hart: usize,
    tables: Tables,
    collector: Collector,
    generation: u64,
    connect: Connect,
    /// How the interpreter has come here, if it has just been at work.
    interpreted: Outcome,
    /// What [`words::FLOAT_READY`] is to be: not 0 while floating-point registers are the CPU's.
    float_ready: u64,
    /// What translated code does is compared with what it must do.
    lockstep: bool,
}

impl<G, M, C, K, P, R> Runtime<G, M, C, K, P, R>
where
    G: Guest,
    M: Mapping,
    C: CodeMemory,
    K: Cpu,
    P: Protection,
    R: RelaxStrategy,
{
    /// For hart `hart`, whose interpreter counts blocks; in lock-step, if that is wanted.
    pub fn new(
        interpreter: Interpreter<G, M>,
        cpu: K,
        shared: Arc<Shared<C, P, R>>,
        layout: &'static Layout,
        hart: usize,
        lockstep: bool,
    ) -> Self {
        let tables = Tables::new(shared.miss());
        Self {
            interpreter,
            cpu,
            shared,
            layout,
            hart,
            tables,
            collector: Collector::default(),
            generation: 0,
            connect: Connect::Nothing,
            interpreted: Outcome::Left,
            float_ready: 0,
            lockstep,
        }
    }

    /// Executes until [`Guest::attend`] wants to return.
    pub fn run(&mut self, guest: &mut G) {
        let mut step = false;
        loop {
            self.synchronise(guest);
            if step || guest.wants_attention() {
                self.connect = Connect::Nothing;
                self.interpreted = Outcome::Left;
                self.save_float(guest);
                let attention = guest.attend();
                self.synchronise(guest);
                step = match attention {
                    Attention::Go => false,
                    Attention::Step => true,
                    Attention::Return => return,
                };
            }
            if step {
                self.interpreter.step_once(guest);
                continue;
            }
            let Some(generation) = self.shared.enter(self.hart) else {
                R::relax();
                continue;
            };
            let next = self.proceed(guest, generation);
            self.shared.leave(self.hart);
            // What the interpreter executes may wait for other harts, which may wait for this one to be outside.
            match next {
                Next::Look => self.interpreted = Outcome::Left,
                Next::Instruction => self.interpret_one(guest),
                Next::Interpret => self.interpret(guest, Interpreter::run_hot),
                Next::Cold(key) => self.interpret_or_translate(guest, key),
            }
        }
    }

    /// Forgets what the guest says is not true any more.
    fn synchronise(&mut self, guest: &mut G) {
        let changes = self.interpreter.synchronise(guest);
        if let Some(memory) = self.shared.tables(self.hart) {
            self.tables.flush(memory, changes.flush);
        }
        if changes.code {
            let time = guest.vars()[usize::from(G::INSTRET.0)];
            self.cpu.code_changed(time);
        }
    }

    /// Executes translated code from the program counter on, if there is any.
    fn proceed(&mut self, guest: &mut G, generation: u64) -> Next {
        if generation != self.generation {
            self.generation = generation;
            self.connect = Connect::Nothing;
            if let Some(memory) = self.shared.tables(self.hart) {
                self.tables.clear_all(memory);
            }
        }
        let connect = core::mem::replace(&mut self.connect, Connect::Nothing);
        let lockstep = self.lockstep;
        let pc = guest.vars()[usize::from(G::PC.0)];
        let place = match self.interpreter.fetch_place(guest, pc) {
            Ok(place) => place,
            Err(exception) => {
                guest.raise(exception);
                return Next::Look;
            }
        };
        if !place.whole_page {
            return Next::Instruction;
        }
        let key = Key { physical: place.physical, pc, context: guest.translation_context() };
        let second = self.second(guest, pc);
        let global = place.global && second.is_none_or(|(_, second)| second.global);
        let space = if global { SHARED } else { guest.code_space() };
        let table = TableKey { context: key.context, space };
        let (tables, shared, hart) = (&mut self.tables, &self.shared, self.hart);
        // What leads to a block is changed while it cannot become invalid.
        let found = shared.with(|cache| {
            let block = cache.find_at(key, second.map(|(_, second)| second.physical))?;
            let (entry, instructions) = (cache.entry(block), cache.block(block)?.instructions);
            let compare = lockstep && cache.compare(block);
            // What is to be compared comes by here, and leads nowhere but here.
            let connect = match connect {
                _ if compare => Connect::Nothing,
                Connect::Link(exit) if lockstep && !cache.is_compared(exit) => Connect::Nothing,
                connect => connect,
            };
            if let Connect::Link(exit) = connect {
                cache.link(exit, block);
            }
            if instructions != 0
                && let Some(memory) = shared.tables(hart)
            {
                let address = connect_tables(tables, memory, table, (pc, place.level), entry, connect);
                if let Some((address, second)) = second {
                    tables.depend((address, second.level));
                }
                guest.vars()[words::TABLE] = address;
            }
            Some((entry, instructions, compare.then_some(block)))
        });
        match found {
            Some((_, 0, _)) => Next::Interpret,
            Some((entry, instructions, compared)) => {
                let compared = compared.map(|block| (block, instructions as usize));
                if self.execute(guest, key, entry, compared) { Next::Interpret } else { Next::Look }
            }
            None => Next::Cold(key),
        }
    }

    /// The next page of the guest's, and where it lies, if the instruction at `pc` may go on there.
    fn second(&mut self, guest: &mut G, pc: u64) -> Option<(u64, Place)> {
        let next = pc.wrapping_add(2);
        let place = if may_straddle(pc) { self.interpreter.fetch_place(guest, next).ok() } else { None };
        place.filter(|place| place.whole_page).map(|place| (next, place))
    }

    /// Where the code of the block of `key` lies.
    fn source(&mut self, guest: &mut G, key: Key) -> Source {
        let second = self.second(guest, key.pc).map(|(_, second)| second.physical);
        Source { ram: guest.physical().ram(), key, second }
    }

    fn interpret_one(&mut self, guest: &mut G) {
        self.interpreted = Outcome::Left;
        self.save_float(guest);
        self.interpreter.step_once(guest);
    }

    fn interpret(&mut self, guest: &mut G, run: impl FnOnce(&mut Interpreter<G, M>, &mut G) -> Outcome) {
        self.save_float(guest);
        let before = guest.vars()[usize::from(G::INSTRET.0)];
        self.shared.set_time(before);
        self.interpreted = run(&mut self.interpreter, guest);
        let retired = guest.vars()[usize::from(G::INSTRET.0)].wrapping_sub(before);
        let statistics = self.shared.statistics();
        count(&statistics.interpretations);
        statistics.interpreted.fetch_add(retired, Relaxed);
    }

    /// Interprets what is cold, and takes what is not from the store, or translates it.
    fn interpret_or_translate(&mut self, guest: &mut G, key: Key) {
        let before = self.interpreted;
        let time = guest.vars()[usize::from(G::INSTRET.0)];
        let lasting = guest.has_lasting_context();
        let source = self.source(guest, key);
        let recalled = if lasting { self.shared.recall(source, time) } else { None };
        let translated = match recalled {
            Some(recalled) => recalled,
            None if before == Outcome::Hot || self.shared.records() && lasting => {
                let started = self.cpu.now();
                let (shared, collector) = (&self.shared, &mut self.collector);
                let translated = shared.translate(source, time, lasting, |capture| {
                    Self::lift(guest, source, collector, capture)
                });
                shared.statistics().ticks.fetch_add(self.cpu.now().wrapping_sub(started), Relaxed);
                translated
            }
            None => return self.interpret(guest, |interpreter, guest| interpreter.run_cold(guest, before)),
        };
        match translated {
            Translated::Block(_) => {}
            Translated::No => self.interpret(guest, Interpreter::run_hot),
            Translated::Full => {
                let cpu = &self.cpu;
                self.shared.recycle(|hart| cpu.kick(hart));
            }
        }
    }

    /// The trace at `source`.
    fn lift<'a>(
        guest: &mut G,
        source: Source,
        collector: &'a mut Collector,
        mut capture: Option<&mut Capture>,
    ) -> &'a [Block] {
        collector.collect(source.key.pc, |pc, max, block| {
            // What is to be noted is read one by one.
            let page = if capture.is_some() { &[] } else { source.rest_of_page(pc) };
            let mut fetch = |guest: &mut G, address: u64| {
                let code = source.code(address);
                if let (Some(capture), Some(code)) = (&mut capture, code) {
                    capture.note(address.wrapping_sub(source.key.pc & !(PAGE - 1)), code);
                }
                code.ok_or_else(|| guest.access_fault(address, Access::Fetch))
            };
            let mut code = Code::on_page(pc, page, &mut [], &mut fetch);
            guest.lift_in(source.key.context, pc, max, block, &mut code).ok()
        })
    }

    /// Executes the block of `key`, whose entry is at `entry`, and what it leads to; once, and `compared`, if that says which
    /// block it is, and how many instructions it has. Whether the interpreter is to go on.
    fn execute(
        &mut self,
        guest: &mut G,
        key: Key,
        mut entry: u64,
        compared: Option<(BlockId, usize)>,
    ) -> bool {
        let prediction = compared.map(|(block, instructions)| {
            self.show_float(guest);
            let source = self.source(guest, key);
            let prediction = lockstep::predict(guest, source, instructions);
            // One pass: in front of its own head, the trace sees that the hart is due.
            guest.vars()[usize::from(G::INSTRET.0)] |= DUE;
            entry += BEHIND_CHECK;
            (block, prediction)
        });
        let vars = guest.vars();
        vars[words::LEAVE] = self.cpu.leave_routine();
        vars[words::FLOAT_READY] = self.float_ready;
        let statistics = self.shared.statistics();
        count(&statistics.entries);
        let mut left = self.cpu.enter(vars, entry);
        let interpret = loop {
            match left {
                Left::Exit(stub) => break self.exit(guest, stub),
                Left::Fault { store, mappable } => {
                    if !mappable || !self.fill(guest, store) {
                        count(&self.shared.statistics().faults_interpreted);
                        self.fault(guest);
                        break true;
                    }
                    count(&self.shared.statistics().faults_filled);
                    left = self.cpu.resume(guest.vars());
                }
            }
        };
        if let Some((block, prediction)) = prediction {
            self.show_float(guest);
            self.compare(key, block, prediction.compare(guest));
        }
        interpret
    }

    /// Judges a comparison, if one was possible. What a block has stored, another hart may have overwritten since: where
    /// there are several, only what differs again the next time is a mistake.
    fn compare(&self, key: Key, block: BlockId, compared: Option<Result<(), Mismatch>>) {
        let Some(compared) = compared else { return };
        let statistics = self.shared.statistics();
        count(&statistics.comparisons);
        let again = self.shared.with(|cache| cache.compared(block, compared.is_err()));
        if let Err(mismatch) = compared
            && (self.shared.harts() == 1 || again)
        {
            count(&statistics.mismatches);
            self.cpu.mismatch(key, mismatch);
        }
    }

    /// Does what an exit is for; whether the interpreter is to go on.
    fn exit(&mut self, guest: &mut G, stub: u64) -> bool {
        let exit = self.shared.with(|cache| {
            let id = cache.exit_at(stub)?;
            Some((id, cache.exit(id)?))
        });
        let Some((id, kind)) = exit else { self.cpu.lost(stub) };
        let statistics = self.shared.statistics();
        count(match kind {
            ExitKind::Jump { .. } => &statistics.unlinked,
            ExitKind::FarMiss { .. } => &statistics.far_misses,
            ExitKind::Indirect => &statistics.indirect_misses,
            ExitKind::Interpret { .. } | ExitKind::Float { .. } => &statistics.interpret,
            ExitKind::Attention { .. } => &statistics.attention,
        });
        let vars = guest.vars();
        let pc = match kind {
            ExitKind::Jump { target, .. } => {
                self.connect = Connect::Link(id);
                target
            }
            ExitKind::FarMiss { target, slot } => {
                self.connect = slot.map_or(Connect::Indirect, Connect::Slot);
                target
            }
            ExitKind::Indirect => {
                self.connect = Connect::Indirect;
                vars[words::TARGET]
            }
            ExitKind::Interpret { pc } | ExitKind::Attention { pc } | ExitKind::Float { pc } => pc,
        };
        vars[usize::from(G::PC.0)] = pc;
        match kind {
            ExitKind::Interpret { .. } => true,
            ExitKind::Float { .. } if self.float_ready != 0 || !guest.float_ready() => true,
            ExitKind::Float { .. } => {
                let rounding = guest.rounding();
                self.cpu.load_float(guest.vars(), rounding);
                let nearest = if rounding == Rounding::NearestEven { FLOAT_NEAREST } else { 0 };
                self.float_ready = FLOAT_READY | nearest;
                false
            }
            _ => false,
        }
    }

    /// Tries to map what an access has not found.
    fn fill(&mut self, guest: &mut G, store: bool) -> bool {
        let address = guest.vars()[words::FAULT_ADDRESS];
        let access = if store { Access::Store } else { Access::Load };
        let Ok(translation) = guest.translate(address, 1, access) else { return false };
        if store && self.shared.protection().is_protected(translation.address) {
            // The interpreter says what it writes.
            return false;
        }
        let ram = guest.physical().ram();
        self.interpreter.mapping().insert(guest.view(), address, &translation, ram)
    }

    /// The instruction that has faulted is for the interpreter: makes the variables what they are in front of it.
    fn fault(&mut self, guest: &mut G) {
        let host = guest.vars()[words::FRAME_PC];
        let Some(place) = self.shared.with(|cache| cache.locate(host)) else { self.cpu.lost(host) };
        let vars = guest.vars();
        for (global, home) in self.layout.homes.iter().enumerate() {
            if let Home::X(register) = home {
                let number = usize::from(register.number());
                let value = vars[words::FRAME + number];
                let pending = place.pending >> number & 1 != 0;
                vars[global] = if pending { value as i32 as u64 } else { value };
            }
        }
        vars[usize::from(G::INSTRET.0)] = (vars[words::FRAME + 18] & !DUE).wrapping_add(place.retired);
        vars[usize::from(G::PC.0)] = place.pc;
        if !place.floats.is_nothing() {
            self.save_float(guest);
            self.settle(guest.vars(), place.floats);
        }
    }

    /// Does to the saved floating-point registers what translated code had not done yet.
    fn settle(&self, vars: &mut [u64; 256], pending: Pending) {
        let mut v = [0; 32];
        let (homes, temporaries) = v.split_at_mut(29);
        temporaries.copy_from_slice(&vars[words::FLOAT_TEMPORARIES..words::FLOAT_TEMPORARIES + 3]);
        let pinned = |home: &Home| match home {
            Home::V(register) => Some(usize::from(register.number() & 31)),
            _ => None,
        };
        for (home, value) in self.layout.homes.iter().zip(&*vars) {
            if let Some(place) = pinned(home).and_then(|number| homes.get_mut(number)) {
                *place = *value;
            }
        }
        pending.apply(&mut v);
        for (home, value) in self.layout.homes.iter().zip(vars) {
            if let Some(number) = pinned(home) {
                *value = v[number];
            }
        }
    }

    /// Floating-point registers are wanted among the variables, too.
    fn show_float(&mut self, guest: &mut G) {
        if self.float_ready != 0 {
            let rounding = guest.rounding();
            self.cpu.save_float(guest.vars());
            self.cpu.load_float(guest.vars(), rounding);
        }
    }

    /// Floating-point registers are wanted among the variables.
    fn save_float(&mut self, guest: &mut G) {
        if core::mem::take(&mut self.float_ready) != 0 {
            self.cpu.save_float(guest.vars());
        }
    }
}

/// Makes `table` the current one, for the block at `place`, and lets the jump that has led to it find it there. The table's
/// address.
fn connect_tables(
    tables: &mut Tables,
    memory: &Memory,
    table: TableKey,
    place: (u64, u8),
    entry: u64,
    connect: Connect,
) -> u64 {
    // A jump's table is that of the block it is in. It leads to this one if both are of the same.
    let before = tables.current();
    let address = tables.enter(memory, table);
    if before == tables.current() {
        match connect {
            Connect::Slot(slot) => tables.fill_slot(memory, slot, place, entry),
            // Such a jump has looked whether the hart is due.
            Connect::Indirect => tables.fill_indirect(memory, place, entry + BEHIND_CHECK),
            Connect::Nothing | Connect::Link(_) => {}
        }
    }
    address
}
