//! Harts in surroundings that are all the test's.

mod control;
mod debugging;
mod fences;
mod firmware;
mod hostile;
mod interrupts;
mod memory;
mod traps;

use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::vec::Vec;

pub use polyvisor_cell_abi::StopReason;

use super::call::Call;
use super::words::PC;
use super::*;
use crate::interp::{Code, Exception, Guest};
use crate::memory::{Physical, Ram, Size};

pub const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 1 << 20;
const UART: u64 = 0x1000_0000;

#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "reached by its address")] [AtomicU64; 512]);

/// What harts share besides their cluster.
pub struct World {
    ram: Vec<Page>,
    pub time: AtomicU64,
    pub lines: AtomicU32,
    pub requests: AtomicU32,
    pub breakpoints: Mutex<HashSet<u64>>,
    pub generation: AtomicU32,
    pub written: Mutex<Vec<u8>>,
    pub typed: Mutex<VecDeque<u8>>,
    pub kicked: AtomicU32,
    pub stops: Mutex<Vec<StopReason>>,
    pub ended: Mutex<Option<Shutdown>>,
}

/// What a hart sees.
pub struct Surroundings {
    pub world: Arc<World>,
    index: usize,
    pub deadline: Cell<u64>,
    pub slept: Cell<u32>,
    /// What the debugger does while the hart is stopped: what it requests then.
    pub after_stop: Cell<u32>,
    /// After how many stops it ends the machine.
    pub patience: Cell<usize>,
    cluster: Arc<Cluster>,
}

impl Physical for Surroundings {
    fn ram(&self) -> Ram {
        // SAFETY: it lives as long as the world, and is made of atomics.
        unsafe { Ram::new(RAM, RAM_SIZE, self.world.ram.as_ptr() as *mut u8) }
    }

    fn read(&self, address: u64, _size: Size) -> Option<u64> {
        let mut typed = self.world.typed.lock().unwrap();
        match address {
            UART => Some(typed.pop_front().unwrap_or(0).into()),
            _ if address == UART + 5 => Some(0x20 | u64::from(!typed.is_empty())),
            _ => None,
        }
    }

    fn write(&self, address: u64, _size: Size, value: u64) -> Option<()> {
        (address == UART).then(|| self.world.written.lock().unwrap().push(value as u8))
    }
}

impl Platform for Surroundings {
    fn time(&self) -> u64 {
        self.world.time.load(Ordering::Relaxed)
    }

    fn set_deadline(&self, deadline: u64) {
        self.deadline.set(deadline);
    }

    fn lines(&self) -> u32 {
        self.world.lines.load(Ordering::Relaxed)
    }

    fn is_due(&self) -> bool {
        self.world.kicked.load(Ordering::Acquire) & 1 << self.index != 0 || self.deadline.get() <= self.time()
    }

    fn make_due(&self) {
        self.kick(self.index);
    }

    fn acknowledge(&self) {
        self.world.kicked.fetch_and(!(1 << self.index), Ordering::AcqRel);
    }

    fn kick(&self, hart: usize) {
        self.world.kicked.fetch_or(1 << hart, Ordering::AcqRel);
    }

    /// Time flies to the deadline. A hart that sleeps without one has nobody to wake it.
    fn wait(&self) {
        self.slept.set(self.slept.get() + 1);
        if self.is_due() {
            return;
        }
        assert_ne!(self.deadline.get(), u64::MAX, "sleeps for ever");
        self.world.time.fetch_max(self.deadline.get(), Ordering::Relaxed);
    }

    fn relax(&self) {
        std::thread::yield_now();
    }

    fn take_requests(&self) -> u32 {
        self.world.requests.swap(0, Ordering::Relaxed)
    }

    fn is_breakpoint(&self, pc: u64) -> bool {
        self.world.breakpoints.lock().unwrap().contains(&pc)
    }

    fn breakpoint_generation(&self) -> u32 {
        self.world.generation.load(Ordering::Relaxed)
    }

    fn stopped(&self, reason: StopReason) {
        let mut stops = self.world.stops.lock().unwrap();
        stops.push(reason);
        if stops.len() >= self.patience.get() {
            self.cluster.shut_down(Shutdown::Off);
            self.kick(self.index);
        }
        self.world.requests.store(self.after_stop.get(), Ordering::Relaxed);
    }

    fn shutdown(&self, how: Shutdown) {
        *self.world.ended.lock().unwrap() = Some(how);
    }
}

pub type TestHart = Hart<Surroundings>;

/// A machine of `count` harts that starts at the beginning of RAM.
pub fn machine(count: usize, mode: Mode) -> Vec<TestHart> {
    let world = Arc::new(World {
        ram: (0..RAM_SIZE / 4096).map(|_| Page([const { AtomicU64::new(0) }; 512])).collect(),
        time: AtomicU64::new(1000),
        lines: AtomicU32::new(0),
        requests: AtomicU32::new(0),
        breakpoints: Mutex::default(),
        generation: AtomicU32::new(0),
        written: Mutex::default(),
        typed: Mutex::default(),
        kicked: AtomicU32::new(0),
        stops: Mutex::default(),
        ended: Mutex::default(),
    });
    let cluster = Arc::new(Cluster::new(count, Boot { mode, entry: RAM, arguments: [0x1111, 0x2222] }));
    let hart = |index| {
        let surroundings = Surroundings {
            world: world.clone(),
            index,
            deadline: Cell::new(u64::MAX),
            slept: Cell::new(0),
            after_stop: Cell::new(0),
            patience: Cell::new(usize::MAX),
            cluster: cluster.clone(),
        };
        Hart::new(cluster.clone(), surroundings, index).unwrap()
    };
    (0..count).map(hart).collect()
}

/// A machine of one hart.
pub fn hart(mode: Mode) -> TestHart {
    machine(1, mode).remove(0)
}

impl TestHart {
    /// Its platform.
    pub fn surroundings(&self) -> &Surroundings {
        self.bus.platform()
    }

    /// Puts the hart into another mode.
    pub fn enter(&mut self, mode: Mode) {
        self.words[super::words::MODE] = mode.bits();
        self.refresh();
    }

    /// Executes a CSR instruction.
    pub fn csr(&mut self, call: Call, number: u16, value: u64) -> Result<u64, Exception> {
        self.call(call.number(), value, word(number))
    }

    /// Reads a CSR.
    pub fn csrr(&mut self, number: u16) -> Result<u64, Exception> {
        self.csr(Call::CsrRead, number, 0)
    }

    /// Writes a CSR from machine mode.
    pub fn set(&mut self, number: u16, value: u64) {
        let mode = self.mode();
        self.enter(Mode::Machine);
        self.csr(Call::CsrWrite, number, value).unwrap();
        self.enter(mode);
    }

    /// Executes an instruction that is a call without operands.
    pub fn execute(&mut self, call: Call) -> Result<u64, Exception> {
        self.call(call.number(), 0, 0)
    }

    /// The program counter.
    pub fn pc(&self) -> u64 {
        self.words[PC]
    }

    /// Writes to RAM.
    pub fn poke(&self, address: u64, value: u64) {
        self.surroundings().ram().write(address, value).unwrap();
    }
}

/// The word of an instruction about a CSR.
pub fn word(number: u16) -> u64 {
    u64::from(number) << 20 | 0x73
}
