//! The network device (VIRTIO 1.2, 5.1), plugged into a port of a [switch](crate::net::switch).
//!
//! What a driver sends is copied in its own vCPU's time straight into the buffers of each receiver. A receiver that has no
//! buffers loses the frame: nothing is kept in between.
//!
//! Locks: a transmit queue's, then the switch's table (not held while anything is delivered), then the receiver's
//! settings or receive queue. Settings are changed with no lock but the control queue's held.

mod control;
mod filter;
mod header;
mod receive;
mod transmit;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::queue::Chain;
use super::{Channel, Device, DeviceId, Features};
use crate::net::offload::Accepts;
use crate::net::{Mac, Plug};
use crate::persist::RestoreError;
use filter::{Filter, Modes, Vlans};
use header::NetFeatures;
use transmit::Sending;

/// Most entries of a queue.
const QUEUE_SIZE: u16 = 256;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetConfig {
    /// Its address.
    pub mac: Mac,
    /// Longest packet in bytes: at least 68.
    pub mtu: u16,
    /// Pairs of queues: 1 to 8.
    pub pairs: u16,
}

impl NetConfig {
    /// The sizes of the queues of its channel: a receive and a transmit queue for each pair, and the control queue.
    pub fn queues(&self) -> Vec<u16> {
        alloc::vec![QUEUE_SIZE; 2 * usize::from(self.pairs) + 1]
    }
}

/// A network device.
pub struct NetDevice {
    config: NetConfig,
    channel: Channel,
    /// The port that it is plugged into.
    plug: Mutex<Option<Plug>>,
    settings: Mutex<Settings>,
    hot: Hot,
    pairs: Box<[Pair]>,
    commands: Mutex<Chain>,
    malformed: AtomicU64,
}

/// What is used for requests of a pair of queues, again and again. Whoever has the queue has it.
#[derive(Default)]
struct Pair {
    receive: Mutex<Receive>,
    transmit: Mutex<Sending>,
}

/// Buffers for a frame.
#[derive(Default)]
struct Receive {
    /// The one with the header.
    first: Chain,
    /// The one after.
    more: Chain,
}

/// What the driver and the operator have set. All of it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    mac: Mac,
    filter: Filter,
    accepts: Accepts,
    /// Pairs of queues in use.
    pairs: u16,
    link: bool,
    /// The driver is to tell the network where it is.
    announce: bool,
}

/// Copies of settings that every frame needs.
struct Hot {
    /// The address whose untagged frames are wanted, whatever the filter; else a number that is no address.
    exact: AtomicU64,
    accepts: AtomicU8,
    pairs: AtomicU16,
    link: AtomicBool,
}

impl Hot {
    fn accepts(&self) -> Accepts {
        Accepts::from_bits_truncate(self.accepts.load(Ordering::Relaxed))
    }

    fn set(&self, settings: &Settings) {
        let modes = settings.filter.modes;
        let exact = if modes.contains(Modes::NOUNI) && !modes.contains(Modes::PROMISC) {
            u64::MAX
        } else {
            settings.mac.bits()
        };
        self.exact.store(exact, Ordering::Relaxed);
        self.accepts.store(settings.accepts.bits(), Ordering::Relaxed);
        self.pairs.store(settings.pairs, Ordering::Relaxed);
        self.link.store(settings.link, Ordering::Relaxed);
    }
}

impl NetDevice {
    /// A device that is not plugged into anything, and whose link is up. The queues of `channel` are
    /// [`NetConfig::queues`].
    pub fn new(config: NetConfig, channel: Channel) -> Self {
        let settings = Settings {
            mac: config.mac,
            filter: Filter::default(),
            accepts: Accepts::empty(),
            pairs: 1,
            link: true,
            announce: false,
        };
        let hot = Hot {
            exact: AtomicU64::new(u64::MAX),
            accepts: AtomicU8::new(0),
            pairs: AtomicU16::new(1),
            link: AtomicBool::new(true),
        };
        hot.set(&settings);
        Self {
            config,
            channel,
            plug: Mutex::new(None),
            settings: Mutex::new(settings),
            hot,
            pairs: (0..config.pairs).map(|_| Pair::default()).collect(),
            commands: Mutex::default(),
            malformed: AtomicU64::new(0),
        }
    }

    /// Plugs it into a port, or pulls it out of the one that it is in.
    pub fn connect(&self, plug: Option<Plug>) {
        let old = core::mem::replace(&mut *self.plug.lock(), plug);
        drop(old);
    }

    /// Sets the link up or down, of which the driver is told. No frame passes while it is down.
    pub fn set_link(&self, up: bool) {
        let changed = self.change(|settings| core::mem::replace(&mut settings.link, up) != up);
        if changed {
            self.channel.config_changed();
        }
    }

    /// Whether the link is up.
    pub fn link(&self) -> bool {
        self.hot.link.load(Ordering::Relaxed)
    }

    /// Asks the driver to tell the network where it is now (5.1.6.5.4), if it can.
    pub fn announce(&self) {
        if NetFeatures::negotiated(self.channel.features()).contains(NetFeatures::GUEST_ANNOUNCE) {
            self.change(|settings| settings.announce = true);
            self.channel.config_changed();
        }
    }

    /// The address that it has, which the driver may have changed.
    pub fn mac(&self) -> Mac {
        self.settings.lock().mac
    }

    /// Pairs of queues that the driver uses.
    pub fn active_pairs(&self) -> u16 {
        self.hot.pairs.load(Ordering::Relaxed)
    }

    /// Frames that the driver wanted to send and that were none.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Changes settings.
    fn change<R>(&self, change: impl FnOnce(&mut Settings) -> R) -> R {
        let mut settings = self.settings.lock();
        let result = change(&mut settings);
        self.hot.set(&settings);
        result
    }

    /// The index of the control queue, which depends on what was negotiated (5.1.2).
    fn control_queue(&self) -> usize {
        match self.channel.features().contains(Features::from_bits_retain(NetFeatures::MQ.bits())) {
            true => 2 * usize::from(self.config.pairs),
            false => 2,
        }
    }
}

impl Device for NetDevice {
    fn id(&self) -> DeviceId {
        DeviceId::Net
    }

    fn features(&self) -> Features {
        let mut features = NetFeatures::all();
        features.set(NetFeatures::MQ, self.config.pairs > 1);
        Features::from_bits_retain(features.bits())
    }

    fn channel(&self) -> &Channel {
        &self.channel
    }

    /// `struct virtio_net_config` (5.1.4).
    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        const LINK_UP: u16 = 1;
        const ANNOUNCE: u16 = 2;
        let settings = self.settings.lock();
        let up = if settings.link { LINK_UP } else { 0 };
        let status = up | if settings.announce { ANNOUNCE } else { 0 };
        let mut config = [0; 12];
        let fields = settings.mac.0.into_iter();
        let words = [status, self.config.pairs, self.config.mtu].into_iter().flat_map(u16::to_le_bytes);
        config.iter_mut().zip(fields.chain(words)).for_each(|(to, from)| *to = from);
        bytes.fill(0);
        let config = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or(&[]);
        bytes.iter_mut().zip(config).for_each(|(to, from)| *to = *from);
    }

    fn start(&self) {
        let features = NetFeatures::negotiated(self.channel.features());
        self.change(|settings| {
            settings.accepts = features.accepts();
            settings.filter.vlans = features.contains(NetFeatures::CTRL_VLAN).then(Vlans::default);
        });
    }

    fn reset(&self) {
        self.change(|settings| {
            *settings = Settings {
                mac: self.config.mac,
                filter: Filter::default(),
                accepts: Accepts::empty(),
                pairs: 1,
                link: settings.link,
                announce: false,
            };
        });
    }

    fn notified(&self, queue: usize) {
        if queue == self.control_queue() {
            self.control(queue);
        } else if queue % 2 == 1 && queue / 2 < usize::from(self.active_pairs()) {
            self.transmit(queue);
        }
    }

    fn save(&self) -> Vec<u8> {
        // Into a vector, only the allocator could fail.
        postcard::to_allocvec(&*self.settings.lock()).unwrap_or_default()
    }

    fn restore(&self, state: &[u8]) -> Result<(), RestoreError> {
        let bad = |field, found, limit| RestoreError { field, found, limit };
        let settings: Settings =
            postcard::from_bytes(state).map_err(|_| bad("net", state.len() as u64, state.len() as u64))?;
        if !(1..=self.config.pairs).contains(&settings.pairs) {
            return Err(bad("net.pairs", settings.pairs.into(), self.config.pairs.into()));
        }
        if settings.mac.is_group() {
            return Err(bad("net.mac", settings.mac.bits(), settings.mac.bits() & !(1 << 40)));
        }
        self.change(|current| *current = settings);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
