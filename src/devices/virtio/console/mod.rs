//! The console device (VIRTIO 1.2, 5.3), with several ports. The first one is a console, the others are streams of bytes.
//!
//! What the other end of a port does not take stays in the guest's queue: who floods a port waits. What the guest does not
//! take stays at the other end.
//!
//! Locks: a port's output, then its transmit queue, then the other end's own. The control messages' come before a port's.

mod control;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::queue::{Chain, QueueError, Reader};
use super::{Channel, Device, DeviceId, Features};
use crate::mm::guest_memory::GuestMemory;
use crate::persist::RestoreError;
use control::{News, Told};

bitflags! {
    /// The device's own features (5.3.3). The size of the console is not known.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct ConsoleFeatures: u64 {
        const MULTIPORT = 1 << 1;
        const EMERG_WRITE = 1 << 2;
        const _ = !0;
    }
}

/// The largest size of each queue.
const QUEUE_SIZE: u16 = 64;
/// What a queue may do in a call: a byte costs one, and a request [`REQUEST`].
const BUDGET: u32 = 2048;
const REQUEST: u32 = 32;
/// How many buffers are tried to put input into in a call.
const INPUT_BUFFERS: usize = 4;
/// Bytes that are passed on at once.
const PART: usize = 128;
/// Where `max_nr_ports` and `emerg_wr` are in the configuration space (5.3.4).
const MAX_NR_PORTS: usize = 4;
const EMERG_WR: u64 = 8;

/// The other end of the ports.
pub trait Backend: Send + Sync {
    /// Takes bytes that the guest has sent through a port, and tells how many. If these are not all, the others are to be
    /// offered again after [`Console::output_ready`].
    fn transmit(&self, port: usize, bytes: &[u8]) -> usize;

    /// A port that has refused input may have room now. Only takes note.
    fn input_wanted(&self, port: usize);
}

/// Which queue has what (5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    /// From the other end of a port.
    Receive(usize),
    /// To the other end of a port.
    Transmit(usize),
    /// Messages to the driver.
    ControlReceive,
    /// Messages from the driver.
    ControlTransmit,
}

impl Queue {
    fn of(index: usize) -> Self {
        match (index / 2, index % 2) {
            (1, 0) => Self::ControlReceive,
            (1, _) => Self::ControlTransmit,
            (pair, 0) => Self::Receive(pair.saturating_sub(1)),
            (pair, _) => Self::Transmit(pair.saturating_sub(1)),
        }
    }

    fn index(self) -> usize {
        let pair = |port| if port == 0 { 0 } else { port + 1 };
        match self {
            Self::Receive(port) => 2 * pair(port),
            Self::Transmit(port) => 2 * pair(port) + 1,
            Self::ControlReceive => 2,
            Self::ControlTransmit => 3,
        }
    }
}

/// A console device.
pub struct Console {
    channel: Channel,
    backend: Arc<dyn Backend>,
    ports: Vec<Port>,
    control: Mutex<Control>,
}

#[derive(Default)]
struct Port {
    output: Mutex<Output>,
    /// The buffers of a request for input, to be used again.
    input: Mutex<Chain>,
    /// Input was refused, and the other end is to be told when there may be room.
    has_refused: AtomicBool,
    /// Somebody in the guest has it open.
    is_open: AtomicBool,
}

#[derive(Default)]
struct Output {
    /// How many bytes of the next request were taken already.
    sent: u32,
    chain: Chain,
}

struct Control {
    /// By port.
    news: Vec<News>,
    chain: Chain,
}

/// What is saved of a port.
#[derive(Serialize, Deserialize)]
struct PortState {
    sent: u32,
    is_open: bool,
    news: News,
}

/// Why a queue is left.
#[derive(PartialEq, Eq)]
enum Stop {
    /// Nothing is left to do.
    Empty,
    /// The budget is spent.
    Spent,
    /// The other end takes no more.
    Held,
}

impl Console {
    /// A device with so many ports, whose other ends are at `backend`. The queues of `channel` are as [`Console::queues`] says.
    pub fn new(channel: Channel, ports: usize, backend: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self {
            channel,
            backend,
            ports: (0..ports).map(|_| Port::default()).collect(),
            control: Mutex::new(Control { news: alloc::vec![News::empty(); ports], chain: Chain::default() }),
        })
    }

    /// The sizes of the queues of a device with so many ports.
    pub fn queues(ports: usize) -> Vec<u16> {
        alloc::vec![QUEUE_SIZE; 2 * (ports + 1)]
    }

    /// Sends bytes to the guest through a port, and tells how many it has taken. If these are not all, it will say that it wants
    /// [more](Backend::input_wanted).
    pub fn receive(&self, port: usize, bytes: &[u8]) -> usize {
        let Some(state) = self.ports.get(port) else { return bytes.len() };
        // Before the look: a guest that has something to offer later finds it.
        state.has_refused.store(true, Ordering::SeqCst);
        if !state.is_open.load(Ordering::SeqCst) {
            return 0;
        }
        let mut rest = bytes;
        let chain = &mut *state.input.lock();
        self.channel.visit(Queue::Receive(port).index(), |visit| {
            for _ in 0..INPUT_BUFFERS {
                if rest.is_empty() || !visit.next(chain)? {
                    break;
                }
                let mut written = 0;
                for segment in &chain.writable {
                    let part = rest.split_off(..rest.len().min(segment.len as usize)).unwrap_or_default();
                    visit.memory().write(segment.ipa, part).map_err(|_| QueueError::Unbacked(segment.ipa))?;
                    written += part.len() as u32;
                }
                visit.complete(chain.token(), written)?;
            }
            Ok(())
        });
        if rest.is_empty() {
            state.has_refused.store(false, Ordering::SeqCst);
        }
        bytes.len() - rest.len()
    }

    /// The other end of a port has room again, after it has not taken all.
    pub fn output_ready(&self, port: usize) {
        // The guest pays for what it sends.
        self.channel.defer(Queue::Transmit(port).index());
    }

    fn is_multiport(&self) -> bool {
        let features = ConsoleFeatures::from_bits_retain(self.channel.features().bits());
        features.contains(ConsoleFeatures::MULTIPORT)
    }

    /// The guest may have room for input.
    fn want_input(&self, port: usize) {
        if self.ports.get(port).is_some_and(|port| port.has_refused.swap(false, Ordering::SeqCst)) {
            self.backend.input_wanted(port);
        }
    }

    fn set_open(&self, port: usize, is_open: bool) {
        let Some(state) = self.ports.get(port) else { return };
        state.is_open.store(is_open, Ordering::SeqCst);
        if is_open {
            self.want_input(port);
        }
    }

    /// Passes on what the guest sends through a port.
    fn transmit(&self, port: usize) {
        let Some(state) = self.ports.get(port) else { return };
        let queue = Queue::Transmit(port).index();
        let mut budget = BUDGET;
        let Output { sent, chain } = &mut *state.output.lock();
        let stop = self.channel.visit(queue, |visit| {
            while visit.next(chain)? {
                let stop = self.pass_on(port, visit.memory(), chain, sent, &mut budget);
                if stop != Stop::Empty {
                    visit.put_back(chain.token());
                    return Ok(stop);
                }
                *sent = 0;
                visit.complete(chain.token(), 0)?;
            }
            Ok(Stop::Empty)
        });
        if stop == Some(Stop::Spent) {
            self.channel.defer(queue);
        }
    }

    /// Passes on what is left of a request.
    fn pass_on(
        &self,
        port: usize,
        memory: &dyn GuestMemory,
        chain: &Chain,
        sent: &mut u32,
        budget: &mut u32,
    ) -> Stop {
        let Some(left) = budget.checked_sub(REQUEST) else { return Stop::Spent };
        *budget = left;
        let len = chain.readable_len();
        let mut reader = Reader::new(memory, &chain.readable);
        reader.skip(*sent);
        while *sent < len {
            if *budget == 0 {
                return Stop::Spent;
            }
            let mut part = [0; PART];
            let count = (len - *sent).min(*budget).min(PART as u32);
            let part = part.get_mut(..count as usize).unwrap_or_default();
            reader.read(part);
            let taken = self.backend.transmit(port, part).min(part.len()) as u32;
            *sent += taken;
            *budget -= taken;
            if taken < count {
                return Stop::Held;
            }
        }
        Stop::Empty
    }

    /// Hears what the driver has to say.
    fn hear(&self) {
        let mut control = self.control.lock();
        let Control { news, chain } = &mut *control;
        let mut budget = BUDGET;
        let stop = self.channel.visit(Queue::ControlTransmit.index(), |visit| {
            while let Some(left) = budget.checked_sub(REQUEST) {
                budget = left;
                if !visit.next(chain)? {
                    return Ok(Stop::Empty);
                }
                match Told::read(visit.memory(), chain) {
                    Told::Ready => news.iter_mut().for_each(|news| *news |= News::ADD),
                    Told::PortReady(port) => {
                        let first = if port == 0 { News::CONSOLE } else { News::empty() };
                        if let Some(news) = news.get_mut(port) {
                            *news |= first | News::NAME | News::OPEN;
                        }
                    }
                    Told::PortOpen(port, is_open) => self.set_open(port, is_open),
                    Told::Nothing => {}
                }
                visit.complete(chain.token(), 0)?;
            }
            Ok(Stop::Spent)
        });
        if stop == Some(Stop::Spent) {
            self.channel.defer(Queue::ControlTransmit.index());
        }
        self.tell(&mut control);
    }

    /// Tells the driver what it is to be told, as far as it has buffers.
    fn tell(&self, control: &mut Control) {
        let Control { news, chain } = control;
        if news.iter().all(|news| news.is_empty()) {
            return;
        }
        self.channel.visit(Queue::ControlReceive.index(), |visit| {
            for (port, news) in news.iter_mut().enumerate() {
                while let Some(first) = news.first() {
                    if !visit.next(chain)? {
                        return Ok(());
                    }
                    // A buffer that is too small swallows the message.
                    let written = first.write(port, visit.memory(), chain).unwrap_or(0);
                    visit.complete(chain.token(), written)?;
                    news.remove(first);
                }
            }
            Ok(())
        });
    }
}

impl Device for Console {
    fn id(&self) -> DeviceId {
        DeviceId::Console
    }

    fn features(&self) -> Features {
        Features::from_bits_retain((ConsoleFeatures::MULTIPORT | ConsoleFeatures::EMERG_WRITE).bits())
    }

    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        // cols, rows, max_nr_ports, emerg_wr
        let ports = (self.ports.len() as u32).to_le_bytes();
        let field = |at: u64| usize::try_from(at).ok()?.checked_sub(MAX_NR_PORTS);
        for (at, byte) in (offset..=u64::MAX).zip(bytes) {
            *byte = field(at).and_then(|at| ports.get(at)).copied().unwrap_or(0);
        }
    }

    fn write_config(&self, offset: u64, bytes: &[u8]) {
        // From a guest that may be unable to do anything else (5.3.4): what is not taken is lost.
        if let (EMERG_WR, Some(byte)) = (offset, bytes.first()) {
            self.backend.transmit(0, &[*byte]);
        }
    }

    fn start(&self) {
        // Without messages, the one port is always open.
        if !self.is_multiport() {
            self.set_open(0, true);
        }
    }

    fn reset(&self) {
        self.control.lock().news.fill(News::empty());
        for port in &self.ports {
            port.output.lock().sent = 0;
            port.is_open.store(false, Ordering::SeqCst);
        }
    }

    fn notified(&self, queue: usize) {
        match Queue::of(queue) {
            Queue::Receive(port) => self.want_input(port),
            Queue::Transmit(port) => self.transmit(port),
            Queue::ControlReceive => self.tell(&mut self.control.lock()),
            Queue::ControlTransmit => self.hear(),
        }
    }

    fn save(&self) -> Vec<u8> {
        let control = self.control.lock();
        let state = |(port, news): (&Port, &News)| PortState {
            sent: port.output.lock().sent,
            is_open: port.is_open.load(Ordering::SeqCst),
            news: *news,
        };
        let ports: Vec<_> = self.ports.iter().zip(&control.news).map(state).collect();
        // Into memory; the format can express everything here.
        postcard::to_allocvec(&ports).unwrap_or_default()
    }

    fn restore(&self, state: &[u8]) -> Result<(), RestoreError> {
        let found = state.len() as u64;
        let wrong = |_| RestoreError { field: "console.len", found, limit: found };
        let states: Vec<PortState> = postcard::from_bytes(state).map_err(wrong)?;
        let (found, limit) = (states.len() as u64, self.ports.len() as u64);
        if found != limit {
            return Err(RestoreError { field: "console.ports", found, limit });
        }
        let mut control = self.control.lock();
        for ((state, port), news) in states.iter().zip(&self.ports).zip(&mut control.news) {
            port.output.lock().sent = state.sent;
            port.is_open.store(state.is_open, Ordering::SeqCst);
            *news = state.news;
        }
        Ok(())
    }
}
