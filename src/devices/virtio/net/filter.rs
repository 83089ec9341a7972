//! Which frames the driver wants to see (VIRTIO 1.2, 5.1.6.5.1 to 5.1.6.5.3).

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

use crate::net::Mac;
use crate::net::ethernet::Header;

/// Most addresses of a table. If the driver has more, all are let through: a filter need not be perfect.
pub const MAX_ADDRESSES: usize = 64;

bitflags! {
    /// Receive modes, in the order of their commands (5.1.6.5.1).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[allow(missing_docs, reason = "the names are the specification's")]
    pub struct Modes: u8 {
        const PROMISC = 1 << 0;
        const ALLMULTI = 1 << 1;
        const ALLUNI = 1 << 2;
        const NOMULTI = 1 << 3;
        const NOUNI = 1 << 4;
        const NOBCAST = 1 << 5;
    }
}

/// A table of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Addresses {
    /// The driver has more than fit.
    pub overflow: bool,
    /// The addresses.
    pub list: heapless::Vec<Mac, MAX_ADDRESSES>,
}

impl Addresses {
    fn contain(&self, mac: Mac) -> bool {
        self.overflow || self.list.contains(&mac)
    }
}

/// A set of VLANs, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vlans([[u64; 8]; 8]);

impl Vlans {
    /// Adds a VLAN, below 4096, or removes it. `false`: there is none of this number.
    pub fn set(&mut self, vlan: u16, member: bool) -> bool {
        let bit = 1 << (vlan & 63);
        let word =
            self.0.get_mut(usize::from(vlan >> 9)).and_then(|row| row.get_mut(usize::from(vlan >> 6 & 7)));
        match word {
            Some(word) if member => *word |= bit,
            Some(word) => *word &= !bit,
            None => return false,
        }
        true
    }

    fn contain(&self, vlan: u16) -> bool {
        let row = self.0.get(usize::from(vlan >> 9));
        row.and_then(|row| row.get(usize::from(vlan >> 6 & 7)))
            .is_some_and(|word| word >> (vlan & 63) & 1 != 0)
    }
}

/// The filter. As at first, everything passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Modes.
    pub modes: Modes,
    /// Other addresses of the driver.
    pub unicast: Addresses,
    /// Groups of which it is a member.
    pub multicast: Addresses,
    /// VLANs whose tagged frames it wants; `None`: all.
    pub vlans: Option<Vlans>,
}

impl Default for Filter {
    fn default() -> Self {
        let none = Addresses::default;
        Self { modes: Modes::PROMISC, unicast: none(), multicast: none(), vlans: None }
    }
}

impl Filter {
    /// Whether a driver whose own address is `own` wants a frame with this header.
    pub fn wants(&self, own: Mac, header: &Header) -> bool {
        if self.modes.contains(Modes::PROMISC) {
            return true;
        }
        if let (Some(vlans), Some(vlan)) = (&self.vlans, header.tag)
            && !vlans.contain(vlan)
        {
            return false;
        }
        let to = header.destination;
        if to == Mac::BROADCAST {
            !self.modes.contains(Modes::NOBCAST)
        } else if to.is_group() {
            !self.modes.contains(Modes::NOMULTI)
                && (self.modes.contains(Modes::ALLMULTI) || self.multicast.contain(to))
        } else {
            !self.modes.contains(Modes::NOUNI)
                && (self.modes.contains(Modes::ALLUNI) || to == own || self.unicast.contain(to))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::{ethernet, mac};

    const GROUP: Mac = Mac([1, 0, 0x5e, 0, 0, 1]);

    fn wants(filter: &Filter, to: Mac, tag: Option<u16>) -> bool {
        filter.wants(mac(1), &Header::parse(&ethernet(to, mac(9), tag, 0x0800, &[])).unwrap())
    }

    #[test]
    fn modes_do_as_they_say() {
        let all = [mac(1), mac(2), GROUP, Mac::BROADCAST];
        let wanted = |modes| {
            let filter = Filter { modes, ..Filter::default() };
            all.map(|to| wants(&filter, to, None))
        };
        assert_eq!(wanted(Modes::PROMISC | Modes::NOUNI), [true; 4]);
        assert_eq!(wanted(Modes::empty()), [true, false, false, true]);
        assert_eq!(wanted(Modes::ALLMULTI), [true, false, true, true]);
        assert_eq!(wanted(Modes::ALLUNI), [true, true, false, true]);
        assert_eq!(wanted(Modes::NOUNI | Modes::NOBCAST), [false; 4]);
        assert_eq!(wanted(Modes::ALLMULTI | Modes::NOMULTI), [true, false, false, true]);
    }

    #[test]
    fn tables_add_to_the_own_address() {
        let mut filter = Filter { modes: Modes::empty(), ..Filter::default() };
        filter.unicast.list.push(mac(2)).unwrap();
        filter.multicast.list.push(GROUP).unwrap();
        assert!([mac(1), mac(2), GROUP].iter().all(|to| wants(&filter, *to, None)));
        assert!(!wants(&filter, mac(3), None));
        filter.unicast.overflow = true;
        assert!(wants(&filter, mac(3), None));
    }

    #[test]
    fn vlans_are_members_or_not() {
        let mut vlans = Vlans::default();
        assert!([0, 63, 64, 511, 512, 4095].iter().all(|vlan| vlans.set(*vlan, true)));
        assert!(!vlans.set(4096, true));
        assert!(vlans.set(64, false));
        let filter = Filter { modes: Modes::empty(), vlans: Some(vlans), ..Filter::default() };
        let members: Vec<u16> = (0..4096).filter(|vlan| wants(&filter, mac(1), Some(*vlan))).collect();
        assert_eq!(members, [0, 63, 511, 512, 4095]);
        assert!(wants(&filter, mac(1), None));
    }
}
