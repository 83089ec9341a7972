//! The loops.

use core::{arch::asm, hint::black_box};

use guest_riscv_support::{println, rng::Rng};

/// How many words are sorted and copied.
const WORDS: usize = 8 * 1024;

/// A loop: what it is called, and what does it. It tells whether the result is right.
type Load = (&'static str, fn() -> bool);

/// Measures them all.
pub fn main() {
    let loads: [Load; 4] = [("mix", mix), ("sort", sort), ("copy", copy), ("crc", crc)];
    for (name, load) in loads {
        // What is translated is translated before it is measured.
        let mut right = load();
        let before = read();
        right &= load();
        let after = read();
        assert!(right, "{name}: the result is wrong");
        let (ticks, instructions) = (after.0 - before.0, after.1 - before.1);
        let hundredths = ticks * 100 / instructions;
        println!("{name}: {instructions} instructions, {ticks} ticks");
        println!("bench: riscv-{name} {}.{:02}", hundredths / 100, hundredths % 100);
    }
}

/// `time` and `instret`.
fn read() -> (u64, u64) {
    let (time, instructions);
    // SAFETY: reading these has no effect. What is measured is not moved across it.
    unsafe { asm!("rdtime {}", "rdinstret {}", out(reg) time, out(reg) instructions) };
    (time, instructions)
}

/// Arithmetic in registers.
fn mix() -> bool {
    let mut rng = Rng::new(1);
    let sum = (0..100_000).fold(0u64, |sum, _| sum.rotate_left(7) ^ rng.next_u64());
    black_box(sum) != 0
}

/// Unpredictable branches, loads and stores.
fn sort() -> bool {
    let mut rng = Rng::new(2);
    let mut words = [0u32; WORDS];
    words.fill_with(|| rng.next_u64() as u32);
    black_box(&mut words).sort_unstable();
    words.is_sorted()
}

/// Loads and stores in a row.
fn copy() -> bool {
    let from = [black_box(7u32); WORDS];
    let mut to = [0u32; WORDS];
    for _ in 0..16 {
        black_box(&mut to).copy_from_slice(black_box(&from));
    }
    // Comparing all of them would be what is measured.
    to.first() == to.last() && to.first() == from.first()
}

/// Bytes, a table, and a chain of results: CRC-32 as in IEEE 802.3.
fn crc() -> bool {
    let mut table = [0u32; 256];
    for (index, entry) in table.iter_mut().enumerate() {
        *entry = (0..8).fold(index as u32, |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)));
    }
    let mut all = 0;
    for _ in 0..4_000 {
        let bytes = black_box(b"123456789");
        let crc = bytes.iter().fold(!0u32, |crc, byte| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)]);
        all |= !crc ^ 0xcbf4_3926;
    }
    all == 0
}
