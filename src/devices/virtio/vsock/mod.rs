//! The socket device (VIRTIO 1.2, 5.10): connections between VMs, by context id.
//!
//! A packet goes from the sender's transmit queue straight into the receiver's receive queue, in the sender's time and by one
//! copy. A receiver that has no buffers finds what it was sent in its inbox later; when that has no more room, the
//! sender's queue is held back. Credit is between the two guests. Which connections begin and end is taken note
//! of, so that a guest can be told when a peer is gone.
//!
//! Who does not take what it is sent would so keep a sender from reaching others. After [`PATIENCE`] its connections with that
//! sender are refused one after the other, until it has taken what waits.
//!
//! Locks: a device's transmit queue, then an inbox, then its receive queue. Who has an inbox wants no transmit queue, so that two
//! devices may send to each other.

mod connections;
mod hub;
mod inbox;
mod packet;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bitflags::bitflags;
use spin::Mutex;

use super::channel::Visit;
use super::queue::{Chain, QueueError, Reader};
use super::{Channel, Device, DeviceId, Features};
use crate::mm::guest_memory::GuestMemory;
use crate::persist::RestoreError;
use connections::Connections;
pub use hub::Hub;
use inbox::{Budget, Delivery, Inbox};
use packet::{Header, LEN, kind, op};

bitflags! {
    /// The device's own features (5.10.3).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct SocketFeatures: u64 {
        const STREAM = 1 << 0;
        const SEQPACKET = 1 << 1;
        const _ = !0;
    }
}

/// The queues (5.10.2).
const RX: usize = 0;
const TX: usize = 1;
const EVENT: usize = 2;

/// The largest size of each queue.
pub const QUEUES: [u16; 3] = [128, 128, 8];

/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`: all connections are gone (5.10.6.7).
const TRANSPORT_RESET: u32 = 0;
/// As whom an inbox knows the hub itself: the host's context id (5.10.4).
const HOST: u32 = 2;
/// For how long a receiver may keep a sender waiting, in microseconds.
pub const PATIENCE: u64 = 1_000_000;

/// A socket device.
pub struct Vsock {
    channel: Channel,
    cid: u32,
    hub: &'static Hub,
    inbox: Mutex<Inbox>,
    /// The request that is being sent. Locked for as long as the transmit queue is worked on.
    work: Mutex<Chain>,
    held: Mutex<Option<Held>>,
    connections: Mutex<Connections>,
    /// The guest is to learn that its connections are gone.
    is_cut: AtomicBool,
    dropped: AtomicU64,
}

/// The transmit queue is held back.
struct Held {
    /// By whom.
    receiver: u32,
    /// When this was first looked at.
    since: Option<u64>,
}

/// Why the transmit queue is left.
#[derive(PartialEq, Eq)]
enum Stop {
    /// Nothing is left to do.
    Empty,
    /// The budget is spent.
    Spent,
    /// What comes next is for a receiver that has no room.
    Held(u32),
}

impl Vsock {
    /// The device of the VM with this context id, on `hub`. The queues of `channel` are as [`QUEUES`] says.
    pub fn new(channel: Channel, cid: u32, hub: &'static Hub) -> Arc<Self> {
        let device = Arc::new(Self {
            channel,
            cid,
            hub,
            inbox: Mutex::default(),
            work: Mutex::default(),
            held: Mutex::new(None),
            connections: Mutex::default(),
            is_cut: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        hub.join(&device);
        device
    }

    /// How many packets were dropped because they were malformed or lied about who sent them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Works on the transmit queue.
    fn transmit(&self) {
        let mut chain = self.work.lock();
        let mut budget = Budget::new();
        let stop = self.channel.visit(TX, |visit| self.send_all(visit, &mut chain, &mut budget));
        match stop {
            Some(Stop::Spent) => self.channel.defer(TX),
            Some(Stop::Held(receiver)) => self.hold(receiver),
            Some(Stop::Empty) | None => *self.held.lock() = None,
        }
        drop(chain);
        // Refusals of what was sent.
        self.receive();
    }

    fn send_all(
        &self,
        visit: &mut Visit<'_>,
        chain: &mut Chain,
        budget: &mut Budget,
    ) -> Result<Stop, QueueError> {
        loop {
            if budget.is_spent() {
                return Ok(Stop::Spent);
            }
            if !visit.next(chain)? {
                return Ok(Stop::Empty);
            }
            if let Err(receiver) = self.send(visit.memory(), chain, budget) {
                visit.put_back(chain.token());
                return Ok(Stop::Held(receiver));
            }
            visit.complete(chain.token(), 0)?;
        }
    }

    /// Sends a packet to whom it is for, or refuses it. The error is who has no room for it.
    fn send(&self, memory: &dyn GuestMemory, chain: &Chain, budget: &mut Budget) -> Result<(), u32> {
        budget.spend(0);
        let mut payload = Reader::new(memory, &chain.readable);
        let Some(len) = chain.readable_len().checked_sub(LEN as u32) else {
            self.drop_packet();
            return Ok(());
        };
        let mut bytes = [0; LEN];
        payload.read(&mut bytes);
        let header = Header::parse(&bytes);
        if header.src_cid != u64::from(self.cid) {
            self.drop_packet();
            return Ok(());
        }
        let receiver = u32::try_from(header.dst_cid).ok().filter(|cid| *cid != self.cid);
        let receiver = receiver.filter(|_| header.is_sound(len)).and_then(|cid| self.hub.find(cid));
        let Some(receiver) = receiver.filter(|receiver| receiver.takes(header.kind)) else {
            return self.refuse(&header);
        };
        if header.is_turn() && !self.turn(&header, &receiver) {
            return self.refuse(&header);
        }
        let delivery = receiver.inbox.lock().deliver(&receiver.channel, self.cid, header, payload, budget);
        match delivery {
            Delivery::Taken => Ok(()),
            Delivery::Full => Err(receiver.cid),
            Delivery::Lost => self.refuse(&header),
        }
    }

    /// Takes note of a packet by which a connection begins or ends. `false`: the guest has too many.
    fn turn(&self, header: &Header, receiver: &Self) -> bool {
        if header.op == op::RST {
            receiver.connections.lock().refused(header);
        }
        self.connections.lock().sent(header)
    }

    /// The guest with this context id has forgotten its connections: ends those that this one has with it.
    fn lose(&self, peer: u32) {
        let refusals = self.connections.lock().take(peer, self.cid);
        if refusals.is_empty() {
            return;
        }
        let mut inbox = self.inbox.lock();
        // A guest that takes no refusals may miss these too.
        refusals.iter().for_each(|refusal| _ = inbox.keep(HOST, refusal));
        self.channel.defer(RX);
    }

    /// Answers a packet that reaches nobody.
    #[cold]
    fn refuse(&self, header: &Header) -> Result<(), u32> {
        let Some(refusal) = header.refusal() else {
            self.drop_packet();
            return Ok(());
        };
        self.connections.lock().refused(&refusal);
        match self.inbox.lock().keep(HOST, &refusal) {
            true => Ok(()),
            false => Err(self.cid),
        }
    }

    #[cold]
    fn drop_packet(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there is a driver for this kind of socket.
    #[inline]
    fn takes(&self, kind: u16) -> bool {
        let features = SocketFeatures::from_bits_retain(self.channel.features().bits());
        self.channel.is_live() && (kind == kind::STREAM || features.contains(SocketFeatures::SEQPACKET))
    }

    /// The transmit queue waits for a receiver.
    fn hold(&self, receiver: u32) {
        // A guest that does not take refusals waits for itself.
        if receiver == self.cid {
            return;
        }
        let mut held = self.held.lock();
        if held.as_ref().is_none_or(|held| held.receiver != receiver) {
            *held = Some(Held { receiver, since: None });
            self.hub.wait();
        }
    }

    /// Ends the waiting for a receiver, if it has taken too long; or tells when it will have.
    fn lose_patience(&self, now: u64) -> Option<u64> {
        let mut slot = self.held.lock();
        let held = slot.as_mut()?;
        let end = held.since.get_or_insert(now).saturating_add(PATIENCE);
        if now < end {
            return Some(end);
        }
        let receiver = held.receiver;
        *slot = None;
        drop(slot);
        if let Some(receiver) = self.hub.find(receiver) {
            receiver.inbox.lock().cut_off(self.cid);
        }
        self.channel.defer(TX);
        None
    }

    /// Gives the guest what waits for it, as far as it has buffers, and lets those go on that have waited for this.
    fn receive(&self) {
        let mut inbox = self.inbox.lock();
        inbox.drain(&self.channel);
        self.relieve(&mut inbox);
    }

    fn relieve(&self, inbox: &mut Inbox) {
        for source in inbox.relieved() {
            match source {
                HOST => self.channel.defer(TX),
                source => {
                    if let Some(source) = self.hub.find(source) {
                        source.channel.defer(TX);
                    }
                }
            }
        }
    }

    /// Tells the guest that its connections are gone, if it is to know and has a buffer for that.
    fn send_event(&self) {
        if !self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let mut chain = Chain::default();
        let is_told = self.channel.visit(EVENT, |visit| {
            if !visit.next(&mut chain)? {
                return Ok(false);
            }
            let id = TRANSPORT_RESET.to_le_bytes();
            let is_written = chain.writable.first().is_some_and(|segment| {
                segment.len as usize >= id.len() && visit.memory().write(segment.ipa, &id).is_ok()
            });
            visit.complete(chain.token(), if is_written { id.len() as u32 } else { 0 })?;
            Ok(is_written)
        });
        if is_told == Some(true) {
            self.is_cut.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Vsock {
    fn drop(&mut self) {
        // Who still waits finds nobody here.
        self.hub.leave(self.cid);
        let mut inbox = core::mem::take(&mut *self.inbox.lock());
        inbox.clear();
        self.relieve(&mut inbox);
    }
}

impl Device for Vsock {
    fn id(&self) -> DeviceId {
        DeviceId::Socket
    }

    fn features(&self) -> Features {
        Features::from_bits_retain((SocketFeatures::STREAM | SocketFeatures::SEQPACKET).bits())
    }

    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        // guest_cid (5.10.4)
        let space = u64::from(self.cid).to_le_bytes();
        let from = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
        bytes.fill(0);
        bytes.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
    }

    fn reset(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
        *self.held.lock() = None;
        self.connections.lock().clear();
        self.hub.leave(self.cid);
        let mut inbox = self.inbox.lock();
        inbox.clear();
        self.relieve(&mut inbox);
    }

    fn notified(&self, queue: usize) {
        match queue {
            RX => self.receive(),
            TX => self.transmit(),
            EVENT => self.send_event(),
            _ => {}
        }
    }

    /// Nothing: connections do not outlive what they are connected with, and what waits belongs to them.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&self, state: &[u8]) -> Result<(), RestoreError> {
        if !state.is_empty() {
            return Err(RestoreError { field: "vsock.len", found: state.len() as u64, limit: 0 });
        }
        self.connections.lock().clear();
        self.inbox.lock().clear();
        self.is_cut.store(true, Ordering::SeqCst);
        self.channel.defer(EVENT);
        Ok(())
    }
}
