//! Several harts at the same words at once: nothing that one does is lost.

use core::{
    arch::asm,
    sync::atomic::{
        AtomicU8, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use tool_support::linux::{Errno, STDERR, say};

use super::{check, threads::together};

const HARTS: u32 = 4;
/// How often each hart does each thing in a round.
const TIMES: u32 = 2000;

/// Does all of it so often.
pub fn run(rounds: u32) -> Result<(), Errno> {
    for _ in 0..rounds {
        sums()?;
        extremes()?;
        bits()?;
        tokens()?;
        neighbours()?;
        lock()?;
    }
    say(STDERR, format_args!("workload: atomics: ok, {rounds} rounds"));
    Ok(())
}

/// Adds by LR and SC; the reservation is lost now and then.
fn add_reserved(word: &AtomicU32, number: u32) {
    // SAFETY: the word is accessed, and nothing else.
    unsafe {
        asm!("1: lr.w.aq {old}, ({word})", "add {old}, {old}, {number}", "sc.w.rl {old}, {old}, ({word})",
             "bnez {old}, 1b", word = in(reg) word.as_ptr(), number = in(reg) number, old = out(reg) _,
             options(nostack));
    }
}

/// The same with 64 bits.
fn add_reserved_long(word: &AtomicU64, number: u64) {
    // SAFETY: as above.
    unsafe {
        asm!("1: lr.d.aq {old}, ({word})", "add {old}, {old}, {number}", "sc.d.rl {old}, {old}, ({word})",
             "bnez {old}, 1b", word = in(reg) word.as_ptr(), number = in(reg) number, old = out(reg) _,
             options(nostack));
    }
}

/// AMOs and LR/SC mixed, each in two widths.
fn sums() -> Result<(), Errno> {
    let (word, long) = (AtomicU32::new(0), AtomicU64::new(0));
    together(HARTS, |hart| {
        for time in 0..TIMES {
            let number = hart * TIMES + time;
            if (hart + time) % 2 == 0 {
                word.fetch_add(number, Relaxed);
                add_reserved_long(&long, u64::from(number) << 20);
            } else {
                add_reserved(&word, number);
                long.fetch_add(u64::from(number) << 20, AcqRel);
            }
        }
    })?;
    let numbers = u64::from(HARTS * TIMES);
    let sum = numbers * (numbers - 1) / 2;
    let (word, long) = (word.into_inner(), long.into_inner());
    check(word == sum as u32, format_args!("a sum of words is {word}, not {}", sum as u32))?;
    check(long == sum << 20, format_args!("a sum of doublewords is {long}, not {}", sum << 20))
}

/// The largest and the smallest number, with and without sign: all of them are somebody's.
fn extremes() -> Result<(), Errno> {
    let largest = AtomicU32::new(0);
    let smallest = AtomicU32::new(u32::MAX);
    let (largest_signed, smallest_signed) =
        (core::sync::atomic::AtomicI64::new(0), core::sync::atomic::AtomicI64::new(0));
    together(HARTS, |hart| {
        for time in 0..TIMES {
            let number = (time * HARTS + hart).wrapping_mul(0x9e37_79b1);
            let signed = i64::from(number) - (1 << 31);
            largest.fetch_max(number, Relaxed);
            smallest.fetch_min(number, Relaxed);
            largest_signed.fetch_max(signed << 20, Relaxed);
            smallest_signed.fetch_min(signed << 20, Relaxed);
        }
    })?;
    let numbers = || (0..TIMES * HARTS).map(|number| number.wrapping_mul(0x9e37_79b1));
    let (max, min) = (numbers().max().unwrap_or_default(), numbers().min().unwrap_or_default());
    let right = largest.into_inner() == max
        && smallest.into_inner() == min
        && largest_signed.into_inner() == (i64::from(max) - (1 << 31)) << 20
        && smallest_signed.into_inner() == (i64::from(min) - (1 << 31)) << 20;
    check(right, format_args!("a smallest or largest number is another one"))
}

/// Each hart has bits of its own in the same word, and finds them as it has left them.
fn bits() -> Result<(), Errno> {
    let word = AtomicU64::new(0);
    let wrong = AtomicU32::new(0);
    together(HARTS, |hart| {
        let mask = 0x1111_1111_1111_1111 << hart;
        for time in 0..TIMES {
            let some = mask & u64::from(time).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let before = word.fetch_or(some, Relaxed) & mask;
            let set = word.fetch_xor(mask, Relaxed) & mask;
            let inverted = word.fetch_and(!mask, Relaxed) & mask;
            wrong.fetch_add(u32::from(before != 0 || set != some || inverted != mask & !some), Relaxed);
        }
    })?;
    let (word, wrong) = (word.into_inner(), wrong.into_inner());
    check(
        word == 0 && wrong == 0,
        format_args!("bits are not as they were left {wrong} times, {word:#x} at the end"),
    )
}

/// Tokens are swapped through one word: none is lost or there twice.
fn tokens() -> Result<(), Errno> {
    let word = AtomicU64::new(0);
    let held = [const { AtomicU64::new(0) }; HARTS as usize];
    together(HARTS, |hart| {
        let last = (0..TIMES).fold(u64::from(hart) + 1, |token, _| word.swap(token, AcqRel));
        held[hart as usize].store(last, Relaxed);
    })?;
    let seen = held.iter().chain([&word]).fold(0, |seen, token| seen | 1u64 << (token.load(Relaxed) & 63));
    check(seen == (1 << (HARTS + 1)) - 1, format_args!("of {} tokens there are {seen:#b}", HARTS + 1))
}

/// Bytes of one word are each hart's own; ordinary stores to them leave the others alone, and LR and SC on the word see
/// them.
fn neighbours() -> Result<(), Errno> {
    /// A word, by its bytes.
    #[repr(C, align(4))]
    struct Bytes([AtomicU8; 4]);
    let bytes = Bytes([const { AtomicU8::new(0) }; 4]);
    // SAFETY: it is as large and as aligned. All accesses are atomic, and what mixes their widths is assembly.
    let word = unsafe { &*(&raw const bytes).cast::<AtomicU32>() };
    let wrong = AtomicU32::new(0);
    together(HARTS, |hart| {
        let mine = &bytes.0[hart as usize];
        for time in 0..TIMES {
            mine.store(time as u8, Relaxed);
            // Changes nothing, but writes the whole word.
            add_reserved(word, 0);
            wrong.fetch_add(u32::from(mine.load(Relaxed) != time as u8), Relaxed);
        }
    })?;
    let wrong = wrong.into_inner();
    check(wrong == 0, format_args!("a byte is not as it was left {wrong} times"))
}

/// A lock around numbers that are nobody's but its holder's.
fn lock() -> Result<(), Errno> {
    let lock = AtomicU32::new(0);
    let (low, high) = (AtomicU64::new(0), AtomicU64::new(0));
    let wrong = AtomicU32::new(0);
    together(HARTS, |_| {
        for _ in 0..TIMES {
            while lock.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
                super::threads::yield_now();
            }
            let number = low.load(Relaxed);
            wrong.fetch_add(u32::from(high.load(Relaxed) != number), Relaxed);
            low.store(number + 1, Relaxed);
            high.store(number + 1, Relaxed);
            lock.store(0, Release);
        }
    })?;
    let (count, wrong) = (low.into_inner(), wrong.into_inner());
    let all = u64::from(HARTS * TIMES);
    check(
        wrong == 0 && count == all,
        format_args!("a lock was held {count} times, not {all}; {wrong} times by two"),
    )
}
