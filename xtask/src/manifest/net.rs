//! Networks: a `[[vm.net]]` table, a `[[switch]]` table.

use std::net::Ipv4Addr;

use polyvisor::{
    net::Mac,
    vm::bundle::{MAX_GUARD, MAX_NAME, MAX_VLAN, MIN_MTU, NetSpec, SwitchSpec, is_name, is_station},
};
use sha2::{Digest, Sha256};
use toml::de::DeValue;

use super::{
    device::{plugged, queues},
    table::{Table, number},
};

/// The MTU of Ethernet.
const USUAL_MTU: u16 = 1500;

const RATE: &str = "bytes a second, such as \"500K\", \"10M\" or \"1G\", which are powers of 1000";

/// Reads the network device at `position` of the VM `name`, on a machine with `switches`.
pub fn read(mut table: Table, name: &str, position: usize, switches: &[SwitchSpec]) -> Option<NetSpec> {
    let names: Vec<&str> = switches.iter().map(|switch| switch.name.as_str()).collect();
    let switch =
        table.read("switch", format_args!("the name of a [[switch]]: {}", names.join(", ")), |value| {
            let wanted = value.as_str()?;
            let index = names.iter().position(|name| *name == wanted)?;
            u32::try_from(index).ok()
        });
    if table.span("switch").is_none() {
        table.refuse_whole("a network device without a switch, expected switch = \"...\"");
    }
    let mac = table
        .read("mac", "an address such as \"52:54:00:12:34:56\", not a group's", |value| {
            mac(value.as_str()?).filter(|mac| is_station(*mac))
        })
        .unwrap_or_else(|| derived_mac(name, position));
    let vlan = table.read("vlan", format_args!("1 to {MAX_VLAN}"), |value| {
        let vlan = u16::try_from(number(value)?).ok()?;
        (1..=MAX_VLAN).contains(&vlan).then_some(vlan)
    });
    let rate = table.read("rate", RATE, |value| rate(value.as_str()?));
    let guard = table
        .read("guard", format_args!("true, false, or a list of up to {MAX_GUARD} IPv4 addresses"), guard)
        .flatten();
    let mtu = table
        .read("mtu", format_args!("{MIN_MTU} to {}", u16::MAX), |value| {
            u16::try_from(number(value)?).ok().filter(|mtu| *mtu >= MIN_MTU)
        })
        .unwrap_or(USUAL_MTU);
    let (queues, plugged) = (queues(&mut table), plugged(&mut table));
    table.finish();
    Some(NetSpec { switch: switch?, mac, vlan, rate, guard, queues, mtu, plugged })
}

/// Reads a switch.
pub fn switch(mut table: Table) -> Option<SwitchSpec> {
    let name =
        table.read("name", format_args!("1 to {MAX_NAME} letters, digits, \"-\", \"_\" or \".\""), |value| {
            value.as_str().filter(|name| is_name(name)).map(str::to_owned)
        });
    if table.span("name").is_none() {
        table.refuse_whole("a switch without a name, expected name = \"...\"");
    }
    let uplink = table.read("uplink", "\"nic0\", \"nic1\", ... or a network card's MAC address", |value| {
        let name = value.as_str()?;
        let number = name.strip_prefix("nic").and_then(|number| number.parse::<u8>().ok());
        (number.is_some() || mac(name).is_some()).then(|| name.to_ascii_lowercase())
    });
    table.finish();
    Some(SwitchSpec { name: name?, uplink })
}

/// An address as six bytes in hexadecimal with colons between them.
fn mac(text: &str) -> Option<Mac> {
    let mut bytes = text.split(':').map(|byte| {
        let is_byte = byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_byte.then(|| u8::from_str_radix(byte, 16).ok()).flatten()
    });
    let mut mac = [0; 6];
    for byte in &mut mac {
        *byte = bytes.next()??;
    }
    bytes.next().is_none().then_some(Mac(mac))
}

/// The address of a network device that is given none: always the same for the VM's name and the device's position,
/// and locally administered (IEEE 802, 8.4).
fn derived_mac(name: &str, position: usize) -> Mac {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([0])
        .chain_update((position as u64).to_le_bytes())
        .finalize();
    let mut mac = [0; 6];
    mac.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    mac[0] = mac[0] & !0b11 | 0b10;
    Mac(mac)
}

/// The bytes of a text such as `10M`.
fn rate(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1000),
        b'M' => (&text[..text.len() - 1], 1_000_000),
        b'G' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|rate| *rate > 0)
}

/// Whether addresses are checked, and which are allowed.
fn guard(value: &DeValue) -> Option<Option<Vec<[u8; 4]>>> {
    if let Some(guarded) = value.as_bool() {
        return Some(guarded.then(Vec::new));
    }
    let items = value.as_array()?.iter();
    let address = |text: &str| text.parse().ok().map(|address: Ipv4Addr| address.octets());
    let list = items.map(|item| address(item.get_ref().as_str()?)).collect::<Option<Vec<_>>>();
    list.filter(|list| (1..=MAX_GUARD).contains(&list.len())).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_six_bytes() {
        assert_eq!(mac("52:54:00:12:34:fF"), Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0xff])));
        for wrong in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:0:12:34:56", "+2:54:00:12:34:56"] {
            assert_eq!(mac(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn derived_addresses_stay_the_same_and_differ() {
        // Whoever has a lease or a firewall rule for it wants to keep it: this value is never to change.
        assert_eq!(derived_mac("web", 0).to_string(), "06:30:db:e0:a5:17");
        let mut all: Vec<Mac> =
            (0..64).flat_map(|vm| (0..4).map(move |n| derived_mac(&format!("vm{vm}"), n))).collect();
        assert!(all.iter().all(|mac| is_station(*mac) && mac.0[0] & 2 != 0));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn rates_are_decimal() {
        assert_eq!(["1", "500K", "10M", "2G"].map(rate), [1, 500_000, 10_000_000, 2_000_000_000].map(Some));
        for wrong in ["", "M", "0", "0K", "1.5M", "10m", "-1", "10MB", "18446744073709551615K", "1\u{fc}"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }
}
