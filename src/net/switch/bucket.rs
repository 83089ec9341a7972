//! A token bucket: so many bytes a second, and a burst now and then.

use spin::Mutex;

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;
/// The highest rate, so that nothing overflows; it is no limit in practice.
const MAX_RATE: u64 = 1 << 40;
/// The least burst: two of the longest frames, or they would never pass.
const MIN_BURST: u64 = 128 << 10;

/// The bucket.
pub struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// What it holds when it is full, in millionths of a byte.
    capacity: u64,
    level: Mutex<Level>,
}

struct Level {
    /// In millionths of a byte, so that nothing is lost to rounding.
    tokens: u64,
    /// When it was so, in microseconds.
    at: u64,
}

impl Bucket {
    /// A full bucket, for `rate` bytes a second and a burst of an eighth of that.
    pub fn new(rate: u64, now: u64) -> Self {
        let rate = rate.min(MAX_RATE);
        let capacity = (rate / 8).max(MIN_BURST) * SECOND;
        Self { rate, capacity, level: Mutex::new(Level { tokens: capacity, at: now }) }
    }

    /// Takes so many bytes out, if there are as many, at a time in microseconds.
    pub fn take(&self, bytes: usize, now: u64) -> bool {
        let mut level = self.level.lock();
        // CPUs may disagree a little about the time. A second fills any bucket whose burst is the part of a rate; for
        // the others it matters little that a longer rest does not count.
        let elapsed = now.saturating_sub(level.at).min(SECOND);
        level.at = level.at.max(now);
        level.tokens = (level.tokens + elapsed * self.rate).min(self.capacity);
        match level.tokens.checked_sub(bytes as u64 * SECOND) {
            Some(left) => level.tokens = left,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_whatever_the_steps() {
        for step in [1, 7, 999, 100_003] {
            let bucket = Bucket::new(1_000_003, 0);
            let mut passed = 0;
            let mut now = 0;
            while now <= 20 * SECOND {
                while bucket.take(100, now) {
                    passed += 100;
                }
                now += step;
            }
            now -= step;
            let expected = MIN_BURST + now * 1_000_003 / SECOND;
            assert!(passed <= expected && passed + 200 > expected, "{passed} of {expected}");
        }
    }

    #[test]
    fn a_burst_is_bounded_and_time_going_back_gives_nothing() {
        let bucket = Bucket::new(u64::MAX, 5);
        assert!(bucket.take(65_557, 5));
        let bucket = Bucket::new(0, 5);
        assert!(bucket.take(MIN_BURST as usize, u64::MAX));
        assert!(!bucket.take(1, 0) && !bucket.take(1, u64::MAX));
    }
}
