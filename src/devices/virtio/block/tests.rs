//! The block device behind the test driver, against a model of the disk.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::request::{Range, kind};
use super::*;
use crate::devices::virtio::testing::{Driver, Mode, Rig, Used, start};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{Segment, SharedMemory};
use crate::storage::memory::MemoryDisk;
use crate::storage::{Completion, Counters, MAX_TRANSFER, Operation, Progress, Request, SECTOR};

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
const SECTORS: u64 = 40_000;

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [kind.to_le_bytes().as_slice(), &[0; 4], &sector.to_le_bytes()].concat()
}

fn range(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    [sector.to_le_bytes().as_slice(), &count.to_le_bytes(), &flags.to_le_bytes()].concat()
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 5) as u8 ^ (at >> 9) as u8 ^ seed).collect()
}

/// What a disk was asked, if that is a request that it keeps.
struct Kept {
    token: u64,
    waiter: Arc<dyn Waiter>,
    shared: Arc<dyn SharedMemory>,
    segments: Vec<Segment>,
    data: Vec<u8>,
    operation: Operation,
}

/// A disk that answers when it is told to, and can take few requests.
struct SlowDisk {
    disk: MemoryDisk,
    room: usize,
    kept: Mutex<VecDeque<Kept>>,
    refused: Mutex<Option<Arc<dyn Waiter>>>,
}

impl SlowDisk {
    fn new(room: usize) -> Arc<Self> {
        let disk = MemoryDisk::new(&[], SECTORS * SECTOR, false).unwrap();
        Arc::new(Self { disk, room, kept: Mutex::default(), refused: Mutex::default() })
    }

    /// Ends the n-th of the requests that wait, counted modulo their number. `false`: there is none.
    fn answer(&self, index: usize, result: Result<(), DiskError>) -> bool {
        let mut kept = self.kept.lock();
        if kept.is_empty() {
            return false;
        }
        let index = index % kept.len();
        let Kept { token, waiter, shared, segments, data, operation } = kept.remove(index).unwrap();
        drop(kept);
        if operation == Operation::Read && result.is_ok() {
            waiter.deliver(token, &mut || {
                shared.with(&mut |memory| {
                    let mut rest = &data[..];
                    for segment in &segments {
                        memory.write(segment.ipa, rest.split_off(..segment.len as usize).unwrap()).unwrap();
                    }
                });
            });
        }
        waiter.completed(token, result);
        if let Some(waiter) = self.refused.lock().take() {
            waiter.ready();
        }
        true
    }
}

impl Disk for SlowDisk {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn submit(&self, request: &Request<'_>) -> Result<Progress, DiskError> {
        let mut kept = self.kept.lock();
        let Completion { waiter, token } = request.completion.clone();
        if kept.len() >= self.room {
            *self.refused.lock() = Some(waiter);
            return Ok(Progress::Busy);
        }
        let mut data = Vec::new();
        if request.operation == Operation::Read {
            data.resize((request.sectors() * SECTOR) as usize, 0);
            self.disk.read(request.sector, &mut data)?;
        } else {
            self.disk.submit(request)?;
        }
        let (shared, segments) = (request.shared.clone(), request.segments.to_vec());
        assert!(segments.iter().map(|segment| segment.len).sum::<u32>() <= MAX_TRANSFER);
        kept.push_back(Kept { token, waiter, shared, segments, data, operation: request.operation });
        Ok(Progress::Pending)
    }

    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read(sector, buffer)
    }

    fn counters(&self) -> Counters {
        self.disk.counters()
    }
}

/// A device with one queue and its driver.
struct Bench {
    rig: Arc<Rig>,
    block: Arc<Block>,
    driver: Driver,
    slow: Option<Arc<SlowDisk>>,
}

impl Bench {
    fn with(disk: Arc<dyn Disk>, slow: Option<Arc<SlowDisk>>, mode: Mode) -> Self {
        let rig = Rig::new();
        let block = Block::new(rig.channel(&Block::queues(1)), disk, "a-disk");
        let driver = Driver::new(&rig, block.channel(), 0, 64, mode);
        start(&*block, mode.features() | block.features());
        Self { rig, block, driver, slow }
    }

    fn fast(mode: Mode) -> Self {
        Self::with(Arc::new(MemoryDisk::new(&[], SECTORS * SECTOR, false).unwrap()), None, mode)
    }

    fn slow(room: usize, mode: Mode) -> Self {
        let slow = SlowDisk::new(room);
        Self::with(slow.clone(), Some(slow), mode)
    }

    /// What a vCPU does between two turns of its guest. `false`: there was nothing to do.
    fn work(&self) -> bool {
        let deferred = self.block.channel().take_deferred() != 0;
        if deferred {
            self.block.notified(0);
        }
        deferred
    }

    /// Lets everything be done that is under way.
    fn settle(&self) {
        while self.work() || self.slow.as_ref().is_some_and(|disk| disk.answer(5, Ok(()))) {}
    }

    /// Carries out one request, and returns what was written: data and status.
    fn request(&mut self, readable: &[&[u8]], writable: &[u32]) -> Used {
        self.driver.add(readable, writable).unwrap();
        self.block.notified(0);
        self.settle();
        self.driver.used().expect("no answer")
    }

    fn status(&mut self, readable: &[&[u8]], writable: &[u32]) -> u8 {
        *self.request(readable, writable).bytes.last().unwrap()
    }
}

#[test]
fn buffers_may_be_framed_in_any_way() {
    for mode in Mode::all() {
        let mut bench = Bench::fast(mode);
        let data = pattern(7, 1536);
        let whole = [header(kind::OUT, 3), data.clone()].concat();
        let (a, rest) = whole.split_at(5);
        let (b, c) = rest.split_at(300);
        assert_eq!(bench.status(&[a, b, c], &[1]), OK);

        let read = bench.request(&[&header(kind::IN, 3)[..9], &header(kind::IN, 3)[9..]], &[7, 1000, 530]);
        assert_eq!((read.written, *read.bytes.last().unwrap()), (1537, OK));
        assert!(read.bytes[..1536] == data[..]);
    }
}

#[test]
fn what_is_malformed_ends_in_an_error() {
    let mut bench = Bench::fast(Mode::default());
    let sector = pattern(1, 512);
    let end = SECTORS - 1;
    // Past the end, also where that wraps; not whole sectors; less than a header.
    assert_eq!(bench.status(&[&header(kind::OUT, end), &sector, &sector], &[1]), IOERR);
    assert_eq!(bench.status(&[&header(kind::IN, u64::MAX)], &[512, 1]), IOERR);
    assert_eq!(bench.status(&[&header(kind::IN, 0)], &[511, 1]), IOERR);
    assert_eq!(bench.status(&[&header(kind::IN, 0)[..15]], &[512, 1]), IOERR);
    assert_eq!(bench.status(&[&header(99, 0)], &[1]), UNSUPP);
    // No room for a status.
    bench.driver.add(&[&header(kind::IN, 0)], &[]).unwrap();
    bench.block.notified(0);
    assert_eq!(bench.driver.used().unwrap().written, 0);
    // Data, and a status, where there is no memory.
    let nowhere = |len| Segment { ipa: Ipa(u64::MAX - 511), len };
    let at = bench.rig.filled(&header(kind::IN, 0));
    let status = bench.rig.buffer(1);
    assert_eq!(bench.status(&[&header(kind::OUT, end), &sector], &[1]), OK);
    for writable in [&[nowhere(512), status][..], &[nowhere(512)], &[nowhere(513)]] {
        bench.driver.add_segments(&[at], writable).unwrap();
        bench.block.notified(0);
        assert!(!bench.block.channel().is_broken());
    }
    assert_eq!(bench.rig.bytes(status), [IOERR]);
}

#[test]
fn ranges_are_cleared_as_the_specification_says() {
    let mut bench = Bench::fast(Mode::default());
    let max = crate::storage::MAX_CLEAR as u32;
    bench.status(&[&header(kind::OUT, 8), &pattern(3, 16 * 512)], &[1]);
    let zero = header(kind::WRITE_ZEROES, 0);
    let discard = header(kind::DISCARD, 0);
    assert_eq!(bench.status(&[&zero, &range(8, 1, 0), &range(10, 1, Range::UNMAP)], &[1]), OK);
    let mut expected = pattern(3, 16 * 512);
    expected[..512].fill(0);
    expected[1024..1536].fill(0);
    let read = bench.request(&[&header(kind::IN, 8)], &[16 * 512, 1]);
    assert!(read.bytes[..16 * 512] == expected[..]);

    assert_eq!(bench.status(&[&discard, &range(8, 16, 0)], &[1]), OK);
    assert_eq!(bench.status(&[&discard, &range(8, 16, Range::UNMAP)], &[1]), UNSUPP);
    assert_eq!(bench.status(&[&zero, &range(8, 16, 2)], &[1]), UNSUPP);
    assert_eq!(bench.status(&[&zero, &range(8, max + 1, 0)], &[1]), IOERR);
    assert_eq!(bench.status(&[&zero, &range(SECTORS, 1, 0)], &[1]), IOERR);
    assert_eq!(bench.status(&[&zero, &range(0, 1, 0)[..15]], &[1]), IOERR);
    assert_eq!(bench.status(&[&zero, &range(0, 1, 0).repeat(17)], &[1]), IOERR);
}

#[test]
fn a_read_only_disk_refuses_writes_and_tells_its_name() {
    let disk = MemoryDisk::new(b"data", 1024, true).unwrap();
    let mut bench = Bench::with(Arc::new(disk), None, Mode::default());
    assert_eq!(bench.status(&[&header(kind::OUT, 0), &[0; 512]], &[1]), IOERR);
    assert_eq!(bench.status(&[&header(kind::DISCARD, 0), &range(0, 1, 0)], &[1]), UNSUPP);
    let id = bench.request(&[&header(kind::GET_ID, 0)], &[20, 1]);
    assert_eq!((id.written, &id.bytes[..]), (21, &b"a-disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]));
    assert_eq!(bench.request(&[&header(kind::GET_ID, 0)], &[4, 1]).bytes, b"a-di\0");
}

#[test]
fn a_large_request_lets_others_run_in_between() {
    let mut bench = Bench::fast(Mode::default());
    let len = 2 << 20;
    bench.driver.add(&[&header(kind::IN, 0)], &[len, 1]).unwrap();
    bench.block.notified(0);
    assert!(bench.driver.used().is_none());
    let mut turns = 0;
    while bench.work() {
        turns += 1;
    }
    assert_eq!(turns, 8);
    assert_eq!(bench.driver.used().unwrap().written, len + 1);
}

#[test]
fn without_a_cache_a_write_ends_on_the_medium() {
    let mut bench = Bench::slow(4, Mode::default());
    let write = [header(kind::OUT, 0), pattern(1, 512)].concat();
    let flushes = |bench: &Bench| bench.block.disk().counters().flushes;
    assert_eq!((bench.status(&[&write], &[1]), flushes(&bench)), (OK, 0));
    bench.block.write_config(config::WRITEBACK as u64, &[0]);
    assert_eq!((bench.status(&[&write], &[1]), flushes(&bench)), (OK, 1));
    assert_eq!((bench.status(&[&header(kind::FLUSH, 0)], &[1]), flushes(&bench)), (OK, 2));
    bench.block.write_config(config::WRITEBACK as u64, &[1]);
    assert_eq!((bench.status(&[&write], &[1]), flushes(&bench)), (OK, 2));
}

#[test]
fn nothing_of_before_a_reset_reaches_the_guest() {
    let mut bench = Bench::slow(64, Mode::default());
    let buffer = bench.rig.buffer(512);
    let status = bench.rig.buffer(1);
    let before = [bench.rig.bytes(buffer), bench.rig.bytes(status)];
    let at = bench.rig.filled(&header(kind::IN, 0));
    bench.driver.add_segments(&[at], &[buffer, status]).unwrap();
    bench.block.notified(0);
    bench.block.channel().reset();
    bench.block.reset();
    // The new driver's request has the same job, and must not be taken for the old one.
    bench.driver = Driver::new(&bench.rig, bench.block.channel(), 0, 64, Mode::default());
    start(&*bench.block, bench.block.features());
    bench.driver.add(&[&header(kind::IN, 0)], &[512, 1]).unwrap();
    bench.block.notified(0);
    let slow = bench.slow.clone().unwrap();
    slow.answer(0, Ok(()));
    assert!(bench.driver.used().is_none());
    assert_eq!([bench.rig.bytes(buffer), bench.rig.bytes(status)], before);
    slow.answer(0, Err(DiskError::Medium));
    assert_eq!(*bench.driver.used().unwrap().bytes.last().unwrap(), IOERR);
    // The device goes, the disk answers.
    bench.driver.add(&[&header(kind::IN, 0)], &[512, 1]).unwrap();
    bench.block.notified(0);
    let weak = Arc::downgrade(&bench.block);
    drop(bench);
    assert!(weak.upgrade().is_none() && slow.answer(0, Ok(())));
}

#[derive(Debug, Clone)]
enum Step {
    Write { sector: u64, sectors: u64, seed: u8 },
    Read { sector: u64, sectors: u64 },
    Zero { sector: u64, sectors: u64 },
    Answer(usize),
    Work,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0u64..2000, prop_oneof![1u64..9, 100u64..300]);
    prop_oneof![
        (place(), any::<u8>()).prop_map(|((sector, sectors), seed)| Step::Write { sector, sectors, seed }),
        place().prop_map(|(sector, sectors)| Step::Read { sector, sectors }),
        place().prop_map(|(sector, sectors)| Step::Zero { sector, sectors }),
        any::<usize>().prop_map(Step::Answer),
        Just(Step::Work),
    ]
}

/// A request in the device's hands: the sectors, its number, and what is to be read.
type Flying = (core::ops::Range<u64>, u16, Option<Vec<u8>>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Requests in flight at once keep to places of their own, so that their order does not matter.
    #[test]
    fn every_request_is_answered_once_with_what_the_disk_has(
        steps in proptest::collection::vec(step(), 1..60),
        room in prop_oneof![Just(0usize), 1usize..6, Just(100)],
        mode in (0usize..8).prop_map(|at| Mode::all().nth(at).unwrap()),
    ) {
        let mut bench = if room == 0 { Bench::fast(mode) } else { Bench::slow(room, mode) };
        let mut model = vec![0u8; (4000 * SECTOR) as usize];
        let mut flying: Vec<Flying> = Vec::new();
        for step in steps {
            let (readable, writable, place, expected) = match step {
                Step::Answer(index) => {
                    bench.slow.as_ref().map(|disk| disk.answer(index, Ok(())));
                    continue;
                }
                Step::Work => {
                    bench.work();
                    continue;
                }
                Step::Write { sector, sectors, seed } => {
                    let data = pattern(seed, (sectors * SECTOR) as usize);
                    (vec![header(kind::OUT, sector), data], vec![1], sector..sector + sectors, None)
                }
                Step::Zero { sector, sectors } => {
                    let range = range(sector, sectors as u32, 0);
                    (vec![header(kind::WRITE_ZEROES, 0), range], vec![1], sector..sector + sectors, None)
                }
                Step::Read { sector, sectors } => {
                    let bytes = (sector * SECTOR) as usize..((sector + sectors) * SECTOR) as usize;
                    let half = (bytes.len() / 3) as u32;
                    let writable = vec![half, bytes.len() as u32 - half + 1];
                    (vec![header(kind::IN, sector)], writable, sector..sector + sectors, Some(bytes))
                }
            };
            if flying.iter().any(|(other, ..)| other.start < place.end && place.start < other.end) {
                bench.settle();
                collect(&mut bench, &mut flying)?;
            }
            let readable: Vec<&[u8]> = readable.iter().map(Vec::as_slice).collect();
            let id = bench.driver.add(&readable, &writable);
            let Some(id) = id else { continue };
            let bytes = (place.start * SECTOR) as usize..(place.end * SECTOR) as usize;
            let expected = match expected {
                Some(bytes) => Some(model[bytes].to_vec()),
                None => {
                    match readable[1].len() {
                        16 => model[bytes].fill(0),
                        _ => model[bytes].copy_from_slice(readable[1]),
                    }
                    None
                }
            };
            flying.push((place, id, expected));
            if bench.driver.kick() {
                bench.block.notified(0);
            }
            collect(&mut bench, &mut flying)?;
        }
        bench.settle();
        collect(&mut bench, &mut flying)?;
        prop_assert!(flying.is_empty(), "{} requests were not answered", flying.len());
        let mut disk = vec![0; model.len()];
        bench.block.disk().read(0, &mut disk).unwrap();
        prop_assert!(disk == model);
    }
}

/// Checks the answers that are there.
fn collect(bench: &mut Bench, flying: &mut Vec<Flying>) -> Result<(), TestCaseError> {
    while let Some(used) = bench.driver.used() {
        let at = flying.iter().position(|(_, id, _)| *id == used.id).unwrap();
        let (_, _, expected) = flying.remove(at);
        let (status, data) = used.bytes.split_last().unwrap();
        prop_assert_eq!(*status, OK);
        if let Some(expected) = expected {
            prop_assert!(data == expected);
        }
    }
    Ok(())
}
