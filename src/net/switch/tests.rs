//! The switch against a model that knows everything.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex as StdMutex;

use proptest::prelude::*;

use super::*;
use crate::net::testing::{ethernet, mac};
use crate::net::{Delivery, Offload};

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

fn now() -> u64 {
    NOW.get()
}

/// An endpoint that keeps what it gets.
#[derive(Default)]
struct Sink(StdMutex<Vec<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Endpoint for Sink {
    fn deliver(&self, frame: &Frame<'_>) -> Delivery {
        assert_eq!(frame.head.len(), frame.len);
        self.0.lock().unwrap().push(frame.head.to_vec());
        Delivery::Taken
    }
}

/// A switch with a sink at each port.
struct Net {
    switch: Arc<Switch>,
    sinks: Vec<Arc<Sink>>,
    plugs: Vec<Plug>,
}

impl Net {
    fn new(configs: Vec<PortConfig>) -> Self {
        NOW.set(0);
        let mut net = Self { switch: Switch::new(0x9e37_79b9_7f4a_7c15, now), sinks: vec![], plugs: vec![] };
        for config in configs {
            let sink = Arc::new(Sink::default());
            let endpoint: Weak<dyn Endpoint> = Arc::downgrade(&(sink.clone() as Arc<dyn Endpoint>));
            net.plugs.push(net.switch.plug(config, endpoint).unwrap());
            net.sinks.push(sink);
        }
        net
    }

    fn send(&self, port: usize, frame: &[u8]) -> usize {
        self.plugs[port].send(&Frame { offload: Offload::NONE, head: frame, rest: &[], len: frame.len() })
    }

    /// Who got what.
    fn received(&self) -> BTreeMap<usize, Vec<Vec<u8>>> {
        let frames = self.sinks.iter().enumerate().map(|(port, sink)| (port, sink.take()));
        frames.filter(|(_, frames)| !frames.is_empty()).collect()
    }

    fn dropped(&self, port: usize, cause: Cause) -> u64 {
        self.switch.ports()[port].counters.drops[cause as usize]
    }
}

fn vm(station: u8) -> PortConfig {
    PortConfig { name: format!("vm{station}"), mac: Some(mac(station)), ..PortConfig::default() }
}

fn frame(to: Mac, from: Mac, tag: Option<u16>) -> Vec<u8> {
    ethernet(to, from, tag, 0x88b5, b"some words")
}

#[test]
fn a_frame_goes_to_its_receiver_only() {
    let net = Net::new(vec![vm(0), vm(1), vm(2)]);
    let sent = frame(mac(1), mac(0), None);
    assert_eq!(net.send(0, &sent), 1);
    assert_eq!(net.received(), [(1, vec![sent])].into());
    net.send(0, &frame(Mac::BROADCAST, mac(0), None));
    assert_eq!(net.received().into_keys().collect::<Vec<_>>(), [1, 2]);
    // A station behind a port is found where it has spoken.
    net.send(2, &frame(mac(0), mac(77), None));
    net.received();
    net.send(0, &frame(mac(77), mac(0), None));
    assert_eq!(net.received().into_keys().collect::<Vec<_>>(), [2]);
    assert_eq!(net.switch.stations()[0].port, "vm2");
    let counters = net.switch.ports()[0].counters;
    assert_eq!((counters.sent, counters.sent_bytes, counters.delivered), (3, 72, 1));
}

#[test]
fn nobody_takes_the_address_of_another() {
    let net = Net::new(vec![vm(0), vm(1), vm(2), PortConfig { trusted: true, ..PortConfig::default() }]);
    net.send(3, &frame(mac(0), mac(99), None));
    for stolen in [mac(0), mac(99)] {
        assert_eq!(net.send(2, &frame(mac(1), stolen, None)), 0);
    }
    assert_eq!(net.dropped(2, Cause::Spoofed), 2);
    net.received();
    net.send(1, &frame(mac(99), mac(1), None));
    assert_eq!(net.received().into_keys().collect::<Vec<_>>(), [3]);
}

#[test]
fn bad_frames_are_dropped_and_counted() {
    let guarded = PortConfig { guard: Some(vec![]), vlan: Some(5), ..vm(1) };
    let net = Net::new(vec![vm(0), guarded]);
    net.send(0, &[0; 13]);
    net.send(0, &frame(mac(1), Mac::BROADCAST, None));
    net.send(0, &frame(mac(1), mac(0), Some(4095)));
    net.send(0, &frame(Mac([1, 0x80, 0xc2, 0, 0, 1]), mac(0), None));
    net.send(1, &frame(mac(0), mac(1), Some(5)));
    net.send(1, &frame(mac(0), mac(9), None));
    assert_eq!(net.received(), BTreeMap::new());
    assert_eq!(net.switch.ports()[0].counters.drops, [2, 1, 0, 0, 1, 0]);
    assert_eq!(net.switch.ports()[1].counters.drops, [0, 1, 1, 0, 0, 0]);
}

#[test]
fn a_port_keeps_to_its_rate() {
    let net = Net::new(vec![PortConfig { rate: Some(24_000), ..vm(0) }, vm(1)]);
    let sent = frame(mac(1), mac(0), None);
    assert_eq!(sent.len(), 24);
    while net.send(0, &sent) == 1 {}
    net.received();
    NOW.set(2000);
    (0..10).for_each(|_| _ = net.send(0, &sent));
    assert_eq!(net.received()[&1].len(), 2);
    assert_eq!(net.dropped(0, Cause::Rate), 9);
}

#[test]
fn plugs_come_and_go() {
    let mut net = Net::new(vec![vm(0), vm(1)]);
    let sink: Arc<dyn Endpoint> = Arc::new(Sink::default());
    let plug = |config| net.switch.plug(config, Arc::downgrade(&sink)).err();
    assert_eq!(plug(vm(1)), Some(PlugError::Taken(mac(1))));
    assert_eq!(plug(PortConfig { vlan: Some(4095), ..vm(2) }), Some(PlugError::Vlan(4095)));
    assert_eq!(plug(PortConfig { mac: None, guard: Some(vec![]), ..vm(2) }), Some(PlugError::NoAddress));
    assert_eq!(net.switch.ports().len(), 2);
    net.plugs.pop();
    assert_eq!(net.switch.ports().len(), 1);
    assert_eq!(net.send(0, &frame(mac(1), mac(0), None)), 0);
    let plugs: Vec<_> =
        (1..64).map(|station| net.switch.plug(vm(station), Arc::downgrade(&sink)).unwrap()).collect();
    assert_eq!(net.switch.plug(vm(70), Arc::downgrade(&sink)).err(), Some(PlugError::Full));
    drop(plugs);
    assert_eq!(net.switch.ports().len(), 1);
}

/// Who should get a frame, and in which form, if nobody claims what is not his.
fn expected(
    ports: &[Option<u16>],
    seen: &BTreeMap<(u16, Mac), usize>,
    sender: usize,
    (to, from, tag): (Mac, Mac, Option<u16>),
) -> BTreeMap<usize, Vec<Vec<u8>>> {
    let vlan = match (ports[sender], tag) {
        (Some(_), Some(_)) => return BTreeMap::new(),
        (own, tag) => own.or(tag).unwrap_or(0),
    };
    let one = seen.get(&(vlan, to)).filter(|_| !to.is_group());
    (0..ports.len())
        .filter(|&port| port != sender && one.is_none_or(|&one| one == port))
        .filter(|&port| ports[port].is_none_or(|own| own == vlan))
        .map(|port| {
            let tag = if ports[port].is_some() { None } else { tag.or(ports[sender]) };
            (port, vec![frame(to, from, tag)])
        })
        .collect()
}

proptest! {
    #[test]
    fn it_does_as_the_model(
        ports in prop::collection::vec(prop::option::of(1_u16..4), 2..6),
        frames in prop::collection::vec((0_usize..6, 0_u8..4, 0_u8..30, prop::option::of(0_u16..4)), 1..60),
    ) {
        let config = |&vlan: &Option<u16>| PortConfig { vlan, ..PortConfig::default() };
        let net = Net::new(ports.iter().map(config).collect());
        let mut seen = BTreeMap::new();
        for (sender, station, to, tag) in frames {
            let sender = sender % ports.len();
            // Each port has stations of its own.
            let from = mac(sender as u8 * 4 + station);
            let to = if to == 29 { Mac::BROADCAST } else { mac(to) };
            if ports[sender].is_none() || tag.is_none() {
                seen.insert((ports[sender].or(tag).unwrap_or(0), from), sender);
            }
            let expected = expected(&ports, &seen, sender, (to, from, tag));
            let offered = net.send(sender, &frame(to, from, tag));
            prop_assert_eq!(offered, expected.len());
            prop_assert_eq!(net.received(), expected);
        }
    }
}
