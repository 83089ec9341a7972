//! A driver for tests on the host: it sets queues up in [`TestMemory`], offers buffers, and collects them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use super::channel::Worker;
use super::queue::Setup;
use super::{Channel, Device, Features};
use crate::devices::irq::{IrqController, IrqLine};
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::test::TestMemory;
use crate::mm::guest_memory::{GuestMemory, Segment, Word, fence};

/// An interrupt line that remembers.
#[derive(Default)]
pub struct TestIrq {
    level: AtomicBool,
    edges: AtomicUsize,
}

impl TestIrq {
    /// Whether it is high.
    pub fn is_high(&self) -> bool {
        self.level.load(Ordering::SeqCst)
    }

    /// How often it went high since this was last asked.
    pub fn take_edges(&self) -> usize {
        self.edges.swap(0, Ordering::SeqCst)
    }
}

impl IrqController for TestIrq {
    fn set_level(&self, _: u32, level: bool) {
        if !self.level.swap(level, Ordering::SeqCst) && level {
            self.edges.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A worker that counts.
#[derive(Default)]
pub struct TestWorker(AtomicUsize);

impl TestWorker {
    /// How often it was wanted since this was last asked.
    pub fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Worker for TestWorker {
    fn wanted(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Where the memory starts.
pub const BASE: Ipa = Ipa(0x4000_0000);
/// Bytes of memory.
pub const SIZE: u64 = 8 << 20;
/// The last part of the memory holds buffers, which are given out in turn; queues and tables are before it.
const BUFFERS: u64 = 4 << 20;

/// What is around a device: the memory, an interrupt line, and who calls it again.
pub struct Rig {
    /// The guest's memory.
    pub memory: Arc<TestMemory>,
    /// The interrupt line.
    pub irq: Arc<TestIrq>,
    /// Who calls devices again.
    pub worker: Arc<TestWorker>,
    queues: AtomicU64,
    buffers: Mutex<u64>,
}

impl Rig {
    /// Memory of [`SIZE`] bytes from [`BASE`] on, and the rest.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::new(TestMemory::new(BASE, SIZE)),
            irq: Arc::default(),
            worker: Arc::default(),
            queues: AtomicU64::new(0),
            buffers: Mutex::new(0),
        })
    }

    /// A channel with queues of these sizes.
    pub fn channel(&self, sizes: &[u16]) -> Channel {
        let line = IrqLine::new(self.irq.clone(), 0);
        Channel::new(sizes, self.memory.clone(), line, self.worker.clone())
    }

    /// Whole pages for a queue or a table, zeroed.
    pub fn pages(&self, len: u64) -> Ipa {
        let offset = self.queues.fetch_add(len.next_multiple_of(PAGE_SIZE), Ordering::SeqCst);
        assert!(offset + len <= SIZE - BUFFERS, "the rig has no more pages");
        let at = Ipa(BASE.0 + offset);
        self.memory.zero(at, len).unwrap();
        at
    }

    /// A buffer of `len` bytes. It is given out again when all others were.
    pub fn buffer(&self, len: u32) -> Segment {
        let mut next = self.buffers.lock().unwrap();
        // Odd sizes in between, so that buffers straddle pages and are not aligned.
        let bytes = u64::from(len).next_multiple_of(8) + 8;
        if *next + bytes > BUFFERS {
            *next = 0;
        }
        let ipa = Ipa(BASE.0 + SIZE - BUFFERS + *next);
        *next += bytes;
        Segment { ipa, len }
    }

    /// A buffer with these bytes.
    pub fn filled(&self, bytes: &[u8]) -> Segment {
        let segment = self.buffer(bytes.len() as u32);
        self.memory.write(segment.ipa, bytes).unwrap();
        segment
    }

    /// The bytes of a buffer.
    pub fn bytes(&self, segment: Segment) -> Vec<u8> {
        self.memory.bytes(segment.ipa, segment.len.into())
    }
}

/// Tells a device that its driver is ready, with these features besides [`Features::VERSION_1`].
pub fn start(device: &dyn Device, features: Features) {
    let channel = device.channel();
    channel.negotiate(features | Features::VERSION_1);
    channel.go_live();
    device.start();
}

/// How a driver's queue works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mode {
    /// A packed ring.
    pub packed: bool,
    /// Event indices.
    pub event_idx: bool,
    /// Requests of several buffers are put into tables.
    pub indirect: bool,
}

impl Mode {
    /// All modes.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self { packed: bits & 1 != 0, event_idx: bits & 2 != 0, indirect: bits & 4 != 0 })
    }

    /// The features that it takes.
    pub fn features(self) -> Features {
        let mut features = Features::VERSION_1;
        features.set(Features::RING_PACKED, self.packed);
        features.set(Features::EVENT_IDX, self.event_idx);
        features.set(Features::INDIRECT_DESC, self.indirect);
        features
    }
}

/// A request that the device has given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Its number, as `add` has told.
    pub id: u16,
    /// How many bytes the device says it has written.
    pub written: u32,
    /// The buffers that the device could write.
    pub writable: Vec<Segment>,
    /// What is in them now.
    pub bytes: Vec<u8>,
}

/// A request in the device's hands.
struct Pending {
    /// Entries of the ring.
    entries: u16,
    /// What of `free` it has taken.
    indices: Vec<u16>,
    writable: Vec<Segment>,
}

/// The driver of one queue.
pub struct Driver {
    rig: Arc<Rig>,
    mode: Mode,
    setup: Setup,
    pending: BTreeMap<u16, Pending>,
    /// Descriptors that are free; for a packed ring, buffer ids.
    free: Vec<u16>,
    /// Entries of the ring that are free.
    room: u16,
    /// For each number of a request.
    tables: Vec<Ipa>,
    /// The next entry of the ring to be offered, and with which wrap counter.
    next: (u16, bool),
    /// The next entry of the ring that will be used, and with which wrap counter.
    used: (u16, bool),
    /// How many entries were offered since the device was last told.
    added: u16,
}

/// Descriptor flags.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

impl Driver {
    /// Sets the queue of this index of the channel up with `size` entries, and switches it on.
    pub fn new(rig: &Arc<Rig>, channel: &Channel, queue: usize, size: u16, mode: Mode) -> Self {
        let driver = Self::unconnected(rig, size, mode);
        channel.enable_queue(queue, driver.setup);
        assert!(channel.queue(queue).unwrap().lock().is_ready());
        driver
    }

    /// Puts a queue into memory, of which no device knows yet.
    pub fn unconnected(rig: &Arc<Rig>, size: u16, mode: Mode) -> Self {
        let entries = u64::from(size);
        let setup = Setup {
            size,
            descriptors: rig.pages(16 * entries),
            driver: rig.pages(6 + 2 * entries),
            device: rig.pages(6 + 8 * entries),
            packed: mode.packed,
            event_idx: mode.event_idx,
            indirect: mode.indirect,
        };
        Self {
            rig: rig.clone(),
            mode,
            setup,
            pending: BTreeMap::new(),
            free: (0..size).rev().collect(),
            room: size,
            tables: match mode.indirect {
                true => (0..size).map(|_| rig.pages(16 * entries)).collect(),
                false => Vec::new(),
            },
            next: (0, true),
            used: (0, true),
            added: 0,
        }
    }

    /// How the queue is set up.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// Offers a request: bytes that the device reads, and so many bytes each that it may write. Its number; `None` when the
    /// ring has no room for it.
    pub fn add(&mut self, readable: &[&[u8]], writable: &[u32]) -> Option<u16> {
        let readable: Vec<_> = readable.iter().map(|bytes| self.rig.filled(bytes)).collect();
        let writable: Vec<_> = writable.iter().map(|len| self.rig.buffer(*len)).collect();
        self.add_segments(&readable, &writable)
    }

    /// Offers a request of these buffers.
    pub fn add_segments(&mut self, readable: &[Segment], writable: &[Segment]) -> Option<u16> {
        let buffers: Vec<_> =
            readable.iter().map(|s| (*s, 0)).chain(writable.iter().map(|s| (*s, WRITE))).collect();
        assert!(!buffers.is_empty() && buffers.len() <= usize::from(self.setup.size));
        let is_table = self.mode.indirect && buffers.len() > 1;
        let entries = if is_table { 1 } else { buffers.len() as u16 };
        if self.room < entries {
            return None;
        }
        let indices = match self.mode.packed {
            true => self.add_packed(&buffers, is_table, entries),
            false => self.add_split(&buffers, is_table, entries),
        };
        let id = indices[0];
        self.room -= entries;
        self.pending.insert(id, Pending { entries, indices, writable: writable.to_vec() });
        Some(id)
    }

    fn add_split(&mut self, buffers: &[(Segment, u16)], is_table: bool, entries: u16) -> Vec<u16> {
        let indices = self.free.split_off(self.free.len() - usize::from(entries));
        let head = indices[0];
        if is_table {
            let table = self.write_table(head, buffers);
            self.descriptor(self.setup.descriptors, head, table, [INDIRECT, 0]);
        } else {
            for (at, (segment, flags)) in buffers.iter().enumerate() {
                let link = indices.get(at + 1).map_or([*flags, 0], |next| [flags | NEXT, *next]);
                self.descriptor(self.setup.descriptors, indices[at], *segment, link);
            }
        }
        let slot = u64::from(self.next.0 % self.setup.size);
        self.put(self.setup.driver, 4 + 2 * slot, head);
        self.next.0 = self.next.0.wrapping_add(1);
        self.added += 1;
        fence();
        self.put(self.setup.driver, 2, self.next.0);
        indices
    }

    fn add_packed(&mut self, buffers: &[(Segment, u16)], is_table: bool, entries: u16) -> Vec<u16> {
        // Ids need not be indices.
        let id = self.free.pop().unwrap();
        let ring = self.setup.descriptors;
        let table = is_table.then(|| (self.write_table(id, buffers), INDIRECT));
        let buffers = table.as_ref().map_or(buffers, core::slice::from_ref);
        let first = self.next;
        let mut first_flags = 0;
        for (at, (segment, flags)) in buffers.iter().enumerate() {
            let state = if self.next.1 { AVAIL } else { USED };
            let more = if at + 1 < buffers.len() { NEXT } else { 0 };
            let flags = flags | state | more;
            if at == 0 {
                first_flags = flags;
                let hidden: u16 = self.get(ring, 16 * u64::from(first.0) + 14);
                self.descriptor(ring, first.0, *segment, [id, hidden]);
            } else {
                self.descriptor(ring, self.next.0, *segment, [id, flags]);
            }
            self.next = self.forward(self.next, 1);
        }
        fence();
        self.put(ring, 16 * u64::from(first.0) + 14, first_flags);
        self.added += entries;
        vec![id]
    }

    /// Writes the table that belongs to a request.
    fn write_table(&self, id: u16, buffers: &[(Segment, u16)]) -> Segment {
        let ipa = self.tables[usize::from(id)];
        for (at, (segment, flags)) in buffers.iter().enumerate() {
            let at = at as u16;
            let last = match (self.mode.packed, usize::from(at) + 1 < buffers.len()) {
                (true, _) => [0, *flags],
                (false, true) => [flags | NEXT, at + 1],
                (false, false) => [*flags, 0],
            };
            self.descriptor(ipa, at, *segment, last);
        }
        Segment { ipa, len: 16 * buffers.len() as u32 }
    }

    /// Writes a descriptor; `last` are its last two fields in the order in which the ring has them.
    fn descriptor(&self, table: Ipa, index: u16, segment: Segment, last: [u16; 2]) {
        let at = 16 * u64::from(index);
        self.put(table, at, segment.ipa.0);
        self.put(table, at + 8, segment.len);
        self.put(table, at + 12, last[0]);
        self.put(table, at + 14, last[1]);
    }

    /// Whether the device is to be notified of what was added since this was last asked.
    pub fn kick(&mut self) -> bool {
        fence();
        let added = core::mem::take(&mut self.added);
        let device = self.setup.device;
        let size = self.setup.size;
        if added == 0 {
            return false;
        }
        let passes = |event: u16| self.next.0.wrapping_sub(event).wrapping_sub(1) < added;
        match (self.mode.packed, self.mode.event_idx) {
            (false, true) => passes(self.get(device, 4 + 8 * u64::from(size))),
            (false, false) => self.get::<u16>(device, 0) & 1 == 0,
            (true, _) => match self.get::<u16>(device, 2) {
                0 => true,
                1 => false,
                2 => {
                    let event: u16 = self.get(device, 0);
                    let behind = if event >> 15 == u16::from(self.next.1) { 0 } else { size };
                    passes((event & 0x7fff).wrapping_sub(behind))
                }
                flags => panic!("event flags {flags}"),
            },
        }
    }

    /// Says whether interrupts are wanted: with event indices, from the next used request on.
    pub fn want_interrupts(&self, wanted: bool) {
        let driver = self.setup.driver;
        match (self.mode.packed, self.mode.event_idx) {
            (false, true) => {
                let event = if wanted { self.used.0 } else { self.used.0.wrapping_sub(1) };
                self.put(driver, 4 + 2 * u64::from(self.setup.size), event);
            }
            (false, false) => self.put(driver, 0, u16::from(!wanted)),
            (true, true) if wanted => {
                self.put(driver, 0, self.used.0 | u16::from(self.used.1) << 15);
                self.put(driver, 2, 2u16);
            }
            (true, _) => self.put(driver, 2, u16::from(!wanted)),
        }
        fence();
    }

    /// Collects the next request that was given back.
    ///
    /// # Panics
    /// What was given back is nothing that the device had.
    pub fn used(&mut self) -> Option<Used> {
        let (id, written) = match self.mode.packed {
            true => self.used_packed()?,
            false => self.used_split()?,
        };
        let pending = self.pending.remove(&id).expect("this is not in the device's hands");
        self.room += pending.entries;
        self.free.extend(pending.indices);
        if self.mode.packed {
            self.used = self.forward(self.used, pending.entries);
        }
        let bytes = pending.writable.iter().flat_map(|segment| self.rig.bytes(*segment)).collect();
        Some(Used { id, written, writable: pending.writable, bytes })
    }

    /// Whether [`Driver::used`] would find anything.
    pub fn is_used(&self) -> bool {
        match self.mode.packed {
            true => self.used_packed().is_some(),
            false => self.get::<u16>(self.setup.device, 2) != self.used.0,
        }
    }

    fn used_split(&mut self) -> Option<(u16, u32)> {
        let ring = self.setup.device;
        if !self.is_used() {
            return None;
        }
        fence();
        let at = 4 + 8 * u64::from(self.used.0 % self.setup.size);
        self.used.0 = self.used.0.wrapping_add(1);
        Some((self.get::<u32>(ring, at).try_into().unwrap(), self.get(ring, at + 4)))
    }

    fn used_packed(&self) -> Option<(u16, u32)> {
        let (ring, at) = (self.setup.descriptors, 16 * u64::from(self.used.0));
        let flags: u16 = self.get(ring, at + 14);
        if (flags & AVAIL != 0, flags & USED != 0) != (self.used.1, self.used.1) {
            return None;
        }
        fence();
        // Without the flag, the length means nothing.
        let written = if flags & WRITE != 0 { self.get(ring, at + 8) } else { 0 };
        Some((self.get(ring, at + 12), written))
    }

    /// So many entries further on in a packed ring.
    fn forward(&self, (index, wrap): (u16, bool), count: u16) -> (u16, bool) {
        match index + count {
            index if index < self.setup.size => (index, wrap),
            index => (index - self.setup.size, !wrap),
        }
    }

    fn get<T: Word>(&self, area: Ipa, offset: u64) -> T {
        self.rig.memory.slice(Ipa(area.0 + offset), 8).unwrap().load(0).unwrap()
    }

    fn put<T: Word>(&self, area: Ipa, offset: u64, value: T) {
        assert!(self.rig.memory.slice(Ipa(area.0 + offset), 8).unwrap().store(0, value));
    }
}
