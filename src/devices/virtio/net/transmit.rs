//! From the driver to the switch (VIRTIO 1.2, 5.1.6.2).

use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;

use super::super::queue::{Chain, QueueError};
use super::NetDevice;
use super::header::{self, HEADER, NetFeatures};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, GuestSlice, MemoryError};
use crate::net::{Frame, MAX_FRAME, MAX_HEAD, Plug, ethernet};

/// Most frames that are delivered at a time; one that goes to several receivers counts as often.
const FRAMES: usize = 64;
/// Most bytes that are copied at a time, as far as the last frame does not exceed it.
const BYTES: usize = 256 << 10;
/// Most pieces that a frame may lie in. Linux makes at most `MAX_SKB_FRAGS` + 2, which is 47 where it is largest.
const MAX_PIECES: usize = 128;

/// What is used for each frame that is sent. Reused from one to the next, it is not cleared in between.
pub(super) struct Sending {
    chain: Chain,
    /// The header of virtio, and the frame's head.
    start: [u8; HEADER + MAX_HEAD],
}

impl Default for Sending {
    fn default() -> Self {
        Self { chain: Chain::default(), start: [0; _] }
    }
}

impl NetDevice {
    /// Sends what is in a queue, as far as the budget allows.
    pub(super) fn transmit(&self, queue: usize) {
        let Some(pair) = self.pairs.get(queue / 2) else { return };
        let plug = self.plug.lock().clone().filter(|_| self.hot.link.load(Ordering::Relaxed));
        let features = NetFeatures::negotiated(self.channel.features());
        let more = self.channel.visit(queue, |visit| {
            let Sending { chain, start } = &mut *pair.transmit.lock();
            let (mut frames, mut bytes) = (0, 0);
            while frames < FRAMES && bytes < BYTES {
                if !visit.next(chain)? {
                    return Ok(false);
                }
                let work = send(visit.memory(), chain, start, features, plug.as_ref())?;
                if work.is_none() {
                    self.malformed.fetch_add(1, Ordering::Relaxed);
                }
                let Work { receivers, len } = work.unwrap_or_default();
                visit.complete(chain.token(), 0)?;
                frames += receivers.max(1);
                bytes += receivers * len;
            }
            Ok(true)
        });
        if more == Some(true) {
            self.channel.defer(queue);
        }
    }
}

/// What a frame has cost.
#[derive(Default)]
struct Work {
    /// How many were offered it.
    receivers: usize,
    /// Its bytes.
    len: usize,
}

/// Sends a frame. `None`: it is malformed, or the driver lies about it.
#[inline]
fn send(
    memory: &dyn GuestMemory,
    chain: &Chain,
    start: &mut [u8; HEADER + MAX_HEAD],
    features: NetFeatures,
    plug: Option<&Plug>,
) -> Result<Option<Work>, QueueError> {
    let Some(plug) = plug else { return Ok(Some(Work::default())) };
    let mut rest = ArrayVec::new();
    let Some(total) = gather(memory, chain, start, &mut rest)? else { return Ok(None) };
    let copied = total.min(start.len());
    let sent = start.split_first_chunk().and_then(|(header, head)| {
        let head = head.get(..copied.checked_sub(HEADER)?)?;
        let len = total - HEADER;
        let offload = header::decode(header, features)?.validated(head, len)?;
        let is_sound = (ethernet::HEADER..=MAX_FRAME).contains(&len);
        is_sound.then(|| Work { receivers: plug.send(&Frame { offload, head, rest: &rest, len }), len })
    });
    Ok(sent)
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
