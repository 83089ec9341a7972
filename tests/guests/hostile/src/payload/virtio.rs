//! Virtio devices, all CPUs at all of them at once: their registers with any value; and queues that are set up as they
//! should be, more or less, in memory that is full of what never should be in them, while devices use it.

use guest_support::{
    mmio,
    virtio::{FIRST, SLOTS, STRIDE, flag, reg, status},
};

use super::Attack;

/// What the queues and buffers are in, in the middle of RAM; it has nothing else in it.
const SCRATCH: u64 = 1 << 20;
const PAGE: u64 = 0x1000;
/// Entries of most queues.
const USUAL_SIZE: u64 = 64;
/// How many queues a device may have, and some more.
const QUEUES: u64 = 18;

pub fn operation(attack: &mut Attack) {
    let device = FIRST + STRIDE * attack.rng.below(SLOTS.min(8));
    match attack.rng.below(32) {
        0 => set_up(attack, device),
        1 => register(attack, device),
        2..=4 => table(attack),
        5..=9 => request(attack),
        10 => litter(attack),
        11 => config(attack, device),
        12..=20 => notify(attack, device),
        _ => ring(attack),
    }
}

/// Any access to any register, but none to where a queue is: a device would write over this program.
fn register(attack: &mut Attack, device: u64) {
    let width = 1 << attack.rng.below(4);
    let offset = attack.rng.below(STRIDE) & !(width - 1);
    let value = attack.rng.interesting();
    let write = attack.rng.one_in(2) && !(reg::QUEUE_DESC - 7..reg::QUEUE_DEVICE + 8).contains(&offset);
    let at = device + offset;
    let _ = attack.attempt(|| {
        match (write, width) {
            (true, 1) => mmio::write8(at, value as u8),
            (true, 2) => mmio::write16(at, value as u16),
            (true, 4) => mmio::write32(at, value as u32),
            (true, _) => mmio::write64(at, value),
            (false, 1) => return mmio::read8(at).into(),
            (false, 2) => return mmio::read16(at).into(),
            (false, 4) => return mmio::read32(at).into(),
            (false, _) => return mmio::read64(at),
        }
        0
    });
}

/// Writes to the configuration space, where some devices listen.
fn config(attack: &mut Attack, device: u64) {
    let offset = reg::CONFIG + (attack.rng.below(0x40) & !3);
    let value = attack.rng.interesting() as u32;
    put(attack, device + offset, value);
}

/// Resets the device and brings it up, with any features and with queues that lie in the scratch memory, or nearly.
fn set_up(attack: &mut Attack, device: u64) {
    put(attack, device + reg::STATUS, 0);
    put(attack, device + reg::STATUS, status::ACKNOWLEDGE | status::DRIVER);
    let common = attack.rng.next_u64() & (0b11 << 28);
    let own = attack.rng.next_u64() & 0xff_ffff;
    // VERSION_1 nearly always, packed rings half of the time.
    let high = u64::from(!attack.rng.one_in(16)) | attack.rng.below(2) << 1 | attack.rng.below(2) << 2;
    for (half, wanted) in [(0, common | own), (1, high)] {
        put(attack, device + reg::DEVICE_FEATURES_SEL, half);
        let offered = u64::from(get(attack, device + reg::DEVICE_FEATURES));
        let greedy = attack.rng.one_in(16);
        put(attack, device + reg::DRIVER_FEATURES_SEL, half);
        put(attack, device + reg::DRIVER_FEATURES, if greedy { wanted } else { wanted & offered } as u32);
    }
    put(attack, device + reg::STATUS, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
    for queue in 0..QUEUES {
        put(attack, device + reg::QUEUE_SEL, queue as u32);
        let size = match attack.rng.below(8) {
            0 => 1 << attack.rng.below(9),
            1 => attack.rng.below(300),
            _ => USUAL_SIZE,
        };
        put(attack, device + reg::QUEUE_NUM, size as u32);
        for register in [reg::QUEUE_DESC, reg::QUEUE_DRIVER, reg::QUEUE_DEVICE] {
            let part = match attack.rng.below(32) {
                0 => attack.machine.ram.end - 8 * attack.rng.below(PAGE),
                1 => attack.place(),
                _ => rings(attack) + PAGE * attack.rng.below(16),
            };
            put(attack, device + register, part as u32);
            put(attack, device + register + 4, (part >> 32) as u32);
        }
        put(attack, device + reg::QUEUE_READY, 1);
    }
    let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
    put(attack, device + reg::STATUS, all);
}

/// Where the rings are.
fn rings(attack: &Attack) -> u64 {
    let ram = &attack.machine.ram;
    (ram.start + (ram.end - ram.start) / 2) & !(PAGE - 1)
}

/// Where buffers and tables are.
fn buffers(attack: &Attack) -> u64 {
    rings(attack) + 16 * PAGE
}

/// A buffer: mostly scratch memory, sometimes what is none.
fn buffer(attack: &mut Attack) -> u64 {
    match attack.rng.below(16) {
        0 => attack.place(),
        1 => attack.machine.ram.end - attack.rng.below(2 * PAGE),
        2 => rings(attack) + attack.rng.below(16 * PAGE),
        _ => buffers(attack) + (attack.rng.below(SCRATCH - 16 * PAGE) & !15),
    }
}

/// The length of a buffer.
fn length(attack: &mut Attack) -> u32 {
    match attack.rng.below(8) {
        0 => attack.rng.interesting() as u32,
        1 => attack.rng.below(3) as u32,
        2 | 3 => 16,
        4 => 1,
        5 => 512 * attack.rng.below(16) as u32,
        _ => attack.rng.below(2 * PAGE) as u32,
    }
}

/// A descriptor, in a ring or in a table of descriptors; split and packed ones differ in the last four bytes.
fn table(attack: &mut Attack) {
    let at = match attack.rng.one_in(4) {
        true => buffers(attack) + 16 * attack.rng.below(4096),
        false => rings(attack) + PAGE * attack.rng.below(16) + 16 * attack.rng.below(USUAL_SIZE),
    };
    let (address, len) = (buffer(attack), length(attack));
    let flags = match attack.rng.below(4) {
        0 => attack.rng.interesting() as u16,
        1 => [flag::INDIRECT, flag::NEXT | flag::WRITE, 1 << 7, 1 << 15][attack.rng.below(4) as usize],
        _ => attack.rng.below(4) as u16,
    };
    let next = attack.rng.below(USUAL_SIZE + 2) as u16;
    mmio::write64(at, address);
    mmio::write32(at + 8, len);
    mmio::write16(at + 12, flags);
    mmio::write16(at + 14, next);
}

/// A ring's index, entry or flag: a small step, mostly.
fn ring(attack: &mut Attack) {
    let page = rings(attack) + PAGE * attack.rng.below(16);
    match attack.rng.below(4) {
        0 => mmio::write16(page + 4 + 2 * attack.rng.below(USUAL_SIZE), attack.rng.below(USUAL_SIZE) as u16),
        1 => mmio::write16(page, attack.rng.below(4) as u16),
        2 => mmio::write16(page + 2 * attack.rng.below(PAGE / 2), attack.rng.interesting() as u16 & !0x4000),
        _ => {
            let step = if attack.rng.one_in(16) { attack.rng.below(1 << 16) } else { attack.rng.below(4) };
            let index = mmio::read16(page + 2).wrapping_add(step as u16);
            mmio::write16(page + 2, index);
        }
    }
}

/// The header of a request, as one of the devices understands it.
fn request(attack: &mut Attack) {
    let at = buffers(attack) + (attack.rng.below(SCRATCH - 17 * PAGE) & !15);
    let kind = match attack.rng.below(4) {
        0 => number(attack) as u32,
        _ => attack.rng.below(16) as u32,
    };
    let sector = if attack.rng.one_in(4) { number(attack) } else { attack.rng.below(1 << 12) };
    mmio::write32(at, kind);
    mmio::write32(at + 4, number(attack) as u32);
    mmio::write64(at + 8, sector);
    mmio::write64(at + 16, number(attack));
}

/// Anything, anywhere in the scratch memory.
fn litter(attack: &mut Attack) {
    let at = rings(attack) + (attack.rng.below(SCRATCH) & !7);
    mmio::write64(at, number(attack));
}

/// Any number that is not the address of this program, should a device take it for one.
fn number(attack: &mut Attack) -> u64 {
    let own = attack.machine.ram.start..rings(attack);
    loop {
        let number = attack.rng.interesting();
        if !own.contains(&number) && !own.contains(&(number & u64::from(u32::MAX))) {
            return number;
        }
    }
}

fn notify(attack: &mut Attack, device: u64) {
    let queue = if attack.rng.one_in(32) { number(attack) } else { attack.rng.below(QUEUES) };
    put(attack, device + reg::QUEUE_NOTIFY, queue as u32);
    if attack.rng.one_in(4) {
        put(attack, device + reg::INTERRUPT_ACK, 3);
    }
}

fn put(attack: &mut Attack, address: u64, value: u32) {
    let _ = attack.attempt(|| {
        mmio::write32(address, value);
        0
    });
}

fn get(attack: &mut Attack, address: u64) -> u32 {
    attack.attempt(|| mmio::read32(address).into()).unwrap_or(0) as u32
}
