use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;
use crate::devices::virtio::testing::{Driver, Mode, Rig, start};

/// The other end: takes what it is told to, and writes down what it got.
#[derive(Default)]
struct World {
    taken: Mutex<BTreeMap<usize, Vec<u8>>>,
    /// How much it still takes.
    room: Mutex<Option<usize>>,
    wanted: Mutex<Vec<usize>>,
}

impl Backend for World {
    fn transmit(&self, port: usize, bytes: &[u8]) -> usize {
        let mut room = self.room.lock();
        let len = room.unwrap_or(usize::MAX).min(bytes.len());
        if let Some(room) = &mut *room {
            *room -= len;
        }
        self.taken.lock().entry(port).or_default().extend(&bytes[..len]);
        len
    }

    fn input_wanted(&self, port: usize) {
        self.wanted.lock().push(port);
    }
}

struct Guest {
    rig: Arc<Rig>,
    world: Arc<World>,
    console: Arc<Console>,
    queues: Vec<Driver>,
}

impl Guest {
    fn new(ports: usize, mode: Mode) -> Self {
        let rig = Rig::new();
        let world = Arc::<World>::default();
        let console = Console::new(rig.channel(&Console::queues(ports)), ports, world.clone());
        let count = console.channel().queues();
        let queues = (0..count).map(|queue| Driver::new(&rig, console.channel(), queue, 16, mode)).collect();
        Self { rig, world, console, queues }
    }

    fn multiport(ports: usize, mode: Mode) -> Self {
        let guest = Self::new(ports, mode);
        start(&*guest.console, mode.features() | guest.console.features());
        guest
    }

    fn send(&mut self, queue: Queue, bytes: &[&[u8]]) {
        let index = queue.index();
        self.queues[index].add(bytes, &[]).unwrap();
        if self.queues[index].kick() {
            self.console.notified(index);
        }
        while self.queues[index].used().is_some() {}
    }

    fn tell(&mut self, port: u32, event: u16, value: u16) {
        let message = [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat();
        self.send(Queue::ControlTransmit, &[&message]);
    }

    fn offer(&mut self, queue: Queue, len: u32) {
        let index = queue.index();
        self.queues[index].add(&[], &[len]).unwrap();
        if self.queues[index].kick() {
            self.console.notified(index);
        }
    }

    fn got(&mut self, queue: Queue) -> Vec<Vec<u8>> {
        let driver = &mut self.queues[queue.index()];
        core::iter::from_fn(|| driver.used())
            .map(|used| used.bytes[..used.written as usize].to_vec())
            .collect()
    }

    fn work(&self) -> bool {
        let queues = self.console.channel().take_deferred();
        (0..64).filter(|queue| queues >> queue & 1 != 0).for_each(|queue| self.console.notified(queue));
        queues != 0
    }

    fn taken(&self, port: usize) -> Vec<u8> {
        self.world.taken.lock().get(&port).cloned().unwrap_or_default()
    }
}

fn message(port: u32, event: u16, name: &[u8]) -> Vec<u8> {
    [&port.to_le_bytes()[..], &event.to_le_bytes(), &[1, 0], name].concat()
}

#[test]
fn queues_are_numbered_as_the_specification_has_them() {
    use Queue::*;
    let queues =
        [Receive(0), Transmit(0), ControlReceive, ControlTransmit, Receive(1), Transmit(1), Receive(2)];
    for (index, queue) in queues.into_iter().enumerate() {
        assert_eq!((queue.index(), Queue::of(index)), (index, queue));
    }
}

#[test]
fn ports_are_introduced_as_buffers_come() {
    let mut guest = Guest::multiport(2, Mode::default());
    guest.tell(0, 0, 1);
    assert_eq!(guest.got(Queue::ControlReceive), Vec::<Vec<u8>>::new());
    guest.offer(Queue::ControlReceive, 32);
    guest.offer(Queue::ControlReceive, 32);
    assert_eq!(guest.got(Queue::ControlReceive), [message(0, 1, b""), message(1, 1, b"")]);
    for _ in 0..8 {
        guest.offer(Queue::ControlReceive, 32);
    }
    guest.tell(1, 3, 1);
    assert_eq!(guest.got(Queue::ControlReceive), [message(1, 7, b"port1"), message(1, 6, b"")]);
    guest.tell(0, 3, 1);
    let console = [message(0, 4, b""), message(0, 7, b"port0"), message(0, 6, b"")];
    assert_eq!(guest.got(Queue::ControlReceive), console);
    // Nonsense is not answered.
    for (port, event, value) in [(2, 3, 1), (u32::MAX, 6, 1), (0, 3, 0), (0, 0, 0), (0, 99, 1)] {
        guest.tell(port, event, value);
    }
    guest.send(Queue::ControlTransmit, &[b"short"]);
    assert_eq!(guest.got(Queue::ControlReceive), Vec::<Vec<u8>>::new());
    assert!(!guest.console.channel().is_broken());
}

#[test]
fn output_reaches_its_port_and_waits_where_it_is_not_taken() {
    for mode in Mode::all() {
        let mut guest = Guest::multiport(2, mode);
        guest.send(Queue::Transmit(0), &[b"to ", b"zero"]);
        assert_eq!(guest.taken(0), b"to zero");
        *guest.world.room.lock() = Some(200);
        let long: Vec<u8> = (0..=255).cycle().take(1000).collect();
        guest.send(Queue::Transmit(1), &[&long[..300], &long[300..]]);
        guest.send(Queue::Transmit(1), &[b"behind"]);
        assert_eq!(guest.taken(1), long[..200]);
        assert!(!guest.work(), "it comes back only when it is called");
        *guest.world.room.lock() = None;
        guest.console.output_ready(1);
        assert!(guest.work());
        assert_eq!(guest.taken(1), [&long[..], b"behind"].concat());
    }
}

#[test]
fn a_flood_goes_through_by_and_by() {
    let mut guest = Guest::multiport(1, Mode::default());
    let flood = vec![b'x'; 100_000];
    guest.send(Queue::Transmit(0), &[&flood]);
    assert!(guest.taken(0).len() <= BUDGET as usize);
    let mut turns = 0;
    while guest.work() {
        turns += 1;
    }
    assert_eq!(guest.taken(0).len(), flood.len());
    assert!(turns >= flood.len() / BUDGET as usize);
}

#[test]
fn input_waits_for_an_open_port_and_for_buffers() {
    let mut guest = Guest::multiport(2, Mode::default());
    guest.offer(Queue::Receive(1), 4);
    assert_eq!(guest.console.receive(1, b"early"), 0);
    assert!(guest.world.wanted.lock().is_empty());
    guest.tell(1, 6, 1);
    assert_eq!(core::mem::take(&mut *guest.world.wanted.lock()), [1]);
    assert_eq!(guest.console.receive(1, b"hello"), 4);
    assert_eq!(guest.got(Queue::Receive(1)), [b"hell"]);
    guest.offer(Queue::Receive(1), 4);
    assert_eq!(core::mem::take(&mut *guest.world.wanted.lock()), [1]);
    assert_eq!(guest.console.receive(1, b"o"), 1);
    assert_eq!(guest.got(Queue::Receive(1)), [b"o"]);
    guest.offer(Queue::Receive(1), 4);
    assert!(guest.world.wanted.lock().is_empty(), "nobody waits");
    guest.tell(1, 6, 0);
    assert_eq!(guest.console.receive(1, b"late"), 0);
    assert_eq!(guest.console.receive(7, b"nowhere"), 7, "a port that is not there swallows it");
}

#[test]
fn a_driver_without_ports_has_its_console_open() {
    let mut guest = Guest::new(1, Mode::default());
    assert_eq!(guest.console.receive(0, b"x"), 0);
    start(&*guest.console, Mode::default().features());
    assert_eq!(*guest.world.wanted.lock(), [0]);
    guest.offer(Queue::Receive(0), 8);
    assert_eq!(guest.console.receive(0, b"x"), 1);
}

#[test]
fn the_configuration_counts_ports_and_takes_emergency_output() {
    let guest = Guest::new(3, Mode::default());
    let mut bytes = [0xff; 12];
    guest.console.read_config(0, &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    guest.console.read_config(u64::MAX, &mut bytes[..1]);
    assert_eq!(bytes[0], 0);
    guest.console.write_config(8, &[b'!', 0, 0, 0]);
    guest.console.write_config(0, b"x");
    assert_eq!(guest.taken(0), b"!");
}

#[test]
fn a_restored_device_goes_on_within_a_request() {
    let mut guest = Guest::multiport(1, Mode::default());
    guest.tell(0, 6, 1);
    guest.tell(0, 0, 1);
    *guest.world.room.lock() = Some(2);
    guest.send(Queue::Transmit(0), &[b"abcd"]);
    let state = guest.console.save();
    guest.console.reset();
    assert_eq!(guest.console.receive(0, b"x"), 0);
    assert!(guest.console.restore(&[]).is_err());
    let other = Guest::new(2, Mode::default());
    assert_eq!(other.console.restore(&state).unwrap_err().found, 1);
    guest.console.restore(&state).unwrap();
    *guest.world.room.lock() = None;
    guest.console.output_ready(0);
    guest.work();
    assert_eq!(guest.taken(0), b"abcd");
    guest.offer(Queue::Receive(0), 8);
    assert_eq!(guest.console.receive(0, b"x"), 1);
    guest.offer(Queue::ControlReceive, 32);
    assert_eq!(guest.got(Queue::ControlReceive), [message(0, 1, b"")]);
    assert!(guest.rig.irq.is_high());
}
