use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex as StdMutex};

use super::*;
use crate::devices::irq::IrqLine;
use crate::devices::virtio::channel::Cause;
use crate::devices::virtio::testing::{BASE, Driver, Mode, Rig, start};
use crate::mm::guest_memory::test::TestMemory;
use crate::mm::guest_memory::{GuestMemory, Segment, SharedMemory};

/// Memory that remembers what it has given back, and never does while it is in use.
struct Giving {
    memory: Arc<TestMemory>,
    users: AtomicUsize,
    is_pinned: AtomicBool,
    released: StdMutex<Vec<Ipa>>,
}

impl SharedMemory for Giving {
    fn with(&self, access: &mut dyn FnMut(&dyn GuestMemory)) {
        self.users.fetch_add(1, Ordering::SeqCst);
        access(&*self.memory);
        self.users.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reclaim for Giving {
    fn release(&self, ipa: Ipa) -> Result<(), ReclaimError> {
        assert_eq!(self.users.load(Ordering::SeqCst), 0, "released during a visit");
        let is_ram = self.memory.ram().iter().any(|ram| ram.contains(&ipa));
        if !is_ram || !ipa.is_aligned(CHUNK) {
            return Err(ReclaimError::Unbacked { ipa });
        }
        if self.is_pinned.load(Ordering::SeqCst) {
            return Err(ReclaimError::Pinned);
        }
        self.released.lock().unwrap().push(ipa);
        Ok(())
    }
}

struct Setting {
    rig: Arc<Rig>,
    memory: Arc<Giving>,
    balloon: Arc<Balloon>,
}

const ALL: BalloonFeatures = BalloonFeatures::MUST_TELL_HOST
    .union(BalloonFeatures::STATS_VQ)
    .union(BalloonFeatures::PAGE_POISON)
    .union(BalloonFeatures::PAGE_REPORTING);

impl Setting {
    fn new() -> Self {
        let rig = Rig::new();
        let memory = Arc::new(Giving {
            memory: rig.memory.clone(),
            users: AtomicUsize::new(0),
            is_pinned: AtomicBool::new(false),
            released: StdMutex::default(),
        });
        let line = IrqLine::new(rig.irq.clone(), 0);
        let channel = Channel::new(&QUEUES, memory.clone(), line, rig.worker.clone());
        let balloon = Balloon::new(channel, memory.clone());
        Self { rig, memory, balloon }
    }

    fn driver(&self, queue: usize, mode: Mode) -> Driver {
        Driver::new(&self.rig, self.balloon.channel(), queue, 16, mode)
    }

    fn start(&self, mode: Mode, features: BalloonFeatures) {
        start(&*self.balloon, mode.features() | Features::from_bits_retain(features.bits()));
    }

    /// Calls the device as long as it has something left to do; how often that was.
    fn settle(&self) -> u32 {
        for call in 0..1000 {
            match self.balloon.channel().take_deferred() {
                0 => return call,
                queues => (0..QUEUES.len()).filter(|queue| queues >> queue & 1 != 0).for_each(|queue| {
                    self.balloon.notified(queue);
                }),
            }
        }
        panic!("the device never comes to an end");
    }

    fn notify(&self, queue: usize) -> u32 {
        self.balloon.notified(queue);
        self.settle()
    }

    fn take_released(&self) -> Vec<Ipa> {
        core::mem::take(&mut *self.memory.released.lock().unwrap())
    }

    fn inside(&self) -> u64 {
        self.balloon.report().inside / PAGE_SIZE
    }
}

/// The numbers of pages of the RAM's n-th chunk, as a request has them.
fn numbers(chunk: u64, pages: core::ops::Range<u64>) -> Vec<u8> {
    pages.flat_map(|page| ((BASE.0 + chunk * CHUNK) / PAGE_SIZE + page).to_le_bytes()[..4].to_vec()).collect()
}

fn chunk(number: u64) -> Ipa {
    Ipa(BASE.0 + number * CHUNK)
}

#[test]
fn a_chunk_goes_back_with_its_last_page_before_the_guest_is_told() {
    for mode in Mode::all() {
        let setting = Setting::new();
        let mut inflate = setting.driver(queue::INFLATE, mode);
        setting.start(mode, ALL);
        // In two buffers that are no whole numbers of entries, and in an order of its own.
        inflate.add(&[&numbers(1, 100..512), &[1, 2, 3], &numbers(1, 0..99)], &[]).unwrap();
        setting.notify(queue::INFLATE);
        assert!(inflate.used().is_some());
        assert_eq!((setting.inside(), setting.take_released()), (511, vec![]));

        inflate.add(&[&numbers(1, 99..100)], &[]).unwrap();
        setting.memory.is_pinned.store(true, Ordering::SeqCst);
        setting.balloon.notified(queue::INFLATE);
        assert_eq!(inflate.used(), None, "told while devices may still use the memory");
        assert!(setting.balloon.channel().has_deferred());
        setting.memory.is_pinned.store(false, Ordering::SeqCst);
        setting.settle();
        assert!(inflate.used().is_some());
        assert_eq!((setting.inside(), setting.take_released()), (512, vec![chunk(1)]));
    }
}

#[test]
fn a_page_that_is_taken_out_in_time_keeps_its_chunk() {
    let setting = Setting::new();
    let mode = Mode::default();
    let mut inflate = setting.driver(queue::INFLATE, mode);
    let mut deflate = setting.driver(queue::DEFLATE, mode);
    setting.start(mode, ALL);
    setting.memory.is_pinned.store(true, Ordering::SeqCst);
    inflate.add(&[&numbers(0, 0..512)], &[]).unwrap();
    setting.balloon.notified(queue::INFLATE);
    deflate.add(&[&numbers(0, 7..8)], &[]).unwrap();
    setting.balloon.notified(queue::DEFLATE);
    assert!(deflate.used().is_some());
    setting.memory.is_pinned.store(false, Ordering::SeqCst);
    setting.settle();
    assert!(inflate.used().is_some());
    assert_eq!((setting.inside(), setting.take_released()), (511, vec![]));
}

#[test]
fn a_driver_that_need_not_tell_keeps_its_memory() {
    let setting = Setting::new();
    let mode = Mode::default();
    let mut inflate = setting.driver(queue::INFLATE, mode);
    setting.start(mode, BalloonFeatures::STATS_VQ);
    inflate.add(&[&numbers(0, 0..512)], &[]).unwrap();
    setting.notify(queue::INFLATE);
    assert!(inflate.used().is_some());
    assert_eq!((setting.inside(), setting.take_released()), (512, vec![]));
}

#[test]
fn lies_count_for_nothing() {
    let setting = Setting::new();
    let mode = Mode::default();
    let mut inflate = setting.driver(queue::INFLATE, mode);
    let mut deflate = setting.driver(queue::DEFLATE, mode);
    setting.start(mode, ALL);
    inflate.add(&[&[0xff; 64], &[0; 64], &numbers(0, 3..5), &numbers(0, 3..5)], &[]).unwrap();
    inflate.add(&[], &[4096, 4096]).unwrap();
    // Buffers without memory.
    inflate.add_segments(&[Segment { ipa: Ipa(0x1000), len: 4096 }], &[]).unwrap();
    inflate.add_segments(&[Segment { ipa: Ipa(u64::MAX - 7), len: 8 }], &[]).unwrap();
    deflate.add(&[&numbers(0, 0..4), &numbers(3, 0..512)], &[100]).unwrap();
    setting.notify(queue::INFLATE);
    setting.notify(queue::DEFLATE);
    assert_eq!(core::iter::from_fn(|| inflate.used()).count(), 4);
    assert!(deflate.used().is_some());
    assert_eq!((setting.inside(), setting.take_released()), (1, vec![]));
    assert!(!setting.balloon.channel().is_broken());
}

#[test]
fn only_whole_chunks_that_are_reported_free_go_back_and_few_at_a_time() {
    for queue in [queue::REPORTING, queue::REPORTING_IN_PRACTICE] {
        let setting = Setting::new();
        let mode = Mode::default();
        let mut reporting = setting.driver(queue, mode);
        setting.start(mode, ALL);
        let outside = Segment { ipa: Ipa(1 << 40), len: 1 << 31 };
        let most = Segment { ipa: Ipa(BASE.0 + PAGE_SIZE), len: (4 * CHUNK - PAGE_SIZE) as u32 };
        reporting.add_segments(&[], &[most]).unwrap();
        let calls = setting.notify(queue);
        assert_eq!(setting.take_released(), [chunk(1), chunk(2), chunk(3)]);
        assert!(calls > 0, "more than {RELEASES} in a call");
        assert!(reporting.used().is_some());

        setting.balloon.write_config(12, &0xaau32.to_le_bytes());
        reporting.add_segments(&[], &[most]).unwrap();
        setting.notify(queue);
        assert_eq!(setting.take_released(), [], "what is poisoned must not become zero");
        assert!(reporting.used().is_some());

        setting.balloon.write_config(12, &[0; 4]);
        setting.balloon.channel().acknowledge(Cause::all());
        reporting.add_segments(&[], &[outside, Segment { ipa: chunk(2), len: CHUNK as u32 }]).unwrap();
        assert!(setting.notify(queue) > 10, "too many at a time");
        assert_eq!(setting.take_released(), [chunk(2)]);
        assert!(setting.rig.irq.is_high() && !setting.balloon.channel().is_broken());
        assert_eq!(setting.balloon.report().released, 4 * CHUNK);
    }
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    let setting = Setting::new();
    let mode = Mode::default();
    let mut driver = setting.driver(queue::STATISTICS, mode);
    let entry = |tag: u16, value: u64| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
    driver.add(&[&entry(4, 1000), &[entry(5, 2000), entry(77, 1)].concat()], &[]).unwrap();
    // As Linux has it: the first ones are there before the device is used, and nobody notifies afterwards.
    setting.start(mode, ALL);
    setting.settle();
    assert_eq!(driver.used(), None);
    let statistics = setting.balloon.report().statistics;
    assert_eq!((statistics.0[4], statistics.0[5], statistics.0[6]), (Some(1000), Some(2000), None));

    setting.balloon.ask_for_statistics();
    assert!(driver.used().is_some() && setting.rig.irq.is_high());
    setting.balloon.ask_for_statistics();
    driver.add(&[&entry(4, 500)], &[]).unwrap();
    assert!(driver.kick(), "the driver would not tell");
    setting.notify(queue::STATISTICS);
    assert_eq!(setting.balloon.report().statistics.0[4], Some(500));
    // A second buffer is against the rules; the first one goes back.
    driver.add(&[&entry(4, 400)], &[]).unwrap();
    setting.notify(queue::STATISTICS);
    assert!(driver.used().is_some());
    assert_eq!(setting.balloon.report().statistics.0[4], Some(400));
}

#[test]
fn the_configuration_says_what_is_wanted_and_hears_what_is() {
    let setting = Setting::new();
    setting.start(Mode::default(), ALL);
    setting.balloon.set_target(3 * PAGE_SIZE);
    assert!(setting.rig.irq.is_high());
    let generation = setting.balloon.channel().generation();
    setting.balloon.set_target(3 * PAGE_SIZE);
    assert_eq!(setting.balloon.channel().generation(), generation);
    setting.balloon.write_config(4, &2u32.to_le_bytes());
    for ignored in [0, 2, 8, 16, u64::MAX] {
        setting.balloon.write_config(ignored, &[0xff; 4]);
    }
    setting.balloon.write_config(4, &[0xff]);
    let mut config = [0xee; 20];
    setting.balloon.read_config(0, &mut config);
    assert_eq!(config[..12], [3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(config[12..], [0; 8]);
    setting.balloon.read_config(u64::MAX, &mut config);
    assert_eq!(config, [0; 20]);
}

#[test]
fn a_reset_empties_the_balloon_and_forgets_requests() {
    let setting = Setting::new();
    let mode = Mode::default();
    let mut inflate = setting.driver(queue::INFLATE, mode);
    setting.start(mode, ALL);
    setting.memory.is_pinned.store(true, Ordering::SeqCst);
    inflate.add(&[&numbers(0, 0..512)], &[]).unwrap();
    setting.balloon.notified(queue::INFLATE);
    setting.balloon.channel().reset();
    setting.balloon.reset();
    setting.memory.is_pinned.store(false, Ordering::SeqCst);
    let mut inflate = setting.driver(queue::INFLATE, mode);
    setting.start(mode, ALL);
    inflate.add(&[&numbers(0, 0..1)], &[]).unwrap();
    setting.notify(queue::INFLATE);
    assert!(inflate.used().is_some());
    assert_eq!((setting.inside(), setting.take_released()), (1, vec![]));
}

#[test]
fn what_is_begun_when_it_is_saved_is_done_afterwards() {
    for mode in Mode::all() {
        let setting = Setting::new();
        let mut inflate = setting.driver(queue::INFLATE, mode);
        let mut statistics = setting.driver(queue::STATISTICS, mode);
        setting.start(mode, ALL);
        setting.balloon.set_target(2 * CHUNK);
        statistics.add(&[&[0; 10]], &[]).unwrap();
        setting.notify(queue::STATISTICS);
        setting.memory.is_pinned.store(true, Ordering::SeqCst);
        inflate.add(&[&numbers(0, 0..512), &numbers(1, 0..9)], &[]).unwrap();
        setting.balloon.notified(queue::INFLATE);
        let state = setting.balloon.save();

        let other = Setting::new();
        other.balloon.restore(&state).unwrap();
        assert_eq!(other.inside(), setting.inside());
        assert_eq!(other.balloon.report().target, 2 * CHUNK);
        assert!(other.balloon.restore(&state[..state.len() - 1]).is_err());

        // It goes on as if nothing had happened.
        setting.memory.is_pinned.store(false, Ordering::SeqCst);
        setting.settle();
        assert!(inflate.used().is_some());
        assert_eq!((setting.inside(), setting.take_released()), (521, vec![chunk(0)]));
        setting.balloon.ask_for_statistics();
        assert!(statistics.used().is_some());
    }
}
