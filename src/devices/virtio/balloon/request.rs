//! A request that may take longer than a device may work on it at a time.

use crate::devices::virtio::channel::Visit;
use crate::devices::virtio::queue::{Chain, QueueError, Token};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, Segment};
use crate::mm::guest_ram::CHUNK;

/// The request of a queue that is being worked on, and how far that has got.
#[derive(Default)]
pub struct Request {
    chain: Chain,
    is_begun: bool,
    /// The segment that comes next, and how much of it is done.
    segment: usize,
    offset: u32,
}

impl Request {
    /// Sees to it that there is a request, and tells whether there is one.
    ///
    /// # Errors
    /// As [`Visit::next`].
    pub fn begin(&mut self, visit: &mut Visit<'_>) -> Result<bool, QueueError> {
        if !self.is_begun {
            (self.segment, self.offset) = (0, 0);
            self.is_begun = visit.next(&mut self.chain)?;
        }
        Ok(self.is_begun)
    }

    /// Copies what comes next of the readable segment that is at hand, as much of it as there is room for. Nothing of
    /// a segment that is not in memory, which is skipped.
    pub fn read(&mut self, memory: &dyn GuestMemory, window: &mut [u8]) -> usize {
        while let Some(segment) = self.chain.readable.get(self.segment) {
            let rest = segment.len.saturating_sub(self.offset) as usize;
            let len = rest.min(window.len());
            let at = segment.ipa.checked_add(self.offset.into());
            let read = at.zip(window.get_mut(..len)).map(|(at, window)| memory.read(at, window));
            // Numbers do not straddle segments: a last one that is not whole is none.
            if rest >= 4 && read.is_some_and(|read| read.is_ok()) {
                return len;
            }
            self.skip();
        }
        // Whatever else the request has counts for nothing.
        self.segment = usize::MAX;
        0
    }

    /// The next whole chunk in the writable segment that is at hand.
    pub fn chunk(&self) -> Option<Ipa> {
        let Segment { ipa, len } = *self.chain.writable.get(self.segment)?;
        let start = ipa.0.checked_add(self.offset.into())?.checked_next_multiple_of(CHUNK)?;
        let end = ipa.0.checked_add(len.into())?;
        (start.checked_add(CHUNK)? <= end).then_some(Ipa(start))
    }

    /// So many more bytes of the segment that is at hand are done.
    pub fn advance(&mut self, bytes: u32) {
        self.offset = self.offset.saturating_add(bytes);
        if self.chain.readable.get(self.segment).is_some_and(|segment| self.offset >= segment.len) {
            self.skip();
        }
    }

    /// All that lies before `ipa` in the writable segment that is at hand is done.
    pub fn advance_to(&mut self, ipa: Ipa) {
        if let Some(segment) = self.chain.writable.get(self.segment) {
            self.offset = ipa.0.saturating_sub(segment.ipa.0).min(segment.len.into()) as u32;
        }
    }

    /// The segment that is at hand is done.
    pub fn skip(&mut self) {
        (self.segment, self.offset) = (self.segment.saturating_add(1), 0);
    }

    /// Ends a request of which all segments are done: it is to be given back.
    pub fn end(&mut self) -> Option<Token> {
        let segments = self.chain.readable.len().max(self.chain.writable.len());
        if !self.is_begun || self.segment < segments {
            return None;
        }
        self.is_begun = false;
        Some(self.chain.token())
    }

    /// Forgets the request, if there is one, undone as it is.
    pub fn abandon(&mut self) -> Option<Token> {
        core::mem::take(&mut self.is_begun).then(|| self.chain.token())
    }
}
