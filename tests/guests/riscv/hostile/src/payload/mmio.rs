//! Accesses at the edges of everything.

use core::ops::Range;

use guest_riscv_support::{console, println, rng::Rng};

use super::{
    Attack, arena, csr,
    monitor::{Frame, MACHINE_CALL},
};

/// How far from its address an access may reach: a block of a cache.
const REACH: u64 = 64;
/// What is not touched, because this program could not go on or would be noise: the test finisher, the timers' compare
/// registers and clock, the console's data, and the registers by which a virtio device would begin to write to memory.
const SPARED: [Range<u64>; 4] =
    [0x10_0000..0x10_0004, 0x200_4000..0x200_4040, 0x200_bff8..0x200_c000, 0x1000_0000..0x1000_0001];
const VIRTIO: Range<u64> = 0x1000_1000..0x1000_9000;
/// `QueueReady` in each of their windows (virtio 1.2, 4.2.2).
const QUEUE_READY: Range<u64> = 0x44..0x48;
/// The lowest byte of RAM.
const RAM: u64 = 0x8000_0000;
/// Where the prefetchable memory of PCI Express is on QEMU's own machine, which answers.
const PCI: Range<u64> = 0x4_0000_0000..0x8_0000_0000;
/// LOAD, which says that something answered.
const LOAD: u32 = 0x03;

/// One access.
pub fn operation(attack: &mut Attack) {
    let address = place(attack);
    let access = access(&mut attack.rng);
    let mut frame = Frame::new([0; 32]);
    for value in &mut frame.x[13..] {
        *value = attack.rng.interesting();
    }
    frame.x[13] = address;
    let cause = csr::run(attack, frame, &[access, 0x73]);
    let is_nowhere = address >= attack.ram_end && !PCI.contains(&address);
    if cause == MACHINE_CALL && access & 0x7f == LOAD && is_nowhere {
        console::init();
        println!("hostile: LEAK {access:08x} finds something at {address:#x}");
    }
}

/// An access to where a3 points, to or from x28 to x31, or the floating-point registers of these numbers.
fn access(rng: &mut Rng) -> u32 {
    let random = rng.next_u64() as u32;
    let (first, second) = (28 + (random & 3), 28 + (random >> 2 & 3));
    let base = 13 << 15;
    match rng.below(8) {
        0..3 => LOAD | (random >> 4 & 7) << 12 | first << 7 | base,
        3 | 4 => 0x23 | (random >> 4 & 7) << 12 | second << 20 | base,
        // LR and SC are among the AMOs.
        5 => 0x2f | random & 0xfe00_0000 | (2 + (random >> 4 & 1)) << 12 | second << 20 | first << 7 | base,
        6 => {
            (if random & 0x80 == 0 { 0x07 } else { 0x27 | second << 20 })
                | (2 + (random >> 4 & 1)) << 12
                | base
        }
        // CBO.INVAL, CBO.CLEAN, CBO.FLUSH, CBO.ZERO.
        _ => {
            let operation = rng.pick(&[0, 1, 2, 4]).copied().unwrap_or(0);
            operation << 20 | base | 2 << 12 | 0x0f
        }
    }
}

/// An address that is not the monitor's.
fn place(attack: &mut Attack) -> u64 {
    loop {
        let rng = &mut attack.rng;
        // Edges of the machine's devices, of RAM, and of what runs this: its image, its interrupt controller and its
        // memory are above 256 GiB.
        let edges = [
            0,
            0x1000,
            0x10_0000,
            0x10_1000,
            0x200_0000,
            0x201_0000,
            0xc00_0000,
            0xc00_1000,
            0xc00_2000,
            0xc20_0000,
            0xc20_1000,
            0x1000_0000,
            0x1000_1000,
            0x1000_2000,
            0x1000_3000,
            0x1000_9000,
            RAM,
            attack.ram_end,
            1 << 32,
            1 << 38,
            (1 << 38) + (256 << 20),
            (1 << 38) + (257 << 20),
            (1 << 38) + (1 << 30),
            1 << 39,
            1 << 40,
            1 << 48,
            1 << 56,
        ];
        let shift = rng.below(64);
        let base = match rng.below(6) {
            0 => rng.next_u64() >> shift,
            1 => arena::any(rng),
            _ => rng.pick(&edges).copied().unwrap_or(0),
        };
        let offset = match rng.below(3) {
            0 => rng.below(0x40).wrapping_sub(0x20),
            1 => rng.below(0x200) & !3,
            _ => rng.below(0x2000),
        };
        let address = base.wrapping_add(offset);
        if is_fair(attack.ram_end, address) {
            return address;
        }
    }
}

fn is_fair(ram_end: u64, address: u64) -> bool {
    let hits = |range: &Range<u64>| {
        address.wrapping_add(REACH) > range.start && address < range.end.wrapping_add(REACH)
    };
    let arena = arena::all();
    let is_virtio = VIRTIO.contains(&address);
    let starts_queue = is_virtio && (QUEUE_READY.start - 8..QUEUE_READY.end).contains(&(address & 0xfff));
    let is_monitor = hits(&(RAM..ram_end)) && !(arena.start + REACH..arena.end - REACH).contains(&address);
    // Zero, where addresses wrap.
    address.checked_add(REACH).is_some() && !SPARED.iter().any(hits) && !starts_queue && !is_monitor
}
