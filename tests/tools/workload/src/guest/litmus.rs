//! What a hart sees of what others do, and in which order: RVWMO (RISC-V unprivileged specification, chapter "RVWMO Memory
//! Consistency Model").
//!
//! Each test is a few instructions per hart on two words, x and y, which are 0 first, and a result that the model forbids.
//! The harts run them on many pairs of words in a row, so that now and then they meet. Tests without anything that orders
//! them are there to show that they do meet: their result is allowed, and is counted.

use core::{
    arch::asm,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use tool_support::linux::{Errno, STDERR, say};

use super::{
    check,
    threads::{Barrier, together},
};

/// How many pairs of words there are.
const PAIRS: usize = 512;
/// The most harts that a test has.
const MAX_HARTS: usize = 4;
/// How many registers of each hart are its result.
const RESULTS: usize = 2;

/// A hart's part of a test: called with the addresses of x and y.
type Part = fn(&AtomicU32, &AtomicU32) -> [u32; RESULTS];
type Outcome = [[u32; RESULTS]; MAX_HARTS];

struct Litmus {
    name: &'static str,
    parts: &'static [Part],
    outcome: fn(&Outcome) -> bool,
    allowed: bool,
}

const fn forbidden(name: &'static str, parts: &'static [Part], outcome: fn(&Outcome) -> bool) -> Litmus {
    Litmus { name, parts, outcome, allowed: false }
}

const fn allowed(name: &'static str, parts: &'static [Part], outcome: fn(&Outcome) -> bool) -> Litmus {
    Litmus { name, parts, outcome, allowed: true }
}

/// A [`Part`] of these instructions, in which a0 is x's address, a1 that of y, a4 is 1, a5 is free, and a2 and a3 are the
/// result, 0 first.
macro_rules! part {
    ($($instruction:literal),+) => {{
        fn part(x: &AtomicU32, y: &AtomicU32) -> [u32; RESULTS] {
            let (first, second): (u64, u64);
            // SAFETY: the two words are accessed, and nothing else.
            unsafe {
                asm!($($instruction),+, in("a0") x.as_ptr(), in("a1") y.as_ptr(), inout("a2") 0u64 => first,
                     inout("a3") 0u64 => second, in("a4") 1u64, out("a5") _, options(nostack));
            }
            [first as u32, second as u32]
        }
        part as Part
    }};
}

const STORE_X: Part = part!("sw a4, (a0)");
const STORE_Y: Part = part!("sw a4, (a1)");

/// Message passing: y is seen to be set, and x is not.
fn message_lost(outcome: &Outcome) -> bool {
    outcome[1] == [1, 0]
}

/// Store buffering: neither sees the other's store.
fn both_unseen(outcome: &Outcome) -> bool {
    outcome[0][0] == 0 && outcome[1][0] == 0
}

/// Load buffering: each sees what the other has stored only behind its own load.
fn both_from_the_future(outcome: &Outcome) -> bool {
    outcome[0][0] == 1 && outcome[1][0] == 1
}

/// Independent reads of independent writes: two see the stores in different order.
fn no_one_order(outcome: &Outcome) -> bool {
    outcome[2] == [1, 0] && outcome[3] == [1, 0]
}

const TESTS: [Litmus; 24] = [
    allowed("MP", &[part!("sw a4, (a0)", "sw a4, (a1)"), part!("lw a2, (a1)", "lw a3, (a0)")], message_lost),
    forbidden(
        "MP+fence.w.w+fence.r.r",
        &[
            part!("sw a4, (a0)", "fence w, w", "sw a4, (a1)"),
            part!("lw a2, (a1)", "fence r, r", "lw a3, (a0)"),
        ],
        message_lost,
    ),
    forbidden(
        "MP+fence.tso",
        &[part!("sw a4, (a0)", "fence.tso", "sw a4, (a1)"), part!("lw a2, (a1)", "fence.tso", "lw a3, (a0)")],
        message_lost,
    ),
    forbidden(
        "MP+fence.w.w+addr",
        &[
            part!("sw a4, (a0)", "fence w, w", "sw a4, (a1)"),
            // The second address depends on what was loaded, whatever that is.
            part!("lw a2, (a1)", "xor a5, a2, a2", "add a5, a5, a0", "lw a3, (a5)"),
        ],
        message_lost,
    ),
    forbidden(
        "MP+amoswap.rl+amoor.aq",
        &[
            part!("sw a4, (a0)", "amoswap.w.rl zero, a4, (a1)"),
            part!("amoor.w.aq a2, zero, (a1)", "lw a3, (a0)"),
        ],
        message_lost,
    ),
    forbidden(
        "MP+amoadd.rl+lr.aq",
        &[part!("sw a4, (a0)", "amoadd.w.rl zero, a4, (a1)"), part!("lr.w.aq a2, (a1)", "lw a3, (a0)")],
        message_lost,
    ),
    forbidden(
        "MP+sc.rl+lr.aq",
        &[
            part!("sw a4, (a0)", "1: lr.w a5, (a1)", "sc.w.rl a5, a4, (a1)", "bnez a5, 1b"),
            part!("lr.w.aq a2, (a1)", "lw a3, (a0)"),
        ],
        message_lost,
    ),
    allowed("SB", &[part!("sw a4, (a0)", "lw a2, (a1)"), part!("sw a4, (a1)", "lw a2, (a0)")], both_unseen),
    forbidden(
        "SB+fence.rw.rw",
        &[
            part!("sw a4, (a0)", "fence rw, rw", "lw a2, (a1)"),
            part!("sw a4, (a1)", "fence rw, rw", "lw a2, (a0)"),
        ],
        both_unseen,
    ),
    forbidden(
        "SB+fence.w.r",
        &[
            part!("sw a4, (a0)", "fence w, r", "lw a2, (a1)"),
            part!("sw a4, (a1)", "fence w, r", "lw a2, (a0)"),
        ],
        both_unseen,
    ),
    forbidden(
        "SB+amoswap.aqrl",
        &[
            part!("amoswap.w.aqrl zero, a4, (a0)", "lw a2, (a1)"),
            part!("amoswap.w.aqrl zero, a4, (a1)", "lw a2, (a0)"),
        ],
        both_unseen,
    ),
    // An AMO is one operation: what is behind an acquiring one is behind its store, too.
    forbidden(
        "SB+amoswap.aq",
        &[
            part!("amoswap.w.aq zero, a4, (a0)", "lw a2, (a1)"),
            part!("amoswap.w.aq zero, a4, (a1)", "lw a2, (a0)"),
        ],
        both_unseen,
    ),
    forbidden(
        "SB+amoswap.rl+lr.aqrl",
        &[
            part!("amoswap.w.rl zero, a4, (a0)", "lr.w.aqrl a2, (a1)"),
            part!("amoswap.w.rl zero, a4, (a1)", "lr.w.aqrl a2, (a0)"),
        ],
        both_unseen,
    ),
    allowed(
        "LB",
        &[part!("lw a2, (a0)", "sw a4, (a1)"), part!("lw a2, (a1)", "sw a4, (a0)")],
        both_from_the_future,
    ),
    forbidden(
        "LB+fence.r.w",
        &[
            part!("lw a2, (a0)", "fence r, w", "sw a4, (a1)"),
            part!("lw a2, (a1)", "fence r, w", "sw a4, (a0)"),
        ],
        both_from_the_future,
    ),
    forbidden(
        "LB+data",
        &[
            part!("lw a2, (a0)", "xor a5, a2, a2", "or a5, a5, a4", "sw a5, (a1)"),
            part!("lw a2, (a1)", "xor a5, a2, a2", "or a5, a5, a4", "sw a5, (a0)"),
        ],
        both_from_the_future,
    ),
    forbidden(
        "LB+ctrl",
        &[
            part!("lw a2, (a0)", "bnez a2, 2f", "2: sw a4, (a1)"),
            part!("lw a2, (a1)", "bnez a2, 2f", "2: sw a4, (a0)"),
        ],
        both_from_the_future,
    ),
    forbidden(
        "LB+amoswap.rl",
        &[
            part!("lw a2, (a0)", "amoswap.w.rl zero, a4, (a1)"),
            part!("lw a2, (a1)", "amoswap.w.rl zero, a4, (a0)"),
        ],
        both_from_the_future,
    ),
    forbidden("CoRR", &[STORE_X, part!("lw a2, (a0)", "lw a3, (a0)")], message_lost),
    forbidden(
        "CoRR+byte+word",
        &[STORE_X, part!("lb a2, (a0)", "lw a3, (a0)", "lw a5, (a1)")],
        // Loads of different width may go different ways, but x is one word.
        message_lost,
    ),
    allowed(
        "IRIW",
        &[STORE_X, STORE_Y, part!("lw a2, (a0)", "lw a3, (a1)"), part!("lw a2, (a1)", "lw a3, (a0)")],
        no_one_order,
    ),
    forbidden(
        "IRIW+fence.r.r",
        &[
            STORE_X,
            STORE_Y,
            part!("lw a2, (a0)", "fence r, r", "lw a3, (a1)"),
            part!("lw a2, (a1)", "fence r, r", "lw a3, (a0)"),
        ],
        no_one_order,
    ),
    forbidden(
        "IRIW+lr.aq",
        &[
            STORE_X,
            STORE_Y,
            part!("lr.w.aq a2, (a0)", "lw a3, (a1)"),
            part!("lr.w.aq a2, (a1)", "lw a3, (a0)"),
        ],
        no_one_order,
    ),
    forbidden(
        "IRIW+addr",
        &[
            STORE_X,
            STORE_Y,
            part!("lw a2, (a0)", "xor a5, a2, a2", "add a5, a5, a1", "lw a3, (a5)"),
            part!("lw a2, (a1)", "xor a5, a2, a2", "add a5, a5, a0", "lw a3, (a5)"),
        ],
        no_one_order,
    ),
];

/// A word in a cache line of its own.
#[repr(align(128))]
struct Line(AtomicU32);

/// What the harts share.
struct Field {
    pairs: [[Line; 2]; PAIRS],
    results: [[[AtomicU32; RESULTS]; MAX_HARTS]; PAIRS],
}

static FIELD: Field = Field {
    pairs: [const { [const { Line(AtomicU32::new(0)) }; 2] }; PAIRS],
    results: [const { [const { [const { AtomicU32::new(0) }; RESULTS] }; MAX_HARTS] }; PAIRS],
};

/// Does every test so often on all pairs.
pub fn run(rounds: u32) -> Result<(), Errno> {
    let mut met = 0;
    for test in &TESTS {
        let seen = test.run(rounds)?;
        check(
            test.allowed || seen == 0,
            format_args!("{}: what is forbidden was seen {seen} times", test.name),
        )?;
        met += seen;
    }
    let tests = TESTS.len();
    say(STDERR, format_args!("workload: litmus: ok, {tests} tests, what is allowed was seen {met} times"));
    Ok(())
}

impl Litmus {
    /// How often the outcome was seen.
    fn run(&self, rounds: u32) -> Result<u32, Errno> {
        let count = self.parts.len() as u32;
        let barrier = Barrier::new(count);
        let seen = AtomicU32::new(0);
        together(count, |hart| {
            for _ in 0..rounds {
                barrier.wait();
                self.run_part(hart as usize);
                barrier.wait();
                if hart == 0 {
                    seen.fetch_add(self.judge(), Relaxed);
                }
            }
        })?;
        Ok(seen.load(Relaxed))
    }

    fn run_part(&self, hart: usize) {
        let Some(part) = self.parts.get(hart) else { return };
        for ([x, y], results) in FIELD.pairs.iter().zip(&FIELD.results) {
            let [first, second] = part(&x.0, &y.0);
            results[hart][0].store(first, Relaxed);
            results[hart][1].store(second, Relaxed);
        }
    }

    /// How often the outcome was seen this time; makes all words 0 again. Other harts are waiting.
    fn judge(&self) -> u32 {
        let mut seen = 0;
        for (pair, results) in FIELD.pairs.iter().zip(&FIELD.results) {
            let outcome = results.each_ref().map(|hart| hart.each_ref().map(|result| result.load(Relaxed)));
            seen += u32::from((self.outcome)(&outcome));
            pair.iter().for_each(|line| line.0.store(0, Relaxed));
        }
        seen
    }
}
