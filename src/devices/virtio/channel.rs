//! What a device model and its transport share: queues, memory, interrupt.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::Features;
pub use super::queue::Visit;
use super::queue::{Checked, Queue, QueueError, QueueState, Setup};
use crate::devices::irq::IrqLine;
use crate::mm::guest_memory::SharedMemory;
use crate::persist::RestoreError;

bitflags! {
    /// Why a device interrupts (VIRTIO 1.2, 4.2.2: `InterruptStatus`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Cause: u32 {
        /// Buffers were used.
        const USED = 1 << 0;
        /// The configuration has changed, or the device needs a reset.
        const CONFIG = 1 << 1;
    }
}

/// Who has a device called again that has more to do than its budget allowed.
pub trait Worker: Send + Sync {
    /// The device is to be notified again of the queues in [`Channel::take_deferred`], by a vCPU of the VM, which pays for it
    /// with its time and lets others run in between.
    fn wanted(&self);
}

/// What becomes of requests.
mod phase {
    /// The driver is not ready.
    pub const OFF: u8 = 0;
    /// They are carried out.
    pub const LIVE: u8 = 1;
    /// The driver has broken a queue, and must reset the device.
    pub const BROKEN: u8 = 2;
}

/// What is saved of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChannelState {
    generation: u32,
    is_broken: bool,
    causes: Cause,
    deferred: u64,
    queues: Vec<Option<QueueState>>,
}

/// What a device and its transport share.
///
/// Locks: a queue's is taken first, then the interrupt's, then the interrupt controller's. Who has the lock of one queue
/// may take that of another only of another device, and only from a queue that sends to one that receives.
pub struct Channel {
    memory: Arc<dyn SharedMemory>,
    queues: Box<[Mutex<Queue>]>,
    line: IrqLine,
    causes: Mutex<Cause>,
    features: AtomicU64,
    generation: AtomicU32,
    phase: AtomicU8,
    deferred: AtomicU64,
    worker: Arc<dyn Worker>,
}

impl Channel {
    /// A channel with a queue of at most `sizes[n]` entries for each n, up to 64.
    pub fn new(sizes: &[u16], memory: Arc<dyn SharedMemory>, line: IrqLine, worker: Arc<dyn Worker>) -> Self {
        Self {
            memory,
            queues: sizes.iter().take(64).map(|&size| Mutex::new(Queue::new(size))).collect(),
            line,
            causes: Mutex::new(Cause::empty()),
            features: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            phase: AtomicU8::new(phase::OFF),
            deferred: AtomicU64::new(0),
            worker,
        }
    }

    /// The memory that the driver's addresses mean.
    pub fn memory(&self) -> &Arc<dyn SharedMemory> {
        &self.memory
    }

    /// How many queues.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// The queue of this index, for the transport.
    pub fn queue(&self, index: usize) -> Option<&Mutex<Queue>> {
        self.queues.get(index)
    }

    /// What was negotiated; nothing before `FEATURES_OK`.
    #[inline]
    pub fn features(&self) -> Features {
        Features::from_bits_retain(self.features.load(Ordering::Relaxed))
    }

    /// Lets `visit` use the queue of this index. Afterwards, the driver sees what was completed, and is interrupted if it wants
    /// to know. `None`: the driver is not ready, the queue is not there or off, or the driver has broken it, in which case
    /// the device needs a reset now.
    pub fn visit<R>(
        &self,
        index: usize,
        visit: impl FnOnce(&mut Visit<'_>) -> Result<R, QueueError>,
    ) -> Option<R> {
        let mut queue = self.queues.get(index)?.lock();
        if !self.is_live() {
            return None;
        }
        let mut visit = Some(visit);
        let mut outcome = Ok(None);
        self.memory.with(&mut |memory| {
            if let Some(visit) = visit.take() {
                outcome = queue.open(memory).and_then(|opened| {
                    let Some(mut session) = opened else { return Ok(None) };
                    let value = visit(&mut session)?;
                    Ok(Some((value, session.publish()?)))
                });
            }
        });
        // The queue is locked until the driver has been told, so that nothing is left to come after a reset.
        match outcome {
            Ok(Some((value, signal))) => {
                if signal {
                    self.raise(Cause::USED);
                }
                Some(value)
            }
            Ok(None) => None,
            Err(error) => {
                self.fail(index, error);
                None
            }
        }
    }

    /// The device has more to do for the queue of this index than it may do now.
    pub fn defer(&self, queue: usize) {
        self.deferred.fetch_or(1 << (queue & 63), Ordering::SeqCst);
        self.worker.wanted();
    }

    /// The queues of which [`Channel::defer`] was told, a bit each, which are forgotten.
    pub fn take_deferred(&self) -> u64 {
        match self.deferred.load(Ordering::SeqCst) {
            0 => 0,
            _ => self.deferred.swap(0, Ordering::SeqCst),
        }
    }

    /// Whether [`Channel::take_deferred`] would tell of any.
    pub fn has_deferred(&self) -> bool {
        self.deferred.load(Ordering::Relaxed) != 0
    }

    /// The configuration space reads differently now.
    pub fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.raise(Cause::CONFIG);
    }

    /// How often the configuration has changed.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Whether the driver is ready, and has not broken anything: requests are carried out.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == phase::LIVE
    }

    /// Whether the driver has done what it may not, and must reset the device.
    pub fn is_broken(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == phase::BROKEN
    }

    /// Why the device interrupts.
    pub fn causes(&self) -> Cause {
        *self.causes.lock()
    }

    /// The driver has seen these causes.
    pub fn acknowledge(&self, seen: Cause) {
        let mut causes = self.causes.lock();
        causes.remove(seen);
        self.line.set(!causes.is_empty());
    }

    /// Interrupts the driver, if it is ready.
    pub fn raise(&self, cause: Cause) {
        let mut causes = self.causes.lock();
        // A reset changes this first and then clears the causes, so that none can follow.
        if self.phase.load(Ordering::Relaxed) == phase::OFF {
            return;
        }
        causes.insert(cause);
        self.line.set(true);
    }

    /// Sets what was negotiated.
    pub(super) fn negotiate(&self, features: Features) {
        self.features.store(features.bits(), Ordering::SeqCst);
    }

    /// The driver is ready. `false`: it has broken a queue before.
    pub(super) fn go_live(&self) -> bool {
        let (expected, next) = (phase::OFF, phase::LIVE);
        self.phase.compare_exchange(expected, next, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Switches a queue on. If it cannot be as the driver wants it, the device needs a reset.
    pub(super) fn enable_queue(&self, index: usize, setup: Setup) {
        let Some(queue) = self.queues.get(index) else { return };
        let mut queue = queue.lock();
        let mut outcome = Ok(());
        self.memory.with(&mut |memory| outcome = queue.enable(setup, memory));
        if let Err(error) = outcome {
            self.fail(index, error);
        }
    }

    /// Switches everything off: no queue is used from now on.
    pub(super) fn reset(&self) {
        for queue in &self.queues {
            queue.lock().disable();
        }
        // Whoever was using a queue is done, and nobody can begin.
        self.phase.store(phase::OFF, Ordering::SeqCst);
        self.features.store(0, Ordering::SeqCst);
        self.deferred.store(0, Ordering::SeqCst);
        self.acknowledge(Cause::all());
    }

    /// What is saved of the channel. What was negotiated follows from what the transport saves.
    pub(super) fn save(&self) -> ChannelState {
        ChannelState {
            generation: self.generation(),
            is_broken: self.is_broken(),
            causes: self.causes(),
            deferred: self.deferred.load(Ordering::SeqCst),
            queues: self.queues.iter().map(|queue| queue.lock().save()).collect(),
        }
    }

    /// Checks what was saved of each queue.
    pub(super) fn check(
        &self,
        state: &ChannelState,
        features: Features,
    ) -> Result<Vec<Option<Checked>>, RestoreError> {
        let (found, limit) = (state.queues.len(), self.queues.len());
        let mut checked =
            Err(RestoreError { field: "virtio.queues", found: found as u64, limit: limit as u64 });
        if found == limit {
            self.memory.with(&mut |memory| {
                let check = |(queue, state): (&Mutex<Queue>, &Option<QueueState>)| {
                    let check = |state| queue.lock().check(state, features, memory);
                    state.as_ref().map(check).transpose()
                };
                checked = self.queues.iter().zip(&state.queues).map(check).collect();
            });
        }
        checked
    }

    /// Goes on with what was saved, and its queues, which were checked.
    pub(super) fn resume(
        &self,
        state: &ChannelState,
        queues: Vec<Option<Checked>>,
        features: Features,
        is_ready: bool,
    ) {
        self.reset();
        for (queue, state) in self.queues.iter().zip(queues) {
            queue.lock().resume(state);
        }
        self.negotiate(features);
        self.generation.store(state.generation, Ordering::SeqCst);
        let phase = match (state.is_broken, is_ready) {
            (true, _) => phase::BROKEN,
            (false, true) => phase::LIVE,
            (false, false) => phase::OFF,
        };
        self.phase.store(phase, Ordering::SeqCst);
        if !state.causes.is_empty() {
            self.raise(state.causes);
        }
        if state.deferred != 0 {
            self.deferred.store(state.deferred, Ordering::SeqCst);
            self.worker.wanted();
        }
    }

    /// The driver has broken the rules of the queue of this index, whose lock is held.
    #[cold]
    fn fail(&self, queue: usize, error: QueueError) {
        log::debug!("virtio queue {queue}: {error}");
        // A driver that is not ready yet is not to be interrupted (3.1.1), and sees the status when it looks.
        if self.phase.swap(phase::BROKEN, Ordering::SeqCst) == phase::LIVE {
            self.raise(Cause::CONFIG);
        }
    }
}
