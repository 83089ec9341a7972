//! What all harts of a machine share.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use polyvisor_cell_abi::MAX_HARTS;

use super::fence::Fences;
use super::mode::Mode;
use super::platform::Shutdown;

/// How a machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// [`Mode::Supervisor`]: hart 0 starts in supervisor mode, and this crate is its SBI. [`Mode::Machine`]:
    /// all harts start in machine mode.
    pub mode: Mode,
    /// Where.
    pub entry: u64,
    /// What is in a1 and a2; the hart's number is in a0.
    pub arguments: [u64; 2],
}

/// The state of a hart as SBI sees it (SBI, 9.1), and one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum HartState {
    /// It runs.
    Started = 0,
    /// It does not.
    Stopped = 1,
    /// It has been told to start.
    StartPending = 2,
    /// It sleeps until an interrupt.
    Suspended = 4,
    /// Somebody is about to tell it to start: where is not known yet.
    StartClaimed = 0x100,
}

impl HartState {
    const ALL: [Self; 5] =
        [Self::Started, Self::Stopped, Self::StartPending, Self::Suspended, Self::StartClaimed];

    fn from_bits(bits: u32) -> Self {
        Self::ALL.into_iter().find(|&state| state as u32 == bits).unwrap_or(Self::Stopped)
    }
}

/// What others may see and change of one hart.
#[derive(Debug)]
#[repr(align(64))]
pub struct Shared {
    msip: AtomicBool,
    mtimecmp: AtomicU64,
    ipi: AtomicBool,
    state: AtomicU32,
    start: [AtomicU64; 2],
    pub(super) fences: Fences,
}

impl Shared {
    fn new(state: HartState) -> Self {
        Self {
            msip: AtomicBool::new(false),
            mtimecmp: AtomicU64::new(u64::MAX),
            ipi: AtomicBool::new(false),
            state: AtomicU32::new(state as u32),
            start: [AtomicU64::new(0), AtomicU64::new(0)],
            fences: Fences::new(),
        }
    }

    /// Whether the machine software interrupt is pending.
    pub fn msip(&self) -> bool {
        self.msip.load(Ordering::Acquire)
    }

    /// Sets that.
    pub fn set_msip(&self, pending: bool) {
        self.msip.store(pending, Ordering::Release);
    }

    /// From when on the machine timer interrupt is pending.
    pub fn mtimecmp(&self) -> u64 {
        self.mtimecmp.load(Ordering::Relaxed)
    }

    /// Sets that.
    pub fn set_mtimecmp(&self, time: u64) {
        self.mtimecmp.store(time, Ordering::Relaxed);
    }

    /// Sends the hart a supervisor software interrupt.
    pub fn send_ipi(&self) {
        self.ipi.store(true, Ordering::Release);
    }

    /// Whether one has come, which is then taken.
    pub fn take_ipi(&self) -> bool {
        // Reading first keeps the line shared with the senders.
        self.ipi.load(Ordering::Relaxed) && self.ipi.swap(false, Ordering::Acquire)
    }

    /// What the hart does.
    pub fn state(&self) -> HartState {
        HartState::from_bits(self.state.load(Ordering::Acquire))
    }

    /// Sets that, for the hart itself.
    pub fn set_state(&self, state: HartState) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// Tells a hart that is stopped to start at `entry` with `opaque` in a1. False if it is not stopped.
    pub fn start(&self, entry: u64, opaque: u64) -> bool {
        let (stopped, claimed) = (HartState::Stopped as u32, HartState::StartClaimed as u32);
        if self.state.compare_exchange(stopped, claimed, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        self.start[0].store(entry, Ordering::Relaxed);
        self.start[1].store(opaque, Ordering::Relaxed);
        self.set_state(HartState::StartPending);
        true
    }

    /// Where the hart is to start, and with what in a1, if it is; then it is started.
    pub fn take_start(&self) -> Option<[u64; 2]> {
        if self.state() != HartState::StartPending {
            return None;
        }
        let start = [self.start[0].load(Ordering::Relaxed), self.start[1].load(Ordering::Relaxed)];
        self.set_state(HartState::Started);
        Some(start)
    }
}

/// What all harts of a machine share.
#[derive(Debug)]
pub struct Cluster {
    boot: Boot,
    harts: [Shared; MAX_HARTS],
    count: usize,
    /// 0, or one more than the [`Shutdown`].
    shutdown: AtomicU32,
}

impl Cluster {
    /// A machine of `harts` harts, at least one and at most [`MAX_HARTS`].
    pub fn new(harts: usize, boot: Boot) -> Self {
        let state = |hart| {
            let starts = hart == 0 || boot.mode == Mode::Machine;
            if starts { HartState::Started } else { HartState::Stopped }
        };
        Self {
            boot,
            harts: core::array::from_fn(|hart| Shared::new(state(hart))),
            count: harts.clamp(1, MAX_HARTS),
            shutdown: AtomicU32::new(0),
        }
    }

    /// How it starts.
    pub const fn boot(&self) -> Boot {
        self.boot
    }

    /// How many harts there are.
    pub const fn harts(&self) -> usize {
        self.count
    }

    /// The hart of this number, if there is one.
    pub fn hart(&self, hart: usize) -> Option<&Shared> {
        self.harts.get(..self.count)?.get(hart)
    }

    /// The hart of this number, which must be one that there is, or else some hart.
    pub(super) fn shared(&self, hart: usize) -> &Shared {
        &self.harts[hart % MAX_HARTS]
    }

    /// Ends the machine: every hart returns from running when it next looks, for which the caller kicks it.
    /// The first call counts.
    pub fn shut_down(&self, how: Shutdown) {
        let code = match how {
            Shutdown::Off => 1,
            Shutdown::Reset => 2,
        };
        let _ = self.shutdown.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How the machine has ended, if it has.
    pub fn shutdown(&self) -> Option<Shutdown> {
        match self.shutdown.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Shutdown::Off),
            _ => Some(Shutdown::Reset),
        }
    }
}
