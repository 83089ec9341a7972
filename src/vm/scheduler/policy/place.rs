//! Which CPU a vCPU should wait on.

use core::cmp::Reverse;

use super::{Params, Rate, VTime};

/// A set of CPUs: bit n is the n-th of the board's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuSet(u64);

impl CpuSet {
    /// Every CPU that there can be.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of which `bits` is the number.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as a number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// One CPU; none if no board has so many.
    pub const fn of(cpu: usize) -> Self {
        Self(if cpu < u64::BITS as usize { 1 << cpu } else { 0 })
    }

    /// Whether `cpu` is one of them.
    pub const fn contains(self, cpu: usize) -> bool {
        self.0 & Self::of(cpu).0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The CPUs in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..u64::BITS as usize).filter(move |&cpu| self.contains(cpu))
    }
}

/// What [`place`] has to know of a CPU. It may be a little out of date.
#[derive(Debug, Clone, Copy)]
pub struct CpuView {
    /// Position in the board's list of CPUs.
    pub index: usize,
    /// Whether nothing runs or waits there.
    pub idle: bool,
    /// The lowest virtual time of its vCPUs, less [`Params::bonus`] of that one's running time: the slices of
    /// a light vCPU are long virtual times, and must not look like progress that others have missed.
    pub level: VTime,
    /// How many vCPUs wait for it.
    pub waiting: usize,
}

/// The CPU on which a vCPU should go on that has woken up, has been preempted, or is the first that waits for
/// `home`. It is at `vtime` among the vCPUs of `home`, runs at `rate` and may use the CPUs `allowed`.
///
/// In this order: `home`, if it is idle; another idle CPU; the CPU of the highest level, if that is higher
/// than `home`'s and the vCPU's own virtual time by more than [`Params::threshold`] of the vCPU's running
/// time; `home`; the CPU for which fewest wait. `None` if none of `cpus` is allowed.
pub fn place(
    params: &Params,
    vtime: VTime,
    rate: Rate,
    home: usize,
    allowed: CpuSet,
    cpus: impl Iterator<Item = CpuView> + Clone,
) -> Option<usize> {
    let cpus = cpus.filter(|cpu| allowed.contains(cpu.index));
    if let Some(idle) = cpus.clone().filter(|cpu| cpu.idle).min_by_key(|cpu| cpu.index != home) {
        return Some(idle.index);
    }
    let Some(here) = cpus.clone().find(|cpu| cpu.index == home) else {
        return cpus.min_by_key(|cpu| cpu.waiting).map(|cpu| cpu.index);
    };
    let from = vtime.later(here.level);
    let best = cpus.max_by_key(|cpu| (cpu.level.since(from), Reverse(cpu.waiting)))?;
    let worthwhile = best.level.since(from) > rate.distance(params.threshold);
    Some(if worthwhile { best.index } else { home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_cpu_is_chosen_in_order() {
        let params = Params::new(1_000_000_000);
        let (home, rate) = (1, Rate::of(100, 1));
        let cpu = |index, idle, milliseconds: u64, waiting| {
            let level = VTime::from_raw(milliseconds * 1_000_000);
            CpuView { index, idle, level, waiting }
        };
        let at = |allowed, cpus: [CpuView; 4]| {
            place(&params, VTime::from_raw(10_000_000), rate, home, allowed, cpus.into_iter())
        };
        let all = CpuSet::ALL;
        let not_home = CpuSet::from_bits(0b1101);
        // Idle: home before others, others before those that are ahead.
        assert_eq!(
            at(all, [cpu(0, true, 0, 0), cpu(1, true, 0, 0), cpu(2, false, 99, 1), cpu(3, true, 0, 0)]),
            Some(1)
        );
        assert_eq!(
            at(all, [cpu(0, false, 0, 0), cpu(1, false, 0, 0), cpu(2, false, 99, 1), cpu(3, true, 0, 0)]),
            Some(3)
        );
        // Ahead of the vCPU and of home by more than 4 ms, or not.
        let busy = |home, other| {
            [cpu(0, false, 0, 5), cpu(1, false, home, 9), cpu(2, false, other, 7), cpu(3, false, 0, 6)]
        };
        assert_eq!(at(all, busy(8, 15)), Some(2));
        assert_eq!(at(all, busy(8, 14)), Some(1));
        assert_eq!(at(all, busy(12, 15)), Some(1));
        // Where it may no longer be: the fewest.
        assert_eq!(at(not_home, busy(8, 15)), Some(0));
        assert_eq!(at(CpuSet::of(4), busy(8, 15)), None);
        assert!(CpuSet::of(64).is_empty());
    }
}
