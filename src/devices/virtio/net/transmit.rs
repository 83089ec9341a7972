//! From the driver to the switch (VIRTIO 1.2, 5.1.6.2).

use core::ops::Range;
use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;

use super::super::queue::{Chain, QueueError, Visit};
use super::NetDevice;
use super::header::{self, HEADER, NetFeatures};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, GuestSlice, MemoryError};
use crate::net::{Frame, MAX_FRAME, MAX_HEAD, Offered, Plug, ethernet};

/// Most frames that are delivered at a time, as far as the last batch does not exceed it; one that goes to several receivers
/// counts as often.
const FRAMES: usize = 64;
/// Most bytes that are copied at a time, likewise.
const BYTES: usize = 256 << 10;
/// Most frames that are sent together.
const BATCH: usize = 8;
/// When so many bytes are together, no other frame joins them.
const BATCH_BYTES: usize = 16 << 10;
/// Most pieces that a batch may lie in, and so a frame. Linux makes at most `MAX_SKB_FRAGS` + 2, which is 47 where it is largest.
const MAX_PIECES: usize = 128;

/// What is used for frames that are sent together. Reused from one batch to the next, it is not cleared in between.
#[derive(Default)]
pub(super) struct Sending([Slot; BATCH]);

/// A frame that is to be sent.
struct Slot {
    chain: Chain,
    /// The header of virtio, and the frame's head.
    start: [u8; HEADER + MAX_HEAD],
}

impl Default for Slot {
    fn default() -> Self {
        Self { chain: Chain::default(), start: [0; _] }
    }
}

/// What the driver's buffers have for a [`Slot`].
struct Gathered {
    /// Bytes, with the header of virtio; 0 if they cannot be used.
    total: usize,
    /// Which of the batch's pieces follow the head.
    rest: Range<usize>,
}

impl Slot {
    /// The frame. `None`: it is malformed, or the driver lies about it.
    #[inline]
    fn frame<'a>(
        &'a self,
        gathered: &Gathered,
        pieces: &'a [GuestSlice<'a>],
        features: NetFeatures,
    ) -> Option<Frame<'a>> {
        let (header, head) = self.start.split_first_chunk()?;
        let len = gathered.total.checked_sub(HEADER)?;
        let head = head.get(..len.min(head.len()))?;
        let offload = header::decode(header, features)?.validated(head, len)?;
        let is_sound = (ethernet::HEADER..=MAX_FRAME).contains(&len);
        is_sound.then_some(Frame { offload, head, rest: pieces.get(gathered.rest.clone())?, len })
    }
}

/// What became of a batch.
struct Batch {
    /// How many frames it had.
    frames: usize,
    /// Whether there may be more.
    more: bool,
    offered: Offered,
}

impl NetDevice {
    /// Sends what is in a queue, as far as the budget allows.
    pub(super) fn transmit(&self, queue: usize) {
        let Some(pair) = self.pairs.get(queue / 2) else { return };
        let plug = self.plug.lock().clone().filter(|_| self.hot.link.load(Ordering::Relaxed));
        let more = self.channel.visit(queue, |visit| {
            let Sending(slots) = &mut *pair.transmit.lock();
            let (mut frames, mut bytes) = (0, 0);
            while frames < FRAMES && bytes < BYTES {
                let batch = self.send_batch(visit, slots, plug.as_ref())?;
                if !batch.more {
                    return Ok(false);
                }
                frames += batch.offered.receivers.max(batch.frames);
                bytes += batch.offered.bytes;
            }
            Ok(true)
        });
        if more == Some(true) {
            self.channel.defer(queue);
        }
    }

    /// Sends some frames together.
    fn send_batch(
        &self,
        visit: &mut Visit<'_>,
        slots: &mut [Slot],
        plug: Option<&Plug>,
    ) -> Result<Batch, QueueError> {
        let memory = visit.memory();
        let mut pieces = ArrayVec::new();
        let mut all: ArrayVec<Gathered, BATCH> = ArrayVec::new();
        let (mut bytes, mut more) = (0, true);
        for slot in slots.iter_mut() {
            if bytes >= BATCH_BYTES {
                break;
            }
            more = visit.next(&mut slot.chain)?;
            if !more {
                break;
            }
            let first = pieces.len();
            let total = gather(memory, &slot.chain, &mut slot.start, &mut pieces)?;
            if total.is_none() && pieces.is_full() && first != 0 {
                // It may fit into a batch of its own.
                visit.put_back(slot.chain.token());
                break;
            }
            let total = total.unwrap_or(0);
            bytes += total;
            all.push(Gathered { total, rest: first..pieces.len() });
        }
        let slots = slots.get(..all.len()).unwrap_or_default();
        let mut offered = Offered::default();
        if let Some(plug) = plug {
            let features = NetFeatures::negotiated(self.channel.features());
            let mut frames: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
            for (slot, gathered) in slots.iter().zip(&all) {
                frames.extend(slot.frame(gathered, &pieces, features));
            }
            if frames.len() < all.len() {
                self.malformed.fetch_add((all.len() - frames.len()) as u64, Ordering::Relaxed);
            }
            offered = plug.send_all(&frames);
        }
        for slot in slots {
            visit.complete(slot.chain.token(), 0)?;
        }
        Ok(Batch { frames: all.len(), more, offered })
    }
}

/// Copies what the driver's buffers start with, and finds the rest. Returns how many bytes they have in all; `None`: they are too
/// many, or in too many pieces.
#[inline]
fn gather<'a>(
    memory: &'a dyn GuestMemory,
    chain: &Chain,
    start: &mut [u8],
    rest: &mut ArrayVec<GuestSlice<'a>, MAX_PIECES>,
) -> Result<Option<usize>, QueueError> {
    let mut total = 0;
    let mut unfilled = start;
    for segment in &chain.readable {
        let (mut ipa, mut left) = (segment.ipa, segment.len as usize);
        total += left;
        if total > HEADER + MAX_FRAME {
            return Ok(None);
        }
        while left > 0 {
            let mut piece = match memory.slice(ipa, left as u64) {
                Ok(piece) => piece,
                Err(MemoryError::Unbacked { .. }) => return Err(QueueError::Unbacked(ipa)),
                Err(MemoryError::OutOfFrames { .. }) => return Ok(None),
            };
            ipa = Ipa(ipa.0.saturating_add(piece.len() as u64));
            left = left.saturating_sub(piece.len());
            if !unfilled.is_empty() {
                let len = piece.len().min(unfilled.len());
                let (now, later) = unfilled.split_at_mut(len);
                piece.read(0, now);
                unfilled = later;
                match piece.part(len, piece.len() - len) {
                    Some(beyond) if !beyond.is_empty() => piece = beyond,
                    _ => continue,
                }
            }
            if rest.try_push(piece).is_err() {
                return Ok(None);
            }
        }
    }
    Ok(Some(total))
}
