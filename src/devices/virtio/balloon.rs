//! The memory balloon (VIRTIO 1.2, 5.5): the guest puts pages into it that it can do without, and takes them out again.
//! What is in it goes back to the machine, by chunks, as soon as all pages of a chunk are.
//!
//! Memory is given back outside of a visit to a queue, and a request is completed after that: the pages may be used again
//! by then. The lock of [`Work`] is therefore taken before a visit, never in one.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use spin::Mutex;

use self::pages::{Inserted, Pages, SavedChunk};
use self::request::Request;
pub use self::statistics::{NAMES, Statistics};
use super::queue::{Chain, Token};
use super::{Channel, Device, DeviceId, Features};
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::{Reclaim, ReclaimError};
use crate::mm::guest_ram::CHUNK;
use crate::persist::RestoreError;

mod pages;
mod request;
mod statistics;
#[cfg(test)]
mod tests;

bitflags! {
    /// Feature bits (5.5.3).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct BalloonFeatures: u64 {
        /// A page is not used again before the device has been told.
        const MUST_TELL_HOST = 1 << 0;
        /// There is a queue for statistics.
        const STATS_VQ = 1 << 1;
        /// The driver may take pages out where the guest is out of memory.
        const DEFLATE_ON_OOM = 1 << 2;
        /// Free pages have the content of `poison_val`.
        const PAGE_POISON = 1 << 4;
        /// There is a queue for free pages that are not put into the balloon.
        const PAGE_REPORTING = 1 << 5;
        /// What is not the balloon's.
        const _ = !0;
    }
}

/// The queues (5.5.2).
mod queue {
    pub const INFLATE: usize = 0;
    pub const DEFLATE: usize = 1;
    pub const STATISTICS: usize = 2;
    /// Linux and QEMU count only the queues that there are, so without free page hinting it is this one.
    pub const REPORTING_IN_PRACTICE: usize = 3;
    pub const REPORTING: usize = 4;
}

/// The largest size of each queue.
pub const QUEUES: [u16; 5] = [128; 5];

/// Entries of a request that are read at once.
const WINDOW: usize = 256;
/// How many windows, or chunks that are reported free, are looked at in a call.
const WINDOWS: u32 = 16;
/// How many chunks are given back in a call: each is to be zeroed.
const RELEASES: u32 = 2;

/// A memory balloon.
pub struct Balloon {
    channel: Channel,
    memory: Arc<dyn Reclaim>,
    /// How many pages the guest is asked to put in.
    target: AtomicU32,
    /// How many pages the guest says are in.
    actual: AtomicU32,
    poison: AtomicU32,
    released: AtomicU64,
    work: Mutex<Work>,
}

/// What is in the balloon, and what is being done.
struct Work {
    pages: Pages,
    /// Begun requests of the queues but that of statistics.
    requests: [Request; QUEUES.len()],
    /// The last page of this chunk is in the balloon, but it has not been given back yet.
    pending: Option<Ipa>,
    statistics: Statistics,
    /// The buffers of a request for statistics, to be used again.
    chain: Chain,
    /// The guest's buffer with its statistics. To give it back asks for new ones.
    statistics_buffer: Option<Token>,
}

/// What is left to do.
#[derive(PartialEq, Eq)]
enum Progress {
    /// Nothing.
    Done,
    /// More than may be done now.
    Left,
}

/// What an operator sees of a balloon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Bytes that the guest is asked to put in.
    pub target: u64,
    /// Bytes that are in.
    pub inside: u64,
    /// Bytes that were given back to the machine so far, out of the balloon or because they were reported free; the same
    /// ones count again.
    pub released: u64,
    /// What the guest last said of its memory. See [`Balloon::ask_for_statistics`].
    pub statistics: Statistics,
}

#[derive(Serialize, Deserialize)]
struct State {
    target: u32,
    actual: u32,
    poison: u32,
    pages: Vec<SavedChunk>,
}

impl Balloon {
    /// An empty balloon for `memory`, which is also that of `channel`, whose queues are as [`QUEUES`] says.
    pub fn new(channel: Channel, memory: Arc<dyn Reclaim>) -> Arc<Self> {
        let mut pages = Pages::default();
        memory.with(&mut |memory| pages = Pages::new(memory.ram()));
        Arc::new(Self {
            channel,
            memory,
            target: AtomicU32::new(0),
            actual: AtomicU32::new(0),
            poison: AtomicU32::new(0),
            released: AtomicU64::new(0),
            work: Mutex::new(Work {
                pages,
                requests: Default::default(),
                pending: None,
                statistics: Statistics::default(),
                chain: Chain::default(),
                statistics_buffer: None,
            }),
        })
    }

    /// Asks the guest to have this many bytes in the balloon. It does as well as it can.
    pub fn set_target(&self, bytes: u64) {
        let pages = u32::try_from(bytes / PAGE_SIZE).unwrap_or(u32::MAX);
        if self.target.swap(pages, Ordering::SeqCst) != pages {
            self.channel.config_changed();
        }
    }

    /// How it stands.
    pub fn report(&self) -> Report {
        let work = self.work.lock();
        Report {
            target: u64::from(self.target.load(Ordering::Relaxed)) * PAGE_SIZE,
            inside: work.pages.count() * PAGE_SIZE,
            released: self.released.load(Ordering::Relaxed) * CHUNK,
            statistics: work.statistics,
        }
    }

    /// Asks the guest for new statistics (5.5.6.3), which it gives in its own time.
    pub fn ask_for_statistics(&self) {
        let mut work = self.work.lock();
        if let Some(token) = work.statistics_buffer.take() {
            self.channel.visit(queue::STATISTICS, |visit| visit.complete(token, 0));
        }
    }

    fn has(&self, feature: BalloonFeatures) -> bool {
        BalloonFeatures::from_bits_retain(self.channel.features().bits()).contains(feature)
    }

    /// Works on the queue of this index within the budget.
    fn work(&self, work: &mut Work, queue: usize) -> Progress {
        let mut releases = RELEASES;
        for _ in 0..WINDOWS {
            let progress = match queue {
                queue::STATISTICS => return self.take_statistics(work),
                queue::INFLATE => self.inflate(work, &mut releases),
                queue::DEFLATE => self.deflate(work),
                queue::REPORTING_IN_PRACTICE | queue::REPORTING => {
                    self.take_report(work, queue, &mut releases)
                }
                _ => None,
            };
            match progress {
                Some(Progress::Done) => {}
                Some(Progress::Left) => return Progress::Left,
                None => return Progress::Done,
            }
        }
        Progress::Left
    }

    /// Reads on in the requests of a queue of page numbers. `None`: there is none.
    fn read_window(&self, request: &mut Request, queue: usize, window: &mut [u8]) -> Option<usize> {
        self.channel.visit(queue, |visit| {
            if !request.begin(visit)? {
                return Ok(None);
            }
            Ok(Some(request.read(visit.memory(), window)))
        })?
    }

    /// Puts a window of pages into the balloon. `None`: there are no requests.
    fn inflate(&self, work: &mut Work, releases: &mut u32) -> Option<Progress> {
        if !self.settle(work, releases) {
            return Some(Progress::Left);
        }
        let mut window = [0; WINDOW * 4];
        let request = work.requests.get_mut(queue::INFLATE)?;
        let len = self.read_window(request, queue::INFLATE, &mut window)?;
        let (entries, _) = window.get(..len).unwrap_or_default().as_chunks();
        for &entry in entries {
            request.advance(4);
            if let Inserted::Completed(chunk) = work.pages.insert(page(entry)) {
                work.pending = Some(chunk);
                break;
            }
        }
        if !self.settle(work, releases) {
            return Some(Progress::Left);
        }
        self.finish(work, queue::INFLATE);
        Some(Progress::Done)
    }

    /// Takes a window of pages out of the balloon. `None`: there are no requests.
    fn deflate(&self, work: &mut Work) -> Option<Progress> {
        let mut window = [0; WINDOW * 4];
        let request = work.requests.get_mut(queue::DEFLATE)?;
        let len = self.read_window(request, queue::DEFLATE, &mut window)?;
        let (entries, _) = window.get(..len).unwrap_or_default().as_chunks();
        for &entry in entries {
            request.advance(4);
            work.pages.remove(page(entry));
        }
        self.finish(work, queue::DEFLATE);
        Some(Progress::Done)
    }

    /// Gives back the next chunk of a range that is reported free (5.5.6.7). `None`: there are no requests.
    fn take_report(&self, work: &mut Work, queue: usize, releases: &mut u32) -> Option<Progress> {
        let request = work.requests.get_mut(queue)?;
        if !self.channel.visit(queue, |visit| request.begin(visit))? {
            return None;
        }
        // Pages must not read as anything but that afterwards, and they will read as zero.
        let is_poisoned = self.has(BalloonFeatures::PAGE_POISON) && self.poison.load(Ordering::Relaxed) != 0;
        match request.chunk() {
            Some(chunk) if !is_poisoned => {
                if !self.release(chunk, releases) {
                    return Some(Progress::Left);
                }
                request.advance_to(Ipa(chunk.0 + CHUNK));
            }
            _ => request.skip(),
        }
        self.finish(work, queue);
        Some(Progress::Done)
    }

    /// Gives the request of this queue back, if all of it is done.
    fn finish(&self, work: &mut Work, queue: usize) {
        if let Some(token) = work.requests.get_mut(queue).and_then(Request::end) {
            self.channel.visit(queue, |visit| visit.complete(token, 0));
        }
    }

    /// Gives the pending chunk back, if there still is one. `false`: not now.
    fn settle(&self, work: &mut Work, releases: &mut u32) -> bool {
        let Some(chunk) = work.pending else { return true };
        // A driver that need not tell may be using the pages again.
        let is_free = self.has(BalloonFeatures::MUST_TELL_HOST) && work.pages.is_complete(chunk);
        let is_settled = !is_free || self.release(chunk, releases);
        if is_settled {
            work.pending = None;
        }
        is_settled
    }

    /// Gives a chunk back, or finds that this is not possible. `false`: another time.
    fn release(&self, chunk: Ipa, releases: &mut u32) -> bool {
        let Some(left) = releases.checked_sub(1) else { return false };
        match self.memory.release(chunk) {
            Ok(()) => {
                *releases = left;
                self.released.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(ReclaimError::Pinned) => false,
            Err(error) => {
                log::debug!("balloon: {error}");
                true
            }
        }
    }

    /// Takes the buffer with the guest's statistics.
    fn take_statistics(&self, work: &mut Work) -> Progress {
        let Work { chain, statistics_buffer, .. } = work;
        let mut bytes = [0; statistics::MAX_LEN];
        let taken = self.channel.visit(queue::STATISTICS, |visit| {
            if !visit.next(chain)? {
                return Ok(None);
            }
            // There should be no more than one.
            if let Some(old) = statistics_buffer.replace(chain.token()) {
                visit.complete(old, 0)?;
            }
            let mut len = 0;
            for segment in &chain.readable {
                let rest = bytes.get_mut(len..).unwrap_or_default();
                let part = rest.len().min(segment.len as usize);
                let read = rest.get_mut(..part).map(|part| visit.memory().read(segment.ipa, part));
                if read.is_none_or(|read| read.is_err()) {
                    break;
                }
                len += part;
            }
            Ok(Some(len))
        });
        match taken.flatten() {
            Some(len) => {
                work.statistics = Statistics::parse(bytes.get(..len).unwrap_or_default());
                // Looks once more, so that the driver will notify.
                Progress::Left
            }
            None => Progress::Done,
        }
    }
}

/// The page of a number, whatever the guest's own page size.
fn page(number: [u8; 4]) -> Ipa {
    Ipa(u64::from(u32::from_le_bytes(number)) * PAGE_SIZE)
}

impl Device for Balloon {
    fn id(&self) -> DeviceId {
        DeviceId::Balloon
    }

    fn features(&self) -> Features {
        Features::from_bits_retain(
            (BalloonFeatures::MUST_TELL_HOST
                | BalloonFeatures::STATS_VQ
                | BalloonFeatures::DEFLATE_ON_OOM
                | BalloonFeatures::PAGE_POISON
                | BalloonFeatures::PAGE_REPORTING)
                .bits(),
        )
    }

    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        // num_pages, actual, free_page_hint_cmd_id, poison_val (5.5.4)
        let fields = [&self.target, &self.actual, &AtomicU32::new(0), &self.poison];
        let space = fields.map(|field| field.load(Ordering::SeqCst).to_le_bytes());
        let space = space.as_flattened();
        let from = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
        bytes.fill(0);
        bytes.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
    }

    fn write_config(&self, offset: u64, bytes: &[u8]) {
        if let Ok(value) = <[u8; 4]>::try_from(bytes).map(u32::from_le_bytes) {
            match offset {
                4 => self.actual.store(value, Ordering::SeqCst),
                12 => self.poison.store(value, Ordering::SeqCst),
                _ => {}
            }
        }
    }

    fn start(&self) {
        // Linux gives the first statistics, and notifies, before it says DRIVER_OK.
        self.channel.defer(queue::STATISTICS);
    }

    fn reset(&self) {
        let mut work = self.work.lock();
        work.pages.clear();
        for request in &mut work.requests {
            request.abandon();
        }
        work.pending = None;
        work.statistics = Statistics::default();
        work.statistics_buffer = None;
        self.actual.store(0, Ordering::SeqCst);
        self.poison.store(0, Ordering::SeqCst);
    }

    fn notified(&self, queue: usize) {
        if self.work(&mut self.work.lock(), queue) == Progress::Left {
            self.channel.defer(queue);
        }
    }

    /// Requests that have been begun are put back into their queues, and will be taken again: what was done of them is done
    /// only once.
    fn save(&self) -> Vec<u8> {
        let mut work = self.work.lock();
        let statistics = work.statistics_buffer.take().map(|token| (queue::STATISTICS, token));
        let begun =
            (0..).zip(&mut work.requests).filter_map(|(queue, request)| Some((queue, request.abandon()?)));
        for (queue, token) in begun.chain(statistics) {
            self.channel.visit(queue, |visit| {
                visit.put_back(token);
                Ok(())
            });
            self.channel.defer(queue);
        }
        let state = State {
            target: self.target.load(Ordering::SeqCst),
            actual: self.actual.load(Ordering::SeqCst),
            poison: self.poison.load(Ordering::SeqCst),
            pages: work.pages.save(),
        };
        // Into memory; the format can express everything here.
        postcard::to_allocvec(&state).unwrap_or_default()
    }

    fn restore(&self, state: &[u8]) -> Result<(), RestoreError> {
        let found = state.len() as u64;
        let state: State = postcard::from_bytes(state).map_err(|_| RestoreError {
            field: "balloon.len",
            found,
            limit: found,
        })?;
        self.work.lock().pages.restore(&state.pages)?;
        self.target.store(state.target, Ordering::SeqCst);
        self.actual.store(state.actual, Ordering::SeqCst);
        self.poison.store(state.poison, Ordering::SeqCst);
        Ok(())
    }
}
