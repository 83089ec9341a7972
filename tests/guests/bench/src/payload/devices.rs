//! Virtio devices: what a request costs, with all that the driver does for it, which is as little as possible.

use guest_support::{
    cpu,
    machine::Machine,
    mmio::{write8, write32, write64},
    println,
    timer::Timer,
    virtio::{Device, Queue, flag, id},
};

use super::{
    load::{Load, Served},
    report,
};

const ROUNDS: u64 = 64;
const QUEUE_SIZE: u16 = 128;
/// How many requests are offered at once where it is not one.
const DEPTH: u16 = 32;
const BLOCK: u32 = 4096;

// VIRTIO 1.2, 5.2.3 and 5.2.6. A driver that does not know of flushes would have each write flushed.
const FLUSH: u64 = 1 << 9;
const READ: u32 = 0;
const WRITE: u32 = 1;

/// Zeroed memory, page by page.
struct Pages(u64);

impl Pages {
    /// From the middle of RAM on, where nothing is.
    fn new(machine: &Machine) -> Self {
        Self(machine.ram.start + (machine.ram.end - machine.ram.start) / 2)
    }

    fn take(&mut self, bytes: u64) -> u64 {
        let start = self.0;
        self.0 += bytes.next_multiple_of(4096);
        (start..self.0).step_by(8).for_each(|at| write64(at, 0));
        start
    }
}

/// What is measured of a disk: read, read many at once, write, write many at once, notifications and interrupts.
pub type BlockNames = [&'static str; 6];
/// Of one that is kept in memory.
pub const IN_MEMORY: BlockNames = [
    "block-read",
    "block-read-many",
    "block-write",
    "block-write-many",
    "block-notifications",
    "block-interrupts",
];
/// Of a physical one.
pub const PHYSICAL: BlockNames = [
    "physical-read",
    "physical-read-many",
    "physical-write",
    "physical-write-many",
    "physical-notifications",
    "physical-interrupts",
];

/// 4 KiB requests to the first disk, one at a time and many at once.
pub fn block(machine: &'static Machine, names: BlockNames) {
    let mut pages = Pages::new(machine);
    let queue = Device::all().find(|device| device.id == id::BLOCK).and_then(|disk| {
        disk.negotiate(FLUSH)?;
        let queue = disk.queue(0, QUEUE_SIZE, pages.take(Queue::BYTES))?;
        disk.start();
        Some((disk, queue))
    });
    let Some((disk, mut queue)) = queue else {
        names.iter().for_each(|name| println!("bench: {name} skipped"));
        return;
    };
    let [read, read_many, write, write_many, notifications, interrupts] = names;
    // Header, data and status of each request.
    let headers = pages.take(16 * u64::from(DEPTH));
    let data = pages.take(u64::from(BLOCK) * u64::from(DEPTH));
    let statuses = pages.take(DEPTH.into());
    for (names, kind) in [([read, read_many], READ), ([write, write_many], WRITE)] {
        for request in 0..DEPTH {
            let (number, first) = (u64::from(request), 3 * request);
            let header = headers + 16 * number;
            write32(header, kind);
            write64(header + 8, number * u64::from(BLOCK) / 512);
            queue.describe(first, header, 16, flag::NEXT, first + 1);
            let direction = if kind == READ { flag::WRITE } else { 0 };
            let block = data + u64::from(BLOCK) * number;
            queue.describe(first + 1, block, BLOCK, flag::NEXT | direction, first + 2);
            write8(statuses + number, 0xff);
            queue.describe(first + 2, statuses + number, 1, flag::WRITE, 0);
        }
        for (name, depth) in names.into_iter().zip([1, DEPTH]) {
            let ticks = rounds(&mut queue, |queue| {
                (0..depth).for_each(|request| queue.offer(3 * request));
                queue.notify();
                queue.wait(depth)
            });
            report(name, ticks, ROUNDS * u64::from(depth));
        }
    }
    let load = Load::begin(machine, [disk]);
    (0..DEPTH).for_each(|request| queue.offer(3 * request));
    queue.notify();
    load.measure([notifications, interrupts], || {
        let mut requests = 0;
        while let Some((head, _)) = queue.take_used() {
            queue.offer(head as u16);
            requests += 1;
        }
        Served { requests, notifications: queue.notify_if_wanted().into() }
    });
}

/// Ticks that [`ROUNDS`] calls take, after a first one, without those of looking at the queue in vain: then the device does
/// something by itself, and what the CPU does meanwhile costs nothing.
fn rounds(queue: &mut Queue, mut round: impl FnMut(&mut Queue) -> u64) -> u64 {
    const LOOKS: u64 = 1000;
    let start = now();
    // Nothing was offered, so there is nothing to be seen.
    queue.look(1, LOOKS);
    let look = now().saturating_sub(start) / LOOKS;
    round(queue);
    let start = now();
    let in_vain: u64 = (0..ROUNDS).map(|_| round(queue)).sum();
    now().saturating_sub(start).saturating_sub(look * in_vain)
}

fn now() -> u64 {
    cpu::isb();
    Timer::Virtual.count()
}

const HEADER: u64 = 12;
const FRAME: u64 = 1514;
const LARGE_FRAME: u64 = 14 + 65_000;
/// Room for a large frame and its header.
const BUFFER: u64 = 0x1_1000;
// VIRTIO 1.2, 5.1.3.
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const HOST_TSO4: u64 = 1 << 11;

/// Frames from the first network card to the second, which are on one switch.
pub fn net(machine: &'static Machine) {
    let mut pages = Pages::new(machine);
    let mut cards = Device::all().filter(|device| device.id == id::NET);
    let (Some(sender), Some(receiver)) = (cards.next(), cards.next()) else {
        println!("bench: net skipped");
        return;
    };
    let mut start = |card: Device| {
        card.negotiate(CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4)?;
        let receive = card.queue(0, QUEUE_SIZE, pages.take(Queue::BYTES))?;
        let transmit = card.queue(1, QUEUE_SIZE, pages.take(Queue::BYTES))?;
        card.start();
        Some((receive, transmit))
    };
    let (Some((_, mut transmit)), Some((mut receive, mut back))) = (start(sender), start(receiver)) else {
        println!("bench: net refused");
        return;
    };
    let buffers = pages.take(BUFFER * u64::from(DEPTH));
    let frame = pages.take(BUFFER);
    // The switch learns where the receiver is.
    address(frame + HEADER, [0xff; 6], mac(receiver));
    back.describe(0, frame, (HEADER + 60) as u32, 0, 0);
    back.offer(0);
    back.notify();
    back.wait(1);

    for buffer in 0..DEPTH {
        receive.describe(buffer, buffers + BUFFER * u64::from(buffer), BUFFER as u32, flag::WRITE, 0);
    }
    address(frame + HEADER, mac(receiver), mac(sender));
    for (name, len, depth) in
        [("net-frame", FRAME, 1), ("net-frame-many", FRAME, DEPTH), ("net-large", LARGE_FRAME, 1)]
    {
        if len > FRAME {
            segment_later(frame, len);
        }
        (0..DEPTH).for_each(|slot| transmit.describe(slot, frame, (HEADER + len) as u32, 0, 0));
        let ticks = rounds(&mut receive, |receive| {
            (0..depth).for_each(|buffer| receive.offer(buffer));
            (0..depth).for_each(|slot| transmit.offer(slot));
            transmit.notify();
            transmit.wait(depth) + receive.wait(depth)
        });
        report(name, ticks, ROUNDS * u64::from(depth));
    }

    // Like any driver, it looks at what was sent when it has something else to do.
    transmit.suppress_interrupts();
    let load = Load::begin(machine, [sender, receiver]);
    (0..DEPTH).for_each(|slot| transmit.describe(slot, frame, (HEADER + FRAME) as u32, 0, 0));
    (0..DEPTH).for_each(|buffer| receive.offer(buffer));
    (0..DEPTH).for_each(|slot| transmit.offer(slot));
    transmit.notify();
    load.measure(["net-notifications", "net-interrupts"], || {
        let mut requests = 0;
        while let Some((buffer, _)) = receive.take_used() {
            receive.offer(buffer as u16);
            requests += 1;
        }
        while let Some((slot, _)) = transmit.take_used() {
            transmit.offer(slot as u16);
        }
        let told = [receive.notify_if_wanted(), transmit.notify_if_wanted()];
        Served { requests, notifications: told.map(u64::from).iter().sum() }
    });
}

fn mac(card: Device) -> [u8; 6] {
    let [low, high] =
        [0, 4].map(|offset| card.read(guest_support::virtio::reg::CONFIG + offset).to_le_bytes());
    [low[0], low[1], low[2], low[3], high[0], high[1]]
}

/// Writes an Ethernet header at `frame`, of IPv4.
fn address(frame: u64, to: [u8; 6], from: [u8; 6]) {
    let bytes = to.into_iter().chain(from).chain([0x08, 0x00]);
    (frame..).zip(bytes).for_each(|(at, byte)| write8(at, byte));
}

/// Makes the frame behind the virtio header at `packet` a TCP segment that is too large for the wire.
fn segment_later(packet: u64, len: u64) {
    // NEEDS_CSUM, TCPv4, headers of 54 bytes, 1448 bytes a segment, checksum of TCP.
    let header = [1, 1, 54, 0, 0xa8, 0x05, 34, 0, 16, 0];
    (packet..).zip(header).for_each(|(at, byte)| write8(at, byte));
    let ip = packet + HEADER + 14;
    let total = (len - 14) as u16;
    // Version and header length, total length, TTL, TCP; and TCP's own header length.
    for (offset, byte) in [(0, 0x45), (2, (total >> 8) as u8), (3, total as u8), (8, 64), (9, 6), (32, 0x50)]
    {
        write8(ip + offset, byte);
    }
}
