//! Which station is behind which port.
//!
//! A switch knows two kinds of addresses. An *assigned* one is that of the device at a port: nobody else can have it. A
//! *learned* one was seen in a frame. It stays where it was seen until it has been silent for [`AGE`], or its port is
//! unplugged: whoever could claim the address of another would be sent the other's frames. Only a trusted port, the
//! uplink, takes an address over at once.
//!
//! The table has a fixed size, and each port a share of it, so a port that makes addresses up fills nothing but its own.

use alloc::boxed::Box;
use alloc::vec;

use arrayvec::ArrayVec;

use super::MAX_PORTS;
use crate::net::Mac;

/// Seconds after which an address is forgotten that no frame came from (IEEE 802.1Q, table 8-6).
pub const AGE: u32 = 300;
/// Most learned addresses.
const CAPACITY: usize = SETS * WAYS;
/// An address can be in one of so many places.
const WAYS: usize = 4;
const SETS: usize = 256;
/// Most addresses that are learned from a port, and from a trusted one.
pub const SHARE: u16 = 32;
const TRUSTED_SHARE: u16 = 512;

/// A port's number on its switch.
pub type PortId = u8;

/// A learned address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    /// Its address.
    pub mac: Mac,
    /// In which VLAN.
    pub vlan: u16,
    /// Behind which port.
    pub port: PortId,
    /// When the last frame came from it, in seconds.
    pub seen: u32,
}

impl Station {
    fn is_forgotten(&self, now: u32) -> bool {
        now.saturating_sub(self.seen) > AGE
    }
}

/// The sender has the address of somebody else.
#[derive(Debug, PartialEq, Eq)]
pub struct Spoofed;

/// The table.
pub struct Table {
    /// Addresses as numbers, in ascending order.
    assigned: ArrayVec<(u64, PortId), MAX_PORTS>,
    learned: Box<[Option<Station>]>,
    /// How many of them each port has.
    counts: [u16; MAX_PORTS],
    /// Nobody can tell which addresses get into each other's way.
    secret: u64,
    /// When what is forgotten was last removed everywhere.
    swept: u32,
}

impl Table {
    /// An empty table. `secret` is to be random.
    pub fn new(secret: u64) -> Self {
        Self {
            assigned: ArrayVec::new(),
            learned: vec![None; CAPACITY].into_boxed_slice(),
            counts: [0; MAX_PORTS],
            secret: secret | 1,
            swept: 0,
        }
    }

    /// Assigns an address to a port. `false`: it is assigned already.
    pub fn assign(&mut self, mac: Mac, port: PortId) -> bool {
        let mac = mac.bits();
        match self.assigned.binary_search_by_key(&mac, |entry| entry.0) {
            Err(at) if !self.assigned.is_full() => self.assigned.insert(at, (mac, port)),
            _ => return false,
        }
        true
    }

    /// The port to which the address is assigned.
    #[inline]
    pub fn owner(&self, mac: Mac) -> Option<PortId> {
        let at = self.assigned.binary_search_by_key(&mac.bits(), |entry| entry.0).ok()?;
        self.assigned.get(at).map(|entry| entry.1)
    }

    /// The port behind which the address was seen.
    #[inline]
    pub fn lookup(&self, vlan: u16, mac: Mac) -> Option<PortId> {
        let set = self.learned.get(self.set(vlan, mac))?;
        set.iter()
            .flatten()
            .find(|station| (station.vlan, station.mac) == (vlan, mac))
            .map(|station| station.port)
    }

    /// A frame came from the address at this port.
    ///
    /// # Errors
    /// [`Spoofed`]: the address is another port's.
    pub fn learn(&mut self, found: Station, trusted: bool) -> Result<(), Spoofed> {
        let now = found.seen;
        let set = self.set(found.vlan, found.mac);
        let is_it = |station: &Option<Station>| {
            station.is_some_and(|station| (station.vlan, station.mac) == (found.vlan, found.mac))
        };
        let Some(entries) = self.learned.get_mut(set.clone()) else { return Ok(()) };
        if let Some(Some(known)) = entries.iter_mut().find(|entry| is_it(entry)) {
            if known.port == found.port {
                known.seen = known.seen.max(now);
                return Ok(());
            }
            if !trusted && !known.is_forgotten(now) {
                return Err(Spoofed);
            }
        }
        let share = if trusted { TRUSTED_SHARE } else { SHARE };
        if self.count(found.port) >= share {
            self.sweep(now);
        }
        let may_add = self.count(found.port) < share;
        let Some(entries) = self.learned.get_mut(set) else { return Ok(()) };
        // In its old place; else in a free one; else instead of the oldest of the same port. What finds none is not
        // learned, and goes on being flooded.
        let own = |entry: &Option<Station>| entry.is_some_and(|station| station.port == found.port);
        let is_free = |entry: &Option<Station>| entry.is_none_or(|station| station.is_forgotten(now));
        let place = match entries.iter().position(is_it) {
            Some(place) => may_add.then_some(place),
            None => entries.iter().position(is_free).filter(|_| may_add).or_else(|| {
                let oldest = |(_, entry): &(usize, &Option<Station>)| entry.map(|station| station.seen);
                entries
                    .iter()
                    .enumerate()
                    .filter(|(_, entry)| own(entry))
                    .min_by_key(oldest)
                    .map(|(at, _)| at)
            }),
        };
        if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
            let old = entry.replace(found);
            self.add(found.port, 1);
            if let Some(old) = old {
                self.add(old.port, -1);
            }
        }
        Ok(())
    }

    /// Forgets everything about a port.
    pub fn forget(&mut self, port: PortId) {
        self.assigned.retain(|entry| entry.1 != port);
        self.remove(|station| station.port == port);
    }

    /// The learned addresses that have not been silent for too long.
    pub fn stations(&self, now: u32) -> impl Iterator<Item = Station> {
        self.learned.iter().flatten().filter(move |station| !station.is_forgotten(now)).copied()
    }

    /// Where an address can be.
    #[inline]
    fn set(&self, vlan: u16, mac: Mac) -> core::ops::Range<usize> {
        let key = mac.bits() | u64::from(vlan) << 48;
        let product = u128::from(key ^ self.secret.rotate_left(32)) * u128::from(self.secret);
        let set = ((product >> 64) as u64 ^ product as u64) as usize >> 7 & (SETS - 1);
        set * WAYS..(set + 1) * WAYS
    }

    /// Removes what is forgotten, at most once a second, as this takes a while.
    fn sweep(&mut self, now: u32) {
        if self.swept != now {
            self.swept = now;
            self.remove(|station| station.is_forgotten(now));
        }
    }

    fn remove(&mut self, which: impl Fn(&Station) -> bool) {
        for entry in &mut self.learned {
            if let Some(station) = entry.take_if(|station| which(station))
                && let Some(count) = self.counts.get_mut(usize::from(station.port))
            {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn count(&self, port: PortId) -> u16 {
        self.counts.get(usize::from(port)).copied().unwrap_or(u16::MAX)
    }

    fn add(&mut self, port: PortId, more: i16) {
        if let Some(count) = self.counts.get_mut(usize::from(port)) {
            *count = count.saturating_add_signed(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::mac;

    fn station(number: u32, port: PortId, seen: u32) -> Station {
        let [a, b, c, d] = number.to_be_bytes();
        Station { mac: Mac([2, 0, a, b, c, d]), vlan: 0, port, seen }
    }

    #[test]
    fn a_port_that_makes_addresses_up_fills_only_its_share() {
        let mut table = Table::new(0x1234_5678_9abc_def1);
        (0..20).for_each(|number| table.learn(station(number, 1, 0), false).unwrap());
        (1000..100_000).for_each(|number| table.learn(station(number, 2, 1), false).unwrap());
        assert_eq!(table.stations(1).filter(|station| station.port == 2).count(), usize::from(SHARE));
        assert!((0..20).all(|number| table.lookup(0, station(number, 1, 0).mac) == Some(1)));
        table.forget(2);
        assert_eq!((table.count(2), table.stations(1).count()), (0, 20));
    }

    #[test]
    fn addresses_are_forgotten_and_make_room() {
        let mut table = Table::new(99);
        (0..u32::from(SHARE)).for_each(|number| table.learn(station(number, 1, 10), false).unwrap());
        let late = station(7777, 1, 10 + AGE);
        table.learn(Station { seen: 10, ..late }, false).unwrap();
        assert_eq!(table.stations(10 + AGE).count(), usize::from(SHARE));
        assert_eq!(table.stations(11 + AGE).count(), 0);
        table.learn(Station { seen: 11 + AGE, ..late }, false).unwrap();
        assert_eq!((table.lookup(0, late.mac), table.count(1)), (Some(1), 1));
    }

    #[test]
    fn an_address_stays_where_it_was_seen() {
        let mut table = Table::new(5);
        table.learn(station(1, 1, 0), false).unwrap();
        assert_eq!(table.learn(station(1, 2, AGE), false), Err(Spoofed));
        assert_eq!(table.lookup(0, station(1, 0, 0).mac), Some(1));
        // The same address in another VLAN is another station.
        table.learn(Station { vlan: 7, ..station(1, 2, 0) }, false).unwrap();
        assert_eq!(
            (table.lookup(0, station(1, 0, 0).mac), table.lookup(7, station(1, 0, 0).mac)),
            (Some(1), Some(2))
        );
        // Once it is silent anybody may have it, and the uplink at once.
        table.learn(station(1, 2, AGE + 1), false).unwrap();
        table.learn(station(1, 3, AGE + 1), true).unwrap();
        assert_eq!((table.count(1), table.count(2), table.count(3)), (0, 1, 1));
        assert_eq!(table.learn(station(1, 2, AGE + 1), false), Err(Spoofed));
    }

    #[test]
    fn an_address_is_assigned_once() {
        let mut table = Table::new(5);
        assert!((1..20).rev().all(|port| table.assign(mac(port), port)));
        assert!(!table.assign(mac(3), 9));
        assert!((1..20).all(|port| table.owner(mac(port)) == Some(port)));
        table.forget(3);
        assert_eq!((table.owner(mac(3)), table.owner(mac(4))), (None, Some(4)));
    }
}
