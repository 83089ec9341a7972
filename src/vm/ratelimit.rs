//! How many lines of Polyvisor's log a VM may cause.
//!
//! A log line is written at once, so a guest that can cause lines at will would keep EL2 busy writing, and the
//! operator would see nothing else. Whatever a guest can cause as often as it likes asks its VM's [`RateLimit`]
//! before it is logged. What the operator orders needs no limit. Nor do ends and crashes: before a VM starts again
//! there is a delay that grows.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many lines may come at once.
const BURST: u64 = 5;
/// Time for which one line is enough after that, in microseconds.
const INTERVAL: u64 = 1_000_000;

/// A token bucket: [`BURST`] lines at once, one in an [`INTERVAL`] in the long run.
#[derive(Debug, Default)]
pub struct RateLimit {
    /// When the bucket is full again, in microseconds: a token comes back in each [`INTERVAL`] until then.
    full: AtomicU64,
    /// Lines left out since one was last admitted.
    left_out: AtomicU64,
}

/// How many lines have been left out before the one that may be logged; it is shown behind it, unless there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut(u64);

impl RateLimit {
    /// Whether a line may be logged at the time `now`, in microseconds. If not, it counts as left out.
    pub fn admit(&self, now: u64) -> Option<LeftOut> {
        let take = |full: u64| {
            let full = full.max(now).checked_add(INTERVAL)?;
            (full.saturating_sub(now) <= BURST * INTERVAL).then_some(full)
        };
        if self.full.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            Some(LeftOut(self.left_out.swap(0, Ordering::Relaxed)))
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (1 line about this VM was left out)"),
            lines => write!(f, " ({lines} lines about this VM were left out)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// What becomes of a line at each of `times`.
    fn admitted(times: impl IntoIterator<Item = u64>) -> Vec<Option<LeftOut>> {
        let limit = RateLimit::default();
        times.into_iter().map(|now| limit.admit(now)).collect()
    }

    #[test]
    fn the_first_lines_come_at_once_and_then_one_in_an_interval() {
        // One in a millisecond, for ten seconds.
        let outcomes = admitted((0..10_000).map(|millisecond| millisecond * 1000));
        let said: Vec<_> =
            (0_u64..).zip(&outcomes).filter_map(|(at, outcome)| outcome.map(|left| (at, left.0))).collect();
        let first = (0..5).map(|at| (at, 0));
        let later = (1..10).map(|second| (second * 1000, if second == 1 { 995 } else { 999 }));
        assert_eq!(said, first.chain(later).collect::<Vec<_>>());
    }

    #[test]
    fn silence_earns_the_first_lines_again_and_no_more() {
        let day = 86_400 * INTERVAL;
        let outcomes = admitted([0; 7].into_iter().chain([day; 7]));
        let first = [Some(LeftOut(0)); 4];
        assert_eq!(outcomes[..7], [&first[..], &[first[0], None, None]].concat());
        assert_eq!(outcomes[7..], [&[Some(LeftOut(2))], &first[..], &[None, None]].concat());
    }

    #[test]
    fn what_is_left_out_is_said_in_words() {
        let words = [0, 1, 7].map(|lines| alloc::format!("resets{}", LeftOut(lines)));
        let wanted = [
            "resets",
            "resets (1 line about this VM was left out)",
            "resets (7 lines about this VM were left out)",
        ];
        assert_eq!(words, wanted);
    }

    proptest! {
        /// Whatever a guest does: no more lines in any span of time than its bucket holds and gets, and each line is
        /// either logged or counted.
        #[test]
        fn no_span_of_time_has_more_lines_than_it_may(
            start in prop_oneof![0..10 * INTERVAL, u64::MAX - 10 * INTERVAL..],
            pauses in prop::collection::vec(0..2 * INTERVAL, 1..200),
        ) {
            let times: Vec<u64> = pauses
                .iter()
                .scan(start, |now, &pause| { *now = now.saturating_add(pause); Some(*now) })
                .collect();
            let limit = RateLimit::default();
            let (mut said, mut left_out) = (Vec::new(), 0);
            for &now in &times {
                if let Some(LeftOut(before)) = limit.admit(now) {
                    prop_assert_eq!(before, left_out);
                    left_out = 0;
                    said.push(now);
                } else {
                    left_out += 1;
                }
            }
            for (index, &from) in said.iter().enumerate() {
                for (lines, &to) in (1..).zip(&said[index..]) {
                    prop_assert!(lines <= BURST + (to - from) / INTERVAL);
                }
            }
        }
    }
}
