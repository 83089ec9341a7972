use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::test::TestMemory;

const SECTORS: u64 = 1024;
const RAM: Ipa = Ipa(0x4000_0000);

/// A medium in memory, whose commands end when the test says so, the last one first.
#[derive(Default)]
struct Medium {
    bytes: Vec<u8>,
    begun: Vec<(usize, Operation, u64, usize)>,
    /// Where the data of each command are.
    data: Vec<usize>,
    may_end: usize,
    fails: bool,
    clock: u64,
}

struct Fake(Arc<StdMutex<Medium>>, Abilities);

impl Controller for Fake {
    fn abilities(&self) -> Abilities {
        self.1
    }

    unsafe fn begin(
        &mut self,
        slot: usize,
        operation: Operation,
        sector: u64,
        data: GuestSlice<'_>,
    ) -> Result<(), DiskError> {
        let mut medium = self.0.lock().unwrap();
        assert!(medium.begun.iter().all(|begun| begun.0 != slot), "slot {slot} is in use");
        medium.begun.push((slot, operation, sector, data.len()));
        medium.data.push(data.as_ptr() as usize);
        Ok(())
    }

    fn take_ended(&mut self) -> Option<(usize, Result<(), DiskError>)> {
        let mut medium = self.0.lock().unwrap();
        if medium.may_end == 0 {
            return None;
        }
        let (slot, operation, sector, len) = medium.begun.pop()?;
        let data = medium.data.pop()?;
        medium.may_end -= 1;
        if medium.fails {
            return Some((slot, Err(DiskError::Medium)));
        }
        // SAFETY: what `begin` was given, which stays until this returns.
        let data = unsafe { GuestSlice::new(NonNull::new(data as *mut u8).unwrap(), len) };
        let at = (sector * SECTOR) as usize;
        match operation {
            Operation::Read => assert!(data.write(0, &medium.bytes[at..at + len])),
            Operation::Write => assert!(data.read(0, &mut medium.bytes[at..at + len])),
            Operation::WriteZeroes(count) => medium.bytes[at..at + (count * SECTOR) as usize].fill(0),
            Operation::Flush | Operation::Discard(_) => {}
        }
        Some((slot, Ok(())))
    }

    fn acknowledge(&mut self) {}

    fn clock(&self) -> u64 {
        let mut medium = self.0.lock().unwrap();
        medium.clock += 1_000_000;
        medium.clock
    }
}

/// A device that waits.
#[derive(Default)]
struct Device {
    ended: StdMutex<Vec<(u64, Result<(), DiskError>)>>,
    ready: AtomicUsize,
    was_reset: AtomicBool,
}

impl Waiter for Device {
    fn completed(&self, token: u64, result: Result<(), DiskError>) {
        self.ended.lock().unwrap().push((token, result));
    }

    fn deliver(&self, _: u64, deliver: &mut dyn FnMut()) {
        if !self.was_reset.load(Ordering::Relaxed) {
            deliver();
        }
    }

    fn ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    disk: PhysicalDisk<Fake>,
    medium: Arc<StdMutex<Medium>>,
    memory: Arc<TestMemory>,
    shared: Arc<dyn SharedMemory>,
}

impl Bench {
    fn new(adjust: impl FnOnce(&mut Abilities)) -> Self {
        let geometry = Geometry { sectors: SECTORS, read_only: false, block_size: 512, discards: true };
        let mut abilities = Abilities { geometry, volatile: true, max_discard: 100, max_write_zeroes: 100 };
        adjust(&mut abilities);
        let bytes = (0..SECTORS * SECTOR).map(|at| (at / SECTOR * 7 + at) as u8).collect();
        let medium = Arc::new(StdMutex::new(Medium { bytes, ..Medium::default() }));
        let memory = Arc::new(TestMemory::new(RAM, 1 << 20));
        let disk = PhysicalDisk::new(Fake(medium.clone(), abilities)).unwrap();
        Self { disk, medium, shared: memory.clone(), memory }
    }

    fn submit(
        &self,
        device: &Arc<Device>,
        token: u64,
        operation: Operation,
        sector: u64,
        segments: &[Segment],
    ) -> Result<Progress, DiskError> {
        let completion = Completion { waiter: device.clone(), token };
        let (memory, shared) = (&*self.memory, &self.shared);
        self.disk.submit(&Request { operation, sector, segments, memory, shared, completion: &completion })
    }

    /// Lets the medium end so many commands.
    fn end(&self, count: usize) {
        self.medium.lock().unwrap().may_end = count;
        self.disk.interrupt();
    }

    fn sectors(&self, sector: u64, count: u64) -> Vec<u8> {
        self.medium.lock().unwrap().bytes[(sector * SECTOR) as usize..((sector + count) * SECTOR) as usize]
            .to_vec()
    }
}

fn segment(offset: u64, len: u32) -> Segment {
    Segment { ipa: Ipa(RAM.0 + offset), len }
}

#[test]
fn data_pass_between_the_guest_and_the_medium() {
    let bench = Bench::new(|_| {});
    let device = Arc::new(Device::default());
    // Odd pieces, one of which crosses a page.
    let pieces = [segment(0x10, 1), segment(0xff0, 0x2000 - 1 - 0x100), segment(0x8000, 0x100)];
    assert_eq!(bench.submit(&device, 7, Operation::Read, 3, &pieces), Ok(Progress::Pending));
    assert!(device.ended.lock().unwrap().is_empty());
    bench.end(1);
    assert_eq!(*device.ended.lock().unwrap(), [(7, Ok(()))]);
    let read = pieces.iter().flat_map(|piece| bench.memory.bytes(piece.ipa, piece.len.into()));
    assert_eq!(read.collect::<Vec<_>>(), bench.sectors(3, 16));

    bench.submit(&device, 8, Operation::Write, 100, &pieces).unwrap();
    // What the guest changes afterwards is not what it has asked to write.
    bench.memory.write(RAM, &[0; 0x9000]).unwrap();
    bench.end(1);
    assert_eq!(bench.sectors(100, 16), bench.sectors(3, 16));
    assert_eq!(bench.disk.counters().sectors_written, 16);
}

#[test]
fn a_device_that_was_reset_finds_its_memory_untouched() {
    let bench = Bench::new(|_| {});
    let device = Arc::new(Device::default());
    bench.submit(&device, 1, Operation::Read, 0, &[segment(0, 512)]).unwrap();
    let before = bench.memory.bytes(RAM, 512);
    device.was_reset.store(true, Ordering::Relaxed);
    bench.end(1);
    assert_eq!(bench.memory.bytes(RAM, 512), before);
}

#[test]
fn who_asks_a_lot_leaves_room_for_others_and_everybody_comes_back() {
    let bench = Bench::new(|_| {});
    let (greedy, modest) = (Arc::new(Device::default()), Arc::new(Device::default()));
    let mut begun = 0;
    while bench.submit(&greedy, begun, Operation::Flush, 0, &[]) == Ok(Progress::Pending) {
        begun += 1;
    }
    assert_eq!(begun as usize, SLOTS - RESERVED as usize);
    for token in 0..SHARE as u64 {
        assert_eq!(bench.submit(&modest, token, Operation::Flush, 0, &[]), Ok(Progress::Pending));
    }
    assert_eq!(bench.submit(&modest, 9, Operation::Flush, 0, &[]), Ok(Progress::Busy));
    assert_eq!(bench.submit(&modest, 9, Operation::Flush, 0, &[]), Ok(Progress::Busy));
    let ready = |device: &Device| device.ready.load(Ordering::Relaxed);
    assert_eq!((ready(&greedy), ready(&modest)), (0, 0));
    bench.end(1);
    assert_eq!((ready(&greedy), ready(&modest)), (1, 0));
    // The greedy one does not come back: the other is told all the same, and once.
    bench.end(usize::MAX);
    assert_eq!((ready(&greedy), ready(&modest)), (1, 1));
    assert_eq!(
        greedy.ended.lock().unwrap().len() + modest.ended.lock().unwrap().len(),
        begun as usize + SHARE
    );
}

#[test]
fn long_requests_without_data_are_carried_out_in_parts() {
    for max_write_zeroes in [0, 100] {
        let bench = Bench::new(|abilities| abilities.max_write_zeroes = max_write_zeroes);
        let device = Arc::new(Device::default());
        let (before, after) = (bench.sectors(9, 1), bench.sectors(311, 1));
        bench.submit(&device, 1, Operation::WriteZeroes(301), 10, &[]).unwrap();
        bench.end(2);
        assert!(device.ended.lock().unwrap().is_empty());
        bench.end(usize::MAX);
        assert_eq!(*device.ended.lock().unwrap(), [(1, Ok(()))]);
        assert!(bench.sectors(10, 301).iter().all(|&byte| byte == 0));
        assert_eq!((bench.sectors(9, 1), bench.sectors(311, 1)), (before, after));
    }
    let bench = Bench::new(|_| {});
    let device = Arc::new(Device::default());
    bench.submit(&device, 1, Operation::Discard(101), 0, &[]).unwrap();
    assert_eq!(bench.medium.lock().unwrap().begun[0].1, Operation::Discard(100));
    bench.end(1);
    assert_eq!(bench.medium.lock().unwrap().begun[0], (0, Operation::Discard(1), 100, 0));
}

#[test]
fn what_cannot_be_is_refused_and_takes_no_room() {
    let bench = Bench::new(|abilities| abilities.max_discard = 0);
    let device = Arc::new(Device::default());
    let range = |sector, count| Err(DiskError::Range { sector, count, limit: SECTORS });
    assert_eq!(bench.submit(&device, 1, Operation::Read, SECTORS, &[segment(0, 512)]), range(SECTORS, 1));
    assert_eq!(bench.submit(&device, 1, Operation::WriteZeroes(2), u64::MAX, &[]), range(u64::MAX, 2));
    assert_eq!(bench.submit(&device, 1, Operation::Discard(1), 0, &[]), Err(DiskError::Unsupported));
    assert_eq!(bench.submit(&device, 1, Operation::Read, 0, &[segment(0, 511)]), Err(DiskError::Unsupported));
    let outside = [Segment { ipa: Ipa(0), len: 512 }];
    for _ in 0..2 * SLOTS {
        assert_eq!(bench.submit(&device, 1, Operation::Write, 0, &outside), Err(DiskError::Memory));
    }
    assert_eq!(bench.disk.state.lock().free, ALL_FREE);
    let read_only = Bench::new(|abilities| abilities.geometry.read_only = true);
    assert_eq!(read_only.submit(&device, 1, Operation::Write, 0, &[]), Err(DiskError::ReadOnly));
    let stable = Bench::new(|abilities| abilities.volatile = false);
    assert_eq!(stable.submit(&device, 1, Operation::Flush, 0, &[]), Ok(Progress::Done));
}

#[test]
fn el2_reads_for_itself_but_does_not_wait_for_ever() {
    let bench = Bench::new(|_| {});
    bench.medium.lock().unwrap().may_end = usize::MAX;
    let mut buffer = vec![0; 150 * SECTOR as usize];
    bench.disk.read(11, &mut buffer).unwrap();
    assert_eq!(buffer, bench.sectors(11, 150));

    bench.medium.lock().unwrap().may_end = 0;
    assert_eq!(bench.disk.read(0, &mut buffer[..512]), Err(DiskError::Medium));
    assert_ne!(bench.disk.state.lock().free, ALL_FREE);
    bench.end(1);
    assert_eq!(bench.disk.state.lock().free, ALL_FREE);

    bench.medium.lock().unwrap().fails = true;
    bench.medium.lock().unwrap().may_end = 1;
    assert_eq!(bench.disk.read(0, &mut buffer[..512]), Err(DiskError::Medium));
    assert_eq!(bench.disk.counters().errors, 1);
}
