//! The machine around the harts of a test: RAM, a UART, something that ends it, and interrupts as the test wants them.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

use polyvisor_cell_abi::{MAX_HARTS, StopReason};

use crate::memory::{Physical, Ram, Size};
use crate::riscv::{Boot, Cluster, Mode, Platform, Shutdown};

/// Where RAM starts, and how much there is: so that all of it can be compared often.
pub const RAM: u64 = 0x8000_0000;
pub const RAM_SIZE: u64 = 64 * 4096;
/// What is written here is kept.
pub const UART: u64 = 0x1000_0000;
/// What is written here ends the machine.
pub const END: u64 = 0x10_0000;

/// What is done when its time comes.
type Alarm = Box<dyn FnOnce(&Board) + Send>;

#[repr(align(4096))]
struct Page {
    _words: [AtomicU64; 512],
}

/// What a hart is told.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    deadline: AtomicU64,
}

/// Who wants to know of writes to RAM: what [`Physical::writing`] is told.
type Writing = Box<dyn Fn(u64, u64, &mut dyn FnMut()) + Send + Sync>;

/// What the debugger wants, and has seen.
#[derive(Debug, Default)]
pub struct Debugger {
    pub breakpoints: Mutex<HashSet<u64>>,
    pub generation: AtomicU32,
    pub requests: AtomicU32,
    /// Where harts have stopped, and why. What the debugger does then is [`Debugger::act`].
    pub stops: Mutex<Vec<StopReason>>,
    /// After each stop, what happens: one after the other; the machine ends when there is nothing more to do.
    pub acts: Mutex<Vec<Act>>,
}

/// What the debugger does while a hart is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Takes all breakpoints away.
    Clear,
    /// Has it execute one instruction.
    Step,
}

impl Debugger {
    pub fn set_breakpoint(&self, pc: u64) {
        self.breakpoints.lock().unwrap().insert(pc);
        self.generation.fetch_add(1, SeqCst);
    }
}

/// What the harts share.
pub struct Board {
    memory: Vec<Page>,
    pub cluster: Arc<Cluster>,
    bells: [Bell; MAX_HARTS],
    /// Advances by one whenever a hart looks whether it is due.
    pub time: AtomicU64,
    pub written: Mutex<Vec<u8>>,
    pub debugger: Debugger,
    pub writing: OnceLock<Writing>,
    /// An alarm: when the time comes, this is done, once.
    alarms: Mutex<Vec<(u64, Alarm)>>,
}

impl Board {
    /// One of `harts` harts, which start at the beginning of RAM in machine mode.
    pub fn new(harts: usize) -> Arc<Self> {
        Self::in_mode(harts, Mode::Machine)
    }

    /// One that starts in this mode.
    pub fn in_mode(harts: usize, mode: Mode) -> Arc<Self> {
        let boot = Boot { mode, entry: RAM, arguments: [0; 2] };
        Arc::new(Self {
            memory: (0..RAM_SIZE / 4096)
                .map(|_| Page { _words: [const { AtomicU64::new(0) }; 512] })
                .collect(),
            cluster: Arc::new(Cluster::new(harts, boot)),
            bells: [const { Bell { rung: AtomicBool::new(false), deadline: AtomicU64::new(u64::MAX) } };
                MAX_HARTS],
            time: AtomicU64::new(0),
            written: Mutex::default(),
            debugger: Debugger::default(),
            writing: OnceLock::new(),
            alarms: Mutex::default(),
        })
    }

    pub fn ram(&self) -> Ram {
        // SAFETY: it lives as long as the board, and is made of atomics.
        unsafe { Ram::new(RAM, RAM_SIZE, self.memory.as_ptr().cast_mut().cast()) }
    }

    /// Writes code or data as a loader does, before anything runs.
    pub fn load(&self, address: u64, bytes: &[u8]) {
        for (at, &byte) in (address..).zip(bytes) {
            self.ram().write(at, byte).unwrap();
        }
    }

    /// The words of RAM in this range of addresses.
    pub fn words(&self, range: Range<u64>) -> Vec<u64> {
        range.step_by(8).map(|address| self.ram().read(address).unwrap()).collect()
    }

    /// Does `what` when the time comes.
    pub fn at(&self, time: u64, what: impl FnOnce(&Self) + Send + 'static) {
        self.alarms.lock().unwrap().push((time, Box::new(what)));
    }

    /// Makes all harts return.
    pub fn end(&self) {
        self.cluster.shut_down(Shutdown::Off);
        (0..MAX_HARTS).for_each(|hart| self.kick(hart));
    }

    /// Whether this hart has something to do. Takes a moment.
    pub fn is_due(&self, hart: usize) -> bool {
        let time = self.time.fetch_add(1, SeqCst) + 1;
        let mut alarms = self.alarms.lock().unwrap();
        let due = alarms.iter().position(|(at, _)| *at <= time).map(|index| alarms.swap_remove(index).1);
        drop(alarms);
        if let Some(alarm) = due {
            alarm(self);
        }
        let bell = &self.bells[hart];
        bell.rung.load(SeqCst) || bell.deadline.load(SeqCst) <= time
    }

    pub fn kick(&self, hart: usize) {
        self.bells[hart].rung.store(true, SeqCst);
    }

    pub fn read(&self, address: u64) -> Option<u64> {
        matches!(address, UART | END).then_some(0x55)
    }

    pub fn write(&self, address: u64, value: u64) -> Option<()> {
        match address {
            UART => self.written.lock().unwrap().push(value as u8),
            END => self.end(),
            _ => return None,
        }
        Some(())
    }
}

/// The board as one hart sees it.
pub struct Place {
    pub board: Arc<Board>,
    pub hart: usize,
}

impl Physical for Place {
    fn ram(&self) -> Ram {
        self.board.ram()
    }

    fn writing(&self, address: u64, len: u64, write: &mut dyn FnMut()) {
        match self.board.writing.get() {
            Some(writing) => writing(address, len, write),
            None => write(),
        }
    }

    fn read(&self, address: u64, _size: Size) -> Option<u64> {
        self.board.read(address)
    }

    fn write(&self, address: u64, _size: Size, value: u64) -> Option<()> {
        self.board.write(address, value)
    }
}

impl Platform for Place {
    fn virtual_bits(&self) -> u32 {
        48
    }

    fn time(&self) -> u64 {
        self.board.time.load(SeqCst)
    }

    fn set_deadline(&self, deadline: u64) {
        self.board.bells[self.hart].deadline.store(deadline, SeqCst);
    }

    fn lines(&self) -> u32 {
        0
    }

    fn is_due(&self) -> bool {
        self.board.is_due(self.hart)
    }

    fn make_due(&self) {
        self.board.kick(self.hart);
    }

    fn acknowledge(&self) {
        self.board.bells[self.hart].rung.store(false, SeqCst);
    }

    fn kick(&self, hart: usize) {
        self.board.kick(hart);
    }

    fn wait(&self) {
        while !self.board.is_due(self.hart) {
            std::thread::yield_now();
        }
    }

    fn relax(&self) {
        std::thread::yield_now();
    }

    fn take_requests(&self) -> u32 {
        self.board.debugger.requests.swap(0, SeqCst)
    }

    fn is_breakpoint(&self, pc: u64) -> bool {
        self.board.debugger.breakpoints.lock().unwrap().contains(&pc)
    }

    fn breakpoint_generation(&self) -> u32 {
        self.board.debugger.generation.load(SeqCst)
    }

    fn stopped(&self, reason: StopReason) {
        let debugger = &self.board.debugger;
        debugger.stops.lock().unwrap().push(reason);
        let mut acts = debugger.acts.lock().unwrap();
        if acts.is_empty() {
            return self.board.end();
        }
        match acts.remove(0) {
            Act::Step => debugger.requests.store(polyvisor_cell_abi::Requests::STEP, SeqCst),
            Act::Clear => {
                debugger.breakpoints.lock().unwrap().clear();
                debugger.generation.fetch_add(1, SeqCst);
            }
        }
    }

    fn shutdown(&self, _how: Shutdown) {
        self.board.end();
    }
}
