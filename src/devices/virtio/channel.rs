//! What a device model and its transport share: queues, memory, interrupt.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bitflags::bitflags;
use spin::Mutex;

use super::Features;
use super::queue::{Chain, Queue, QueueError, Token};
use crate::devices::irq::IrqLine;
use crate::mm::guest_memory::{GuestMemory, SharedMemory};

bitflags! {
    /// Why a device interrupts (VIRTIO 1.2, 4.2.2: `InterruptStatus`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    broken: AtomicBool,
    deferred: AtomicU64,
    worker: Arc<dyn Worker>,
}

impl Channel {
    /// A channel with a queue of at most `sizes[n]` entries for each n, up to 64.
    pub fn new(sizes: &[u16], memory: Arc<dyn SharedMemory>, line: IrqLine, worker: Arc<dyn Worker>) -> Self {
        Self {
            memory,
            queues: sizes.iter().map(|&size| Mutex::new(Queue::new(size))).collect(),
            line,
            causes: Mutex::new(Cause::empty()),
            features: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            broken: AtomicBool::new(false),
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

    /// Lets `visit` use the queue of this index. Tells the driver afterwards what was used, if it wants to know. `None`: the queue
    /// is not there or not ready, or the driver has broken it, in which case the device needs a reset now.
    pub fn visit<R>(
        &self,
        index: usize,
        visit: impl FnOnce(&mut Visit<'_>) -> Result<R, QueueError>,
    ) -> Option<R> {
        let mut queue = self.queues.get(index)?.lock();
        if !queue.is_ready() || self.is_broken() {
            return None;
        }
        let mut visit = Some(visit);
        let mut outcome = None;
        self.memory.with(&mut |memory| {
            if let Some(visit) = visit.take() {
                let mut session = Visit { queue: &mut queue, memory };
                let result = visit(&mut session);
                outcome = Some(result.and_then(|value| Ok((value, session.queue.take_signal(memory)?))));
            }
        });
        match outcome? {
            Ok((value, signal)) => {
                if signal {
                    self.raise(Cause::USED);
                }
                Some(value)
            }
            Err(error) => {
                drop(queue);
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

    /// Whether the driver has done what it may not, and must reset the device.
    #[inline]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
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

    /// Interrupts the driver.
    pub fn raise(&self, cause: Cause) {
        let mut causes = self.causes.lock();
        causes.insert(cause);
        self.line.set(true);
    }

    /// Sets what was negotiated.
    pub(super) fn negotiate(&self, features: Features) {
        self.features.store(features.bits(), Ordering::SeqCst);
    }

    /// Switches everything off: no queue is used from now on.
    pub(super) fn reset(&self) {
        for queue in &self.queues {
            queue.lock().disable();
        }
        self.features.store(0, Ordering::SeqCst);
        self.deferred.store(0, Ordering::SeqCst);
        self.broken.store(false, Ordering::SeqCst);
        self.acknowledge(Cause::all());
    }

    /// The driver has broken the rules of the queue of this index (VIRTIO 1.2, 2.1.2: `DEVICE_NEEDS_RESET`).
    #[cold]
    fn fail(&self, queue: usize, error: QueueError) {
        log::debug!("virtio queue {queue}: {error}");
        self.broken.store(true, Ordering::SeqCst);
        self.raise(Cause::CONFIG);
    }
}

/// A queue in use, with the memory in which it lies.
pub struct Visit<'a> {
    queue: &'a mut Queue,
    memory: &'a dyn GuestMemory,
}

impl<'a> Visit<'a> {
    /// The memory that descriptors mean.
    pub fn memory(&self) -> &'a dyn GuestMemory {
        self.memory
    }

    /// Takes the next request into `chain`. `false`: there is none, and the driver will notify when there is.
    ///
    /// # Errors
    /// [`QueueError`]: the driver has broken the queue.
    pub fn next(&mut self, chain: &mut Chain) -> Result<bool, QueueError> {
        self.queue.next(self.memory, chain)
    }

    /// Gives a request back, `written` bytes of whose writable part were written.
    ///
    /// # Errors
    /// [`QueueError`]: the driver has broken the queue.
    pub fn complete(&mut self, token: Token, written: u32) -> Result<(), QueueError> {
        self.queue.complete(self.memory, token, written)
    }

    /// Takes back the last `next`: the same request comes again.
    pub fn put_back(&mut self, token: Token) {
        self.queue.put_back(token);
    }
}
