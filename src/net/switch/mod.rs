//! A learning switch with VLANs (IEEE 802.1Q), as far as it concerns virtual machines: one bridge, no spanning tree.
//!
//! Whoever sends does the work, with its own time: it looks up where the frame goes, and copies it there. The table's
//! lock is held only to look up and to learn, not while anything is delivered.

mod bucket;
mod guard;
mod port;
mod table;

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use arrayvec::ArrayVec;
use spin::Mutex;

pub use guard::Ipv4;
use port::Member;
pub use port::{Cause, Counters, PortConfig};
pub use table::{AGE, PortId, SHARE, Station};
use table::{Spoofed, Table};

use super::ethernet::{self, HeadBuffer, Header, MAX_VLAN, TAG, UNTAGGED};
use super::{Endpoint, Frame, MAX_FRAME, MAX_HEAD, Mac, Offered, Plug, Port};

/// Most ports of a switch.
pub const MAX_PORTS: usize = 64;

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// A switch.
pub struct Switch {
    state: Mutex<State>,
    /// Microseconds since some time.
    now: fn() -> u64,
}

struct State {
    table: Table,
    ports: [Option<Arc<Member>>; MAX_PORTS],
}

/// Why a port could not be plugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlugError {
    /// All of [`MAX_PORTS`] are in use.
    Full,
    /// Another port has this address.
    Taken(Mac),
    /// A group address cannot be that of a device.
    Group(Mac),
    /// There is no such VLAN: 1 to [`MAX_VLAN`].
    Vlan(u16),
    /// A guarded port has no address.
    NoAddress,
}

impl fmt::Display for PlugError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "all {MAX_PORTS} ports of the switch are in use"),
            Self::Taken(mac) => write!(f, "another port of the switch has the address {mac}"),
            Self::Group(mac) => write!(f, "{mac} is a group address"),
            Self::Vlan(vlan) => write!(f, "VLAN {vlan}, but they go from 1 to {MAX_VLAN}"),
            Self::NoAddress => f.write_str("a guarded port needs an address"),
        }
    }
}

impl core::error::Error for PlugError {}

/// A port, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStatus {
    /// Its number.
    pub id: PortId,
    /// How it is.
    pub config: PortConfig,
    /// What it has counted.
    pub counters: Counters,
}

/// A learned address, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StationStatus {
    /// Its address.
    pub mac: Mac,
    /// In which VLAN; 0 for none.
    pub vlan: u16,
    /// The name of the port behind which it is.
    pub port: String,
    /// Seconds since a frame came from it.
    pub age: u32,
}

impl Switch {
    /// A switch without ports. `secret` is to be random; `now` is the time in microseconds since boot.
    pub fn new(secret: u64, now: fn() -> u64) -> Arc<Self> {
        let state = State { table: Table::new(secret), ports: [const { None }; MAX_PORTS] };
        Arc::new(Self { state: Mutex::new(state), now })
    }

    /// Plugs an endpoint in. It is unplugged when what is returned is dropped.
    ///
    /// # Errors
    /// [`PlugError`].
    pub fn plug(
        self: &Arc<Self>,
        config: PortConfig,
        endpoint: Weak<dyn Endpoint>,
    ) -> Result<Plug, PlugError> {
        if let Some(vlan) = config.vlan.filter(|vlan| !(1..=MAX_VLAN).contains(vlan)) {
            return Err(PlugError::Vlan(vlan));
        }
        if let Some(mac) = config.mac.filter(|mac| mac.is_group()) {
            return Err(PlugError::Group(mac));
        }
        if config.guard.is_some() && config.mac.is_none() {
            return Err(PlugError::NoAddress);
        }
        let now = (self.now)();
        let mut state = self.state.lock();
        let state = &mut *state;
        let (id, free) =
            state.ports.iter_mut().enumerate().find(|(_, port)| port.is_none()).ok_or(PlugError::Full)?;
        let id = id as PortId;
        if let Some(mac) = config.mac
            && !state.table.assign(mac, id)
        {
            return Err(PlugError::Taken(mac));
        }
        let member = Arc::new(Member::new(id, config, endpoint, now));
        *free = Some(member.clone());
        Ok(Arc::new(Plugged { switch: self.clone(), member }))
    }

    /// Its ports.
    pub fn ports(&self) -> Vec<PortStatus> {
        let state = self.state.lock();
        let status = |member: &Arc<Member>| PortStatus {
            id: member.id,
            config: member.config.clone(),
            counters: member.counters(),
        };
        state.ports.iter().flatten().map(status).collect()
    }

    /// The addresses that it has learned.
    pub fn stations(&self) -> Vec<StationStatus> {
        let now = self.seconds();
        let state = self.state.lock();
        let name = |port: PortId| {
            let member = state.ports.get(usize::from(port)).and_then(Option::as_ref);
            member.map_or(String::new(), |member| member.config.name.clone())
        };
        let status = |station: Station| StationStatus {
            mac: station.mac,
            vlan: station.vlan,
            port: name(station.port),
            age: now.saturating_sub(station.seen),
        };
        state.table.stations(now).map(status).collect()
    }

    fn seconds(&self) -> u32 {
        ((self.now)() / SECOND) as u32
    }

    /// Where a frame goes, whose sender is learned.
    #[inline]
    fn route(&self, sender: &Member, vlan: u16, header: &Header) -> Result<Route, Spoofed> {
        let is_own = sender.config.mac == Some(header.source);
        let seen = if is_own { 0 } else { self.seconds() };
        let mut state = self.state.lock();
        if !is_own {
            let owner = state.table.owner(header.source).and_then(|owner| state.member(owner));
            if owner.is_some_and(|owner| owner.carries(vlan)) {
                return Err(Spoofed);
            }
            let station = Station { mac: header.source, vlan, port: sender.id, seen };
            state.table.learn(station, sender.config.trusted)?;
        }
        if !header.destination.is_group()
            && let Some(receiver) = state.receiver(vlan, header.destination)
        {
            return Ok(if receiver.id == sender.id { Route::Nowhere } else { Route::One(receiver.clone()) });
        }
        Ok(Route::All)
    }

    /// The ports of a VLAN, but for the sender's.
    fn others(&self, sender: &Member, vlan: u16) -> ArrayVec<Arc<Member>, MAX_PORTS> {
        let state = self.state.lock();
        let ports = state.ports.iter().flatten();
        ports.filter(|port| port.id != sender.id && port.carries(vlan)).cloned().collect()
    }
}

impl State {
    fn member(&self, port: PortId) -> Option<&Arc<Member>> {
        self.ports.get(usize::from(port))?.as_ref()
    }

    /// The port behind which a station is.
    fn receiver(&self, vlan: u16, mac: Mac) -> Option<&Arc<Member>> {
        let assigned = self.table.owner(mac).and_then(|port| self.member(port));
        assigned.filter(|member| member.carries(vlan)).or_else(|| self.member(self.table.lookup(vlan, mac)?))
    }
}

/// Where a frame goes.
enum Route {
    /// The station is where the frame came from.
    Nowhere,
    /// To this port.
    One(Arc<Member>),
    /// To all others.
    All,
}

/// What an endpoint holds of its port.
struct Plugged {
    switch: Arc<Switch>,
    member: Arc<Member>,
}

impl Plugged {
    /// The VLAN of a frame that is sent here, if it may be.
    #[inline]
    fn admit(&self, frame: &Frame<'_>, header: &Header) -> Result<u16, Cause> {
        if header.source.is_group() || frame.head.len() > MAX_HEAD || frame.len > MAX_FRAME {
            return Err(Cause::Malformed);
        }
        let vlan = match (self.member.config.vlan, header.tag) {
            (Some(own), None) => own,
            (None, tag) => tag.unwrap_or(UNTAGGED),
            (Some(_), Some(_)) => return Err(Cause::Tag),
        };
        if vlan > MAX_VLAN {
            return Err(Cause::Tag);
        }
        if is_reserved(header.destination) {
            return Err(Cause::Reserved);
        }
        if self.member.guard.as_ref().is_some_and(|guard| !guard.permits(header, frame.head)) {
            return Err(Cause::Spoofed);
        }
        let bucket = self.member.bucket.as_ref();
        if bucket.is_some_and(|bucket| !bucket.take(frame.len, (self.switch.now)())) {
            return Err(Cause::Rate);
        }
        Ok(vlan)
    }

    /// Where a frame that is sent here goes, and in which VLAN; `None`: nowhere.
    #[inline]
    fn decide(&self, frame: &Frame<'_>) -> Option<(u16, Route)> {
        let decided = Header::parse(frame.head).ok_or(Cause::Malformed).and_then(|header| {
            let vlan = self.admit(frame, &header)?;
            let route = self.switch.route(&self.member, vlan, &header).map_err(|Spoofed| Cause::Spoofed)?;
            Ok((vlan, route))
        });
        match decided {
            Ok(decided) => {
                self.member.sent(frame);
                Some(decided)
            }
            Err(cause) => {
                self.member.dropped(cause);
                None
            }
        }
    }

    /// Whether frames have the same form at the receiver's port as here.
    #[inline]
    fn is_alike(&self, receiver: &Member) -> bool {
        self.member.config.vlan.is_some() == receiver.config.vlan.is_some()
    }

    /// Delivers a frame of this VLAN, in the form that it has at the receiver's port.
    #[inline]
    fn forward(&self, receiver: &Member, vlan: u16, frame: &Frame<'_>) {
        match self.is_alike(receiver) {
            true => receiver.deliver(frame),
            false => retag(receiver, self.member.config.vlan.is_some().then_some(vlan), frame),
        }
    }

    /// Delivers a frame to whom it concerns, and tells how many those are.
    fn carry(&self, vlan: u16, route: Route, frame: &Frame<'_>) -> usize {
        match route {
            Route::Nowhere => 0,
            Route::One(receiver) => {
                self.forward(&receiver, vlan, frame);
                1
            }
            Route::All => {
                let receivers = self.switch.others(&self.member, vlan);
                receivers.iter().for_each(|receiver| self.forward(receiver, vlan, frame));
                receivers.len()
            }
        }
    }
}

/// Frames that follow each other and go as they are to the same port.
struct Run<'a> {
    frames: &'a [Frame<'a>],
    receiver: Option<Arc<Member>>,
    range: Range<usize>,
}

impl Run<'_> {
    /// The frame of this index goes to `receiver`, after those that came before it.
    #[inline]
    fn push(&mut self, index: usize, receiver: Arc<Member>) {
        if self.receiver.as_ref().is_none_or(|current| !Arc::ptr_eq(current, &receiver)) {
            self.deliver();
            self.receiver = Some(receiver);
            self.range.start = index;
        }
        self.range.end = index + 1;
    }

    /// Delivers them; it is empty then.
    fn deliver(&mut self) {
        if let (Some(receiver), Some(frames)) = (self.receiver.take(), self.frames.get(self.range.clone())) {
            receiver.deliver_all(frames);
        }
    }
}

/// Delivers a frame with a tag of the VLAN, or without its own.
#[inline(never)]
fn retag(receiver: &Member, vlan: Option<u16>, frame: &Frame<'_>) {
    let mut buffer: HeadBuffer = [0; MAX_HEAD + TAG];
    let changed = match vlan {
        Some(vlan) => ethernet::with_tag(frame, vlan, &mut buffer),
        None => ethernet::without_tag(frame, &mut buffer),
    };
    if let Some(frame) = changed {
        receiver.deliver(&frame);
    }
}

/// Whether an address is one of those that end at the next bridge (IEEE 802.1Q, table 8-1): spanning tree, pauses,
/// link aggregation. A guest could stop the network outside by them.
#[inline]
fn is_reserved(mac: Mac) -> bool {
    mac.bits() & !0xf == 0x0180_c200_0000
}

impl Port for Plugged {
    fn send(&self, frame: &Frame<'_>) -> usize {
        self.decide(frame).map_or(0, |(vlan, route)| self.carry(vlan, route, frame))
    }

    fn send_all(&self, frames: &[Frame<'_>]) -> Offered {
        let mut offered = Offered::default();
        let mut run = Run { frames, receiver: None, range: 0..0 };
        for (index, frame) in frames.iter().enumerate() {
            let receivers = match self.decide(frame) {
                None => 0,
                Some((_, Route::One(receiver))) if self.is_alike(&receiver) => {
                    run.push(index, receiver);
                    1
                }
                Some((vlan, route)) => {
                    run.deliver();
                    self.carry(vlan, route, frame)
                }
            };
            offered.receivers += receivers;
            offered.bytes += receivers * frame.len;
        }
        run.deliver();
        offered
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        let mut state = self.switch.state.lock();
        state.table.forget(self.member.id);
        let port = state.ports.get_mut(usize::from(self.member.id)).and_then(Option::take);
        // What it holds may be much, and the lock is short.
        core::mem::drop(state);
        core::mem::drop(port);
    }
}

#[cfg(test)]
mod tests;
