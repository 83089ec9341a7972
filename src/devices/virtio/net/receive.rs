//! From the switch to the driver (VIRTIO 1.2, 5.1.6.3 and 5.1.6.4).

use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;

use super::super::queue::{Chain, QueueError, Token, Visit};
use super::header::{self, HEADER, NUM_BUFFERS, NetFeatures};
use super::{NetDevice, Receive};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, GuestSlice, MemoryError, Segment};
use crate::net::ethernet::Header;
use crate::net::offload::lower;
use crate::net::{Delivery, Endpoint, Frame, flow};

/// Most buffers that a frame is put into: the longest into buffers of 512 bytes.
const MAX_BUFFERS: usize = 128;

impl Endpoint for NetDevice {
    fn deliver(&self, frame: &Frame<'_>) -> Delivery {
        if !self.hot.link.load(Ordering::Relaxed) {
            return Delivery::Dropped;
        }
        if !self.wants(frame.head) {
            return Delivery::Filtered;
        }
        let pair = self.pair_of(frame);
        lower(frame, self.hot.accepts(), &mut |frame| self.receive(pair, frame))
    }

    fn deliver_all(&self, frames: &[Frame<'_>], each: &mut dyn FnMut(&Frame<'_>, Delivery)) {
        let mut rest = frames;
        while let Some((first, others)) = rest.split_first() {
            let Some(pair) = self.queue_of(first) else {
                each(first, self.deliver(first));
                rest = others;
                continue;
            };
            let more = others.iter().take_while(|frame| self.queue_of(frame) == Some(pair)).count();
            let (alike, others) = rest.split_at(1 + more);
            self.receive_all(pair, alike, each);
            rest = others;
        }
    }
}

impl NetDevice {
    /// Whether the driver wants a frame that starts so.
    #[inline]
    fn wants(&self, head: &[u8]) -> bool {
        let Some(header) = Header::parse(head) else { return false };
        let is_exact =
            header.tag.is_none() && header.destination.bits() == self.hot.exact.load(Ordering::Relaxed);
        is_exact || {
            let settings = self.settings.lock();
            settings.filter.wants(settings.mac, &header)
        }
    }

    /// The pair of queues that frames of its flow go to.
    #[inline]
    fn pair_of(&self, frame: &Frame<'_>) -> usize {
        let pairs = self.hot.pairs.load(Ordering::Relaxed);
        if pairs > 1 { flow::hash(frame.head) as usize % usize::from(pairs) } else { 0 }
    }

    /// The pair of queues that a frame goes to if the driver takes it as it is.
    #[inline]
    fn queue_of(&self, frame: &Frame<'_>) -> Option<usize> {
        let is_taken = self.hot.link.load(Ordering::Relaxed)
            && self.hot.accepts().takes(&frame.offload)
            && self.wants(frame.head);
        is_taken.then(|| self.pair_of(frame))
    }

    /// Puts a frame into buffers of the pair's receive queue.
    fn receive(&self, pair: usize, frame: &Frame<'_>) -> Delivery {
        let mut delivered = Delivery::Dropped;
        self.receive_all(pair, core::slice::from_ref(frame), &mut |_, delivery| delivered = delivery);
        delivered
    }

    /// Puts frames into buffers of the pair's receive queue, which the driver sees all at once.
    fn receive_all(&self, pair: usize, frames: &[Frame<'_>], each: &mut dyn FnMut(&Frame<'_>, Delivery)) {
        let features = NetFeatures::negotiated(self.channel.features());
        let is_mergeable = features.contains(NetFeatures::MRG_RXBUF);
        let mut waiting = frames.iter();
        if let Some(buffers) = self.pairs.get(pair).map(|pair| &pair.receive) {
            self.channel.visit(2 * pair, |visit| {
                let buffers = &mut *buffers.lock();
                while let Some(frame) = waiting.as_slice().first() {
                    let header = header::encode(&frame.offload);
                    let source = Source {
                        start: &header,
                        head: frame.head,
                        current: None,
                        rest: frame.rest.iter(),
                        left: HEADER + frame.len,
                    };
                    each(frame, put(visit, buffers, is_mergeable, source)?);
                    waiting.next();
                }
                Ok(())
            });
        }
        waiting.for_each(|frame| each(frame, Delivery::Dropped));
    }
}

/// Puts all of a source into buffers, or takes none.
fn put(
    visit: &mut Visit<'_>,
    buffers: &mut Receive,
    is_mergeable: bool,
    mut source: Source<'_>,
) -> Result<Delivery, QueueError> {
    let memory = visit.memory();
    let mut used: ArrayVec<(Token, u32), MAX_BUFFERS> = ArrayVec::new();
    while source.left > 0 {
        let is_first = used.is_empty();
        let chain = if is_first { &mut buffers.first } else { &mut buffers.more };
        if used.is_full() || !(is_first || is_mergeable) || !visit.next(chain)? {
            return Ok(give_back(visit, &used));
        }
        let written = source.fill(memory, &chain.writable)?;
        used.push((chain.token(), written.unwrap_or(0)));
        if written.is_none() {
            return Ok(give_back(visit, &used));
        }
    }
    if used.len() > 1 && !set_count(memory, &buffers.first, used.len() as u16) {
        return Ok(give_back(visit, &used));
    }
    // By reference: moved, all of the list would be copied.
    for &(token, written) in &used {
        visit.complete(token, written)?;
    }
    Ok(Delivery::Taken)
}

/// Leaves the buffers for other frames.
#[cold]
fn give_back(visit: &mut Visit<'_>, used: &[(Token, u32)]) -> Delivery {
    used.iter().rev().for_each(|(token, _)| visit.put_back(*token));
    Delivery::Dropped
}

/// Writes `num_buffers`. `false`: the header is not wholly in the first buffer.
fn set_count(memory: &dyn GuestMemory, first: &Chain, count: u16) -> bool {
    let mut offset = NUM_BUFFERS as u64;
    let mut bytes = count.to_le_bytes().into_iter().peekable();
    for segment in &first.writable {
        while offset < u64::from(segment.len)
            && let Some(byte) = bytes.next()
        {
            let at = Ipa(segment.ipa.0.saturating_add(offset));
            if memory.write(at, &[byte]).is_err() {
                return false;
            }
            offset += 1;
        }
        offset = offset.saturating_sub(segment.len.into());
    }
    bytes.peek().is_none()
}

/// A frame with its header, copied from front to back.
struct Source<'a> {
    /// What is left of the header of virtio, and, once this is empty, of the frame's head.
    start: &'a [u8],
    /// The frame's head, until it is `start`.
    head: &'a [u8],
    /// What is left of a piece.
    current: Option<GuestSlice<'a>>,
    /// More pieces.
    rest: core::slice::Iter<'a, GuestSlice<'a>>,
    /// Bytes that are left in all.
    left: usize,
}

impl Source<'_> {
    /// Copies as much as fits into these segments, and returns how much. `None`: the machine has no memory for it.
    #[inline]
    fn fill(&mut self, memory: &dyn GuestMemory, segments: &[Segment]) -> Result<Option<u32>, QueueError> {
        let mut written = 0;
        for segment in segments {
            let (mut ipa, mut len) = (segment.ipa, segment.len as usize);
            while len > 0 && self.left > 0 {
                let room = match memory.slice(ipa, len.min(self.left) as u64) {
                    Ok(room) => room,
                    Err(MemoryError::Unbacked { .. }) => return Err(QueueError::Unbacked(ipa)),
                    Err(MemoryError::OutOfFrames { .. }) => return Ok(None),
                };
                let copied = self.copy(room);
                if copied == 0 {
                    // Less is there than was said.
                    return Ok(None);
                }
                ipa = Ipa(ipa.0.saturating_add(copied as u64));
                len = len.saturating_sub(copied);
                self.left = self.left.saturating_sub(copied);
                written += copied as u32;
            }
        }
        Ok(Some(written))
    }

    /// Copies as much as fits.
    #[inline]
    fn copy(&mut self, room: GuestSlice<'_>) -> usize {
        let mut filled = 0;
        while filled < room.len() && !self.start.is_empty() {
            let len = self.start.len().min(room.len() - filled);
            let Some(now) = self.start.split_off(..len) else { break };
            room.write(filled, now);
            filled += len;
            if self.start.is_empty() {
                self.start = core::mem::take(&mut self.head);
            }
        }
        while filled < room.len() {
            let Some(piece) = self.current.take().or_else(|| self.rest.next().copied()) else { break };
            let Some(to) = room.part(filled, room.len() - filled) else { break };
            let copied = piece.copy_to(to);
            filled += copied;
            self.current = piece.part(copied, piece.len() - copied).filter(|piece| !piece.is_empty());
        }
        filled
    }
}
