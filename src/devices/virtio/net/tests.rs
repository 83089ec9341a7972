//! Two machines on a switch.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::devices::virtio::testing::{Driver, Mode, Rig, start};
use crate::mm::guest_memory::GuestMemory;
use crate::net::switch::{Cause, PortConfig, Switch};
use crate::net::testing::{ethernet, mac, tcp4};
use crate::net::{Endpoint, checksum::Sum};

/// A machine with a device, its driver and a port.
struct Machine {
    rig: Arc<Rig>,
    device: Arc<NetDevice>,
    receive: Vec<Driver>,
    transmit: Vec<Driver>,
    control: Driver,
}

/// Headers and frames.
type Arrived = Vec<([u8; 12], Vec<u8>)>;

fn switch() -> Arc<Switch> {
    Switch::new(0x1234_5678_9abc_def1, || 0)
}

impl Machine {
    fn new(switch: &Arc<Switch>, station: u8, pairs: u16, features: NetFeatures, mode: Mode) -> Self {
        let rig = Rig::new();
        let config = NetConfig { mac: mac(station), mtu: 1500, pairs };
        let device = Arc::new(NetDevice::new(config, rig.channel(&config.queues())));
        let endpoint = Arc::downgrade(&(device.clone() as Arc<dyn Endpoint>));
        let port = PortConfig { mac: Some(mac(station)), ..PortConfig::default() };
        device.connect(Some(switch.plug(port, endpoint).unwrap()));
        let mut features = Features::from_bits_retain(features.bits());
        features.set(Features::EVENT_IDX, mode.event_idx);
        features.set(Features::RING_PACKED, mode.packed);
        let driver = |queue| Driver::new(&rig, device.channel(), queue, 64, mode);
        let pairs = usize::from(pairs);
        let (receive, transmit) = (0..pairs).map(|pair| (driver(2 * pair), driver(2 * pair + 1))).unzip();
        let control = driver(2 * pairs);
        start(&*device, features);
        Self { rig, device, receive, transmit, control }
    }

    /// Offers so many receive buffers.
    fn offer(&mut self, count: usize, bytes: &[u32]) {
        for queue in &mut self.receive {
            (0..count).for_each(|_| _ = queue.add(&[], bytes).unwrap());
        }
    }

    /// Sends a frame with this header.
    fn send(&mut self, header: [u8; 12], frame: &[u8]) {
        let cut = frame.len() / 3;
        self.transmit[0].add(&[&header, &frame[..cut], &frame[cut..]], &[]).unwrap();
        self.device.notified(1);
        assert!(self.transmit[0].used().is_some());
    }

    /// What has arrived in a queue: headers and frames, put together by `num_buffers`.
    fn arrived(&mut self, queue: usize) -> Arrived {
        let mut frames = vec![];
        while let Some(used) = self.receive[queue].used() {
            let mut bytes = used.bytes[..used.written as usize].to_vec();
            let rest = bytes.split_off(12);
            let header: [u8; 12] = bytes.try_into().unwrap();
            let mut frame = rest;
            for _ in 1..u16::from_le_bytes([header[10], header[11]]) {
                let used = self.receive[queue].used().expect("all buffers of a frame come at once");
                frame.extend_from_slice(&used.bytes[..used.written as usize]);
            }
            frames.push((header, frame));
        }
        frames
    }

    /// The answer to a command.
    fn command(&mut self, bytes: &[&[u8]]) -> u8 {
        self.control.add(bytes, &[1]).unwrap();
        self.device.notified(self.device.control_queue());
        self.control.used().unwrap().bytes[0]
    }
}

const PLAIN: [u8; 12] = [0; 12];
/// A long segment of TCP over IPv4, to be cut up at 1000 bytes.
const TSO: [u8; 12] = [1, 0x81, 66, 0, 0xe8, 3, 34, 0, 16, 0, 0, 0];

#[test]
fn frames_arrive_in_all_modes() {
    for mode in Mode::all() {
        let switch = switch();
        let mut one = Machine::new(&switch, 1, 1, NetFeatures::all() - NetFeatures::MQ, mode);
        let mut two = Machine::new(&switch, 2, 1, NetFeatures::all() - NetFeatures::MQ, mode);
        one.offer(3, &[1526]);
        two.offer(3, &[12, 1000, 600]);
        for round in 0..100_u16 {
            let there = ethernet(mac(2), mac(1), None, 0x88b5, &vec![round as u8; 14 * usize::from(round)]);
            one.send(PLAIN, &there);
            let arrived = two.arrived(0);
            assert_eq!(arrived, [([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], there)], "{mode:?}");
            let back = ethernet(mac(1), mac(2), None, 0x88b5, &[round as u8]);
            two.send(PLAIN, &back);
            assert_eq!(one.arrived(0)[0].1, back);
            one.offer(1, &[1526]);
            two.offer(1, &[12, 1000, 600]);
        }
        assert!(two.rig.irq.is_high());
    }
}

#[test]
fn long_segments_pass_as_they_are_or_are_cut_up() {
    let frame = tcp4(5, &(0..9000).map(|at| at as u8).collect::<Vec<_>>());
    for (features, parts) in [
        (NetFeatures::all(), 1),
        (NetFeatures::all() - NetFeatures::GUEST_ECN, 9),
        (NetFeatures::all() - NetFeatures::GUEST_TSO4, 9),
        (NetFeatures::all() - NetFeatures::GUEST_CSUM, 9),
    ] {
        let switch = switch();
        let mode = Mode { event_idx: true, ..Mode::default() };
        let mut one = Machine::new(&switch, 1, 1, NetFeatures::all() - NetFeatures::MQ, mode);
        let mut two = Machine::new(&switch, 2, 1, features - NetFeatures::MQ, mode);
        two.offer(30, &[700]);
        one.send(TSO, &frame);
        let arrived = two.arrived(0);
        assert_eq!(arrived.len(), parts);
        if parts == 1 {
            assert_eq!(arrived[0].1, frame);
            assert_eq!(arrived[0].0[..10], TSO[..10]);
        }
        for (header, frame) in arrived.iter().filter(|_| !features.contains(NetFeatures::GUEST_CSUM)) {
            assert_eq!(header[..10], [0; 10]);
            let mut sum = Sum::default();
            sum.add(&frame[26..]);
            sum.add(&[0, 6]);
            sum.add(&(frame.len() as u16 - 34).to_be_bytes());
            assert_eq!(sum.checksum(), [0, 0]);
        }
    }
}

#[test]
fn who_has_no_room_loses_frames_and_no_buffers() {
    let switch = switch();
    let features = NetFeatures::all() - NetFeatures::MQ;
    let mut one = Machine::new(&switch, 1, 1, features, Mode::default());
    let mut two = Machine::new(&switch, 2, 1, features, Mode { packed: true, ..Mode::default() });
    let long = ethernet(mac(2), mac(1), None, 0x88b5, &[3; 2000]);
    let short = ethernet(mac(2), mac(1), None, 0x88b5, &[4; 900]);
    two.offer(2, &[500]);
    one.send(PLAIN, &long);
    assert_eq!(two.arrived(0), []);
    one.send(PLAIN, &short);
    assert_eq!(two.arrived(0)[0].1, short);
    two.device.set_link(false);
    two.offer(2, &[500]);
    one.send(PLAIN, &short);
    assert_eq!(two.arrived(0), []);
    let drops: Vec<u64> =
        switch.ports().iter().map(|port| port.counters.drops[Cause::NoRoom as usize]).collect();
    assert_eq!(drops, [0, 2]);
    let mut status = [0; 2];
    two.device.read_config(6, &mut status);
    assert_eq!((status, two.rig.irq.is_high()), ([0, 0], true));
}

#[test]
fn commands_are_carried_out_or_refused() {
    let switch = switch();
    let mut one = Machine::new(&switch, 1, 1, NetFeatures::all() - NetFeatures::MQ, Mode::default());
    let mut two = Machine::new(&switch, 2, 4, NetFeatures::all(), Mode { indirect: true, ..Mode::default() });
    assert_eq!(two.command(&[&[0, 0], &[0]]), 0);
    let table =
        |count: u32| [&count.to_le_bytes()[..], &[0x52, 0x54, 0, 0, 0, 9].repeat(count as usize)].concat();
    assert_eq!(two.command(&[&[1, 0], &table(1), &table(0)]), 0);
    two.offer(8, &[1526]);
    let mut arrives = |two: &mut Machine, to| {
        one.send(PLAIN, &ethernet(to, mac(1), None, 0x88b5, &[0; 50]));
        !two.arrived(0).is_empty()
    };
    assert!(arrives(&mut two, mac(9)) && !arrives(&mut two, mac(8)));
    // Too many to remember.
    assert_eq!(two.command(&[&[1, 0], &table(65), &table(2)]), 0);
    assert!(arrives(&mut two, mac(8)));
    assert_eq!(two.command(&[&[1, 1], &[2, 0, 0, 0, 0, 7]]), 0);
    assert_eq!(two.device.mac(), Mac([2, 0, 0, 0, 0, 7]));
    assert_eq!(two.command(&[&[4, 0, 4, 0]]), 0);
    assert_eq!(two.device.active_pairs(), 4);
    two.device.announce();
    assert_eq!(two.command(&[&[3, 0]]), 0);
    for refused in [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 6, 1],
        &[1, 1, 1, 0, 0, 0, 0, 7],
        &[1, 0, 2, 0, 0, 0],
        &[2, 0, 0, 0x10],
        &[4, 0, 0, 0],
        &[4, 0, 5, 0],
        &[4, 0, 1],
        &[5, 0, 0, 0x80, 0, 0, 0, 0, 0, 1],
        &[6, 0],
    ] {
        let saved = two.device.save();
        let parts: &[&[u8]] = if refused.is_empty() { &[] } else { &[refused] };
        assert_eq!(two.command(parts), 1, "{refused:?}");
        assert_eq!(two.device.save(), saved);
    }
    let saved = two.device.save();
    two.device.reset();
    assert_eq!((two.device.mac(), two.device.active_pairs()), (mac(2), 1));
    two.device.restore(&saved).unwrap();
    assert_eq!((two.device.active_pairs(), two.device.save()), (4, saved.clone()));
    assert!((0..saved.len()).all(|len| two.device.restore(&saved[..len]).is_err()));
    assert_eq!(one.device.restore(&saved).unwrap_err().field, "net.pairs");
}

#[test]
fn flows_spread_over_queues() {
    let switch = switch();
    let mut one = Machine::new(&switch, 1, 1, NetFeatures::all() - NetFeatures::MQ, Mode::default());
    let mut two = Machine::new(&switch, 2, 4, NetFeatures::all(), Mode::default());
    two.command(&[&[4, 0, 4, 0]]);
    two.offer(30, &[1526]);
    (0..30).for_each(|port| one.send(PLAIN, &tcp4(port, b"words")));
    let counts: Vec<usize> = (0..4).map(|queue| two.arrived(queue).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 30);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_flood_goes_on_later() {
    let switch = switch();
    let mut machines: Vec<_> = (1..6)
        .map(|station| {
            Machine::new(&switch, station, 1, NetFeatures::all() - NetFeatures::MQ, Mode::default())
        })
        .collect();
    let frame = [&PLAIN[..], &ethernet(Mac::BROADCAST, mac(1), None, 0x88b5, &[0; 50])].concat();
    let sender = &mut machines[0];
    (0..40).for_each(|_| _ = sender.transmit[0].add(&[&frame], &[]).unwrap());
    let mut calls = 0;
    let mut sent = 0;
    while sent < 40 {
        sender.device.notified(1);
        calls += 1;
        let before = sent;
        while sender.transmit[0].used().is_some() {
            sent += 1;
        }
        assert_eq!(sent - before, 16.min(40 - before), "sixteen frames to four receivers");
    }
    assert_eq!((calls, sender.rig.worker.take()), (3, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a driver sends, the receiver gets a frame that is whole or none, and nothing breaks.
    #[test]
    fn hostile_frames_do_no_harm(
        header: [u8; 12], small: bool, bytes in prop::collection::vec(any::<u8>(), 0..300), real: bool,
        buffer in 1_u32..200, accepts: u64,
    ) {
        let switch = switch();
        let features = NetFeatures::from_bits_truncate(accepts) - NetFeatures::MQ;
        let mut one = Machine::new(&switch, 1, 1, NetFeatures::all() - NetFeatures::MQ, Mode::default());
        let mut two = Machine::new(&switch, 2, 1, features, Mode::default());
        two.offer(60, &[buffer]);
        let header = if small { header.map(|byte| byte & 0x3f) } else { header };
        let header = if real { TSO.map(|byte| byte ^ (header[0] & header[1] & header[2])) } else { header };
        let frame = if real { tcp4(1, &bytes) } else { bytes };
        let all = [&header[..], &frame].concat();
        one.transmit[0].add(&[&all], &[]).unwrap();
        one.device.notified(1);
        prop_assert!(one.transmit[0].used().is_some());
        prop_assert!(!one.device.channel().is_broken() && !two.device.channel().is_broken());
        if buffer >= 12 {
            two.arrived(0);
        }
    }
}

#[test]
fn addresses_outside_memory_break_the_device_that_has_them() {
    use crate::mm::{addr::Ipa, guest_memory::Segment};
    let switch = switch();
    let features = NetFeatures::all() - NetFeatures::MQ;
    let mut one = Machine::new(&switch, 1, 1, features, Mode::default());
    let mut two = Machine::new(&switch, 2, 1, features, Mode::default());
    two.receive[0].add_segments(&[], &[Segment { ipa: Ipa(u64::MAX - 5), len: 1526 }]).unwrap();
    one.send(PLAIN, &ethernet(mac(2), mac(1), None, 0x88b5, &[0; 50]));
    assert!(two.device.channel().is_broken() && !one.device.channel().is_broken());
    one.transmit[0].add_segments(&[Segment { ipa: Ipa(0), len: 100 }], &[]).unwrap();
    one.device.notified(1);
    assert!(one.device.channel().is_broken());
    assert!(one.rig.memory.slice(Ipa(0), 1).is_err());
}

/// What two receivers get, and what the sender's device calls malformed, when these frames are sent all `together` or one by
/// one. The receivers have `room` buffers each.
fn delivered(kinds: &[(u8, usize)], room: usize, together: bool) -> ([Arrived; 2], u64) {
    let switch = switch();
    let features = NetFeatures::all() - NetFeatures::MQ;
    let mut sender = Machine::new(&switch, 1, 1, features, Mode::default());
    let lowering = features - NetFeatures::GUEST_TSO4;
    let mut receivers = [(2, lowering), (3, features)]
        .map(|(station, features)| Machine::new(&switch, station, 1, features, Mode::default()));
    receivers.iter_mut().for_each(|receiver| receiver.offer(room, &[1000]));
    for (number, &(kind, len)) in kinds.iter().enumerate() {
        let to = |to| (PLAIN, ethernet(to, mac(1), None, 0x88b5, &vec![number as u8; len]));
        let (header, frame) = match kind {
            0..=2 => to(mac(2)),
            3 => to(mac(3)),
            4 => to(Mac::BROADCAST),
            5 => (PLAIN, vec![1; 5]),
            _ => (TSO, tcp4(5, &vec![number as u8; 1000 + len])),
        };
        sender.transmit[0].add(&[&header, &frame], &[]).unwrap();
        if !together {
            sender.device.notified(1);
        }
    }
    sender.device.notified(1);
    assert_eq!(std::iter::from_fn(|| sender.transmit[0].used()).count(), kinds.len());
    (receivers.each_mut().map(|receiver| receiver.arrived(0)), sender.device.malformed())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn frames_that_are_sent_together_arrive_as_those_sent_one_by_one(
        kinds in proptest::collection::vec((0..7_u8, 1..3000_usize), 1..20),
        room in 0..60_usize,
    ) {
        prop_assert_eq!(delivered(&kinds, room, true), delivered(&kinds, room, false));
    }
}
