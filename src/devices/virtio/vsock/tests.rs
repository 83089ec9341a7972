use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::inbox::BACKLOG;
use super::packet::op;
use super::*;
use crate::devices::virtio::testing::{Driver, Mode, Rig, start};

const RING: u16 = 16;

/// A guest with a socket device.
struct Guest {
    rig: Arc<Rig>,
    device: Arc<Vsock>,
    rx: Driver,
    tx: Driver,
}

fn hub() -> &'static Hub {
    Box::leak(Box::new(Hub::new(|| ())))
}

impl Guest {
    fn new(hub: &'static Hub, cid: u32, mode: Mode) -> Self {
        let rig = Rig::new();
        let device = Vsock::new(rig.channel(&QUEUES), cid, hub);
        let rx = Driver::new(&rig, device.channel(), RX, RING, mode);
        let tx = Driver::new(&rig, device.channel(), TX, RING, mode);
        start(&*device, mode.features() | device.features());
        Self { rig, device, rx, tx }
    }

    /// Offers a packet; `false`: the ring is full.
    fn send(&mut self, header: &Header, payload: &[u8]) -> bool {
        let bytes = header.bytes();
        let (head, tail) = payload.split_at(payload.len() / 3);
        let buffers: Vec<&[u8]> = [&bytes[..], head, tail].into_iter().filter(|b| !b.is_empty()).collect();
        let is_offered = self.tx.add(&buffers, &[]).is_some();
        if self.tx.kick() {
            self.device.notified(TX);
        }
        while self.tx.used().is_some() {}
        is_offered
    }

    /// Offers a buffer for a packet, of two parts.
    fn offer(&mut self, len: u32) {
        let first = (len / 4).max(1);
        self.rx.add(&[], &[first, len - first]);
        if self.rx.kick() {
            self.device.notified(RX);
        }
    }

    /// Packets that have come.
    fn packets(&mut self) -> Vec<(Header, Vec<u8>)> {
        let packet = |used: crate::devices::virtio::testing::Used| {
            let (head, rest) = used.bytes.split_first_chunk::<LEN>()?;
            let header = Header::parse(head);
            assert!(used.written == 0 || used.written == LEN as u32 + header.len);
            (used.written > 0).then(|| (header, rest[..header.len as usize].to_vec()))
        };
        core::iter::from_fn(|| self.rx.used()).filter_map(packet).collect()
    }

    /// Does what was put off. Tells whether there was anything.
    fn work(&self) -> bool {
        let queues = self.device.channel().take_deferred();
        (0..3).filter(|queue| queues >> queue & 1 != 0).for_each(|queue| self.device.notified(queue));
        queues != 0
    }
}

fn data(from: u32, to: u32, port: u32, len: usize) -> Header {
    Header {
        src_cid: from.into(),
        dst_cid: to.into(),
        src_port: port,
        dst_port: 80,
        len: len as u32,
        kind: kind::STREAM,
        op: op::RW,
        buf_alloc: 0x1000,
        fwd_cnt: 7,
        ..Header::default()
    }
}

#[test]
fn a_packet_arrives_as_it_was_sent() {
    for mode in Mode::all() {
        let hub = hub();
        let (mut a, mut b) = (Guest::new(hub, 3, mode), Guest::new(hub, 4, Mode::default()));
        b.offer(4096);
        let header = data(3, 4, 1000, 100);
        assert!(a.send(&header, &[0x5a; 100]));
        assert_eq!(b.packets(), [(header, vec![0x5a; 100])]);
        assert!(b.rig.irq.is_high());
    }
}

#[test]
fn who_is_not_there_refuses() {
    let hub = hub();
    let mut a = Guest::new(hub, 3, Mode::default());
    let silent = Vsock::new(Rig::new().channel(&QUEUES), 5, hub);
    for _ in 0..8 {
        a.offer(64);
    }
    let gone = Guest::new(hub, 6, Mode::default());
    drop(gone);
    // Nobody, the host, a device without a driver, one that is gone, a large id, oneself.
    for to in [9, 2, u64::from(silent.cid), 6, 1 << 32 | 3, 3] {
        let header = Header { dst_cid: to, op: op::REQUEST, len: 0, ..data(3, 0, 1000, 0) };
        assert!(a.send(&header, &[]));
        let [(refusal, _)] = a.packets().try_into().unwrap();
        assert_eq!((refusal.src_cid, refusal.dst_cid, refusal.op), (to, 3, op::RST));
        assert_eq!((refusal.src_port, refusal.dst_port, refusal.kind), (80, 1000, kind::STREAM));
        // A refusal is not refused.
        a.send(&Header { op: op::RST, ..header }, &[]);
        assert_eq!(a.packets(), []);
    }
}

#[test]
fn nonsense_is_dropped_or_refused_and_lies_reach_nobody() {
    let hub = hub();
    let (mut a, mut b) = (Guest::new(hub, 3, Mode::default()), Guest::new(hub, 4, Mode::default()));
    for _ in 0..8 {
        a.offer(64);
        b.offer(64);
    }
    let good = data(3, 4, 1, 8);
    // A forged sender, and a header that is cut off.
    a.send(&Header { src_cid: 5, ..good }, &[0; 8]);
    a.send(&Header { src_cid: 1 << 32 | 3, ..good }, &[0; 8]);
    a.tx.add(&[&[0; LEN - 1]], &[]).unwrap();
    a.device.notified(TX);
    assert_eq!((a.device.dropped(), a.packets().len()), (3, 0));
    let wrong = [
        Header { len: 9, ..good },
        Header { len: u32::MAX, ..good },
        Header { op: 0, ..good },
        Header { op: 8, ..good },
        Header { op: op::REQUEST, ..good },
        Header { kind: 3, ..good },
    ];
    for header in wrong {
        a.send(&header, &[0; 8]);
        assert!(matches!(a.packets()[..], [(Header { op: op::RST, .. }, _)]), "{header:?}");
    }
    // A buffer that is not in memory reads as zeros.
    let nowhere = crate::mm::guest_memory::Segment { ipa: crate::mm::addr::Ipa(u64::MAX - 3), len: 8 };
    let header = a.rig.filled(&good.bytes());
    a.tx.add_segments(&[header, nowhere], &[]).unwrap();
    a.device.notified(TX);
    assert_eq!(b.packets(), [(good, vec![0; 8])]);
    assert!(!a.device.channel().is_broken() && !b.device.channel().is_broken());
}

#[test]
fn buffers_that_are_too_small_are_given_back() {
    let hub = hub();
    let (mut a, mut b) = (Guest::new(hub, 3, Mode::default()), Guest::new(hub, 4, Mode::default()));
    for len in [20, LEN as u32, LEN as u32 + 3, LEN as u32 + 100] {
        b.offer(len);
    }
    a.send(&data(3, 4, 1, 5), b"hello");
    let parts: Vec<_> = b.packets().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(parts, [b"hel".to_vec(), b"lo".to_vec()]);
}

/// Fills what may wait between two guests. Tells how many packets were taken.
fn flood(a: &mut Guest, header: &Header, payload: &[u8]) -> usize {
    let mut taken = 0;
    while a.tx.add(&[&header.bytes(), payload], &[]).is_some() {
        a.device.notified(TX);
        while a.work() {}
        taken += core::iter::from_fn(|| a.tx.used()).count();
    }
    taken
}

#[test]
fn a_deaf_receiver_is_given_up_and_harms_nobody_else() {
    let hub = hub();
    let mut a = Guest::new(hub, 3, Mode::default());
    let mut deaf = Guest::new(hub, 4, Mode::default());
    let mut other = Guest::new(hub, 5, Mode::default());
    let len = 10_000;
    let bound = BACKLOG / (len + LEN);
    assert_eq!(flood(&mut a, &data(3, 4, 1, len), &vec![1; len]), bound);
    // Others still reach whom they like, and can be reached.
    other.offer(100);
    a.offer(100);
    other.send(&data(5, 3, 9, 2), b"hi");
    assert_eq!(a.packets().len(), 1);

    assert_eq!(hub.serve(500), Some(500 + PATIENCE));
    assert!(!a.work());
    assert_eq!(hub.serve(500 + PATIENCE), None);
    // Whatever was held back is refused now, and the queue moves.
    a.offer(LEN as u32);
    while a.work() {}
    assert!(matches!(a.packets()[..], [(Header { src_cid: 4, op: op::RST, .. }, _)]));
    while a.tx.used().is_some() {}
    a.send(&data(3, 5, 2, 3), b"you");
    assert_eq!(other.packets().len(), 1);

    // It gets what was sent before, to the last byte, and can be reached then.
    let mut bytes = 0;
    for _ in 0..2 * bound {
        deaf.offer((LEN + len) as u32);
        bytes += deaf.packets().iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    assert_eq!(bytes, bound * len);
    while a.tx.used().is_some() {}
    a.send(&data(3, 4, 3, 3), b"and");
    assert_eq!(deaf.packets().len(), 1);
}

#[test]
fn a_reset_forgets_what_was_on_its_way_and_lets_senders_go_on() {
    let hub = hub();
    let mut a = Guest::new(hub, 3, Mode::default());
    let b = Guest::new(hub, 4, Mode::default());
    flood(&mut a, &data(3, 4, 1, 10_000), &[1; 10_000]);
    b.device.channel().reset();
    b.device.reset();
    a.offer(LEN as u32);
    while a.work() {}
    assert!(matches!(a.packets()[..], [(Header { op: op::RST, .. }, _)]));
    assert_eq!(hub.serve(0), None);

    let mut rx = Driver::new(&b.rig, b.device.channel(), RX, RING, Mode::default());
    start(&*b.device, Features::VERSION_1);
    rx.add(&[], &[4096]);
    b.device.notified(RX);
    assert_eq!(rx.used(), None);
    while a.tx.used().is_some() {}
    a.send(&data(3, 4, 2, 3), b"new");
    assert_eq!(rx.used().unwrap().bytes[LEN..LEN + 3], *b"new");
    // It has not negotiated these.
    a.offer(LEN as u32);
    a.send(&Header { kind: kind::SEQPACKET, ..data(3, 4, 2, 3) }, b"new");
    assert!(matches!(a.packets()[..], [(Header { op: op::RST, .. }, _)]));
}

/// Has one guest ask another for a connection between these ports.
fn connect(from: &mut Guest, to: &mut Guest, port: u32) {
    let (a, b) = (from.device.cid, to.device.cid);
    let request = Header { op: op::REQUEST, ..data(a, b, port, 0) };
    from.send(&request, &[]);
    let response = Header { op: op::RESPONSE, ..request.refusal().unwrap() };
    to.send(&response, &[]);
}

#[test]
fn the_peers_of_a_guest_that_is_reset_learn_it_and_nobody_else() {
    let hub = hub();
    let [mut a, mut b, mut c] = [3, 4, 5].map(|cid| Guest::new(hub, cid, Mode::default()));
    connect(&mut a, &mut b, 1000);
    connect(&mut b, &mut a, 2000);
    connect(&mut a, &mut c, 1001);
    // This one was closed.
    connect(&mut a, &mut b, 1002);
    b.send(&Header { op: op::RST, ..data(3, 4, 1002, 0).refusal().unwrap() }, &[]);
    for guest in [&mut a, &mut b, &mut c] {
        // For what has come so far, and for what will.
        for _ in 0..2 {
            (0..6).for_each(|_| guest.offer(64));
            guest.packets();
        }
    }
    b.device.channel().reset();
    b.device.reset();
    while a.work() || c.work() {}
    let mut refused: Vec<_> = a.packets().into_iter().map(|(header, _)| header).collect();
    refused.sort_by_key(|header| header.dst_port);
    let ports: Vec<_> = refused.iter().map(|header| (header.src_port, header.dst_port)).collect();
    assert_eq!(ports, [(2000, 80), (80, 1000)]);
    assert!(refused.iter().all(|header| header.op == op::RST && (header.src_cid, header.dst_cid) == (4, 3)));
    assert_eq!(c.packets(), []);
    // Only once; and the same when it is gone.
    b.device.reset();
    assert!(!a.work());
    drop(c);
    assert!(a.work());
    assert!(matches!(a.packets()[..], [(Header { src_cid: 5, dst_port: 1001, op: op::RST, .. }, _)]));
}

#[test]
fn connections_are_bounded() {
    let hub = hub();
    let mut a = Guest::new(hub, 3, Mode::default());
    let mut b = Guest::new(hub, 4, Mode::default());
    for port in 0..=super::connections::MOST as u32 {
        b.offer(64);
        a.send(&Header { op: op::REQUEST, ..data(3, 4, port, 0) }, &[]);
        assert_eq!(b.packets().len(), usize::from(port < super::connections::MOST as u32));
    }
    a.offer(64);
    assert!(matches!(a.packets()[..], [(Header { op: op::RST, .. }, _)]));
    a.offer(64);
    a.send(&data(3, 4, 1, 2), b"hi");
    assert_eq!(b.packets().len(), 1);
}

#[test]
fn a_guest_that_takes_no_refusals_waits_for_itself() {
    let hub = hub();
    let mut a = Guest::new(hub, 3, Mode::default());
    let header = Header { op: op::REQUEST, ..data(3, 9, 1, 0) };
    let mut taken = 0;
    for _ in 0..10_000 {
        if a.tx.add(&[&header.bytes()], &[]).is_none() {
            break;
        }
        a.device.notified(TX);
        while a.work() {}
        taken += core::iter::from_fn(|| a.tx.used()).count();
    }
    assert!((1000..4000).contains(&taken));
    assert_eq!(hub.serve(0), None);
    let mut refused = 0;
    for _ in 0..2 * taken {
        a.offer(LEN as u32);
        while a.work() {}
        refused += a.packets().len();
    }
    taken += core::iter::from_fn(|| a.tx.used()).count();
    assert_eq!((taken, refused), (taken, taken));
    assert!(a.tx.add(&[&header.bytes()], &[]).is_some());
}

#[test]
fn a_restored_guest_learns_that_its_connections_are_gone() {
    let hub = hub();
    let a = Guest::new(hub, 3, Mode::default());
    let mut events = Driver::new(&a.rig, a.device.channel(), EVENT, 4, Mode::default());
    events.add(&[], &[4]);
    a.device.notified(EVENT);
    assert_eq!(events.used(), None);
    let state = a.device.save();
    assert!(a.device.restore(&[1]).is_err());
    a.device.restore(&state).unwrap();
    assert!(a.work());
    assert_eq!(events.used().unwrap().bytes, TRANSPORT_RESET.to_le_bytes());
    events.add(&[], &[4]);
    a.device.notified(EVENT);
    assert_eq!(events.used(), None);
}

#[test]
fn the_configuration_has_the_context_id() {
    let a = Guest::new(hub(), 0x0102_0304, Mode::default());
    let mut bytes = [0xff; 12];
    a.device.read_config(0, &mut bytes);
    assert_eq!(bytes, [4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    a.device.read_config(u64::MAX, &mut bytes);
    assert_eq!(bytes, [0; 12]);
}

/// What the guests of the property test do.
#[derive(Debug, Clone)]
enum Step {
    /// One sends so many bytes to another on one of its streams.
    Send { from: usize, to: usize, port: u32, len: usize },
    /// One offers a buffer.
    Offer { to: usize, len: u32 },
    /// One's deferred work is done.
    Work { who: usize },
    /// Time passes, less than anybody's patience.
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![1..100_usize, 1..4000_usize, 40_000..60_000_usize];
    let send = (0..3_usize, 1..3_usize, 0..2_u32, len).prop_map(|(from, by, port, len)| Step::Send {
        from,
        to: (from + by) % 3,
        port,
        len,
    });
    let offer = (0..3_usize, prop_oneof![30..200_u32, 200..9000_u32, 9000..70_000_u32])
        .prop_map(|(to, len)| Step::Offer { to, len });
    let work = (0..3_usize).prop_map(|who| Step::Work { who });
    prop::collection::vec(prop_oneof![4 => send, 6 => offer, 2 => work, 1 => Just(Step::Pass)], 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn streams_arrive_whole_and_in_order(steps in steps(), modes in [0..8_usize, 0..8_usize, 0..8_usize]) {
        let hub = hub();
        let mut cid = 2;
        let mut guests = modes.map(|mode| {
            cid += 1;
            Guest::new(hub, cid, Mode::all().nth(mode).unwrap())
        });
        let cid = |index: usize| index as u32 + 3;
        // By sender, receiver and port: the bytes that were sent, and how many of them have come.
        let mut streams: BTreeMap<(u32, u32, u32), (Vec<u8>, usize)> = BTreeMap::new();
        let mut sent: u8 = 0;
        let collect = |guests: &mut [Guest; 3], streams: &mut BTreeMap<_, (Vec<u8>, usize)>| {
            for guest in guests {
                while guest.tx.used().is_some() {}
                for (header, bytes) in guest.packets() {
                    assert_eq!((header.op, header.buf_alloc, header.fwd_cnt), (op::RW, 0x1000, 7));
                    let key = (header.src_cid as u32, header.dst_cid as u32, header.src_port);
                    assert_eq!(header.dst_cid, u64::from(guest.device.cid));
                    let (all, come) = streams.get_mut(&key).expect("nobody has sent this");
                    assert_eq!(all.get(*come..*come + bytes.len()), Some(&bytes[..]));
                    *come += bytes.len();
                }
            }
        };
        for step in steps {
            match step {
                Step::Send { from, to, port, len } => {
                    let payload: Vec<u8> = (0..len).map(|_| { sent = sent.wrapping_mul(5).wrapping_add(1); sent }).collect();
                    if guests[from].send(&data(cid(from), cid(to), port, len), &payload) {
                        streams.entry((cid(from), cid(to), port)).or_default().0.extend(payload);
                    }
                }
                Step::Offer { to, len } => guests[to].offer(len),
                Step::Work { who } => _ = guests[who].work(),
                Step::Pass => _ = hub.serve(1),
            }
            collect(&mut guests, &mut streams);
        }
        // In the end, all of it comes.
        for _ in 0..2000 {
            for guest in &mut guests {
                guest.offer(70_000);
                guest.work();
            }
            collect(&mut guests, &mut streams);
        }
        for (key, (all, come)) in streams {
            prop_assert_eq!(all.len(), come, "{:?}", key);
        }
    }
}
