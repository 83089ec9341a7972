//! What the harts share: RAM, devices, and how the program ends.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use polyvisor_emu::{
    memory::{Ram, Size as AccessSize},
    riscv::{Boot, Cluster, Mode, Shutdown},
};

use super::htif::{Command, Htif};
use crate::size::Size;

/// The first address of RAM, as in QEMU's `virt`.
pub const RAM_BASE: u64 = 0x8000_0000;
/// The test finisher (SiFive's; `hw/misc/sifive_test.c` in QEMU).
const FINISHER: u64 = 0x10_0000;
/// What is written there, in the low half: the program has failed, with the status in the high half.
const FINISHER_FAIL: u64 = 0x3333;
/// The program has succeeded.
const FINISHER_PASS: u64 = 0x5555;
/// The program wants to start again; here, it ends.
const FINISHER_RESET: u64 = 0x7777;
/// The 16550A: what is written to its first register is transmitted.
const UART: u64 = 0x1000_0000;
/// The line status register: the transmitter is empty.
const UART_LSR: u64 = UART + 5;
const UART_LSR_EMPTY: u64 = 0x60;
/// The last register.
const UART_END: u64 = UART + 7;
/// How many times a second `time` counts, as in QEMU's `virt`.
const TIMEBASE: u128 = 10_000_000;

/// The guest's RAM.
struct Memory(Ram);

// SAFETY: the bytes are accessed only through `Ram`, which does so atomically.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// `len` bytes of RAM, zeros, which exist until this process ends: so long the machine does.
pub fn memory(len: u64) -> Ram {
    let words = Box::leak(vec![0u64; (len / 8) as usize].into_boxed_slice());
    // SAFETY: so many bytes, and the reference to them is given up here.
    unsafe { Ram::new(RAM_BASE, len, words.as_mut_ptr().cast()) }
}

/// How a hart that sleeps is woken.
#[derive(Default)]
struct Bell {
    due: AtomicBool,
    lock: Mutex<()>,
    rung: Condvar,
}

/// The machine.
pub struct Machine {
    memory: Memory,
    cluster: Arc<Cluster>,
    htif: Option<Htif>,
    started: Instant,
    bells: Vec<Bell>,
    status: OnceLock<u8>,
}

impl Machine {
    /// A machine of `harts` harts, which start at `entry`, and so much RAM.
    pub fn new(harts: usize, size: Size, entry: u64, htif: Option<Htif>) -> Self {
        let boot = Boot { mode: Mode::Machine, entry, arguments: [0; 2] };
        Self {
            memory: Memory(memory(size.bytes())),
            cluster: Arc::new(Cluster::new(harts, boot)),
            htif,
            started: Instant::now(),
            bells: (0..harts).map(|_| Bell::default()).collect(),
            status: OnceLock::new(),
        }
    }

    /// The RAM.
    pub const fn ram(&self) -> Ram {
        self.memory.0
    }

    /// What the harts know of each other.
    pub const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The status that the program has ended with.
    pub fn status(&self) -> u8 {
        self.status.get().copied().unwrap_or(0)
    }

    /// The `time` counter.
    pub fn time(&self) -> u64 {
        (self.started.elapsed().as_nanos() * TIMEBASE / 1_000_000_000) as u64
    }

    /// How long it is until `time`.
    pub fn until(&self, time: u64) -> Duration {
        let ticks = u128::from(time.saturating_sub(self.time()));
        Duration::from_nanos((ticks * 1_000_000_000 / TIMEBASE).try_into().unwrap_or(u64::MAX))
    }

    /// Reads from a device.
    pub fn read(&self, address: u64, _size: AccessSize) -> Option<u64> {
        match address {
            UART_LSR => Some(UART_LSR_EMPTY),
            UART..=UART_END | FINISHER => Some(0),
            _ => None,
        }
    }

    /// Writes to a device.
    pub fn write(&self, address: u64, _size: AccessSize, value: u64) -> Option<()> {
        match (address, value & 0xffff) {
            (UART, _) => print(&[value as u8]),
            (FINISHER, FINISHER_FAIL) => self.end(value >> 16 & 0xffff),
            (FINISHER, FINISHER_PASS | FINISHER_RESET) => self.end(0),
            (UART..=UART_END | FINISHER, _) => {}
            _ => return None,
        }
        Some(())
    }

    /// Does what the program wants of the host-target interface. One hart calls this every now and then.
    pub fn poll(&self) {
        match self.htif.and_then(|htif| htif.poll(&self.ram())) {
            Some(Command::Exit(status)) => self.end(status),
            Some(Command::Write(bytes)) => print(&bytes),
            None => {}
        }
    }

    /// Ends with `status`, or with the largest one that there is.
    pub fn end(&self, status: u64) {
        // The first one counts.
        let _ = self.status.set(status.try_into().unwrap_or(u8::MAX));
        self.cluster.shut_down(Shutdown::Off);
        for hart in 0..self.bells.len() {
            self.kick(hart);
        }
    }

    /// Makes a hart due.
    pub fn kick(&self, hart: usize) {
        if let Some(bell) = self.bells.get(hart) {
            bell.due.store(true, Ordering::Release);
            drop(bell.lock());
            bell.rung.notify_one();
        }
    }

    /// Whether the hart has been kicked.
    pub fn is_kicked(&self, hart: usize) -> bool {
        self.bells.get(hart).is_some_and(|bell| bell.due.load(Ordering::Acquire))
    }

    /// From here on the hart has not been kicked.
    pub fn acknowledge(&self, hart: usize) {
        if let Some(bell) = self.bells.get(hart) {
            bell.due.swap(false, Ordering::AcqRel);
        }
    }

    /// Sleeps until the hart is kicked, or for `longest`.
    pub fn sleep(&self, hart: usize, longest: Duration) {
        if let Some(bell) = self.bells.get(hart) {
            let asleep = |(): &mut ()| !bell.due.load(Ordering::Acquire);
            drop(bell.rung.wait_timeout_while(bell.lock(), longest, asleep));
        }
    }
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints what the program says. Where that fails, nobody wants to know.
fn print(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}
