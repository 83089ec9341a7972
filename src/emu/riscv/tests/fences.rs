//! Fences between harts that run at the same time.

use core::sync::atomic::AtomicBool;

use super::*;
use crate::interp::Flush;
use crate::riscv::fence::Request;

const HARTS: usize = 4;

/// Each hart publishes a number, has the others do a fence, and confirms the number then. From there on they
/// must know that number, or a later one, whenever they are in guest code: a fence that was lost, or answered
/// too early, shows.
#[test]
fn no_fence_is_lost_or_answered_too_early() {
    const ROUNDS: u64 = 2000;
    let cluster = Cluster::new(HARTS, Boot { mode: Mode::Machine, entry: 0, arguments: [0; 2] });
    let published: [AtomicU64; HARTS] = Default::default();
    let confirmed: [AtomicU64; HARTS] = Default::default();
    let done: [AtomicBool; HARTS] = Default::default();

    for hart in 0..HARTS {
        cluster.shared(hart).fences.unpark();
    }
    let run = |own: usize| {
        // What a hart does for a fence, whatever it is: it looks at what all have published.
        let mut known = [0; HARTS];
        let look = || [0, 1, 2, 3].map(|hart: usize| published[hart].load(Ordering::Relaxed));
        let guest_code = |known: &[u64; HARTS]| {
            for (hart, &known) in known.iter().enumerate() {
                let confirmed = confirmed[hart].load(Ordering::Acquire);
                assert!(
                    hart == own || known >= confirmed,
                    "{own} knows {known} of {hart}, which is at {confirmed}"
                );
            }
        };
        for round in 1..=ROUNDS {
            published[own].store(round, Ordering::Relaxed);
            cluster.ask_fence(own, u32::MAX, Request::Translations(Flush::page(round, None)), |_| ());
            while !cluster.is_fenced(own) {
                cluster.serve_fences(own, |_| known = look());
                std::thread::yield_now();
            }
            confirmed[own].store(round, Ordering::Release);
            guest_code(&known);
            if round % 7 == own as u64 {
                cluster.shared(own).fences.park();
                std::thread::yield_now();
                if cluster.shared(own).fences.unpark() {
                    known = look();
                }
                guest_code(&known);
            }
        }
        done[own].store(true, Ordering::Release);
        while !done.iter().all(|done| done.load(Ordering::Acquire)) {
            cluster.serve_fences(own, |_| known = look());
            guest_code(&known);
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        for own in 0..HARTS {
            scope.spawn(move || run(own));
        }
    });
}
