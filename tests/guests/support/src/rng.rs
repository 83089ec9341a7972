//! A small deterministic generator, so that every attack can be repeated from its seed.

/// 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// xorshift64* (Marsaglia 2003, Vigna 2016): good enough to scatter accesses, not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator that `seed` always gives. Every seed is fine.
    pub const fn new(seed: u64) -> Self {
        // The state must not be zero. Multiplying by an odd number keeps seeds apart, and spreads
        // neighbouring ones.
        let state = (seed ^ SPREAD).wrapping_mul(SPREAD);
        Self(if state == 0 { SPREAD } else { state })
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` calls on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `items`, or `None` when there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// A value as register fuzzing likes it: a single bit, all ones, small, or random, about as often as each
    /// other.
    pub fn interesting(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => self.below(256),
            4 => u64::from(self.next_u64() as u32),
            _ => self.next_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_bounds_and_repeats() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        for bound in 1..2000 {
            let value = a.below(bound);
            assert!(value < bound);
            assert_eq!(value, b.below(bound));
        }
        assert_eq!(a.below(0), 0);
        assert_ne!(Rng::new(2).next_u64(), Rng::new(3).next_u64());
        assert_ne!(Rng::new(SPREAD).next_u64(), 0);
    }

    #[test]
    fn reaches_every_value() {
        let mut rng = Rng::new(1);
        let mut seen = [false; 16];
        for _ in 0..1000 {
            seen[rng.below(16) as usize] = true;
        }
        assert!(seen.iter().all(|&seen| seen));
    }
}
