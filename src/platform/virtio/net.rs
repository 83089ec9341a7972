//! The machine's network cards (VIRTIO 1.2, 5.1), without offloads.
//!
//! What comes in is handed to the card's [`Port`](crate::net::Port) in the interrupt, a bounded number of frames at a time. A card that has
//! more is not listened to for a while ([`PAUSE_US`]), so that a flood takes a bounded share of the CPU's time.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, Ordering, fence};

use bitflags::bitflags;
use spin::{Mutex, Once};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{InterruptStatus, SomeTransport, Transport};

use super::{Dma, Error};
use crate::mm::frames::{Frames, Owner};
use crate::mm::guest_memory::GuestSlice;
use crate::net::offload::{self, Accepts};
use crate::net::{Delivery, Endpoint, Frame, MAX_HEAD, Mac, Offload, Plug};

bitflags! {
    /// What is made use of (5.1.3, 6).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Features: u64 {
        const MTU = 1 << 3;
        const MAC = 1 << 5;
        const STATUS = 1 << 16;
        /// Of legacy devices: header and frame may be in one buffer.
        const ANY_LAYOUT = 1 << 27;
        const VERSION_1 = 1 << 32;
        const ACCESS_PLATFORM = 1 << 33;
    }
}

/// Offsets in the configuration (5.1.4).
mod config {
    pub const MAC: usize = 0;
    pub const STATUS: usize = 6;
    pub const MTU: usize = 10;
}

const LINK_UP: u16 = 1;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Frames that may be on their way, in each direction.
const DEPTH: usize = 128;
/// Bytes of a buffer: the header, and a frame.
const BUFFER: usize = 2048;
/// Bytes of `struct virtio_net_hdr` (5.1.6); a legacy device's has no `num_buffers` (5.1.6.1).
const HEADER: usize = 12;
const LEGACY_HEADER: usize = 10;
/// Longest frame: 1500 bytes of payload, the Ethernet header and two tags.
const MAX_FRAME: usize = 1500 + 22;
const MIN_FRAME: usize = 14;

/// Frames that are received at once, each counted again for each endpoint that it is offered to.
const BUDGET: usize = 128;
/// For how long a card is not listened to that had more than that, in microseconds.
pub const PAUSE_US: u64 = 200;

/// A queue and its buffers, one for each entry. A buffer is in one place only, so no vector ever grows.
struct Ring {
    queue: Box<VirtQueue<Dma, DEPTH>>,
    buffers: Frames,
    /// The buffer of the entry that this token names, if the device has it.
    owners: Vec<Option<u8>>,
    /// The buffers that the device does not have.
    free: Vec<u8>,
}

impl Ring {
    fn new(transport: &mut SomeTransport<'static>, index: u16) -> Result<Self, Error> {
        Ok(Self {
            queue: super::queue(transport, index)?,
            buffers: Frames::allocate_zeroed((DEPTH * BUFFER) as u64, Owner::Hypervisor)?,
            owners: vec![None; DEPTH],
            free: (0..DEPTH as u8).collect(),
        })
    }

    fn buffer(&self, number: u8) -> *mut u8 {
        self.buffers.as_ptr().wrapping_add(usize::from(number) % DEPTH * BUFFER)
    }

    /// Gives the device a buffer that it does not have: for reading `len` bytes, or for writing as many as there are.
    fn push(&mut self, number: u8, len: Option<usize>) -> bool {
        let start = self.buffer(number);
        // SAFETY: the buffer lies inside the block, and is nobody's but the device's until `pop`.
        let token = unsafe {
            match len {
                Some(len) => self.queue.add(&[core::slice::from_raw_parts(start, len.min(BUFFER))], &mut []),
                None => self.queue.add(&[], &mut [core::slice::from_raw_parts_mut(start, BUFFER)]),
            }
        };
        let Some(owner) = token.ok().and_then(|token| self.owners.get_mut(usize::from(token))) else {
            return false;
        };
        *owner = Some(number);
        true
    }

    /// Takes a buffer back that the device is done with, and how many bytes the device says it has written.
    fn pop(&mut self, is_output: bool) -> Option<(u8, usize)> {
        let token = self.queue.peek_used()?;
        // From a device that names what it does not have, nothing more is taken.
        let number = self.owners.get(usize::from(token)).copied().flatten()?;
        let start = self.buffer(number);
        // SAFETY: as in `push`; the crate looks at where the buffer is and at how many there are.
        let popped = unsafe {
            match is_output {
                true => self.queue.pop_used(token, &[core::slice::from_raw_parts(start, BUFFER)], &mut []),
                false => {
                    self.queue.pop_used(token, &[], &mut [core::slice::from_raw_parts_mut(start, BUFFER)])
                }
            }
        };
        if let Some(owner) = self.owners.get_mut(usize::from(token)) {
            *owner = None;
        }
        Some((number, popped.ok()? as usize))
    }

    /// Whether the device is to be told of what it was given.
    fn should_notify(&self) -> bool {
        // The device's wish is read after it can see the buffers (2.7.13.4.1).
        fence(Ordering::SeqCst);
        self.queue.should_notify()
    }
}

/// What a card has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counters {
    pub received: u64,
    pub received_bytes: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Frames that the network was sent too many of, or that were too long.
    pub dropped: u64,
    /// How often it had more frames than are taken at once.
    pub pauses: u64,
}

struct State {
    transport: SomeTransport<'static>,
    receive: Ring,
    transmit: Ring,
    counters: Counters,
    /// It is not listened to.
    is_paused: bool,
}

/// A network card.
pub struct Nic {
    mac: Mac,
    mtu: u16,
    has_status: bool,
    /// Bytes of the header before each frame.
    header: usize,
    status: AtomicU16,
    state: Mutex<State>,
    port: Once<Plug>,
}

impl Nic {
    /// Starts the card behind `transport`. It receives once it is plugged in.
    ///
    /// # Errors
    /// What the device does wrong, or is missing.
    pub fn new(mut transport: SomeTransport<'static>) -> Result<Self, Error> {
        let features: Features = super::negotiate(&mut transport, Features::all(), Features::VERSION_1)?;
        let has_status = features.contains(Features::STATUS);
        let mut mac = [0; 6];
        for (offset, byte) in mac.iter_mut().enumerate() {
            *byte = transport.read_config_space(config::MAC + offset)?;
        }
        let mtu = match features.contains(Features::MTU) {
            true => transport.read_config_space(config::MTU)?,
            false => 1500,
        };
        let receive = Ring::new(&mut transport, RECEIVE)?;
        let mut transmit = Ring::new(&mut transport, TRANSMIT)?;
        // What was sent is taken back when the next frame is.
        transmit.queue.set_dev_notify(false);
        transport.finish_init();
        let state = State { transport, receive, transmit, counters: Counters::default(), is_paused: false };
        let header = if features.contains(Features::VERSION_1) { HEADER } else { LEGACY_HEADER };
        let nic = Self {
            mac: Mac(mac),
            mtu,
            has_status,
            header,
            status: AtomicU16::new(LINK_UP),
            state: Mutex::new(state),
            port: Once::new(),
        };
        nic.read_status();
        Ok(nic)
    }

    /// Its own address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Most bytes of payload of a frame in its network.
    pub fn mtu(&self) -> u16 {
        self.mtu.min(1500)
    }

    /// Whether there is a network.
    pub fn is_up(&self) -> bool {
        self.status.load(Ordering::Relaxed) & LINK_UP != 0
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Sends what comes in to `port` from now on. Only the first port counts.
    pub fn plug(&self, port: Plug) {
        self.port.call_once(|| port);
        let mut state = self.state.lock();
        let State { receive, transport, .. } = &mut *state;
        while let Some(number) = receive.free.pop() {
            receive.push(number, None);
        }
        transport.notify(RECEIVE);
    }

    /// The card has interrupted. `true`: [`Nic::resume`] is to be called in [`PAUSE_US`].
    pub fn interrupt(&self) -> bool {
        let causes = self.state.lock().transport.ack_interrupt();
        if causes.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT) {
            self.read_status();
        }
        self.receive()
    }

    /// Listens to the card again, if it is not listened to. `true`: for a moment only, as with [`Nic::interrupt`].
    pub fn resume(&self) -> bool {
        let mut state = self.state.lock();
        if !core::mem::take(&mut state.is_paused) {
            return false;
        }
        state.receive.queue.set_dev_notify(true);
        // What came in before the device could see that is found now.
        fence(Ordering::SeqCst);
        drop(state);
        self.receive()
    }

    fn read_status(&self) {
        if self.has_status
            && let Ok(status) = self.state.lock().transport.read_config_space(config::STATUS)
        {
            self.status.store(status, Ordering::Relaxed);
        }
    }

    /// Hands what has come in to the port, within [`BUDGET`]. `true`: there is more, for later.
    fn receive(&self) -> bool {
        let Some(port) = self.port.get() else { return false };
        let mut work = 0;
        while work < BUDGET {
            work += 1;
            let mut state = self.state.lock();
            if state.is_paused {
                return false;
            }
            let Some((number, written)) = state.receive.pop(false) else {
                state.notify_receive();
                return false;
            };
            let len = written.min(BUFFER).saturating_sub(self.header);
            state.counters.received += 1;
            state.counters.received_bytes += len as u64;
            let start = state.receive.buffer(number).wrapping_add(self.header);
            // The switch and its ports take their time.
            drop(state);
            if len >= MIN_FRAME {
                let head = len.min(MAX_HEAD);
                // SAFETY: inside the buffer, which is ours until it is given to the device again.
                let (head, rest) = unsafe {
                    let rest = core::ptr::NonNull::new_unchecked(start.wrapping_add(head));
                    (core::slice::from_raw_parts(start, head), GuestSlice::new(rest, len - head))
                };
                let rest = [rest];
                let rest = if rest[0].is_empty() { &[][..] } else { &rest[..] };
                work += port.send(&Frame { offload: Offload::NONE, head, rest, len });
            }
            self.state.lock().receive.push(number, None);
        }
        let mut state = self.state.lock();
        state.notify_receive();
        state.receive.queue.set_dev_notify(false);
        state.is_paused = true;
        state.counters.pauses += 1;
        true
    }

    /// Sends a frame with which nothing is left to do.
    fn transmit(&self, frame: &Frame<'_>) -> Delivery {
        let mut state = self.state.lock();
        let State { transport, transmit, counters, .. } = &mut *state;
        while let Some((number, _)) = transmit.pop(true) {
            transmit.free.push(number);
        }
        let number = if frame.len <= MAX_FRAME { transmit.free.pop() } else { None };
        let Some(number) = number else {
            counters.dropped += 1;
            return Delivery::Dropped;
        };
        let start = transmit.buffer(number);
        // SAFETY: the device does not have the buffer. Its header is all zero, and stays so.
        let buffer = unsafe {
            GuestSlice::new(core::ptr::NonNull::new_unchecked(start.wrapping_add(self.header)), MAX_FRAME)
        };
        let mut len = if buffer.write(0, frame.head) { frame.head.len() } else { 0 };
        for piece in frame.rest {
            if let Some(room) = buffer.part(len, MAX_FRAME - len) {
                len += piece.copy_to(room);
            }
        }
        if !transmit.push(number, Some(self.header + len)) {
            transmit.free.push(number);
            counters.dropped += 1;
            return Delivery::Dropped;
        }
        counters.sent += 1;
        counters.sent_bytes += len as u64;
        if transmit.should_notify() {
            transport.notify(TRANSMIT);
        }
        Delivery::Taken
    }
}

impl State {
    /// Tells the device that it has room again.
    fn notify_receive(&mut self) {
        if self.receive.should_notify() {
            self.transport.notify(RECEIVE);
        }
    }
}

impl Endpoint for Nic {
    fn deliver(&self, frame: &Frame<'_>) -> Delivery {
        offload::lower(frame, Accepts::empty(), &mut |frame| self.transmit(frame))
    }
}
