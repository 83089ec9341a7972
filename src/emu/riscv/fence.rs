//! Fences that one hart asks of others.
//!
//! Each hart has one request, which is what it wants of the harts that it waits for, and an inbox with one
//! bit for each hart that wants something of it. Who takes a bit out of an inbox answers for it: the hart
//! that carries the request out, or the hart that asked, once it sees that the other one is *parked*: outside
//! guest code for who knows how long. A parked hart that has been passed over like this forgets everything
//! when it comes back.
//!
//! A hart that waits serves its own inbox meanwhile, so two that wait for each other both go on.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::cluster::Cluster;
use crate::interp::Flush;

/// What a hart is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// FENCE.I.
    Code,
    /// SFENCE.VMA: forget this.
    Translations(Flush),
}

impl Request {
    /// A kind, with an ASID above, and an address.
    const fn encode(self) -> (u32, u64) {
        match self {
            Self::Code => (CODE, 0),
            Self::Translations(Flush::Nothing) => (NOTHING, 0),
            Self::Translations(Flush::Page { address, asid: None }) => (PAGE, address),
            Self::Translations(Flush::Page { address, asid: Some(asid) }) => {
                (PAGE_OF_SPACE | (asid as u32) << ASID_SHIFT, address)
            }
            Self::Translations(Flush::Space(asid)) => (SPACE | (asid as u32) << ASID_SHIFT, 0),
            Self::Translations(Flush::All) => (ALL, 0),
        }
    }

    const fn decode(kind: u32, address: u64) -> Self {
        let asid = (kind >> ASID_SHIFT) as u16;
        Self::Translations(match kind % (1 << ASID_SHIFT) {
            CODE => return Self::Code,
            NOTHING => Flush::Nothing,
            PAGE => Flush::Page { address, asid: None },
            PAGE_OF_SPACE => Flush::Page { address, asid: Some(asid) },
            SPACE => Flush::Space(asid),
            _ => Flush::All,
        })
    }
}

// How a request is encoded.
const CODE: u32 = 0;
const NOTHING: u32 = 1;
const PAGE: u32 = 2;
const PAGE_OF_SPACE: u32 = 3;
const SPACE: u32 = 4;
const ALL: u32 = 5;
const ASID_SHIFT: u32 = 16;

// What a hart does.
const RUNNING: u32 = 0;
const PARKED: u32 = 1;
const PASSED_OVER: u32 = 2;

/// One hart's part in this.
#[derive(Debug)]
pub struct Fences {
    /// Harts that want something of this one.
    inbox: AtomicU32,
    /// Harts that have not answered this one yet.
    unanswered: AtomicU32,
    /// What this one wants; constant while a hart has not answered.
    kind: AtomicU32,
    address: AtomicU64,
    /// [`RUNNING`], [`PARKED`] or [`PASSED_OVER`].
    state: AtomicU32,
}

impl Fences {
    /// A hart that does not exist yet: parked, with nothing to forget.
    pub const fn new() -> Self {
        Self {
            inbox: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            kind: AtomicU32::new(0),
            address: AtomicU64::new(0),
            state: AtomicU32::new(PARKED),
        }
    }

    /// Says that this hart leaves guest code.
    pub fn park(&self) {
        self.state.store(PARKED, Ordering::SeqCst);
    }

    /// Says that this hart goes on with guest code. True if it must forget everything first.
    pub fn unpark(&self) -> bool {
        self.state.swap(RUNNING, Ordering::SeqCst) == PASSED_OVER
    }

    fn pass_over(&self) -> bool {
        let pass = |state| (state != RUNNING).then_some(PASSED_OVER);
        self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, pass).is_ok()
    }
}

impl Cluster {
    fn fences(&self, hart: usize) -> &Fences {
        &self.shared(hart).fences
    }

    /// Asks `request`, on behalf of the hart `caller`, of the others among those whose bits are set in
    /// `harts`; `kick` makes one look. Then [`Cluster::is_fenced`] tells when all have done it. A hart asks
    /// for one thing at a time.
    pub fn ask_fence(&self, caller: usize, harts: u32, request: Request, kick: impl Fn(usize)) {
        let own = self.fences(caller);
        let (kind, address) = request.encode();
        own.kind.store(kind, Ordering::Relaxed);
        own.address.store(address, Ordering::Relaxed);
        for hart in bits(harts & !bit(caller)).filter(|&hart| hart < self.harts()) {
            let other = self.fences(hart);
            if other.pass_over() {
                continue;
            }
            own.unanswered.fetch_or(bit(hart), Ordering::Relaxed);
            // Publishes the request, and all that the guest has written before.
            other.inbox.fetch_or(bit(caller), Ordering::SeqCst);
            kick(hart);
        }
    }

    /// Whether all harts that `caller` has asked have answered. Those that have parked since are not waited
    /// for.
    pub fn is_fenced(&self, caller: usize) -> bool {
        let own = self.fences(caller);
        for hart in bits(own.unanswered.load(Ordering::Acquire)) {
            let other = self.fences(hart);
            let taken_back =
                other.pass_over() && other.inbox.fetch_and(!bit(caller), Ordering::SeqCst) & bit(caller) != 0;
            if taken_back {
                own.unanswered.fetch_and(!bit(hart), Ordering::Relaxed);
            }
        }
        own.unanswered.load(Ordering::Acquire) == 0
    }

    /// Gives `serve` what others want of `caller`, which carries it out before it goes on with guest code.
    pub fn serve_fences(&self, caller: usize, mut serve: impl FnMut(Request)) {
        let own = self.fences(caller);
        // Reading first keeps the line shared with the harts that ask.
        if own.inbox.load(Ordering::Relaxed) == 0 {
            return;
        }
        for hart in bits(own.inbox.swap(0, Ordering::SeqCst)) {
            let other = self.fences(hart);
            serve(Request::decode(other.kind.load(Ordering::Relaxed), other.address.load(Ordering::Relaxed)));
            other.unanswered.fetch_and(!bit(caller), Ordering::Release);
        }
    }
}

const fn bit(hart: usize) -> u32 {
    1 << (hart % 32)
}

fn bits(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |&hart| mask & bit(hart) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_as_they_were_sent() {
        let page = |asid| Flush::page(0xffff_ffff_ffff_f000, asid);
        let flushes =
            [Flush::Nothing, page(None), page(Some(0)), page(Some(u16::MAX)), Flush::Space(5), Flush::All];
        for request in flushes.map(Request::Translations).into_iter().chain([Request::Code]) {
            let (kind, address) = request.encode();
            assert_eq!(Request::decode(kind, address), request);
        }
    }
}
