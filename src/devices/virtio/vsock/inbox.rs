//! What is on its way to a socket device: packets go straight into the guest's buffers, and wait where there are none.

use alloc::collections::{BTreeMap, VecDeque};
use core::ops::Bound;

use super::packet::{Header, LEN, MAX_PAYLOAD};
use crate::devices::virtio::Channel;
use crate::devices::virtio::channel::Visit;
use crate::devices::virtio::queue::{Chain, QueueError, Reader};
use crate::mm::guest_memory::{GuestMemory, GuestSlice, Segment};

/// Bytes that may wait of each source: a packet, at least, for the rest of one that has begun must not be lost.
pub const BACKLOG: usize = 128 << 10;
const _: () = assert!(BACKLOG >= LEN + MAX_PAYLOAD as usize);

/// What a call may still do.
pub struct Budget {
    bytes: u32,
    buffers: u32,
}

impl Budget {
    /// All of it.
    pub fn new() -> Self {
        Self { bytes: 256 << 10, buffers: 128 }
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.bytes == 0 || self.buffers == 0
    }

    /// A buffer with so many bytes of payload was used.
    #[inline]
    pub fn spend(&mut self, bytes: u32) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.buffers = self.buffers.saturating_sub(1);
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is there, or will be.
    Taken,
    /// Too much of its source waits already. It is to be offered again when the source is named by [`Inbox::relieved`].
    Full,
    /// It will never be there.
    Lost,
}

/// Bytes to be put into buffers, one after the other.
trait Payload {
    /// Fills some of `room`, from its start, and tells how much: all of it, or up to some boundary, but not nothing.
    fn fill(&mut self, room: GuestSlice<'_>) -> usize;
}

impl Payload for Reader<'_> {
    #[inline]
    fn fill(&mut self, room: GuestSlice<'_>) -> usize {
        match self.next(room.len()) {
            Some(piece) => piece.copy_to(room),
            None => {
                room.clear();
                room.len()
            }
        }
    }
}

impl Payload for VecDeque<u8> {
    fn fill(&mut self, room: GuestSlice<'_>) -> usize {
        let (bytes, _) = self.as_slices();
        let len = bytes.len().min(room.len());
        if len == 0 || !room.write(0, bytes.get(..len).unwrap_or_default()) {
            room.clear();
            return room.len();
        }
        self.drain(..len);
        len
    }
}

/// What waits of a source.
#[derive(Default)]
struct Backlog {
    /// The header of the packet that comes first, or of what is left of it.
    first: Option<Header>,
    /// Its payload, and then other packets.
    bytes: VecDeque<u8>,
    /// The source waits for room.
    waits: bool,
    /// The source was kept waiting for too long, and waits no more.
    is_cut_off: bool,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Appends a packet, whose payload `read` gives bit by bit. `false`: there is no room, or no memory.
    fn push(&mut self, header: &Header, mut read: impl FnMut(&mut [u8])) -> bool {
        let mut left = header.len as usize;
        let len = left + LEN;
        if self.bytes.len() + len > BACKLOG || self.bytes.try_reserve(len).is_err() {
            return false;
        }
        match self.first {
            None => self.first = Some(*header),
            Some(_) => self.bytes.extend(header.bytes()),
        }
        let mut part = [0; 256];
        while left > 0 {
            let len = left.min(part.len());
            let part = part.get_mut(..len).unwrap_or_default();
            read(part);
            self.bytes.extend(&*part);
            left -= len;
        }
        true
    }

    /// The first packet is done.
    fn pop(&mut self) {
        let mut bytes = [0; LEN];
        self.first = (self.bytes.len() >= LEN).then(|| {
            bytes.iter_mut().zip(self.bytes.drain(..LEN)).for_each(|(to, byte)| *to = byte);
            Header::parse(&bytes)
        });
        if self.first.is_none() {
            self.bytes = VecDeque::new();
            self.is_cut_off = false;
        }
    }
}

/// Why putting a packet into buffers has ended.
#[derive(PartialEq, Eq)]
enum End {
    /// All of it is there.
    Done,
    /// There are no more buffers.
    NoBuffer,
    /// The budget is spent.
    Spent,
}

/// The way to a guest.
#[derive(Default)]
pub struct Inbox {
    backlogs: BTreeMap<u32, Backlog>,
    /// The source whose turn it was last.
    turn: u32,
    chain: Chain,
}

impl Inbox {
    /// Sends a packet of the source on its way.
    pub fn deliver(
        &mut self,
        channel: &Channel,
        source: u32,
        mut header: Header,
        mut payload: Reader<'_>,
        budget: &mut Budget,
    ) -> Delivery {
        let backlog = self.backlogs.entry(source).or_default();
        if backlog.is_cut_off {
            return Delivery::Lost;
        }
        if backlog.is_empty() {
            let chain = &mut self.chain;
            let end = channel.visit(super::RX, |visit| put(visit, chain, &mut header, &mut payload, budget));
            match end {
                None => return Delivery::Lost,
                Some(End::Done) => return Delivery::Taken,
                Some(End::NoBuffer) => {}
                // The receiver has buffers and does not know that there is something for them.
                Some(End::Spent) => channel.defer(super::RX),
            }
            // Here there is always room.
            return if backlog.push(&header, |part| payload.read(part)) {
                Delivery::Taken
            } else {
                Delivery::Lost
            };
        }
        budget.spend(header.len);
        if backlog.push(&header, |part| payload.read(part)) {
            return Delivery::Taken;
        }
        backlog.waits = true;
        Delivery::Full
    }

    /// Keeps a packet without payload for [`Inbox::drain`]. `false`: too much of the source waits already.
    pub fn keep(&mut self, source: u32, header: &Header) -> bool {
        let backlog = self.backlogs.entry(source).or_default();
        let is_kept = backlog.push(header, |_| ());
        backlog.waits |= !is_kept;
        is_kept
    }

    /// Puts what waits into buffers, a packet of each source in turn.
    pub fn drain(&mut self, channel: &Channel) {
        if self.backlogs.values().all(Backlog::is_empty) {
            return;
        }
        let Self { backlogs, turn, chain } = self;
        let mut budget = Budget::new();
        let end = channel.visit(super::RX, |visit| {
            while let Some((source, backlog)) = next(backlogs, *turn) {
                *turn = source;
                let Some(mut header) = backlog.first else { break };
                let end = put(visit, chain, &mut header, &mut backlog.bytes, &mut budget)?;
                match end {
                    End::Done => backlog.pop(),
                    End::NoBuffer | End::Spent => {
                        backlog.first = Some(header);
                        return Ok(end);
                    }
                }
            }
            Ok(End::Done)
        });
        if end == Some(End::Spent) {
            channel.defer(super::RX);
        }
    }

    /// The sources that have waited for room, and may go on.
    pub fn relieved(&mut self) -> impl Iterator<Item = u32> {
        let ready = |backlog: &mut Backlog| {
            (backlog.bytes.len() <= BACKLOG / 2 || backlog.is_cut_off) && core::mem::take(&mut backlog.waits)
        };
        self.backlogs.iter_mut().filter_map(move |(source, backlog)| ready(backlog).then_some(*source))
    }

    /// Stops waiting for the guest to take what it has been sent by a source, which is waiting: nothing new of it is taken until
    /// the guest has all that waits.
    pub fn cut_off(&mut self, source: u32) {
        if let Some(backlog) = self.backlogs.get_mut(&source).filter(|backlog| backlog.waits) {
            backlog.is_cut_off = true;
        }
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        for backlog in self.backlogs.values_mut() {
            *backlog = Backlog { waits: backlog.waits, ..Backlog::default() };
        }
    }
}

/// The source behind `turn` that has something waiting.
fn next(backlogs: &mut BTreeMap<u32, Backlog>, turn: u32) -> Option<(u32, &mut Backlog)> {
    let behind = (Bound::Excluded(turn), Bound::Unbounded);
    let waits = |(_, backlog): &(&u32, &Backlog)| !backlog.is_empty();
    let source = *backlogs.range(behind).find(waits).or_else(|| backlogs.iter().find(waits))?.0;
    Some((source, backlogs.get_mut(&source)?))
}

/// Puts a packet into as many buffers as it takes; what is left of it stays in `header` and `payload`.
fn put(
    visit: &mut Visit<'_>,
    chain: &mut Chain,
    header: &mut Header,
    payload: &mut impl Payload,
    budget: &mut Budget,
) -> Result<End, QueueError> {
    loop {
        if budget.is_spent() {
            return Ok(End::Spent);
        }
        if !visit.next(chain)? {
            return Ok(End::NoBuffer);
        }
        let room = chain.writable.iter().map(|segment| segment.len as usize).sum::<usize>();
        // Nothing can be done with a buffer that has no room behind a header.
        let part = match room.checked_sub(LEN) {
            Some(room) if room > 0 || header.len == 0 => header.len.min(room as u32),
            _ => {
                budget.spend(0);
                visit.complete(chain.token(), 0)?;
                continue;
            }
        };
        let head = header.split(part);
        scatter(visit.memory(), &chain.writable, &head, payload)?;
        visit.complete(chain.token(), LEN as u32 + part)?;
        budget.spend(part);
        if header.len == 0 {
            return Ok(End::Done);
        }
    }
}

/// Writes a packet into a buffer that has room for it.
fn scatter(
    memory: &dyn GuestMemory,
    segments: &[Segment],
    header: &Header,
    payload: &mut impl Payload,
) -> Result<(), QueueError> {
    let bytes = header.bytes();
    let mut head = &bytes[..];
    let mut left = header.len as usize;
    for segment in segments {
        let len = u64::from(segment.len).min((head.len() + left) as u64);
        let copied = memory.for_each_piece(segment.ipa, len, &mut |piece| {
            let mut at = 0;
            if let Some(part) = head.split_off(..head.len().min(piece.len())) {
                piece.write(0, part);
                at = part.len();
            }
            while let Some(room) = piece.part(at, left.min(piece.len() - at)).filter(|room| !room.is_empty())
            {
                let len = payload.fill(room);
                at += len;
                left -= len;
            }
        });
        copied.map_err(|_| QueueError::Unbacked(segment.ipa))?;
    }
    Ok(())
}
