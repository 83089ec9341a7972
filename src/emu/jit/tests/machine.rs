//! A machine whose harts run on the runtime, which runs on the simulator of a CPU.

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;

use spin::relax::RelaxStrategy;

use super::board::{Board, Place, RAM, RAM_SIZE};
use super::shadow::{Mapped, Protected, Shadow};
use super::simulator::{Fault, Memory, Simulator, Stop};
use crate::a64;
use crate::float::Rounding;
use crate::interp::Key;
use crate::interp::{Exits, Interpreter};
use crate::jit::cache::{Cache, CodeMemory, Counts};
use crate::jit::compile::float::GUARD;
use crate::jit::compile::{Compiler, Features, Home, Layout};
use crate::jit::lockstep::Mismatch;
use crate::jit::runtime::{Cpu, Left, Runtime};
use crate::jit::shared::Shared;
use crate::jit::store::{Recording, Store, assemble};
use crate::jit::words;
use crate::memory::{Access, Size};
use crate::riscv::{self, Hart};

/// The engine's half of the lower addresses; in it, where code is executed, and the routine that leaves it.
const HOLE: u64 = 1 << 47;
pub const CODE: u64 = HOLE + (1 << 40);
const LEAVE: u64 = HOLE + 0x1000;
/// The bit of the count of retired instructions that says that the hart is due.
const DUE: u64 = 1 << 63;
/// The number of the register with that count, and of the one with the jump table.
const RETIRED: usize = 18;
const TABLE: usize = 28;
/// Bytes of a jump table below and above its address.
const TABLE_BELOW: u64 = 512 * 1024 + 16;
const TABLE_ABOVE: u64 = 8 * 4096;
/// After how many instructions of the CPU it looks whether it is due.
const SLICE: u64 = 50;
/// How many slices translated code is not left at most, and how many while the hart is due: more are a loop that does not look.
const MAX_SLICES: u64 = 1 << 20;
const MAX_LATE: u64 = 1 << 10;

/// Words of code, as the CPU sees them.
type Executed = Arc<[AtomicU32]>;

/// Memory for code. What is written is executed only after it has been published.
#[derive(Debug)]
pub struct Code {
    written: Vec<u32>,
    executed: Executed,
    corrupt: fn(u32) -> u32,
}

impl Code {
    /// So many words. The CPU sees what `corrupt` makes of them.
    pub fn new(capacity: usize, corrupt: fn(u32) -> u32) -> Self {
        let executed = (0..capacity).map(|_| AtomicU32::new(0)).collect();
        Self { written: vec![0; capacity], executed, corrupt }
    }

    pub fn executed(&self) -> Executed {
        self.executed.clone()
    }
}

impl CodeMemory for Code {
    fn capacity(&self) -> usize {
        self.written.len()
    }

    fn address(&self, word: usize) -> u64 {
        CODE + 4 * word as u64
    }

    fn read(&self, word: usize) -> u32 {
        self.written[word]
    }

    fn write(&mut self, word: usize, words: &[u32]) {
        self.written[word..word + words.len()].copy_from_slice(words);
    }

    fn replace(&mut self, word: usize, value: u32) {
        self.written[word] = value;
    }

    fn publish(&mut self, word: usize, count: usize) {
        for at in word..word + count {
            self.executed[at].store((self.corrupt)(self.written[at]), SeqCst);
        }
    }
}

/// The routine at the start of the cache: `ldr x17, [sp, #8 * LEAVE]`, `br x17`.
pub fn leave_routine() -> [u32; 2] {
    let mut asm = a64::Assembler::new();
    let (x17, offset) = (a64::X::new(17), 8 * words::LEAVE as i64);
    assert!(asm.load(a64::Mode::Normal, Size::Double, a64::Ext::Zero, x17, a64::X::SP, offset));
    asm.br(x17);
    asm.finish().unwrap();
    asm.words().try_into().unwrap()
}

/// Why an access failed, and whether it is about the address's translation.
#[derive(Debug, Clone, Copy)]
struct Failed {
    address: u64,
    mappable: bool,
}

/// What the simulator reaches: the guest's pages, the hart's variables and its jump tables.
struct Reached<'a> {
    board: &'a Board,
    shadow: &'a Shadow,
    hart: usize,
    variables: *mut [u64; 256],
    table: u64,
    failed: Option<Failed>,
}

impl Reached<'_> {
    /// Where an access to the runtime's own memory goes, if it is one.
    fn own(&self, address: u64, size: Size) -> Option<*mut u8> {
        const VARIABLES: u64 = size_of::<[u64; 256]>() as u64;
        let offset = address.wrapping_sub(self.variables.addr() as u64);
        let below = self.table.wrapping_sub(TABLE_BELOW);
        let host = if offset < VARIABLES {
            self.variables.cast::<u8>().wrapping_add(offset as usize)
        } else if address.wrapping_sub(below) < TABLE_BELOW + TABLE_ABOVE {
            core::ptr::with_exposed_provenance_mut(address as usize)
        } else {
            return None;
        };
        assert!(address.is_multiple_of(size.bytes()), "a piece of the runtime's words at {address:#x}");
        Some(host)
    }

    fn fail(&mut self, address: u64, mappable: bool) -> Fault {
        self.failed = Some(Failed { address, mappable });
        Fault
    }

    /// Does `what` with each byte's guest-physical address, or with a device's.
    fn access<T>(
        &mut self,
        address: u64,
        size: Size,
        access: Access,
        unprivileged: bool,
        what: impl FnOnce(&Board, &[u64]) -> Option<T>,
    ) -> Result<T, Fault> {
        if !unprivileged && address >> 47 == 1 {
            let guarded = !(HOLE + GUARD..2 * HOLE - GUARD).contains(&address);
            assert!(guarded, "privileged access to {address:#x}, which is the engine's");
        }
        // Held while memory is accessed: whoever protects a page knows that nobody is about to write it.
        let tlb = self.shadow.harts[self.hart].lock().unwrap();
        let mut places = [0; 8];
        let mut failed = None;
        let mut is_ram = true;
        for (offset, place) in (0..size.bytes()).zip(&mut places) {
            let address = address.wrapping_add(offset);
            match tlb.find(address, access) {
                Some(page) => {
                    is_ram &= page.is_ram();
                    *place = page.physical | (address % 4096);
                }
                None => {
                    failed = Some((address, true));
                    break;
                }
            }
        }
        let places = &places[..size.bytes() as usize];
        let is_aligned = places[0].is_multiple_of(size.bytes());
        let result = match failed {
            None if is_ram || is_aligned => what(self.board, places).ok_or((address, false)),
            // Devices are accessed by one aligned access.
            None => Err((address, false)),
            Some(failed) => Err(failed),
        };
        drop(tlb);
        result.map_err(|(address, mappable)| self.fail(address, mappable))
    }
}

impl Memory for Reached<'_> {
    fn load(&mut self, address: u64, size: Size, unprivileged: bool) -> Result<u64, Fault> {
        if !unprivileged && let Some(host) = self.own(address, size) {
            // SAFETY: in the hart's variables, which nobody else uses meanwhile, or its jump tables, which are atomics.
            return Ok(unsafe { size.load(host) });
        }
        self.access(address, size, Access::Load, unprivileged, |board, places| {
            let ram = board.ram();
            match ram.host(places[0], 1) {
                None => board.read(places[0]),
                Some(host) if places[0].is_multiple_of(size.bytes()) => {
                    // SAFETY: RAM, and aligned.
                    Some(unsafe { size.load(host) })
                }
                Some(_) => {
                    let bytes = places.iter().rev();
                    bytes
                        .map(|&at| ram.read::<u8>(at))
                        .try_fold(0, |value, byte| Some(value << 8 | u64::from(byte?)))
                }
            }
        })
    }

    fn exchange(&mut self, address: u64, size: Size, new: &dyn Fn(u64) -> u64) -> Result<u64, Fault> {
        self.access(address, size, Access::Store, false, |board, places| {
            let host = board.ram().host(places[0], size.bytes())?;
            macro_rules! exchange {
                ($atomic:ty) => {{
                    // SAFETY: RAM, and aligned: others do not get here.
                    let cell = unsafe { <$atomic>::from_ptr(host.cast()) };
                    cell.fetch_update(SeqCst, SeqCst, |old| Some(new(old.into()) as _)).ok().map(u64::from)
                }};
            }
            match size {
                Size::Byte => exchange!(AtomicU8),
                Size::Half => exchange!(AtomicU16),
                Size::Word => exchange!(AtomicU32),
                Size::Double => exchange!(AtomicU64),
            }
        })
    }

    fn store(&mut self, address: u64, size: Size, unprivileged: bool, value: u64) -> Result<(), Fault> {
        if !unprivileged && let Some(host) = self.own(address, size) {
            // SAFETY: as above.
            unsafe { size.store(host, value) };
            return Ok(());
        }
        self.access(address, size, Access::Store, unprivileged, |board, places| {
            let ram = board.ram();
            match ram.host(places[0], 1) {
                None => board.write(places[0], value),
                Some(host) if places[0].is_multiple_of(size.bytes()) => {
                    // SAFETY: RAM, and aligned.
                    unsafe { size.store(host, value) };
                    Some(())
                }
                Some(_) => {
                    let mut bytes = places.iter().zip(value.to_le_bytes());
                    bytes.try_for_each(|(&at, byte)| ram.write(at, byte))
                }
            }
        })
    }
}

/// A [`Cpu`] that is simulated.
pub struct Simulated {
    board: Arc<Board>,
    shadow: Arc<Shadow>,
    executed: Executed,
    layout: &'static Layout,
    hart: usize,
    simulator: Simulator,
    report: Arc<Report>,
}

/// What is known of a run when it is over.
#[derive(Debug, Default)]
pub struct Report {
    pub mismatches: Mutex<Vec<(Key, Mismatch)>>,
    /// Instructions that the CPUs have executed.
    pub executed: AtomicU64,
    /// How often translated code was entered, and resumed after a fault.
    pub entered: AtomicU64,
    pub resumed: AtomicU64,
}

impl Simulated {
    fn variable(global: usize, home: Home) -> Option<(usize, usize)> {
        match home {
            Home::X(x) => Some((global, x.number().into())),
            Home::V(_) | Home::Memory => None,
        }
    }

    fn pinned(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        self.layout.homes.iter().enumerate().filter_map(|(global, &home)| Self::variable(global, home))
    }

    fn floats(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        self.layout.homes.iter().enumerate().filter_map(|(global, &home)| match home {
            Home::V(v) => Some((global, v.number().into())),
            Home::X(_) | Home::Memory => None,
        })
    }

    fn instret(&self) -> usize {
        self.layout.instret.0.into()
    }

    /// Executes until code is left.
    fn run(&mut self, variables: &mut [u64; 256]) -> Left {
        let code = |address: u64| {
            let offset = address.wrapping_sub(CODE);
            let word = self.executed.get(usize::try_from(offset / 4).ok()?)?;
            offset.is_multiple_of(4).then(|| word.load(SeqCst))
        };
        let table = variables[words::TABLE];
        let before = self.simulator.executed;
        let mut reached = Reached {
            board: &self.board,
            shadow: &self.shadow,
            hart: self.hart,
            variables,
            table,
            failed: None,
        };
        let mut late = 0;
        for _ in 0..MAX_SLICES {
            // As an interrupt does.
            if self.board.is_due(self.hart) {
                self.simulator.x[RETIRED] |= DUE;
                late += 1;
                assert!(late < MAX_LATE, "code does not look whether it is due: {:x?}", self.simulator);
            }
            self.simulator.monitor = None;
            let stop = self.simulator.run(&code, &mut reached, SLICE);
            if stop == Stop::Limit {
                continue;
            }
            let failed = reached.failed;
            self.report.executed.fetch_add(self.simulator.executed - before, SeqCst);
            return self.stopped(variables, stop, failed);
        }
        panic!("nothing ends this: {:x?}", self.simulator);
    }

    fn stopped(&mut self, variables: &mut [u64; 256], stop: Stop, failed: Option<Failed>) -> Left {
        let simulator = &self.simulator;
        assert_eq!(simulator.sp, variables.as_ptr().addr() as u64, "the stack pointer");
        assert_eq!(simulator.x[TABLE], variables[words::TABLE], "the jump table");
        match stop {
            Stop::Left if simulator.pc == LEAVE => {
                for (global, register) in self.pinned() {
                    variables[global] = simulator.x[register];
                }
                variables[self.instret()] = simulator.x[RETIRED] & !DUE;
                variables[words::TARGET] = simulator.x[16];
                Left::Exit(simulator.x[30])
            }
            Stop::Fault { address, access, .. } => {
                let frame = &mut variables[words::FRAME..words::FRAME + 31];
                frame.copy_from_slice(&simulator.x);
                variables[words::FRAME_FLAGS] = u64::from(simulator.nzcv) << 28;
                variables[words::FRAME_PC] = simulator.pc;
                // An atomic access that is not aligned is one that memory has not been asked for.
                let failed = failed.unwrap_or(Failed { address, mappable: false });
                variables[words::FAULT_ADDRESS] = failed.address;
                Left::Fault { store: access == Access::Store, mappable: failed.mappable }
            }
            _ => panic!("{stop:?} at {simulator:x?}"),
        }
    }
}

impl Cpu for Simulated {
    fn enter(&mut self, variables: &mut [u64; 256], code: u64) -> Left {
        self.report.entered.fetch_add(1, SeqCst);
        let simulator = &mut self.simulator;
        // Nobody may count on the others.
        simulator.x = core::array::from_fn(|register| 0xdead_0000_beef_0000 | register as u64);
        simulator.nzcv = 0;
        simulator.x[RETIRED] = variables[usize::from(self.layout.instret.0)];
        simulator.x[TABLE] = variables[words::TABLE];
        simulator.sp = variables.as_mut_ptr().expose_provenance() as u64;
        simulator.pc = code;
        for (global, register) in self.pinned() {
            self.simulator.x[register] = variables[global];
        }
        self.run(variables)
    }

    fn resume(&mut self, variables: &mut [u64; 256]) -> Left {
        self.report.resumed.fetch_add(1, SeqCst);
        let simulator = &mut self.simulator;
        simulator.x.copy_from_slice(&variables[words::FRAME..words::FRAME + 31]);
        simulator.nzcv = (variables[words::FRAME_FLAGS] >> 28) as u8;
        simulator.pc = variables[words::FRAME_PC];
        self.run(variables)
    }

    fn leave_routine(&self) -> u64 {
        LEAVE
    }

    fn load_float(&mut self, variables: &[u64; 256], rounding: Rounding) {
        for (global, register) in self.floats() {
            self.simulator.v[register] = variables[global].into();
        }
        // FPCR.RMode (DDI 0487, C5.2.7).
        let mode = match rounding {
            Rounding::NearestEven => 0,
            Rounding::Up => 1,
            Rounding::Down => 2,
            Rounding::TowardZero => 3,
            Rounding::NearestAway => panic!("there is no such mode"),
        };
        self.simulator.fpcr = 1 << 25 | mode << 22;
        self.simulator.fpsr = 0;
    }

    fn save_float(&mut self, variables: &mut [u64; 256]) {
        for (global, register) in self.floats() {
            variables[global] = self.simulator.v[register] as u64;
        }
        for (number, v) in self.simulator.v[29..].iter().enumerate() {
            variables[words::FLOAT_TEMPORARIES + number] = *v as u64;
        }
        let raised = self.simulator.fpsr;
        assert_eq!(raised & 8, 0, "underflow is found out otherwise");
        // A64: invalid, by zero, overflow, underflow, inexact, from bit 0 on; RISC-V has them the other way round.
        let flags = (0..5).fold(0, |flags, bit| flags | (raised >> bit & 1) << (4 - bit));
        variables[usize::from(self.layout.float_flags.0)] |= flags;
    }

    fn code_changed(&mut self, _time: u64) {
        // Nothing writes RAM behind the MMU's back.
    }

    fn now(&self) -> u64 {
        // Nobody asks how long it takes.
        0
    }

    fn kick(&self, hart: usize) {
        self.board.kick(hart);
    }

    fn lost(&self, code: u64) -> ! {
        panic!("left at {code:#x}")
    }

    fn mismatch(&self, key: Key, mismatch: Mismatch) {
        self.report.mismatches.lock().unwrap().push((key, mismatch));
    }
}

/// Lets others run.
pub struct Yield;

impl RelaxStrategy for Yield {
    fn relax() {
        std::thread::yield_now();
    }
}

/// What is done about translations that outlast a run.
#[derive(Debug, Clone, Copy)]
pub enum Saved {
    Nothing,
    /// They are recorded, in so many words at most.
    Record(usize),
    /// They are taken from a store.
    Store(&'static [u32]),
}

/// How code is executed.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many words of code there may be.
    pub capacity: usize,
    pub features: Features,
    pub lockstep: bool,
    pub saved: Saved,
    /// What becomes of the words of code.
    pub corrupt: fn(u32) -> u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            capacity: 1 << 18,
            features: Features::default(),
            lockstep: false,
            saved: Saved::Nothing,
            corrupt: |word| word,
        }
    }
}

/// The engine that stores are made for.
pub const ENGINE: [u8; 32] = [7; 32];

/// Instead of a CRC.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(1, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

/// A machine's JIT.
pub struct Jit {
    pub shared: Arc<Shared<Code, Protected, Yield>>,
    pub report: Arc<Report>,
    shadow: Arc<Shadow>,
    executed: Executed,
    lockstep: bool,
}

impl Jit {
    /// That of all harts of `board`.
    pub fn new(board: &Board, options: Options) -> Self {
        let harts = board.cluster.harts();
        let code = Code::new(options.capacity, options.corrupt);
        let executed = code.executed();
        let cache = Cache::new(code, &leave_routine(), RAM..RAM + RAM_SIZE);
        let shadow = Shadow::new(harts);
        let compiler = Compiler::new(riscv::LAYOUT.clone(), options.features);
        let shared = Shared::new(cache, compiler, Protected(shadow.clone()), harts, CODE);
        let features = options.features;
        let shared = Arc::new(match options.saved {
            Saved::Nothing => shared,
            Saved::Record(words) => {
                shared.with_recording(Recording::new(vec![0; words].leak(), features).unwrap())
            }
            Saved::Store(store) => match Store::open(store, features) {
                Some(store) => shared.with_store(store),
                None => shared,
            },
        });
        let writing = shared.clone();
        let told = board.writing.set(Box::new(move |address, len, write| {
            writing.writing(address, len, write);
        }));
        assert!(told.is_ok(), "a board has one JIT");
        Self { shared, report: Arc::default(), shadow, executed, lockstep: options.lockstep }
    }

    /// What has come of it.
    pub fn counts(&self) -> Counts {
        self.shared.with(|cache| cache.counts())
    }

    /// The store that comes of what was recorded.
    pub fn store(&self) -> &'static [u32] {
        assemble(&self.shared.recorded(), ENGINE, checksum).unwrap().leak()
    }

    /// How many blocks were translated, and how many were taken from a store.
    pub fn origins(&self) -> (u64, u64) {
        let statistics = self.shared.statistics();
        (statistics.blocks.load(SeqCst), statistics.recalled.load(SeqCst))
    }

    /// Runs all harts until the machine ends; what their registers are then.
    pub fn run_all(&self, board: &Arc<Board>) -> Vec<[u64; 256]> {
        std::thread::scope(|scope| {
            let harts = 0..board.cluster.harts();
            let harts: Vec<_> =
                harts.map(|hart| scope.spawn(move || *self.run(board, hart).registers())).collect();
            harts.into_iter().map(|hart| hart.join().unwrap()).collect()
        })
    }

    /// Runs one of the harts until the machine ends.
    pub fn run(&self, board: &Arc<Board>, hart: usize) -> Hart<Place> {
        let mut guest = self::hart(board, hart);
        let mapped = Mapped { shadow: self.shadow.clone(), hart, ram: board.ram() };
        let interpreter = Interpreter::with(1 << 16, mapped, Exits::Counted);
        let cpu = Simulated {
            board: board.clone(),
            shadow: self.shadow.clone(),
            executed: self.executed.clone(),
            layout: &riscv::LAYOUT,
            hart,
            simulator: Simulator::new(),
            report: self.report.clone(),
        };
        let shared = self.shared.clone();
        Runtime::<_, _, _, _, _, Yield>::new(interpreter, cpu, shared, &riscv::LAYOUT, hart, self.lockstep)
            .run(&mut guest);
        guest
    }
}

fn hart(board: &Arc<Board>, hart: usize) -> Hart<Place> {
    Hart::new(board.cluster.clone(), Place { board: board.clone(), hart }, hart).unwrap()
}

/// Runs one of the harts until the machine ends, in the interpreter.
pub fn interpret(board: &Arc<Board>, index: usize) -> Hart<Place> {
    let mut guest = hart(board, index);
    Interpreter::new(1 << 16).run(&mut guest);
    guest
}
